"""Sudo's logs: syslog, the journal (export and JSON), sudo's own log file and its JSON.

The format is seen from each line, so a source may be any of them:

| format | an event |
|---|---|
| syslog (RFC 3164, RFC 5424) | a line of `sudo:` or `sudo[pid]:`; long ones go on in lines of `(command continued)` |
| the same with JSON | `@cee:{"sudo":{"accept":…}}` |
| sudo's log file (`Defaults logfile`) | `<time> : <user> : …`, wrapped lines begin with four blanks |
| sudo's JSON log (`log_format=json`) | `"accept": {` to `}`, or a line `{"accept":…}` |
| journal | see `forwarder.audit.journal` |

How far it can be trusted: any user can write a line of syslog that looks as if sudo wrote it (`logger -t sudo`), so
such evidence is never strong. The journal's is strong only where it comes from root. Either, and sudo's own log files,
are strong only when the caller has seen that nobody but root can write the file, and no line in it is of syslog: a
daemon may write newlines that a user sent.

A refusal (command not allowed, wrong password, any alert) gives an execution whose policy_action is `refused` and whose
policy_reasons are sudo's own words: nothing ran.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import tzinfo
from typing import Final

from forwarder.audit import journal, problems, skim, sudo_json, sudo_message, times
from forwarder.audit.interface import Execution
from forwarder.audit.sudo_event import Executions
from forwarder.audit.sudo_lines import Block, Known, Waiting, Wrapped, begin
from forwarder.audit.wrappers import in_words

WAITING: Final = 64
"""Commands that may be waiting for the next line of theirs."""
EXACT: Final = rb"\d{4}-\d\d-\d\dT[0-9:.,]{8,20}(?:[Zz]|[+-]\d\d:?\d\d)"
OLD_TAG: Final = rb"sudo(?:-rs)?(?:\[(?P<pid>\d{1,10})\])?: ?"
NEW_TAG: Final = rb"sudo(?:-rs)? (?:(?P<process>\d{1,10})|-) \S{1,32} (?:-|\[.*?\]) (?:\xef\xbb\xbf)?"
SYSLOG = re.compile(
    rb"(?:<\d{1,3}>)?(?:1 )?(?:(?P<exact>%s)|(?P<when>[A-Z][a-z]{2} .{1,2} [\d:]{8})) (?P<host>[^\s:]+) (?:%s|%s)"
    % (EXACT, OLD_TAG, NEW_TAG)
)
"""The tag stands right after the host, where only the syslog daemon and its clients' tags come."""
CEE: Final = b"@cee:"
ODD: Final = frozenset({b"{", b" ", b"\t", b"_"})
"""First bytes of lines that are of no line-by-line log."""
OWN: Final = frozenset({b"}", b"\n", b""})
"""First bytes of other lines that stand between events of sudo's own logs and of the journal."""


def marks(tools: Sequence[str]) -> list[bytes]:
    """Return what `skim` is to look for: one of these is in every event of the tools, or near it."""
    names = [tool.encode() for tool in tools]
    return [*names, *(form for name in names for form in skim.in_array(name)), b"(command continued)", b'"exit"']


def parse(
    lines: Iterable[tuple[int, bytes]],
    path: str,
    *,
    mtime: float,
    tools: Sequence[str] = ("nmap",),
    zone: tzinfo | None = None,
    private: bool = False,
    unfinished: Callable[[int], object] | None = None,
) -> Iterator[Execution]:
    """Yield the executions of the tools that a log of sudo tells of.

    With `log_exit_status` an execution waits for the line that tells its end, so their order is not quite the log's. An
    end whose start is not among `lines` is an execution of its own (`start not known`).

    Args:
        lines: (offset of the line in the log, the line with its newline); there may be gaps.
        path: of the log.
        mtime: when the log last changed, POSIX time: times without a year are not after it.
        tools: names of the programs to look for.
        zone: time zone of times that tell none; None for this machine's.
        private: whether the log is root's, and nobody else can write to it.
        unfinished: called at the end with the offset of an event of several lines that the log does not end (only of
            JSON and the journal's export); a later call may begin there.
    """
    reader = _Reader(path, mtime, tools, zone, private=private)
    for execution in _read(lines, reader, unfinished):
        yield reader.judged(execution)


