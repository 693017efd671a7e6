r"""The text that sudo writes to syslog, to the journal and to its own log file.

`alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/nmap -sS 192.0.2.1`, by sudo's lib/eventlog and
messages of sudo 1.9.13. Fields come in the order of FIELDS; something else before the first one is why sudo refused.
With `log_exit_status` the same text comes again at the end, with SIGNAL and EXIT after the command. A control character
is `#` and three octal digits (of some versions and syslog daemons, `\`). From 1.9.13 on, arguments with blanks are in
single quotes, and a backslash comes before quotes and backslashes; before that, arguments are joined by blanks as they
are, so where one ends is not known.

Directories, environment and arguments are the user's and may hold what looks like fields: then every reading is tried,
and `fields ambiguous` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from forwarder.audit import problems
from forwarder.audit.interface import User
from forwarder.audit.sudo_event import ACCEPT, EXIT, REFUSE, Event, relevant

FIELDS: Final = rb"(?:HOST|TTY|CHROOT|PWD|USER|GROUP|TSID|ENV|COMMAND)="
MESSAGE = re.compile(rb" *(?P<user>[^ :][^:]{0,255}?) : (?P<rest>.*)\Z", re.DOTALL)
CONTINUED: Final = b"(command continued) "
SEPARATOR = re.compile(rb" ; (?=%s)" % FIELDS)
COMMAND = re.compile(rb"(?:\A| ; )COMMAND=")
ENDED = re.compile(rb"(?: ; SIGNAL=(?P<signal>[A-Z0-9+-]{1,16}))?(?: ; EXIT=(?P<exit>\d{1,3}))?\Z")
CONTROL = re.compile(rb"[#\\](0[0-3][0-7]|177)")
ESCAPED = re.compile(rb"\\(['\\])")
WORD = re.compile(rb"'((?:[^'\\]|\\.)*)'(?= |\Z)|([^ ]*)", re.DOTALL)
OLD_SHELL = re.compile(rb"(?P<shell>\S*/\w*sh(?: --?\w+)*? -c) (?P<script>[^' ]\S*\\ .*)\Z", re.DOTALL)
"""`sudo -s` of old versions: its text is no argument of its own, but every blank in it has a backslash."""
READINGS: Final = 8
"""Places where the command may begin that are tried."""
SYSLOG_LENGTH: Final = 937
"""Characters of sudo's default syslog_maxlen that are left for text and caller in a continued message."""
LONG: Final = 400


def read(message: bytes, runs: Callable[[tuple[str, ...]], bool]) -> Event | None:
    """Return the event that a message tells of, without its time; None when it holds no command.

    Args:
        message: what sudo wrote.
        runs: tells whether words are a command of interest, to choose among readings.
    """
    found = MESSAGE.match(message)
    if not found:
        return None
    rest = found["rest"]
    begins = [match.span() for match in COMMAND.finditer(rest)][:READINGS]
    readings = [_reading(rest[:start], rest[end:]) for start, end in begins]
    if not readings:
        return None
    event = next((event for event in readings if runs(event.argv)), readings[0])
    event.caller = User(name=text(found["user"]))
    if len(readings) > 1:
        event.problems.append(problems.FIELDS_AMBIGUOUS)
    return event


def _reading(head: bytes, command: bytes) -> Event:
    """Return the event where the command is taken to begin at one place."""
    event = Event(run_as=User(name="root"))
    parts = SEPARATOR.split(head)
    if parts[0] and not re.match(FIELDS, parts[0]):
        event.kind, event.reason = REFUSE, text(parts.pop(0)).strip(" ;")
    names = [part.partition(b"=")[0] for part in parts]
    fields = {name: plain(part.partition(b"=")[2]) for name, part in zip(reversed(names), reversed(parts), strict=True)}
    if len(set(names)) < len(names):
        event.problems.append(problems.FIELDS_AMBIGUOUS)
    event.host = text(fields.get(b"HOST", b""))
    event.terminal = text(fields.get(b"TTY", b"")).replace("unknown", "").removeprefix("/dev/")
    event.cwd = text(fields.get(b"PWD", b"")) if fields.get(b"PWD") != b"unknown" else ""
    event.run_as = User(name=text(fields.get(b"USER", b"root")))
    event.tsid = text(fields.get(b"TSID", b""))
    event.environment = relevant(text(fields.get(b"ENV", b"")).split(" "))
    ended = ENDED.search(command)
    if ended and ended[0] and event.kind == ACCEPT:
        event.kind = EXIT
        event.signal = f"SIG{text(ended['signal'])}" if ended["signal"] else ""
        event.exit_code = int(ended["exit"]) if ended["exit"] else None
        command = command[: ended.start()]
    event.argv, certain = words(command)
    event.executable = event.argv[0] if event.argv else ""
    if not certain:
        event.problems.append(problems.ARGUMENTS_SPLIT)
    return event


def words(command: bytes) -> tuple[tuple[str, ...], bool]:
    """Return the words of a command as sudo writes it, and whether nothing speaks against them."""
    if old := OLD_SHELL.match(command):
        script = re.sub(rb"\\(.)", rb"\1", plain(old["script"]))
        return (*map(text, old["shell"].split(b" ")), text(script)), False
    certain = True
    found = []
    at = 0
    while at <= len(command):
        match = WORD.match(command, at)
        if match is None:  # cannot be, as the second way takes anything
            break
        word = match[1] if match[1] is not None else match[2]
        # Sudo writes no bare quote, and an empty argument as nothing; older versions write arguments as they are.
        certain &= bool(word) and (match[1] is not None or not re.search(rb"(?<!\\)'", word))
        found.append(text(plain(ESCAPED.sub(rb"\1", word))))
        at = match.end() + 1
    return tuple(found), certain


def join(pieces: list[bytes], caller: bytes) -> bytes:
    """Join the pieces of a command that was too long for one line of syslog.

    Sudo breaks at a blank, which is lost, or where there is none at the limit.
    """
    limit = max(map(len, pieces[1:-1]), default=0)
    joined = [pieces[0]]
    for index, piece in enumerate(pieces[1:], 1):
        before = pieces[index - 1]
        full = len(before) == SYSLOG_LENGTH - len(caller) or (len(before) == limit and limit >= LONG)
        joined.append(piece if index > 1 and full and b" " not in before else b" " + piece)
    return b"".join(joined)


def plain(value: bytes) -> bytes:
    """Return a value with the control characters that sudo or syslog escaped."""
    if b"#" not in value and b"\\" not in value:
        return value
    return CONTROL.sub(lambda found: bytes([int(found[1], 8)]), value)


def text(value: bytes) -> str:
    """Return bytes as text that keeps what is no UTF-8."""
    return value.decode(errors="surrogateescape")
