"""Audit records: one execution, what became of it, or what is remarkable about the evidence itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath
from typing import Any, Final

from forwarder.attribute.model import Answer, Known
from forwarder.audit import TOOLS
from forwarder.audit.interface import Execution, Finding, Output, Peer, User
from forwarder.ecs import fit
from forwarder.ecs.context import Options, frame
from forwarder.ecs.identity import EventId

DATASET: Final = "nmap.audit"
EXECUTED: Final = "nmap-executed"
REFUSED: Final = "nmap-refused"
LINKED: Final = "evidence-linked"
"""event.action of the first record of an execution, and of all later ones."""
MAX_WORDS: Final = 4096
"""Words of a command line in a record; the evidence has all."""
MAX_WORD: Final = 8191
"""Characters of one word, or of another text that is searched as a whole."""
MAX_LINE: Final = 32_766
"""Characters of a whole command line, the most that Elasticsearch indexes of a keyword in bytes."""
EPOCH: Final = "1970-01-01T00:00:00.000Z"
"""@timestamp where the evidence tells no time at all."""
NANOSECONDS: Final = 1_000_000
"""In a millisecond."""
LONGEST: Final = 2**53 // NANOSECONDS
"""Milliseconds (104 days) whose nanoseconds are a number in canonical JSON."""


@dataclass(frozen=True, slots=True)
class Command:
    """What our reading of the command line adds to a record."""

    argv: tuple[str, ...]
    """Its words, with secrets masked."""
    masked: int = 0
    """How many secrets were."""
    title: str = ""
    parent: str = ""
    """PROCTITLE and the parent's command line, likewise masked."""
    scan: dict[str, Any] = field(default_factory=dict)
    """Members of nmap.scan."""
    policy: dict[str, Any] = field(default_factory=dict)
    """Members of nmap.policy."""
    networks: tuple[str, ...] = ()
    """Networks of its targets."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a record says of an execution and its scan."""

    status: str = "pending"
    output: str = "waiting"
    answer: Answer = field(default_factory=Answer)
    scan_id: str = ""
    supersedes: str = ""
    """event.id of the execution's record before."""


def event_id(source: str, host: str, identity: str) -> str:
    """Return event.id of the record that a piece of evidence makes; docs/SEALED_ARCHIVE.md, section 10."""
    return EventId(f"{source} {host} {clean(identity)}", "audit")()


def link_id(entity_id: str, what: str) -> str:
    """Return event.id of a record that says what became of an execution: a scan_id, or `missing`."""
    return EventId(entity_id, "audit")("", what)


def record(
    look: Options, item: Known, command: Command, link: Link, identity: str, evidence: Iterable[str] = ()
) -> bytes:
    """Make the record of an execution.

    Args:
        look: what the configuration says about records.
        item: the execution.
        command: our reading of its command line.
        link: its scan.
        identity: event.id.
        evidence: SHA-256 of the evidence that this record was made from.

    Returns:
        Canonical JSON.
    """
    whole = item.whole
    truncated: list[str] = []
    result = _frame(look, whole.start or whole.end or EPOCH, identity, _action(whole, link))
    result["event"] |= _event(whole)
    result["host"] = _host(whole, look)
    result["process"] = _process(item, command, truncated)
    if user := _users(whole):
        result["user"] = user
    if whole.remote_ip:
        result["source"] = {"ip": whole.remote_ip}
    if whole.ticket:
        result["labels"] = {"ticket": clean(whole.ticket)}
    result |= _container(whole)
    if whole.outputs and (file := _file(whole)):
        result["file"] = file
    result["nmap"] = {"audit": _audit(item, command, truncated), "attribution": attribution(link)}
    scan = command.scan | ({"id": link.scan_id} if link.scan_id else {}) | {"vantage": look.vantage}
    result["nmap"]["scan"] = scan
    if command.networks:
        result["nmap"]["target"] = {"network": list(command.networks)}
    if command.policy:
        result["nmap"]["policy"] = command.policy
    hashes = [*evidence, *(output.sha256 for output in whole.outputs), whole.sha256]
    result["related"] = _present(
        hash=_unique(hashes),
        ip=_unique([whole.remote_ip]),
        user=_unique(
            [clean(name) for name in (whole.login.name, whole.real.name, whole.effective.name, whole.sudo_user)]
        ),
    )
    if truncated:
        result["nmap"]["truncated"] = sorted(set(truncated))
    result["message"] = _message(whole, command, link)
    return fit.line(result)