def _read(
    lines: Iterable[tuple[int, bytes]], reader: _Reader, unfinished: Callable[[int], object] | None
) -> Iterator[Execution]:
    block: Block | None = None
    expected, torn = -1, False
    for offset, line in lines:
        if offset != expected and expected >= 0:
            reader.gap()
            torn = False
            if not isinstance(block, Wrapped):
                block = None  # the rest of it is not known
        expected = offset + len(line)
        piece, torn = torn, line[-1:] != b"\n"
        if block is not None:
            if isinstance(block, journal.Export) or block.takes(line):
                if block.add(line):
                    yield from reader.block(block)
                    block = None
                continue
            yield from reader.block(block)
            block = None
        if piece:
            continue  # of a line too long to be one of these, whatever it looks like
        if line[:1] in ODD:
            block = begin(offset, line)
            if block is None and line[:1] == b"{" and reader.may_matter(line):
                yield from reader.json_line(offset, line)
        elif b" : " in (line[15:18], line[20:23]) and times.TRADITIONAL.match(line):
            block = Wrapped(offset, line)
        else:
            reader.private &= line[:1] in OWN  # else others write to it, through a daemon that may take newlines
            if b"sudo" in line:
                yield from reader.syslog(offset, line)
    if isinstance(block, Wrapped):
        yield from reader.block(block)
    elif block is not None and unfinished:
        unfinished(block.offset)
    yield from reader.flush()


