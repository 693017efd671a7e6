"""What is compared: executions as all their evidence tells them, and scans as their files do."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from forwarder.attribute.words import words
from forwarder.audit.entry import CLAIMED_EFFECTIVE, CLAIMED_LOGIN, CLAIMED_SUDO
from forwarder.audit.interface import STRONG, Execution, Output, Peer, User, facts
from forwarder.nmap.command import outputs, parse
from forwarder.wrap.sudo import tool_at

SCHEME: Final = "nmap-forwarder/execution/v1"
KERNEL_FIRST: Final = ("auditd", "laurel", "run", "shim", "sudo-io", "sudo", "history")
"""Whom to believe, in this order: the kernel, our own programs, sudo, what a user could have written."""
WRAPPER_FIRST: Final = ("run", "shim", "auditd", "laurel", "sudo-io", "sudo", "history")
"""Who knows most of what the user asked for and what came of it."""
WRAPPED: Final = frozenset({"run", "shim"})
"""Sources that are our own wrapper."""
ASKED: Final = frozenset(
    {
        "argv",
        "end",
        "environment",
        "exit_code",
        "interactive",
        "outputs",
        "parent_command_line",
        "parent_executable",
        "policy_action",
        "policy_reasons",
        "ppid",
        "reason",
        "signal",
        "ticket",
        "wrapper_pid",
    }
)
"""Members that the wrapper knows better than the kernel's log."""
CLAIMED: Final = {CLAIMED_LOGIN: "login", CLAIMED_EFFECTIVE: "effective", CLAIMED_SUDO: "sudo_user"}
"""Problem of a spool entry → member that it makes worthless."""
REFUSED: Final = "refused"
CONTRADICTED: Final = "said to be refused, but ran"
"""Problem of a refusal that a sighting of the process itself contradicts."""
MAX_PARTS: Final = 16
"""Sightings kept of one execution; more there are not unless somebody makes them up."""


def seconds(time: str) -> float | None:
    """Return an RFC 3339 time as seconds since 1970; None for an empty one."""
    return datetime.fromisoformat(time).timestamp() if time else None


@dataclass(slots=True)
class Known:
    """One execution, by all that is known of it."""

    entity_id: str
    parts: list[Execution]
    """As each source saw it, without the raw evidence; in the order in which they were read."""
    record_id: str = ""
    """event.id of its newest record."""
    output: str = "waiting"
    """nmap.attribution.output: waiting, met, missing, discarded."""
    scans: tuple[str, ...] = ()
    """nmap.scan.id of what it made."""
    deadline: float = 0.0
    """Until when its output is waited for, in seconds since 1970."""
    _whole: Execution | None = field(default=None, repr=False)

    @property
    def whole(self) -> Execution:
        """The execution as all parts together tell it."""
        if self._whole is None:
            self._whole = combine(self.parts)
        return self._whole

    def add(self, part: Execution) -> None:
        """Take one more sighting; one that is known by source, identity and user is replaced: it knows the end now."""
        same = [other for other in self.parts if _name(other) == _name(part)]
        others = [other for other in self.parts if other not in same]
        if any(other.policy_action != REFUSED for other in same):  # what began is not refused at its end
            part = _begun(part)
        if len(others) >= MAX_PARTS and part.source not in WRAPPED:  # of its entries a user may make any number
            last = max((at for at, other in enumerate(others) if other.source in WRAPPED), default=-1)
            others = [other for at, other in enumerate(others) if at != last]
        if len(others) < MAX_PARTS:
            self.parts = [*others, replace(part, raw=b"")]
            self._whole = None

    @property
    def strong(self) -> bool:
        """Whether one of its sightings is such as no ordinary user could have written."""
        return any(part.strong for part in self.parts)

    @property
    def words(self) -> str:
        """Comparable form of its command line."""
        return words_of(self.whole)

    @property
    def proofs(self) -> set[str]:
        """SHA-256 of the outputs that the wrapper saw, and the ids of its entries in the spool."""
        wrapped = [part for part in self.parts if part.source in WRAPPED]
        hashes = {output.sha256 for part in wrapped for output in part.outputs if output.sha256}
        return hashes | {part.identity for part in wrapped}

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources that saw it, in the order of the interface's list."""
        return tuple(sorted({part.source for part in self.parts}, key=WRAPPER_FIRST.index))


@dataclass(frozen=True, slots=True)
class Subject:
    """One scan whose maker is looked for."""

    scan_id: str
    words: str
    """Comparable form of its command line; empty where its file has none."""
    start: float | None
    """By nmap's clock, whole seconds since 1970."""
    finish: float | None
    sha256: str = ""
    """Of the file that it was read from."""
    path: str = ""
    """That file, absolute; empty for standard input."""
    uid: str = ""
    """Of the file's owner."""
    spool_id: str = ""
    """Of the spool entry that the file belongs to; its pair of names was made by the wrapper."""
    spool_uid: str = ""
    """User whose entry that is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Who made a scan."""

    confidence: str = "none"
    """exact, strong, weak or none."""
    reasons: tuple[str, ...] = ()
    """What that rests on, or what it lacks."""
    executions: tuple[str, ...] = ()
    """entity_id of the one that made it; of those that may have, if confidence is weak."""
    candidates: int = 0
    """How many could have."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the newest record of a scan says of who made it."""

    subject: Subject
    answer: Answer
    record_id: str
    """event.id of that record."""
    status: str
    """pending or final."""
    deadline: float
    """Until when evidence is waited for, in seconds since 1970."""
    summary: dict[str, Any]
    """Members of the scan record that a link record repeats."""


