"""Lines of sudo's logs put together to messages and events."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from forwarder.audit import journal, problems
from forwarder.audit.interface import User
from forwarder.audit.sudo_event import Event

LIMIT: Final = 1 << 20
"""Bytes kept of one event."""
JSON_START = re.compile(rb'([ \t]+)"(?:accept|reject|alert|exit)": ?\{\r?\n?\Z')
OF_TIME: Final = frozenset({problems.YEAR_INFERRED, problems.ZONE_ASSUMED, problems.TIME_UNKNOWN})


@dataclass(slots=True)
class Known:
    """What the line around a message tells; it goes over into the message's events."""

    offset: int
    raw: list[bytes]
    time: str = ""
    host: str = ""
    pid: str = ""
    user_id: str = ""
    login_id: str = ""
    session: str = ""
    identity: str = ""
    trusted: bool = False
    problems: list[str] = field(default_factory=list)

    def complete(self, event: Event) -> Event:
        """Add what is known to an event."""
        known = self.problems
        if event.time:  # by sudo itself, which the line's only repeats
            known = [problem for problem in known if problem not in OF_TIME]
        event.time = event.time or self.time
        event.host = self.host or event.host
        event.pid, event.session, event.login_id = self.pid, self.session, self.login_id
        event.caller = User(event.caller.id or self.user_id, event.caller.name)
        event.identity = self.identity
        event.problems = [*known, *event.problems]
        event.trusted = self.trusted and problems.FIELDS_AMBIGUOUS not in event.problems
        event.offset, event.raw = self.offset, b"".join(self.raw)
        return event


class Wrapped:
    """An entry of sudo's log file, with the lines that it was wrapped into."""

    def __init__(self, offset: int, line: bytes) -> None:
        self.offset = offset
        self.raw = [line]
        self._size = 0

    def add(self, line: bytes) -> bool:
        """Take a line over."""
        self._size += len(line)
        if self._size <= LIMIT:
            self.raw.append(line)
        return False

    @staticmethod
    def takes(line: bytes) -> bool:
        """Tell whether a line belongs to it."""
        return line[:4] == b"    "


class Indented:
    """An event of sudo's JSON log, over many lines."""

    def __init__(self, offset: int, line: bytes, indent: bytes) -> None:
        self.offset = offset
        self.raw = [line]
        self._end = indent + b"}"
        self._indent = indent
        self._size = 0

    def add(self, line: bytes) -> bool:
        """Take a line over; True when it ends the event."""
        self._size += len(line)
        if self._size <= LIMIT:
            self.raw.append(line)
        return line.startswith(self._end)

    def takes(self, line: bytes) -> bool:
        """Tell whether a line belongs to it."""
        return line.startswith(self._indent)


Block = Wrapped | Indented | journal.Export
"""An event of several lines."""


def begin(offset: int, line: bytes) -> Block | None:
    """Return the event of several lines that a line begins."""
    if line.startswith(journal.START):
        entry = journal.Export(offset)
        entry.add(line)
        return entry
    if found := JSON_START.match(line):
        return Indented(offset, line, found[1])
    return None


class Waiting:
    """A message of syslog that may go on."""

    def __init__(self, known: Known, caller: bytes, message: bytes) -> None:
        self.known = known
        self.caller = caller
        self.pieces = [message]
        self.size = 0

    def add(self, piece: bytes, raw: bytes) -> None:
        """Take a piece over, and the line that it is from."""
        self.size += len(raw)
        if self.size <= LIMIT:
            self.pieces.append(piece)
            self.known.raw.append(raw)
        elif problems.ARGUMENTS_CUT not in self.known.problems:
            self.known.problems.append(problems.ARGUMENTS_CUT)
