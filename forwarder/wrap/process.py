"""What /proc tells of a process and of those it comes from, without any privilege."""

from __future__ import annotations

import os
from typing import NamedTuple

DEPTH = 64
"""Ancestors that are looked at."""
TTY_PTS = range(136, 144)
"""Major numbers of pseudo terminals (Linux, Documentation/admin-guide/devices.txt)."""
TTY_CONSOLE = 4


class Process(NamedTuple):
    """One process, as `/proc/PID/stat` and `/proc/PID/status` show it to everybody."""

    pid: int
    name: str
    """comm: the first 15 bytes of the program's file name."""
    ppid: int
    terminal: str
    """pts/0, tty1; empty without a controlling terminal."""
    real_uid: int
    effective_uid: int


def read(path: str, limit: int = 1 << 20) -> bytes:
    """Return the beginning of a file; nothing if it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - pathlib takes longer to import than all of this
            return file.read(limit)
    except OSError:
        return b""


def link(path: str) -> str:
    """Return where a symbolic link leads; empty if that cannot be read."""
    try:
        return os.readlink(path)  # noqa: PTH115
    except OSError:
        return ""


def look(pid: int) -> Process | None:
    """Return what is known of a process; None when it is gone."""
    before, _, after = read(f"/proc/{pid}/stat").rpartition(b") ")
    fields = after.split()
    if len(fields) < 5:  # noqa: PLR2004
        return None
    uids = read(f"/proc/{pid}/status").partition(b"\nUid:")[2].split(None, 2)[:2] or (-1, -1)
    name = os.fsdecode(before.partition(b"(")[2])
    return Process(pid, name, int(fields[1]), _terminal(int(fields[4])), *map(int, uids))


def ancestors(pid: int) -> list[Process]:
    """Return a process and those it comes from, the nearest first."""
    found: list[Process] = []
    while pid > 0 and len(found) < DEPTH:
        process = look(pid)
        if process is None:
            break
        found.append(process)
        pid = process.ppid
    return found


def _terminal(device: int) -> str:
    major, minor = os.major(device), os.minor(device)
    if major in TTY_PTS:
        return f"pts/{(major - TTY_PTS.start) * 256 + minor}"
    if major == TTY_CONSOLE:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"  # noqa: PLR2004
    return f"{major}:{minor}" if device else ""


def words(raw: bytes) -> list[str]:
    """Return the words of a command line of /proc."""
    return [os.fsdecode(word) for word in raw.rstrip(b"\0").split(b"\0")]
