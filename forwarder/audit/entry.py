"""An entry of the spool, as its JSON tells it, made an Execution: whatever is no such thing is refused with a reason.

The text was written by the user's own process, so he may have made all of it up. Who he is, the caller knows from the
file system, or from the kernel by way of the receiver, which then also says which process it was, since when it ran,
and who logged in. What an ordinary user claims beyond that is kept, and said to be claimed.
"""

from __future__ import annotations

import json
import pwd
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise
from typing import Any, Final

from forwarder.audit.interface import Execution, Output, Peer, User

VERSION: Final = 1
MOST_WORDS: Final = 1 << 17
"""Items of a list: more words than Linux gives a program's command line in most configurations."""
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
ADDRESS: Final = re.compile(r"([0-9a-fA-F.:]{2,64})(%[\w.-]{1,16})?", re.ASCII)
"""An address, and the zone that a link-local one has; of records it is no part."""
HASH: Final = re.compile(r"([0-9a-f]{64})?")
SIGNAL: Final = re.compile(r"(SIG[A-Z0-9+-]{1,12}|[0-9]{1,3})?")
NUMBER: Final = re.compile(r"[0-9]{0,10}")
STATES: Final = frozenset({"", "present", "missing", "discarded", "unreadable"})
SOURCES: Final = frozenset({"run", "shim"})
ACTIONS: Final = frozenset({"", "allowed", "flagged", "refused"})
TEXTS: Final = (
    *("start", "end", "host", "cwd", "executable", "sudo_user", "terminal", "session", "remote_ip"),
    *("parent_executable", "parent_command_line", "title", "signal", "reason", "ticket", "sha256"),
    *("container_id", "container_runtime", "pod", "namespace", "policy_action"),
)
LISTS: Final = ("environment", "container_marks", "policy_reasons", "problems")
CLAIMED_LOGIN: Final = "login user only claimed"
CLAIMED_EFFECTIVE: Final = "effective user only claimed"
CLAIMED_SUDO: Final = "sudo's caller only claimed"
OTHER_LOGIN: Final = "claims another login user than the kernel's"
OTHER_PROCESS: Final = "wrapper's process only claimed"
OTHER_TIME: Final = "not of the time of its process"
SLACK: Final = timedelta(seconds=5)
"""By which a process's start, which the kernel counts from the machine's, may differ from what the clock said."""


