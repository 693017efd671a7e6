"""Events that sudo writes as JSON (`log_format=json`): to its log file, after `@cee:` in syslog, or by sudo_logsrvd.

The members are those of sudo's lib/eventlog and of sudo_logsrv.proto: `accept`, `reject` and `alert` hold a command,
`exit` only the uuid of its accept. An I/O log's log.json has the same members without a name around them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from forwarder.audit import problems, times
from forwarder.audit.interface import User
from forwarder.audit.sudo_event import ACCEPT, EXIT, REFUSE, Event, relevant

KINDS: Final = {"accept": ACCEPT, "reject": REFUSE, "alert": REFUSE, "exit": EXIT}


DIGITS = re.compile(r"[0-9]{1,10}")
NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Halves of characters that JSON can name but text cannot hold; the others stand for bytes."""
STRING: Final = rb'"(?:[^"\\]|\\.)*"'
KIND = re.compile(rb'"(accept|reject|alert)": ?\{')
MEMBER = re.compile(rb'"(submituser|submithost|submitcwd|runuser|runcwd|ttyname|command|uuid|reason)": ?(%s)' % STRING)
SECONDS = re.compile(rb'"server_time": ?\{"seconds": ?(\d{1,12})')
ARGUMENTS = re.compile(rb'"runargv": ?\[((?:\s*%s,?)*)' % STRING)


def load(data: bytes) -> Any:
    """Return what JSON holds, text by surrogateescape; None when it is none."""
    try:
        return json.loads(data.decode(errors="surrogateescape"))
    except (ValueError, RecursionError):
        return None


def read(value: Any) -> Iterator[Event]:
    """Yield the events in a value from JSON, whatever it is."""
    if isinstance(value, dict):
        if isinstance(value.get("sudo"), dict):
            value = value["sudo"]
        named = [(kind, value[name]) for name, kind in KINDS.items() if isinstance(value.get(name), dict)]
        if named:
            yield from (_event(kind, members) for kind, members in named)
        elif "submituser" in value and "runargv" in value:
            refused = "reason" in value or value.get("event_type") in {"reject", "alert"}
            yield _event(REFUSE if refused else ACCEPT, value)


def salvage(data: bytes) -> Iterator[Event]:
    """Yield the event in JSON that was cut, as syslog daemons do with long messages; its arguments may not be all."""
    kind = KIND.search(data)
    if not kind:
        return
    members: dict[str, Any] = {}
    for found in MEMBER.finditer(data, kind.end()):
        members.setdefault(found[1].decode(), load(found[2]))
    if seconds := SECONDS.search(data):
        members["server_time"] = {"seconds": int(seconds[1])}
    if arguments := ARGUMENTS.search(data):
        members["runargv"] = [load(found) for found in re.findall(STRING, arguments[1])]
    for event in read({kind[1].decode(): members}):
        event.problems.append(problems.ARGUMENTS_CUT)
        yield event


def _event(kind: str, members: dict[str, Any]) -> Event:
    environment = texts(members.get("runenv"))
    caller_id = next((item[9:] for item in environment if item.startswith("SUDO_UID=")), "")
    event = Event(
        kind=kind,
        time=_time(members, "server_time", "exit_time", "submit_time", "timestamp"),
        host=text(members.get("submithost")),
        caller=User(caller_id if DIGITS.fullmatch(caller_id) else "", text(members.get("submituser"))),
        run_as=User(number(members.get("runuid")), text(members.get("runuser")) or "root"),
        terminal=text(members.get("ttyname")).removeprefix("/dev/"),
        cwd=text(members.get("runcwd")) or text(members.get("submitcwd")),
        argv=tuple(texts(members.get("runargv"))),
        executable=text(members.get("command")),
        environment=relevant(environment),
        tsid=text(members.get("iolog_path")),
        uuid=text(members.get("uuid")),
        reason=text(members.get("reason")),
        signal=f"SIG{text(members['signal'])}" if text(members.get("signal")) else "",
    )
    code = members.get("exit_value")
    event.exit_code = code if type(code) is int else None
    if event.executable and not event.argv:
        event.argv = (event.executable,)
        event.problems.append(problems.ARGUMENTS_CUT)
    return event


def _time(members: dict[str, Any], *names: str) -> str:
    for name in names:
        value = members.get(name)
        if isinstance(value, dict) and type(seconds := value.get("seconds")) is int:
            nanoseconds = value.get("nanoseconds")
            return times.utc(seconds, nanoseconds if type(nanoseconds) is int else 0)
    return ""


def text(value: Any) -> str:
    """Return a text, empty when it is none."""
    return NO_BYTE.sub("\ufffd", value) if isinstance(value, str) else ""


def number(value: Any) -> str:
    """Return a number that is not negative as text, empty when it is none."""
    return str(value) if type(value) is int and 0 <= value < 1 << 32 else ""


def texts(value: Any) -> list[str]:
    """Return the texts of a list, none when it is no list."""
    return [text(item) for item in value if isinstance(item, str)] if isinstance(value, list) else []
