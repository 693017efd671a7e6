"""One record of the Linux audit system: its type, and its fields as the kernel wrote them and as auditd enriched them.

What the kernel does not trust is written in double quotes, or in hexadecimal where it holds a blank, a quote or
anything outside printable ASCII (Linux kernel/audit.c, audit_log_n_untrustedstring). Behind a byte 1D an enriched log
repeats fields in capitals, translated (auditd.conf(5), log_format).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

FIELD: Final = re.compile(rb'(?<![^ ])([A-Za-z0-9_\[\]-]+)=("[^"]*"|[^ ]*)')
ENRICHED: Final = b"\x1d"
NOTHING: Final = frozenset({b"(null)", b"(none)", b"?", b"(unset)"})
HEAD: Final = re.compile(rb"^(?:node=[^ \n]+ )?type=([A-Za-z0-9_]+|UNKNOWN\[\d+\]) msg=audit\([^)]*\): ?")


class Cut(ValueError):  # noqa: N818 - it is no error, but what became of a value
    """A value that ends early; `what` is what there is of it."""

    def __init__(self, what: bytes) -> None:
        super().__init__("value cut")
        self.what = what


@dataclass(frozen=True, slots=True)
class Record:
    """One line of an event."""

    kind: str
    fields: dict[str, bytes]
    """As written, by name; of a field that is there twice the first."""
    names: dict[str, str]
    """What enrichment added, by name in capitals."""
    twice: frozenset[str] = frozenset()
    """Fields that are there twice with different values."""

    def number(self, name: str) -> int | None:
        """Return a decimal field; None if it is no such number."""
        value = self.fields.get(name, b"")
        return int(value) if re.fullmatch(rb"-?\d{1,20}", value) else None

    def plain(self, name: str) -> str:
        """Return a field that the kernel writes as it is, such as a number or a context; empty if there is none."""
        return self.fields.get(name, b"").decode("utf-8", "surrogateescape")

    def text(self, name: str) -> str:
        """Return a text field, decoded; empty if there is none, what there is of one that is cut."""
        try:
            return decoded(self.fields.get(name, b"(null)")).decode("utf-8", "surrogateescape")
        except Cut as cut:
            return cut.what.decode("utf-8", "surrogateescape")


def parse(line: bytes) -> Record | None:
    """Return the record on a line; None if there is none."""
    head = HEAD.match(line)
    if not head:
        return None
    written, _, added = line[head.end() :].partition(ENRICHED)
    fields: dict[str, bytes] = {}
    names = {match[1].decode(): _name(match[2]) for match in FIELD.finditer(added)}
    twice = set()
    for match in FIELD.finditer(written):
        name = match[1].decode()
        if name.isupper():  # the byte before what was added is lost where lines went through other programs
            names.setdefault(name, _name(match[2]))
        elif fields.setdefault(name, match[2]) != match[2]:
            twice.add(name)
    return Record(head[1].decode(), fields, names, frozenset(twice))


def _name(value: bytes) -> str:
    return value.strip(b'"').decode("utf-8", "replace")


def decoded(value: bytes) -> bytes:
    """Return what a text field says.

    Raises:
        Cut: it ends early, or is neither in quotes nor hexadecimal.
    """
    if value in NOTHING:
        return b""
    if value.startswith(b'"'):
        if len(value) > 1 and value.endswith(b'"'):
            return value[1:-1]
        raise Cut(value[1:])
    try:
        return bytes.fromhex(value.decode("ascii"))
    except ValueError:
        pass
    digits = re.match(rb"(?:[0-9A-Fa-f]{2})*", value)
    assert digits is not None
    rest = value[digits.end() :]
    raise Cut(bytes.fromhex(digits[0].decode()) if len(rest) < 2 else value)  # noqa: PLR2004