def _is_time(text: str) -> bool:
    try:
        return bool(TIME.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    match = ADDRESS.fullmatch(text)
    try:
        return bool(match and ip_address(match[1]))
    except ValueError:
        return False


FORMS: Final[dict[str, Callable[[str], object]]] = {
    "start": lambda text: not text or _is_time(text),
    "end": lambda text: not text or _is_time(text),
    "remote_ip": lambda text: not text or _is_address(text),
    "sha256": HASH.fullmatch,
    "signal": SIGNAL.fullmatch,
    "session": NUMBER.fullmatch,
    "policy_action": ACTIONS.__contains__,
}
"""What the texts must look like that are not free."""


class EntryError(ValueError):
    """A text is no entry; says why in words of ours alone."""


def received(content: bytes, uid: int) -> tuple[Peer, bytes]:
    """Return what the kernel said of an entry's sender, and the entry: the lines that the receiver writes.

    Args:
        content: of the receiver's file.
        uid: what its name says.

    Raises:
        EntryError: it is not from the receiver.
    """
    line, _, entry = content.partition(b"\n")
    try:
        peer = Peer(**json.loads(line))
    except (ValueError, TypeError):
        raise EntryError("not as the receiver writes it") from None
    if peer.uid != uid:
        raise EntryError("not of the user of its name")
    return peer, entry


def parse(raw: bytes, identity: str, uid: int, peer: Peer | None = None) -> Execution:
    """Return what an entry says.

    Args:
        raw: a JSON object: version (of this form), id, and members of `audit.interface.Execution`, whose `version` is
            `tool_version` here. Members that we do not know are left in `raw`, which is sealed whole.
        identity: what the file's name says that it is.
        uid: owner of the file, or who sent it.
        peer: what the kernel says of who sent it.

    Raises:
        EntryError: it is not one, or says that it is another's.
    """
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        raise EntryError("no JSON") from None
    if not isinstance(said, dict):
        raise EntryError("no JSON object")
    if _integer(said, "version", 0) != VERSION:
        raise EntryError("a version that is not known")
    if said.get("id") != identity or said.get("identity", identity) != identity:
        raise EntryError("not the id of its name")
    source = _text(said, "source")
    if source not in SOURCES:
        raise EntryError("source is neither run nor shim")
    argv = _texts(said, "argv")
    if not argv:
        raise EntryError("argv is missing")
    execution = Execution(source=source, identity=identity, argv=argv, raw=raw)
    for name in TEXTS:
        setattr(execution, name, _text(said, name))
    execution.remote_ip = execution.remote_ip.partition("%")[0]
    execution.version = _text(said, "tool_version")
    for name in LISTS:
        setattr(execution, name, _texts(said, name))
    execution.pid, execution.ppid = _integer(said, "pid", -1), _integer(said, "ppid", -1)
    execution.wrapper_pid = _wrapper(said)
    execution.exit_code = _integer(said, "exit_code", 0, 255) if said.get("exit_code") is not None else None
    execution.interactive = _boolean(said, "interactive")
    execution.outputs = tuple(_output(item) for item in _list(said, "outputs"))
    if not execution.start:
        raise EntryError("start is missing")
    _set_users(execution, said, uid, peer)
    if peer:
        _compare(execution, peer)
    return execution


def _compare(execution: Execution, peer: Peer) -> None:
    """Take who the wrapper is from the kernel; what an entry claims against that makes it weak evidence."""
    execution.peer = peer
    if peer.pid > 0:
        if execution.wrapper_pid not in {-1, peer.pid}:
            _doubt(execution, OTHER_PROCESS)
        execution.wrapper_pid = peer.pid
    times = [peer.started or execution.start, execution.start, execution.end or execution.start, peer.received]
    moments = [datetime.fromisoformat(time) for time in times]
    if any(first - second > SLACK for first, second in pairwise(moments)):
        _doubt(execution, OTHER_TIME)


def _doubt(execution: Execution, problem: str) -> None:
    execution.problems += (problem,)
    execution.trusted = False


def _wrapper(said: dict[str, Any]) -> int:
    """Return the process id of the wrapper that wrote an entry, -1 if it does not say; not worth refusing it."""
    try:
        return _integer(said, "wrapper_pid", -1)
    except EntryError:
        return -1


def _set_users(execution: Execution, said: dict[str, Any], uid: int, peer: Peer | None) -> None:
    """Take who the user is from the file's owner, or the kernel; mark what he says beyond that unless he is root."""
    login, real, effective = (_user(said, name) for name in ("login", "real", "effective"))
    if real.id not in {"", str(uid)}:
        raise EntryError("the real user that it claims does not own it")
    if peer and peer.real >= 0:
        logged_in = str(peer.login) if peer.login >= 0 else ""
        if login.id not in {"", logged_in}:
            _doubt(execution, OTHER_LOGIN)
        login = User(logged_in, name_of(peer.login))
    execution.login, execution.real, execution.effective = login, User(str(uid), name_of(uid)), effective
    if uid == 0:
        return
    for user in (login, effective):
        user.name = name_of(int(user.id)) if user.id else ""
    claims = (
        (not (peer and peer.real >= 0) and login.id not in {"", str(uid)}, CLAIMED_LOGIN),
        (effective.id not in {"", str(uid)}, CLAIMED_EFFECTIVE),
        (execution.sudo_user != "", CLAIMED_SUDO),
    )
    execution.problems += tuple(problem for claimed, problem in claims if claimed)


def name_of(uid: int) -> str:
    """Return a user's name on this machine, empty if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return ""


def _checked(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise EntryError(f"{name} is no text")
    if "\0" in value:
        raise EntryError(f"{name} has a NUL in it")
    return value


def _text(said: dict[str, Any], name: str) -> str:
    value = _checked(said.get(name, ""), name)
    if name in FORMS and not FORMS[name](value):
        raise EntryError(f"{name} is not of its form")
    return value


def _list(said: dict[str, Any], name: str) -> list[Any]:
    value = said.get(name, [])
    if not isinstance(value, list) or len(value) > MOST_WORDS:
        raise EntryError(f"{name} is no list, or too long")
    return value


def _texts(said: dict[str, Any], name: str) -> tuple[str, ...]:
    return tuple(_checked(item, name) for item in _list(said, name))


def _integer(said: dict[str, Any], name: str, least: int, most: int = (1 << 31) - 1) -> int:
    value = said.get(name, least)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise EntryError(f"{name} is no number, or out of bounds")
    return value


def _boolean(said: dict[str, Any], name: str) -> bool | None:
    value = said.get(name)
    if value is not None and not isinstance(value, bool):
        raise EntryError(f"{name} is neither true nor false")
    return value


def _user(said: dict[str, Any], name: str) -> User:
    value = said.get(name, {})
    if not isinstance(value, dict):
        raise EntryError(f"{name} is no user")
    number = _checked(value.get("id", ""), name)
    if not NUMBER.fullmatch(number):
        raise EntryError(f"{name} is no user's number")
    return User(number, _checked(value.get("name", ""), name))


def _output(value: Any) -> Output:
    if not isinstance(value, dict):
        raise EntryError("outputs is no list of outputs")
    texts = {name: _checked(value.get(name, ""), f"outputs {name}") for name in ("path", "format", "state", "sha256")}
    if not HASH.fullmatch(texts["sha256"]) or texts["state"] not in STATES:
        raise EntryError("outputs has a hash or a state that is none")
    return Output(**texts, size=_integer(value, "size", -1, (1 << 63) - 1))
