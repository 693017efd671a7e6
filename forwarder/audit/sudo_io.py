"""Sudo's I/O logs (`log_input`, `log_output`): the header of each session; what was typed and shown is not read.

A session is a directory with `log.json` (sudo 1.9 and later; see `forwarder.audit.sudo_json`) or `log`: a line
`<POSIX time>:<user>:<run as>:<group>:<terminal>:<lines>:<columns>`, a line with the working directory, and the command:
arguments joined by blanks as they are, newlines included. Sudo takes the rights to write away from `timing` when the
session ends, and its last change is the end.

The evidence is strong where only root can write it, which the caller has to see.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from forwarder.audit import problems, sudo_json, times
from forwarder.audit.interface import Execution, User
from forwarder.audit.sudo_event import Event, Executions
from forwarder.audit.sudo_message import text

LIMIT: Final = 4 << 20
"""Bytes kept of one header."""
HEADER = re.compile(
    rb"(?P<time>\d{1,12})(?:\.\d+)?:(?P<user>[^:\n]*):(?P<run_as>[^:\n]*):[^:\n]*:(?P<terminal>[^:\n]*)[^\n]*\n"
    rb"(?P<cwd>[^\n]*)\n(?P<command>.*)\Z",
    re.DOTALL,
)


def parse(
    lines: Iterable[tuple[int, bytes]],
    path: str,
    *,
    tools: Sequence[str] = ("nmap",),
    private: bool = False,
    mtime: float = 0,  # noqa: ARG001 - parsers are called alike
    unfinished: Callable[[int], object] | None = None,
) -> Iterator[Execution]:
    """Yield the executions of the tools that a session's header tells of; the end is that of the `timing` beside it.

    The identity is the session's directory and its time, as sudo may use the name again.

    Args:
        lines: (offset, line) of the whole header, with their newlines.
        path: of the header: a file named `log` or `log.json`.
        tools: names of the programs to look for.
        private: whether header and directory are root's, and nobody else can write to them.
        mtime: not used.
        unfinished: called with 0 when a header is JSON that does not end yet.
    """
    data = b""
    for _, line in lines:
        data += line[: LIMIT - len(data)]
    session, _, name = path.rpartition("/")
    if not any(tool.encode() in data for tool in tools):
        return
    if name == "log.json" and len(data) < LIMIT and not data.rstrip().endswith(b"}") and unfinished:
        unfinished(0)
        return
    event = _json(data) if name == "log.json" else _lines(data)
    if event is None:
        return
    event.offset, event.raw, event.trusted = 0, data, private
    event.identity, event.uuid, event.tsid = f"{session}@{event.time}", "", session
    if not private:
        event.problems.append(problems.ANYONE)
    executions = Executions(path, tools, "sudo-io")
    for execution in (*executions.of(event), *executions.flush()):
        yield replace(execution, end=_end(session))


def _end(session: str) -> str:
    """Return when a session ended; empty while it runs, or when it was cut off."""
    try:
        status = os.lstat(os.path.join(session, "timing"))  # noqa: PTH118 - a name may hold any bytes
    except (OSError, ValueError):
        return ""
    if not stat.S_ISREG(status.st_mode) or status.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        return ""
    return times.utc(status.st_mtime_ns // 10**9, status.st_mtime_ns % 10**9)


def _json(data: bytes) -> Event | None:
    value = sudo_json.load(data)
    found = sudo_json.read(value) if value is not None else sudo_json.salvage(b'"accept":{' + data)
    return next(found, None)


def _lines(data: bytes) -> Event | None:
    found = HEADER.match(data)
    if not found:
        return None
    argv = tuple(text(found["command"].removesuffix(b"\n")).split(" "))
    terminal = text(found["terminal"])
    return Event(
        time=times.utc(int(found["time"])),
        caller=User(name=text(found["user"])),
        run_as=User(name=text(found["run_as"]) or "root"),
        terminal="" if terminal == "unknown" else terminal.removeprefix("/dev/"),
        cwd=text(found["cwd"]),
        argv=argv,
        executable=argv[0],
        problems=[problems.ARGUMENTS_SPLIT],
    )
