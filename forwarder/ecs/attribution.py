"""What records of a scan say of who made it."""

from __future__ import annotations

from typing import Any, Final

from orjson import Fragment, loads

from forwarder.attribute.model import Known
from forwarder.ecs import audit, fit
from forwarder.ecs.context import Attributed
from forwarder.ecs.identity import EventId
from forwarder.seal.canonical import encode

SURE: Final = frozenset({"exact", "strong"})
"""Confidence at which an execution counts as the one that made a scan."""
KEPT: Final = ("@timestamp", "data_stream", "ecs", "error", "file", "host", "observer", "process", "related")
"""Members of a scan record that its link records repeat,"""
LEFT: Final = frozenset(
    {"covered", "debugging", "host_hint", "info", "output", "supersedes", "target", "task", "verbose"}
)
"""and of its nmap.scan, those that they do not: they are long, and the first record has them."""
MAX_SUMMARY: Final = 64 << 10
"""Bytes of what is repeated."""


def attributed(link: audit.Link, runs: list[Known], policy: dict[str, Any]) -> Attributed:
    """Return what records say of a scan.

    Args:
        link: how it met executions.
        runs: those executions: the one that made it; if that is not sure, all that may have.
        policy: nmap.policy of the one that made it.
    """
    scan: dict[str, Any] = {}
    shared: dict[str, Any] = {}
    users = [audit.who(run.whole) for run in runs]
    if users and users[0] and all(user == users[0] for user in users) and len(runs) == link.answer.candidates:
        scan["user"] = users[0]
    if runs and link.answer.confidence in SURE:
        whole = runs[0].whole
        if reason := audit.clean(whole.reason):
            scan["event"] = {"reason": reason}
        if ticket := audit.clean(whole.ticket):
            scan["labels"] = {"ticket": ticket}
            shared["labels"] = Fragment(encode(scan["labels"]))
        if name := users[0].get("name"):
            shared["user"] = Fragment(encode({"name": name}))
        if whole.host:
            name = audit.clean(whole.host).lower()
            scan["host"] = {"name": name, "hostname": name.partition(".")[0]}
    names = {scan.get("user", {}).get("name"), scan.get("user", {}).get("effective", {}).get("name")} - {None}
    if names:
        scan["related"] = {"user": sorted(names)}
    nmap: dict[str, Any] = {"attribution": audit.attribution(link)} | ({"policy": policy} if policy else {})
    return Attributed(scan, shared, nmap)


def merged(record: dict[str, Any], who: Attributed) -> dict[str, Any]:
    """Return a scan record with what is known of who made it."""
    for name, value in who.scan.items():
        record[name] = record[name] | value if isinstance(record.get(name), dict) else value
    record["nmap"] |= who.nmap
    return record


def summary(line: bytes) -> dict[str, Any]:
    """Return what link records repeat of a scan record."""
    record = loads(line)
    found = {name: record[name] for name in KEPT if name in record}
    event = record["event"]
    found["event"] = {name: event[name] for name in event.keys() - {"action", "id", "reason"}}
    nmap = {name: value for name, value in record["nmap"].items() if name in {"policy", "target", "time"}}
    nmap["scan"] = {name: value for name, value in record["nmap"]["scan"].items() if name not in LEFT}
    found |= {"nmap": nmap, "message": record["message"]}
    while len(encode(found)) > MAX_SUMMARY and fit.halve(found):
        pass
    return found


def link_record(known: dict[str, Any], scan_id: str, who: Attributed) -> tuple[str, bytes]:
    """Make the record that says more than an earlier one of who made a scan.

    Args:
        known: the scan's summary.
        scan_id: the scan.
        who: what is known now; `nmap` names the record that this one supersedes.

    Returns:
        (event.id, canonical JSON).
    """
    identity = EventId(scan_id, "scan")("", f"link {who.nmap['attribution']['supersedes']}")
    record = loads(encode(known))
    record["event"] |= {"action": "scan-attributed", "id": identity}
    confidence = who.nmap["attribution"].get("confidence", "none")
    name = who.scan.get("user", {}).get("name") or who.scan.get("user", {}).get("id") or "nobody known"
    record["message"] = f"made by {name} ({confidence}): {record['message']}"[: 2 * fit.SHORT]
    return identity, fit.line(merged(record, who))
