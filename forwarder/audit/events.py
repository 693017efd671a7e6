"""Records of the Linux audit system joined to events: only those that mention a tool, which are looked for first.

Lines are `[node=NAME ]type=TYPE msg=audit(SECONDS.MILLISECONDS:SERIAL): FIELDS`, as auditd(8) writes them and
`ausearch --raw` prints them. Events of several processors are interleaved; nothing but time and serial joins them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from forwarder.audit import problems as problem
from forwarder.audit.follow import Block

WINDOW: Final = 1 << 19
"""Bytes between two lines of one event, at most."""
MAX_EVENT: Final = 8 << 20
"""Bytes of one event; further lines are dropped. The kernel takes 6 MB of arguments, hexadecimal doubles them."""
MAX_OPEN: Final = 1 << 14
"""Events that are being joined at the same time."""
MAX_HELD: Final = 64 << 20
"""Bytes of all of them."""
REMEMBERED: Final = 1 << 13
"""Events that are known to be done, so that a late line does not make another of them."""
LINE: Final = re.compile(
    rb"^(?:node=([^ \n]{1,255}) )?type=([A-Za-z0-9_]{1,40}|UNKNOWN\[\d{1,5}\]) "
    rb"msg=audit\((\d{1,12}\.\d{3}:\d{1,20})\):",
    re.MULTILINE,
)
ENDS: Final = frozenset({b"PROCTITLE", b"EOE"})
"""Types of which one is the last of an event that is a system call."""

Key = tuple[bytes, bytes]
"""Node, and time with serial."""


@dataclass(slots=True)
class Event:
    """The lines of one event, in their order."""

    key: Key
    path: str
    offset: int
    """Of its first line."""
    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    cut: str = ""
    """Why lines are missing that were there; empty when none are."""
    complete: bool = False
    last: int = 0
    """Where its last line ended, in bytes over all files."""
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    """File → where its first and last line begin."""

    @property
    def identity(self) -> str:
        """`<seconds>.<ms>:<serial>[@node]`."""
        return _identity(self.key)


@dataclass(slots=True)
class _Seen:
    """A block, with its number of bytes over all files, and where which line is once that was asked for."""

    block: Block
    at: int
    lines: list[tuple[Key, bytes, int]] | None = None

    def index(self) -> list[tuple[Key, bytes, int]]:
        """Return (key, type, start) of the lines that are records."""
        if self.lines is None:
            found = LINE.finditer(self.block.data)
            self.lines = [((match[1] or b"", match[3]), match[2], match.start()) for match in found]
        return self.lines


def needles(tools: Iterable[str]) -> tuple[bytes, ...]:
    """Return what lines hold that mention a tool: its name, or that in hexadecimal."""
    names = [tool.encode() for tool in tools]
    return tuple(text for name in names for text in (name, name.hex().upper().encode(), name.hex().encode()))


class Joiner:
    """Joins the events of a log that mention a tool.

    Args:
        tools: names of the programs.
        done: identities of events that were handed over before.
    """

    def __init__(self, tools: Iterable[str], done: Iterable[str] = ()) -> None:
        self._needles = needles(tools)
        self._open: dict[Key, Event] = {}
        self._held = self._at = 0
        self._before: deque[_Seen] = deque()
        self._skip = frozenset(done)
        self._done: dict[Key, None] = {}
        self._ready: deque[Event] = deque()
        self._given: deque[Event] = deque()

    def block(self, block: Block) -> Iterator[Event]:
        """Take a block; yield the events that nothing more is expected of."""
        seen = _Seen(block, self._at)
        self._at += len(block.data)
        mentioned = self._mentioned(block.data)
        if self._skip and (again := {key for key in mentioned if _identity(key) in self._skip}):
            self._pass_over(seen, again)
            mentioned -= again
        new = mentioned - self._open.keys() - self._done.keys()
        if new:
            for earlier in self._before:
                self._take(earlier, new)
        if new or self._open:
            self._take(seen, new | self._open.keys())
        self._before.append(seen)
        while self._at - self._before[0].at - len(self._before[0].block.data) > WINDOW:
            self._before.popleft()
        yield from self._give([event for event in self._open.values() if self._at - event.last > WINDOW])

    def end(self, *, settled: bool) -> Iterator[Event]:
        """Yield the events that are complete at the end of the log; all if nothing is added to it any more."""
        yield from self._give([event for event in self._open.values() if settled or event.complete])

    def held(self, *, settled: bool) -> dict[int, int]:
        """Return where, by file, the first line begins that is still needed."""
        held: dict[int, int] = {}
        for event in (*self._open.values(), *self._ready):
            _lower(held, event)
        if not settled:  # what mentions a tool may be yet to come
            for event in self._unfinished():
                _lower(held, event)
        return held

    def done(self, held: dict[int, int]) -> tuple[str, ...]:
        """Return the identities of events that were handed over and have lines at or behind `held`."""
        return tuple(dict.fromkeys(event.identity for event in self._given if _reaches(event, held)))

    def _unfinished(self) -> Iterator[Event]:
        """Yield the system calls among the last lines that have no end yet."""
        open_calls: dict[Key, Event] = {}
        for seen in self._before:
            if self._at - seen.at - len(seen.block.data) > WINDOW // 8:
                continue
            start = max(0, len(seen.block.data) - WINDOW // 8)
            for key, kind, at in seen.index():
                if kind in ENDS:
                    open_calls.pop(key, None)
                elif at >= start and kind in {b"SYSCALL", b"EXECVE"} and key not in self._done:
                    offset = seen.block.offset + at
                    event = open_calls.setdefault(key, Event(key, "", offset))
                    event.places.setdefault(seen.block.place, (offset, offset))
        return iter(open_calls.values())

    def _mentioned(self, data: bytes) -> set[Key]:
        found: set[Key] = set()
        for needle in self._needles:
            at = data.find(needle)
            while at >= 0:
                start = data.rfind(b"\n", 0, at) + 1
                if match := LINE.match(data[start : start + 400]):
                    found.add((match[1] or b"", match[3]))
                end = data.find(b"\n", at)
                at = data.find(needle, end) if end >= 0 else -1
        return found

    def _pass_over(self, seen: _Seen, again: set[Key]) -> None:
        """Note where events are that an earlier run handed over; the next may come by them, too."""
        for key, _, start in seen.index():
            if key in again:
                offset = seen.block.offset + start
                self._given.append(Event(key, seen.block.path, offset, places={seen.block.place: (offset, offset)}))

    def _take(self, seen: _Seen, wanted: set[Key]) -> None:
        block = seen.block
        for key, kind, start in seen.index():
            if key not in wanted or key in self._done:
                continue
            end = block.data.find(b"\n", start)
            line = block.data[start : end if end >= 0 else len(block.data)]
            offset = block.offset + start
            event = self._open.get(key)
            if event is None:
                event = self._open[key] = Event(key, block.path, offset)
            first = event.places.get(block.place, (offset, offset))[0]
            event.places[block.place] = (first, offset)
            event.last = max(event.last, seen.at + start + len(line))
            event.complete = event.complete or kind in ENDS
            if event.size + len(line) > MAX_EVENT:
                event.cut = problem.EVENT_TOO_LARGE
                continue
            event.lines.append(line)
            event.size += len(line)
            self._held += len(line)
            while len(self._open) > MAX_OPEN or self._held > MAX_HELD:
                oldest = next(iter(self._open.values()))
                oldest.cut = oldest.cut or problem.TOO_MANY_EVENTS
                self._close(oldest)

    def _close(self, event: Event) -> None:
        del self._open[event.key]
        self._held -= event.size
        self._done[event.key] = None
        while len(self._done) > REMEMBERED:
            del self._done[next(iter(self._done))]
        self._ready.append(event)

    def _give(self, events: list[Event]) -> Iterator[Event]:
        """Yield events; one counts as held until it is taken."""
        for event in events:
            self._close(event)
        while self._ready:
            event = self._ready.popleft()
            self._given.append(Event(event.key, event.path, event.offset, places=event.places))
            if len(self._given) > REMEMBERED:
                held = self.held(settled=False)
                self._given = deque(given for given in self._given if _reaches(given, held))
            yield event


def _identity(key: Key) -> str:
    node, moment = key
    return f"{moment.decode()}@{node.decode('utf-8', 'replace')}" if node else moment.decode()


def _lower(held: dict[int, int], event: Event) -> None:
    for place, (first, _) in event.places.items():
        held[place] = min(held.get(place, first), first)


def _reaches(event: Event, held: dict[int, int]) -> bool:
    return any(place in held and held[place] <= last for place, (_, last) in event.places.items())