def _name(part: Execution) -> tuple[str, str, str]:
    return part.source, part.identity, part.real.id


def _begun(part: Execution) -> Execution:
    """Return a sighting of what ran, without its claim of a refusal."""
    if part.policy_action != REFUSED:
        return part
    return replace(part, policy_action="", problems=(*part.problems, CONTRADICTED))


def known(part: Execution, *, apart: bool = False) -> Known:
    """Return an execution that was seen for the first time.

    Args:
        part: the sighting.
        apart: another user's execution says that it was the same process.
    """
    named = f"{part.pid}\n{part.start}" if part.pid > 0 and part.start else f"{part.source}\n{part.identity}"
    if apart:
        named = f"{part.source}\n{part.identity}\n{part.real.id}"
    identity = sha256(f"{SCHEME}\n{short(part.host)}\n{named}".encode(errors="surrogateescape"))
    return Known(identity.hexdigest()[:32], [replace(part, raw=b"")])


def short(host: str) -> str:
    """Return a host's name as logs write it: in lower case, without its domain."""
    return host.lower().partition(".")[0]


def combine(parts: Iterable[Execution]) -> Execution:
    """Return what several sightings of one execution tell together; each fact from the source that knows it best."""
    found = [trusted(part) for part in parts]
    if any(part.policy_action != REFUSED and part.source in STRONG for part in found):
        found = [_begun(part) for part in found]
    kernel = sorted(found, key=lambda part: KERNEL_FIRST.index(part.source))
    wrapper = sorted(found, key=lambda part: WRAPPER_FIRST.index(part.source))
    whole = Execution(kernel[0].source, found[0].identity, wrapper[0].argv)
    for name in Execution.__slots__:
        if name in {"source", "identity", "argv", "raw", "problems", "log_path", "log_offset"}:
            continue
        empty = getattr(whole, name)
        order = wrapper if name in ASKED else kernel
        values = (getattr(part, name) for part in order)
        setattr(whole, name, next((value for value in values if not _says_nothing(value)), empty))
    whole.trusted = any(part.strong for part in found)
    whole.log_path, whole.log_offset = found[0].log_path, found[0].log_offset
    whole.problems = tuple(dict.fromkeys(problem for part in found for problem in part.problems)) + _conflicts(found)
    return whole


def trusted(part: Execution) -> Execution:
    """Leave out who an ordinary user only claims to be, in an entry of the spool that he could write as he likes."""
    for problem, member in CLAIMED.items():
        if problem in part.problems:
            part = replace(part, **{member: "" if member == "sudo_user" else User()})  # type: ignore[arg-type]
    return part


def _says_nothing(value: Any) -> bool:
    return value in ("", (), None, -1) or value == User()


def _conflicts(parts: list[Execution]) -> tuple[str, ...]:
    """Tell where sources name different users; one of them was written by somebody who does not tell the truth."""
    logins = {part.login.id for part in parts if part.login.id}
    return ("sources differ on the login user",) if len(logins) > 1 else ()


def to_json(item: Known) -> dict[str, Any]:
    """Return an execution as JSON values for the ledger."""
    return {"parts": [_plain(facts(part)) for part in item.parts]}


def _plain(value: Any) -> Any:
    if isinstance(value, User | Output | Peer):
        return {name: getattr(value, name) for name in value.__slots__}
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    return value


def from_json(values: dict[str, Any]) -> Execution:
    """Return an execution from the members that `to_json`, or a spool entry, writes.

    Raises:
        TypeError: a user or an output has members that are none.
    """
    found: dict[str, Any] = {"source": "", "identity": "", "argv": ()}  # of what is empty, nothing was written
    for member in fields(Execution):
        if member.name in values:
            value = values[member.name]
            found[member.name] = tuple(value) if isinstance(value, list) else value
    for name in ("login", "real", "effective"):
        if name in found:
            found[name] = User(**found[name])
    if "peer" in found:
        found["peer"] = Peer(**found["peer"])
    found["outputs"] = tuple(Output(**output) for output in found.get("outputs", ()))
    return Execution(**found)


def outputs_of(part: Execution) -> tuple[Output, ...]:
    """Return the outputs that a command line names, for sources that do not tell of any."""
    if part.tool != "nmap":
        return ()
    start = datetime.fromisoformat(part.start) if part.start else None
    with suppress(OverflowError):  # on the calendar's last or first day it may have no local time; who wrote it lies
        start = start and start.astimezone()
    return tuple(Output(path, kind) for kind, path in outputs(parse(part.argv), start))


def words_of(part: Execution) -> str:
    """Return the comparable form of an execution's command line, without the sudo that a wrapper was told to call."""
    return words(part.argv[max(0, tool_at(list(part.argv))) :])
