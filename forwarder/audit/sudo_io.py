"""Sudo's I/O logs (`log_input`, `log_output`): the header of each session; what was typed and shown is not read.

A session is a directory with `log.json` (sudo 1.9 and later; see `forwarder.audit.sudo_json`) or `log`: a line
`<POSIX time>:<user>:<run as>:<group>:<terminal>:<lines>:<columns>`, a line with the working directory, and the command:
arguments joined by blanks as they are, newlines included. Sudo takes the rights to write away from `timing` when the
session ends, and its last change is the end.

The tree is often writable by nobody but root, then it is strong evidence; where a directory on the way or the header is
another user's, or others may write to it, it is weak. Symbolic links are not followed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from forwarder.audit import problems, sudo_json, times
from forwarder.audit.interface import Execution, User
from forwarder.audit.sudo_event import Event, Executions
from forwarder.audit.sudo_message import text

LIMIT: Final = 4 << 20
"""Bytes read of one header."""
DEEPEST: Final = 12
"""Directories inside each other that are searched; sudo's default is three."""
HEADER = re.compile(
    rb"(?P<time>\d{1,12})(?:\.\d+)?:(?P<user>[^:\n]*):(?P<run_as>[^:\n]*):[^:\n]*:(?P<terminal>[^:\n]*)[^\n]*\n"
    rb"(?P<cwd>[^\n]*)\n(?P<command>.*)\Z",
    re.DOTALL,
)


def read(
    directory: str, *, tools: Sequence[str] = ("nmap",), skip: Callable[[str], bool] = lambda _: False
) -> Iterator[Execution]:
    """Yield the executions of the tools in a tree of I/O logs, in no order.

    The identity of each is the path of its session in the tree, and its time, as sudo may use names again.

    Args:
        directory: the tree, /var/log/sudo-io by default.
        tools: names of the programs to look for.
        skip: tells of a session's path in the tree whether it need not be read.

    Raises:
        OSError: the tree itself cannot be read.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name, files, ours in _sessions(descriptor, "", 0, ours=_only_root(os.fstat(descriptor))):
            if not skip(name):
                yield from _session(directory, name, files, tools, ours=ours)
    finally:
        os.close(descriptor)


def _sessions(descriptor: int, name: str, depth: int, *, ours: bool) -> Iterator[tuple[str, int, bool]]:
    """Yield (path in the tree, descriptor, whether only root can write there) of the directories that are sessions."""
    with os.scandir(descriptor) as entries:
        for entry in entries:
            if entry.name in {"log", "log.json"} and entry.is_file(follow_symlinks=False):
                yield name, descriptor, ours
                return
            if depth >= DEEPEST or not entry.is_dir(follow_symlinks=False):
                continue
            try:
                inner = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            except OSError:  # gone meanwhile, or swapped for a link
                continue
            try:
                only = ours and _only_root(os.fstat(inner))
                yield from _sessions(inner, f"{name}/{entry.name}".lstrip("/"), depth + 1, ours=only)
            finally:
                os.close(inner)


def _only_root(status: os.stat_result) -> bool:
    return status.st_uid == 0 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _session(directory: str, name: str, files: int, tools: Sequence[str], *, ours: bool) -> Iterator[Execution]:
    for header, parse in (("log.json", _json), ("log", _lines)):
        found = _contents(files, header)
        if found is None:
            continue
        data, only = found
        event = parse(data) if any(tool.encode() in data for tool in tools) else None
        if event is None:
            continue
        event.offset, event.raw, event.trusted = 0, data, ours and only
        event.identity, event.uuid, event.tsid = f"{name}@{event.time}", "", name
        if not event.trusted:
            event.problems.append(problems.ANYONE)
        end = _end(files)
        for execution in Executions(os.path.join(directory, name, header), tools, "sudo-io").of(event):  # noqa: PTH118
            yield replace(execution, end=end)
        return


def _contents(files: int, name: str) -> tuple[bytes, bool] | None:
    """Return a header, and whether only root can write it; None when there is none that can be read."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=files)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        return (file.read(LIMIT), _only_root(status)) if stat.S_ISREG(status.st_mode) else None


def _end(files: int) -> str:
    """Return when a session ended; empty while it runs, or when it was cut off."""
    try:
        status = os.stat("timing", dir_fd=files, follow_symlinks=False)
    except OSError:
        return ""
    ended = not status.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    return times.utc(status.st_mtime_ns // 10**9, status.st_mtime_ns % 10**9) if ended else ""


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