def finding_id(found: Finding) -> str:
    """Return event.id of the record of what is remarkable about the evidence."""
    return EventId(f"{found.action} {clean(found.path)} {clean(found.identity)}", "audit")()


def finding(look: Options, found: Finding, identity: str, evidence: Sequence[str]) -> bytes:
    """Make the record of what is remarkable about the evidence.

    Args:
        look: what the configuration says about records.
        found: the finding.
        identity: event.id.
        evidence: SHA-256 of the evidence that shows it.

    Returns:
        Canonical JSON.
    """
    result = _frame(look, found.time or EPOCH, identity, found.action)
    result["event"]["type"] = ["info"]
    log: dict[str, Any] = {"path": clean(found.path)} if found.path else {}
    if found.offset >= 0:
        log["offset"] = found.offset
    result["nmap"] = {"audit": {"log": log} if log else {}, "scan": {"vantage": look.vantage}}
    result["host"] = {"name": look.observer.lower()} if look.observer else {}
    result["message"] = clean(found.message)[: fit.SHORT]
    if evidence:
        result["related"] = {"hash": list(evidence)}
    return fit.line(result)


def clean(text: str) -> str:
    """Return a text of the machine as JSON can hold it; bytes that are no UTF-8 become U+FFFD."""
    return text if text.isascii() else text.encode(errors="surrogateescape").decode(errors="replace")


def attribution(link: Link) -> dict[str, Any]:
    """Return nmap.attribution."""
    answer = link.answer
    found = {"status": link.status} | _present(
        confidence=answer.confidence if answer.confidence != "none" or answer.reasons else "",
        execution=list(answer.executions),
        output=link.output,
        reason=list(answer.reasons),
        supersedes=link.supersedes,
    )
    if answer.candidates:
        found["candidates"] = answer.candidates
    return found


def _frame(look: Options, timestamp: str, identity: str, action: str) -> dict[str, Any]:
    """Return what every audit record has."""
    observer = {"name": look.observer} if look.observer else {}
    return frame(look, DATASET, timestamp, identity, "process", action=action) | {"observer": observer}


def _action(whole: Execution, link: Link) -> str:
    if link.supersedes:
        return LINKED
    return REFUSED if whole.policy_action == "refused" else EXECUTED


def _event(whole: Execution) -> dict[str, Any]:
    ended = bool(whole.end or whole.signal or whole.exit_code is not None)
    failed = bool(whole.signal or whole.exit_code or whole.policy_action == "refused")
    known = whole.exit_code is not None or failed
    event: dict[str, Any] = {
        "type": ["start", "end"] if ended else ["start"],
        "outcome": "failure" if failed else "success" if known else "unknown",
    }
    event |= _present(start=whole.start, end=whole.end, reason=clean(whole.reason)[:MAX_WORD])
    if whole.start and whole.end:
        lasted = datetime.fromisoformat(whole.end) - datetime.fromisoformat(whole.start)
        milliseconds = round(lasted.total_seconds() * 1000)
        if 0 <= milliseconds <= LONGEST:
            event["duration"] = milliseconds * NANOSECONDS
    return event


def _host(whole: Execution, look: Options) -> dict[str, str]:
    name = clean(whole.host or look.observer).lower()
    return _present(name=name, hostname=name.partition(".")[0])


def _process(item: Known, command: Command, truncated: list[str]) -> dict[str, Any]:
    whole = item.whole
    args = [clean(word) for word in command.argv]
    text = _cut(" ".join(args), MAX_LINE, "process.command_line", truncated)
    if len(args) > MAX_WORDS or sum(map(len, args)) > MAX_LINE:
        truncated.append("process.args")
        args = _first(args)
    process = _present(
        args=args,
        command_line=text,
        end=whole.end,
        entity_id=item.entity_id,
        executable=clean(whole.executable),
        name=clean(whole.tool),
        start=whole.start,
        title=_cut(clean(command.title), MAX_WORD, "process.title", truncated),
        working_directory=clean(whole.cwd),
    )
    if command.argv:
        process["args_count"] = len(command.argv)
    if whole.pid > 0:
        process["pid"] = whole.pid
    if whole.exit_code is not None:
        process["exit_code"] = whole.exit_code
    if whole.interactive is not None:
        process["interactive"] = whole.interactive
    if whole.sha256:
        process["hash"] = {"sha256": whole.sha256}
    parent = _present(
        command_line=_cut(clean(command.parent), MAX_LINE, "process.parent.command_line", truncated),
        executable=clean(whole.parent_executable),
        name=clean(whole.parent_executable).rpartition("/")[2],
    )
    if whole.ppid > 0:
        parent["pid"] = whole.ppid
    return process | ({"parent": parent} if parent else {})


