"""The arguments of an execution, from its EXECVE records (Linux kernel/auditsc.c, audit_log_execve_info).

`argc=N a0="…" a1=HEX`; an argument that is too long for a record is `a1_len=BYTES a1[0]=… a1[1]=…`, over as many
records as it needs; only the first of them has argc.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from forwarder.audit.records import Cut, Record, decoded

NAME: Final = re.compile(r"a(\d{1,7})(?:\[(\d{1,7})\]|(_len))?")
TITLE: Final = 128
"""Bytes that the kernel keeps of a command line for PROCTITLE."""


class ContradictionError(ValueError):
    """Records that cannot all be of one event; the text says why."""


@dataclass(slots=True)
class Arguments:
    """What is known of the arguments."""

    words: list[str] = field(default_factory=list)
    """Through the last before one is missing."""
    count: int | None = None
    """As announced."""
    cut: bool = False


def read(records: Iterable[Record]) -> Arguments:
    """Return the arguments in EXECVE records.

    Raises:
        ContradictionError: they contradict each other.
    """
    whole: dict[int, bytes] = {}
    parts: dict[int, dict[int, bytes]] = {}
    lengths: dict[int, int] = {}
    found = Arguments()
    for record in records:
        if record.twice:
            raise ContradictionError(f"argument {min(record.twice)} is there twice")
        if "argc" in record.fields:
            count = record.number("argc")
            if count is None or count < 0 or (found.count is not None and found.count != count):
                raise ContradictionError("numbers of arguments differ")
            found.count = count
        for name, value in record.fields.items():
            match = NAME.fullmatch(name)
            if not match:
                continue
            number = int(match[1])
            if match[3]:
                lengths[number] = int(value) if value.isdigit() and len(value) < 12 else -1  # noqa: PLR2004
                continue
            place, into = (int(match[2]), parts.setdefault(number, {})) if match[2] else (number, whole)
            if place in into:
                raise ContradictionError(f"argument {number} is there twice")
            into[place] = value
    _check(found.count, whole, parts)
    _join(found, whole, parts, lengths)
    return found


def _check(count: int | None, whole: dict[int, bytes], parts: dict[int, dict[int, bytes]]) -> None:
    if both := whole.keys() & parts.keys():
        raise ContradictionError(f"argument {min(both)} is there twice")
    highest = max((*whole, *parts), default=-1)
    if count is not None and highest >= count:
        raise ContradictionError(f"argument {highest} of {count}")


def _join(
    found: Arguments, whole: dict[int, bytes], parts: dict[int, dict[int, bytes]], lengths: dict[int, int]
) -> None:
    """Put the words together, up to the first that is not whole."""
    for number in range(max((*whole, *parts), default=-1) + 1):
        pieces = parts.get(number) or ({0: whole[number]} if number in whole else {})
        word, cut = b"", not pieces
        for place in range(len(pieces)):
            try:
                word += decoded(pieces[place])
            except Cut as end:
                word, cut = word + end.what, True
            except KeyError:
                cut = True
            if cut:
                break
        if pieces:
            found.words.append(word.decode("utf-8", "surrogateescape"))
        length = lengths.get(number, len(word))
        # old kernels announce the digits, new ones the bytes that these stand for
        if cut or length not in {len(word), 2 * len(word)}:
            found.cut = True
            return
    found.cut = found.count is None or len(found.words) < found.count


def title_of(records: Iterable[Record]) -> tuple[list[str], bool]:
    """Return the words of PROCTITLE, and whether it may be cut."""
    for record in records:
        value = record.fields.get("proctitle", b"(null)")
        try:
            title, cut = decoded(value), False
        except Cut as end:
            title, cut = end.what, True
        if title:
            words = title.rstrip(b"\0").split(b"\0")
            return [word.decode("utf-8", "surrogateescape") for word in words], cut or len(title) >= TITLE - 1
    return [], False