class _Reader:
    def __init__(self, path: str, mtime: float, tools: Sequence[str], zone: tzinfo | None, *, private: bool) -> None:
        self._mtime = mtime
        self._tools = tools
        self._names = [tool.encode() for tool in tools]
        self._zone = zone
        self.private = private
        """Whether only root writes the log, as far as it was seen."""
        self._whole = True
        self._executions = Executions(path, tools)
        self._waiting: OrderedDict[tuple[str, str, bytes], Waiting] = OrderedDict()

    def judged(self, execution: Execution) -> Execution:
        """Return an execution as it is believed now that more of the log was seen."""
        if not execution.trusted or self.private:
            return execution
        return replace(execution, trusted=False, problems=(*execution.problems, problems.ANYONE))

    def gap(self) -> None:
        """Take note that not all lines are given: what begins after them may be within a value of the journal."""
        self._whole = False

    def may_matter(self, data: bytes) -> bool:
        """Tell whether bytes of JSON are worth a look."""
        return b"sudo" in data or self._named(data) or (self._executions.waiting and b'"exit"' in data)

    def _named(self, data: bytes) -> bool:
        return any(name in data for name in self._names)

    def block(self, block: Block) -> Iterator[Execution]:
        """Yield the executions of an event of several lines."""
        if isinstance(block, journal.Export):
            data = block.evidence()
            if b"sudo" in data:
                yield from self._journal(block.fields(), Known(block.offset, [data]), certain=self._whole)
        elif isinstance(block, Wrapped):
            data = b"".join(block.raw)
            if self._named(data):
                yield from self._wrapped(block)
        else:
            data = b"".join(block.raw)
            if self.may_matter(data):
                yield from self._json(b"{" + data.strip().rstrip(b",") + b"}", self._own(block.offset, [data]))

    def json_line(self, offset: int, line: bytes) -> Iterator[Execution]:
        """Yield the executions of a line that is a JSON object: of the journal, or of sudo."""
        value = sudo_json.load(line)
        if isinstance(value, dict) and "__REALTIME_TIMESTAMP" in value:
            yield from self._journal(journal.from_json(value), Known(offset, [line]), certain=True)
        else:
            yield from self._json(line, self._own(offset, [line]))

    def _own(self, offset: int, raw: list[bytes]) -> Known:
        """Return what is known of an event in a log of sudo's own."""
        return Known(offset, raw, trusted=self.private, problems=[] if self.private else [problems.ANYONE])

    def _json(self, data: bytes, known: Known) -> Iterator[Execution]:
        value = sudo_json.load(data)
        for event in sudo_json.read(value) if value is not None else sudo_json.salvage(data):
            yield from self._executions.of(known.complete(event))

    def _wrapped(self, block: Wrapped) -> Iterator[Execution]:
        known = self._own(block.offset, block.raw)
        pieces = [line.rstrip(b"\r\n") for line in block.raw]
        text = b" ".join([pieces[0], *(piece[4:] for piece in pieces[1:])])
        when = times.TRADITIONAL.match(text)
        if when:
            self._date(known, when)
            yield from self._message(known, text[when.end() :].removeprefix(b" : "))

    def _date(self, known: Known, when: re.Match[bytes]) -> None:
        known.time, inferred = times.traditional(when, self._mtime, self._zone)
        if known.time:
            known.problems += [problems.YEAR_INFERRED] * inferred + [problems.ZONE_ASSUMED]
        else:
            known.problems.append(problems.TIME_UNKNOWN)

    def syslog(self, offset: int, line: bytes) -> Iterator[Execution]:
        """Yield the executions that are complete with a line of syslog."""
        found = SYSLOG.match(line)
        if not found:
            return
        known = Known(offset, [line], problems=[problems.ANYONE])
        known.host = sudo_message.text(found["host"])
        known.pid = (found["pid"] or found["process"] or b"").decode()
        if found["exact"]:
            known.time = times.rfc3339(found["exact"])
        elif when := times.TRADITIONAL.match(found["when"]):
            self._date(known, when)
        yield from self._text(known, line[found.end() :].rstrip(b"\r\n"))

    def _journal(self, fields: journal.Fields, known: Known, *, certain: bool) -> Iterator[Execution]:
        entry = journal.of_sudo(fields)
        if entry is None:
            return
        known.time, known.host, known.pid, known.identity = entry.time, entry.host, entry.pid, entry.cursor
        known.user_id, known.login_id, known.session = entry.user_id, entry.login_id, entry.session
        known.trusted, known.problems = entry.trusted and certain, list(entry.problems)
        if not certain and problems.ANYONE not in known.problems:
            known.problems.append(problems.ANYONE)
        yield from self._text(known, entry.message)

    def _text(self, known: Known, message: bytes) -> Iterator[Execution]:
        """Yield what is complete with a message: the ones before it, as it may go on itself."""
        if message.lstrip(b" ").startswith(CEE):
            if self.may_matter(message):
                yield from self._json(message.partition(CEE)[2], known)
            return
        found = sudo_message.MESSAGE.match(message)
        if not found:
            return
        key = (known.host, known.pid, found["user"])
        before = self._waiting.get(key)
        if found["rest"].startswith(sudo_message.CONTINUED):
            if before:
                before.add(found["rest"][len(sudo_message.CONTINUED) :], known.raw[0])
            return
        if b"COMMAND=" in found["rest"]:
            # What waits for this key, or since another second, is complete.
            for other in [
                other for other, one in self._waiting.items() if other == key or one.known.time != known.time
            ]:
                yield from self._finish(self._waiting.pop(other))
            self._waiting[key] = Waiting(known, found["user"], message)
            if len(self._waiting) > WAITING:
                yield from self._finish(self._waiting.popitem(last=False)[1])

    def flush(self) -> Iterator[Execution]:
        """Yield what waits for more lines, and executions whose end did not come."""
        while self._waiting:
            yield from self._finish(self._waiting.popitem(last=False)[1])
        yield from self._executions.flush()

    def _finish(self, waiting: Waiting) -> Iterator[Execution]:
        message = waiting.pieces[0]
        if len(waiting.pieces) > 1:
            message = sudo_message.join(waiting.pieces, waiting.caller)
            waiting.known.problems.append(problems.ARGUMENTS_JOINED)
        if self._named(message):
            yield from self._message(waiting.known, message)

    def _message(self, known: Known, message: bytes) -> Iterator[Execution]:
        event = sudo_message.read(message, lambda words: any(in_words(words, self._tools)))
        if event:
            yield from self._executions.of(known.complete(event))