def _first(args: list[str]) -> list[str]:
    """Return the first words of a command line, as many as a record holds."""
    kept, length = [], 0
    for word in args[:MAX_WORDS]:
        length += len(word)
        if length > MAX_LINE:
            break
        kept.append(word)
    return kept or [args[0][:MAX_WORD]]


def _users(whole: Execution) -> dict[str, Any]:
    """Return `user`: who logged in, else whose process it was; and whose rights it had."""
    login = whole.login if whole.login != User() else User("", whole.sudo_user) if whole.sudo_user else whole.real
    found: dict[str, Any] = _user(login)
    if effective := _user(whole.effective):
        found["effective"] = effective
    return found


def _user(user: User) -> dict[str, str]:
    return _present(id=user.id, name=clean(user.name))


def who(whole: Execution) -> dict[str, Any]:
    """Return ECS's `user` of an execution."""
    return _users(whole)


def _container(whole: Execution) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if container := _present(id=clean(whole.container_id), runtime=clean(whole.container_runtime)):
        found["container"] = container
    pod = {"resource": {"name": clean(whole.pod)}} if whole.pod else {}
    if orchestrator := pod | _present(namespace=clean(whole.namespace)):
        found["orchestrator"] = orchestrator
    return found


def _file(whole: Execution) -> dict[str, Any]:
    """Return `file`: the output that is read as a scan, else the first."""
    output = next((output for output in whole.outputs if output.format == "xml"), whole.outputs[0])
    path = PurePath(clean(output.path))
    found = _present(path=str(path), name=path.name, extension=path.suffix.removeprefix("."))
    if path.is_absolute():
        found["directory"] = str(path.parent)
    if output.sha256:
        found["hash"] = {"sha256": output.sha256}
    if output.size >= 0:
        found["size"] = output.size
    return found


def _audit(item: Known, command: Command, truncated: list[str]) -> dict[str, Any]:
    """Return nmap.audit."""
    whole = item.whole
    found = _present(
        container_marks=[clean(mark) for mark in whole.container_marks],
        environment=[_cut(clean(text), MAX_WORD, "nmap.audit.environment", truncated) for text in whole.environment],
        identity=_unique([clean(part.identity) for part in item.parts]),
        peer=_peer(whole.peer),
        problem=list(whole.problems),
        session=clean(whole.session),
        signal=whole.signal,
        source=list(item.sources),
        strength="strong" if item.strong else "weak",
        terminal=clean(whole.terminal),
    )
    log: dict[str, Any] = {"path": clean(whole.log_path)} if whole.log_path else {}
    if whole.log_path and whole.log_offset >= 0:
        log["offset"] = whole.log_offset
    if log:
        found["log"] = log
    if command.masked:
        found["masked"] = command.masked
    if whole.outputs:
        found["output"] = [_output(output) for output in whole.outputs]
    if whole.sudo_user:
        found["sudo"] = {"user": clean(whole.sudo_user)}
    tool = _present(name=whole.tool if whole.tool in TOOLS else "", version=clean(whole.version))
    return found | ({"tool": tool} if tool else {})


def _peer(peer: Peer | None) -> dict[str, Any]:
    """Return nmap.audit.peer: what the kernel said of who sent an entry of the spool."""
    if peer is None:
        return {}
    found = _present(received=peer.received, started=peer.started, uid=str(peer.uid))
    found |= {"pid": peer.pid} if peer.pid > 0 else {}
    return found | ({"login": str(peer.login)} if peer.login >= 0 else {})


def _output(output: Output) -> dict[str, Any]:
    found = _present(format=output.format, hash=output.sha256, path=clean(output.path), state=output.state)
    return found | ({"size": output.size} if output.size >= 0 else {})


def _message(whole: Execution, command: Command, link: Link) -> str:
    user = clean(whole.login.name or whole.sudo_user or whole.real.name or whole.login.id or "somebody")
    line = " ".join(map(clean, command.argv[:50]))[: fit.SHORT] or clean(whole.tool)
    if whole.policy_action == "refused":
        return f"{user} was refused: {line}"
    ending = {
        "met": ": its scan is known",
        "missing": ": no output of it was read",
        "discarded": ": its output went nowhere",
    }
    return f"{user} ran {line}{ending.get(link.output, '')}"


def _cut(text: str, most: int, name: str, truncated: list[str]) -> str:
    if len(text) > most:
        truncated.append(name)
    return text[:most]


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, values)))


def _present(**facts: Any) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value not in ("", None, [], {})}
