"""Outputs of an execution: which files the command line names, how we come by nmap's XML, and what became of them."""

from __future__ import annotations

import os
import stat
import time
from typing import Any, Final, NamedTuple

from forwarder.wrap.process import read

FORMATS: Final = {"oX": "xml", "oN": "normal", "oG": "grepable", "oM": "grepable", "oS": "script-kiddie"}
ALL: Final = {".xml": "xml", ".nmap": "normal", ".gnmap": "grepable"}
"""What -oA makes of one name."""
STDOUT: Final = {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}
NULL: Final = "/dev/null"
CHUNK: Final = 1 << 20
LATE: Final = 3
"""Seconds that nmap may take until it puts the time into the name of a file."""
TIMES: Final = {"T": "%H%M%S", "R": "%H%M", "D": "%m%d%y"} | {letter: f"%{letter}" for letter in "HMSmdyY"}
"""nmap's conversions in names of outputs → those of strftime (nmap's manual, "Output")."""


class Named(NamedTuple):
    """An output that a command line names."""

    format: str
    path: str
    end: int
    """Index of the word after it."""


class Plan(NamedTuple):
    """How the XML of an execution is come by."""

    argv: list[str]
    """What is run."""
    own: str = ""
    """Our file that nmap writes to."""
    copied: str = ""
    """The user's file, which is copied at the end."""
    passed_on: bool = False
    """nmap writes to standard output, and we copy what passes through."""


def named(words: list[str]) -> list[Named]:
    """Return the outputs that nmap's words name, in order; of several of a format the last one counts for nmap."""
    found: list[Named] = []
    index = 0
    while index < len(words):
        word, index = words[index], index + 1
        if word == "--":
            break
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or (name not in FORMATS and name != "oA"):
            continue
        if not equals:
            value = words[index] if index < len(words) else ""
            index += 1
        if name == "oA":
            found += [Named(kind, value + suffix if value != "-" else value, index) for suffix, kind in ALL.items()]
        elif value:
            found.append(Named(FORMATS[name], value, index))
    return found


def xml_of(found: list[Named]) -> str:
    """Return the path of the XML among outputs, as it was given; empty if there is none that is a file."""
    paths = [output.path for output in found if output.format == "xml"]
    return paths[-1] if paths and paths[-1] not in {*STDOUT, NULL} else ""


def plan(argv: list[str], at: int, own: str) -> Plan:
    """Decide how to come by the XML, without changing what the user gets.

    Args:
        argv: the words.
        at: index of nmap among them; before it there may be sudo.
        own: path that nmap could write to.
    """
    words = argv[at + 1 :]
    if len(words) == 2 and words[0] == "--resume":  # noqa: PLR2004 - nmap takes it only like this
        return Plan(argv, copied=_resumed(words[1]))
    preset = os.environ.get("NMAP_ARGS", "").split() if at == 0 else []
    xml = [output for output in named(preset + words) if output.format == "xml"]
    if not xml:
        place = at + 1 if words else 0  # without any words nmap prints its usage
    elif xml[-1].path in STDOUT:
        return Plan(argv, passed_on=True)
    elif xml[-1].path == NULL:
        place = max(xml[-1].end - len(preset), 0) + at + 1  # of several, nmap heeds the last one
    else:
        return Plan(argv, copied=xml[-1].path)
    return Plan([*argv[:place], "-oX", own, *argv[place:]], own=own) if place else Plan(argv)


def _resumed(path: str) -> str:
    """Return the XML file that a scan goes on with: its log, or the one that its log's command line names."""
    head = read(path, 1 << 16)
    if head.lstrip().startswith(b"<"):
        return path
    line = head.partition(b" as: ")[2].partition(b"\n")[0]
    return xml_of(named(os.fsdecode(line).split()))


def expanded(path: str, started: float, ended: float) -> str:
    """Return the name that nmap gave a file, with the time in it if that was asked for."""
    if "%" not in path:
        return path
    candidates = [_at(path, second) for second in range(int(started), int(min(started + LATE, ended)) + 1)]
    return next((name for name in candidates if os.access(name, os.F_OK)), candidates[0])


def _at(path: str, second: int) -> str:
    moment, name, letters = time.localtime(second), "", iter(path)
    for letter in letters:
        if letter == "%":
            letter = next(letters, "")  # noqa: PLW2901
            letter = time.strftime(TIMES[letter], moment) if letter in TIMES else letter  # noqa: PLW2901
        name += letter
    return name


def copy(path: str, target: int = -1) -> dict[str, Any]:
    """Hash a file and copy what is hashed; return state, and size and SHA-256 of an Output if it can be read.

    Args:
        path: the file. What is no plain file is not opened for long, and not read.
        target: descriptor of the copy; -1 for none.

    Raises:
        OSError: the copy cannot be written.
    """
    from hashlib import sha256  # noqa: PLC0415 - while nmap runs there is time for it

    try:
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        return {"state": "missing"}
    except (OSError, ValueError):
        return {"state": "unreadable"}
    try:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            return {"state": "unreadable"}
        digest, size = sha256(), 0
        while data := os.read(source, CHUNK):
            digest.update(data)
            size += len(data)
            while target >= 0 and data:
                data = data[os.write(target, data) :]
    finally:
        os.close(source)
    return {"state": "present", "size": size, "sha256": digest.hexdigest()}
