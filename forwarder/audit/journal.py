"""Entries of systemd's journal as `journalctl -o export` and `-o json` write them.

By systemd's documents "Journal Export Formats" and systemd.journal-fields(7). An entry of the export format ends with
an empty line; a field is `NAME=value`, or, when the value is not plain text, its name alone, then eight bytes with the
value's length, little-endian, the value, and a newline. In JSON such values are arrays of bytes.

Fields whose names begin with an underscore are journald's own: a client cannot set them. `_UID` is what the kernel says
of the sender at the time of sending. `_EXE` and `_COMM` are looked up later by its pid, and a process may by then have
become another program: whoever sends a message and at once turns into sudo looks like sudo. As that does not change
`_UID`, only root's own messages are certain to be sudo's; of others it is certain which user could have made them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from forwarder.audit import problems, times

LIMIT: Final = 4 << 20
"""Bytes kept of one entry; larger values (core dumps) are passed over."""
LARGEST: Final = 1 << 40
"""Bytes that a value may be said to have before the length is taken for damage."""
START: Final = b"__CURSOR="
NAME = re.compile(rb"[A-Z_][A-Z0-9_]{0,63}\Z")
PROGRAMS: Final = frozenset(
    b"/usr/bin/sudo /bin/sudo /usr/local/bin/sudo /usr/bin/sudo-rs /usr/lib/cargo/bin/sudo".split()
)
"""Where sudo is; anyone may have a program of that name elsewhere."""
UNSET: Final = b"4294967295"
NUMBER = re.compile(rb"\d{1,10}\Z")
MICROSECONDS = re.compile(rb"\d{1,18}\Z")

Fields = Mapping[bytes, Sequence[bytes]]
"""Values of each field, in their order."""


class Export:
    """Puts one entry of the export format together from lines."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.raw: list[bytes] = []
        self._size = 0
        self._plain: list[bytes] = []
        self._values: list[tuple[bytes, bytes]] = []
        self._name = b""
        self._value = bytearray()
        self._wanted = 0
        self._passed = 0
        self._torn = False

    def add(self, line: bytes) -> bool:
        """Take a line over with its newline, or a piece of a long one without; True when it ends the entry."""
        torn, self._torn = self._torn, not line.endswith(b"\n")
        self._size += len(line)
        if self._size <= LIMIT:
            self.raw.append(line)
        if self._name:
            self._binary(line)  # whatever it looks like
        elif torn:
            pass  # the rest of a value, which may look like a field
        elif b"=" in line:
            if self._size <= LIMIT:
                self._plain.append(line)
        else:
            name = line.rstrip(b"\n")
            if not name:
                return True
            if NAME.match(name):
                self._name, self._wanted, self._passed = name, 9, 0
        return False

    def _binary(self, line: bytes) -> None:
        """Take over a line of a binary field; newlines in it, and in its length, are bytes of it."""
        self._passed += len(line)
        if len(self._value) < LIMIT:
            self._value += line
        if self._wanted == 9 and self._passed >= 9:  # noqa: PLR2004 - a length and a newline: of an empty value
            self._wanted = 9 + int.from_bytes(self._value[:8], "little")
            if self._wanted > LARGEST:
                self._wanted = 0
        if self._passed >= self._wanted:
            self._values.append((self._name, bytes(self._value[8 : self._wanted - 1])))
            self._name, self._value = b"", bytearray()

    def evidence(self) -> bytes:
        """Return the entry as it was read."""
        return b"".join(self.raw)

    def fields(self) -> Fields:
        """Return the entry's fields."""
        found: dict[bytes, list[bytes]] = {}
        for line in self._plain:
            name, _, value = line.rstrip(b"\n").partition(b"=")
            found.setdefault(name, []).append(value)
        for name, value in self._values:
            found.setdefault(name, []).append(value)
        return found


def from_json(entry: Mapping[str, Any]) -> Fields:
    """Return the fields of an entry in JSON; values of no known kind are left out."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in entry.items():
        several = isinstance(value, list) and any(not isinstance(item, int) for item in value)
        for one in value if several else [value]:
            data = _bytes(one)
            if data is not None:
                found.setdefault(name.encode(errors="replace"), []).append(data)
    return found


def _bytes(value: Any) -> bytes | None:
    if isinstance(value, str):
        try:
            return value.encode(errors="surrogateescape")
        except UnicodeEncodeError:  # half a character that JSON named
            return value.encode(errors="replace")
    if isinstance(value, list) and all(type(item) is int and 0 <= item < 256 for item in value):  # noqa: PLR2004
        return bytes(value)
    return None


@dataclass(slots=True)
class Entry:
    """What an entry tells of a message and its sender."""

    message: bytes = b""
    time: str = ""
    host: str = ""
    pid: str = ""
    user_id: str = ""
    login_id: str = ""
    session: str = ""
    cursor: str = ""
    trusted: bool = False
    """Whether only root's sudo could have written it."""
    problems: list[str] = field(default_factory=list)


def of_sudo(fields: Fields) -> Entry | None:
    """Return the entry if it says that it is from sudo; see above for how far that is known."""

    def one(name: bytes) -> bytes:
        values = fields.get(name, ())
        return values[0] if len(values) == 1 else b""

    def number(name: bytes) -> str:
        value = one(name)
        return value.decode() if NUMBER.match(value) and value != UNSET else ""

    if b"sudo" not in (one(b"SYSLOG_IDENTIFIER"), one(b"_COMM")):
        return None
    when = one(b"_SOURCE_REALTIME_TIMESTAMP") or one(b"__REALTIME_TIMESTAMP")
    micro = int(when) if MICROSECONDS.match(when) else -1
    entry = Entry(
        message=(fields.get(b"MESSAGE") or [b""])[0],
        time=times.utc(micro // 1_000_000, micro % 1_000_000 * 1000),
        host=one(b"_HOSTNAME").decode(errors="surrogateescape"),
        pid=number(b"_PID") or number(b"SYSLOG_PID"),
        cursor=one(b"__CURSOR")[:300].decode(errors="surrogateescape"),
    )
    program = one(b"_EXE")
    if program not in PROGRAMS or one(b"_COMM") not in {b"sudo", b"sudo-rs"}:
        entry.problems = [problems.NOT_SUDO, problems.ANYONE] if program else [problems.ANYONE]
        return entry
    entry.user_id = number(b"_UID")
    entry.login_id = number(b"_AUDIT_LOGINUID")
    entry.session = number(b"_AUDIT_SESSION")
    entry.trusted = entry.user_id == "0"
    if not entry.trusted:
        entry.problems = [problems.ITS_USER]
    return entry
