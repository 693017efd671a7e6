"""What --script asks for: names, globs, categories, paths, joined by and, or, not (nse_main.lua, chosen scripts)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from forwarder.nmap.categories import CATEGORIES, table

Scripts = Mapping[str, frozenset[str]]
"""Categories by script."""
PLACES: Final = ("/usr/share/nmap", "/usr/local/share/nmap")
DATABASE_BYTES: Final = 4 << 20
ENTRY: Final = re.compile(r'filename\s*=\s*"([^"]+?)(?:\.nse)?"\s*,\s*categories\s*=\s*\{([^}]*)\}')
TOKEN: Final = re.compile(r"[()]|[^\s()]+")
DEEPEST: Final = 50
"""Brackets within brackets that are followed."""
LONGEST: Final = 200
"""Characters of a name or glob; no script's is as long."""
MOST: Final = 1000
"""Rules that are looked at; each is tried on all scripts."""
FILES: Final = "files"
"""Said in place of a category of scripts that are named by their path: nmap's table does not know them."""

Test = Callable[[str, frozenset[str]], bool]


def installed(datadir: str = "") -> Scripts:
    """Return the scripts of the nmap on this machine, from its script.db; those we know of where there is none.

    A database may be the user's own, so scripts that we know keep the categories that we know, beside those it gives.

    Args:
        datadir: value of --datadir; else NMAPDIR and the usual places are looked at.
    """
    for place in (datadir, os.environ.get("NMAPDIR", ""), *PLACES):
        path = Path(place) / "scripts" / "script.db"
        try:
            if place and path.is_file() and path.stat().st_size <= DATABASE_BYTES:
                text = path.read_text(encoding="utf-8", errors="replace")
                known = table()
                return known | {
                    name: known.get(name, frozenset()) | frozenset(re.findall(r'"([^"]+)"', found))
                    for entry, found in ENTRY.findall(text)
                    if (name := entry.rpartition("/")[2])
                }
        except (OSError, ValueError):
            continue
    return table()


def rules(value: str) -> list[str]:
    """Return the rules of one --script; each may be an expression."""
    return [rule for part in value.split(",") if (rule := part.strip())]


def categories(wanted: list[str], scripts: Scripts | None = None) -> set[str]:
    """Return the categories that rules name, and those of the scripts that they name and do not rule out.

    Args:
        wanted: rules.
        scripts: all scripts; None: those of `categories.TABLE`, so that the answer is the same on every machine.
    """
    known = table() if scripts is None else scripts
    found: set[str] = set()
    for rule in wanted[:MOST]:
        asked = _Rule(rule)
        named = set(asked.categories)
        found |= set(CATEGORIES) if "all" in named else named
        found |= {FILES} if asked.file else set()
        for name in asked.chosen(known):
            if not named or any(fnmatchcase(name, glob) for glob in asked.globs):
                found |= known[name]
    return found


def chosen(wanted: list[str], scripts: Scripts) -> set[str]:
    """Return the names of all scripts that rules choose, by name or by category."""
    return {name for rule in wanted[:MOST] for name in _Rule(rule).chosen(scripts)}


class _Rule:
    """One rule, read."""

    def __init__(self, rule: str) -> None:
        words = TOKEN.findall(rule.removeprefix("+"))
        parser = _Parser(words)
        test = parser.expression(0)
        self._test = None if parser.end else test
        self.categories = parser.categories
        self.globs = parser.globs
        self.file = len(words) == 1 and "/" in words[0]
        """Whether it is a path."""

    def chosen(self, scripts: Scripts) -> list[str]:
        """Return the names of the scripts that it chooses."""
        test = self._test
        return [name for name, those in scripts.items() if test(name, those)] if test else []


class _Parser:
    """Turns the words of an expression into a test of one script; `and` binds as in nmap: to all that follows."""

    def __init__(self, words: list[str]) -> None:
        self.words: Iterator[str] = iter(words)
        self.categories: list[str] = []
        """Those that are asked for, not ruled out."""
        self.globs: list[str] = []
        self.end = ""
        """The word that ended the last expression; empty at the end."""

    def expression(self, depth: int, *, wanted: bool = True) -> Test | None:
        """Return the test of the words up to the end or a closing bracket; None where they make no sense."""
        left = self._value(depth, wanted=wanted)
        if left is None:
            return None
        word = next(self.words, "")
        if word.lower() not in {"and", "or"}:
            self.end = word
            return left
        right = self.expression(depth + 1, wanted=wanted) if depth < DEEPEST else None
        if right is None:
            return None
        if word.lower() == "and":
            return lambda name, those: left(name, those) and right(name, those)
        return lambda name, those: left(name, those) or right(name, those)

    def _value(self, depth: int, *, wanted: bool) -> Test | None:
        word = next(self.words, "")
        if depth > DEEPEST or word in {"", ")"}:
            return None
        if word == "(":
            inner = self.expression(depth + 1, wanted=wanted)
            return inner if self.end == ")" else None
        lower = word.lower()
        if lower == "not":
            negated = self._value(depth + 1, wanted=not wanted)
            return negated and (lambda name, those: not negated(name, those))
        if lower in {"true", "false"}:
            return lambda _name, _those: lower == "true"
        if lower in CATEGORIES:
            if wanted:
                self.categories.append(lower)
            return lambda _name, those: lower == "all" or lower in those
        if len(word) > LONGEST:
            return lambda _name, _those: False
        glob = word.removesuffix(".nse").replace("[", "[[]").replace("?", "[?]")
        if wanted:
            self.globs.append(glob)
        return lambda name, _those: fnmatchcase(name, glob)
