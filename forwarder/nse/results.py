"""Script results, read without trust: what has not the shape that is asked for counts as not there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from forwarder.nmap.script import Table

MAX_TEXT: Final = 1 << 20
"""Characters of a text that are looked at; what is longer is no script's report but an attack."""
MAX_LINES: Final = 20_000
"""Lines of a text that are looked at."""
LONGEST: Final = 1000
"""Characters kept of one value."""
MAX_VALUES: Final = 500
"""Values kept of one list."""
ESCAPED = re.compile(r"(?:\\x[89A-F][0-9A-F])+")
"""Bytes from 128 on, as nmap writes them in what scripts say; those below stay escaped, they may control a terminal."""

Facts = dict[str, dict[str, Any]]
"""Family → fact → value: a text, number or bool, or a list that the lists of other scripts are added to."""


class Result(NamedTuple):
    """What one script said."""

    id: str
    """The script's name."""
    table: Table
    """Its structured output; empty for scripts and versions of nmap that have none."""
    text: str
    """Its output for people."""


def elements(table: object) -> Iterator[tuple[str, str]]:
    """Yield (key, value) of a table's values; the key is empty in a list."""
    for row in table if isinstance(table, list) else ():
        if isinstance(row, dict):
            key, value = row.get("key", ""), row.get("value")
            if isinstance(key, str) and isinstance(value, str):
                yield key, value


def tables(table: object) -> Iterator[tuple[str, Table]]:
    """Yield (key, table) of the tables in a table; the key is empty in a list."""
    for row in table if isinstance(table, list) else ():
        if isinstance(row, dict):
            key, value = row.get("key", ""), row.get("table")
            if isinstance(key, str) and isinstance(value, list):
                yield key, value


def element(table: object, name: str) -> str:
    """Return a value as the script gave it, empty when there is none."""
    for row in table if isinstance(table, list) else ():  # the most called of these, so without a generator
        if isinstance(row, dict) and row.get("key") == name and isinstance(value := row.get("value"), str):
            return value
    return ""


def inner(table: object, name: str) -> Table:
    """Return a table in a table, empty when there is none."""
    for row in table if isinstance(table, list) else ():
        if isinstance(row, dict) and row.get("key") == name and isinstance(found := row.get("table"), list):
            return found
    return []


def lines(text: str) -> Iterator[str]:
    """Yield the lines of a text without the white space around them, and without empty ones."""
    for line in text[:MAX_TEXT].split("\n", MAX_LINES)[:MAX_LINES]:
        if stripped := line.strip():
            yield stripped


def clean(text: str) -> str:
    """Return a value for people: non-ASCII characters unescaped, white space in single blanks, not too long."""
    if not text:
        return ""
    text = text[:MAX_TEXT]
    if "\\x" in text:
        text = ESCAPED.sub(_unescaped, text.replace("\\x00", ""))
    return " ".join(text[: 2 * LONGEST].split())[:LONGEST].rstrip()


def _unescaped(match: re.Match[str]) -> str:
    try:
        return bytes.fromhex(match[0].replace("\\x", "")).decode()
    except UnicodeDecodeError:  # another encoding, or cut within a character
        return match[0]


def some(values: Iterable[str]) -> list[str]:
    """Return cleaned values without empty and repeated ones, as many as are kept of a list."""
    found: dict[str, None] = {}
    for value in values:
        if kept := clean(value):
            found[kept] = None
            if len(found) == MAX_VALUES:
                break
    return list(found)


def present(**facts: Any) -> dict[str, Any]:
    """Return the facts that say something: neither None nor empty."""
    return {name: value for name, value in facts.items() if value is not None and value not in ("", [])}
