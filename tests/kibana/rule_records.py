"""Documents as they are delivered, made for tests of rules: usual ones, of which a test changes what matters to it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

COUNT = itertools.count()
EVENT = {"module": "nmap", "provider": "nmap-forwarder"}


def ago(**span: float) -> str:
    """A time before now, as timedelta takes it."""
    return (datetime.now(UTC) - timedelta(**span)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def record(dataset: str, facts: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """A document from dotted names; None takes a usual fact away."""
    number = next(COUNT)
    flat = {
        "@timestamp": ago(minutes=3),
        "ecs.version": "8.17.0",
        "event.id": sha256(f"{dataset} {number}".encode()).hexdigest(),
        "event.dataset": f"nmap.{dataset}",
        "event.ingested": ago(minutes=1),
        "event.kind": "event",
        "event.module": "nmap",
        "event.provider": "nmap-forwarder",
        "message": f"document {number}",
        "observer.name": "scanner-1",
        "nmap.seal.origin": "example.com/nmap/scanner1",
    }
    flat |= {"data_stream.dataset": f"nmap.{dataset}", "data_stream.type": "logs"} | facts | more
    found: dict[str, Any] = {}
    for name, value in flat.items():
        *above, last = name.split(".")
        holder = found
        for part in above:
            holder = holder.setdefault(part, {})
        if value is not None:
            holder[last] = value
    return found


def scan(**more: Any) -> dict[str, Any]:
    """A scan of the usual user, with reason and ticket, attributed for good."""
    facts = {
        "event.action": "scan-completed",
        "event.category": ["network"],
        "event.type": ["info"],
        "event.reason": "inventory",
        "labels.ticket": "SEC-1",
        "user.name": "alice",
        "nmap.attribution.status": "final",
        "nmap.attribution.confidence": "exact",
        "nmap.attribution.execution": ["c2c455d9f99375d2"],
        "nmap.attribution.output": "met",
        "nmap.policy.scope": "inside",
        "nmap.policy.hours": "working",
        "nmap.scan.risk.class": "low",
        "nmap.target.network": ["10.0.0.0/24"],
    }
    return record("scan", facts, dotted(more))


def execution(**more: Any) -> dict[str, Any]:
    """An execution by the usual user on the usual machine."""
    facts = {
        "event.action": "nmap-executed",
        "event.category": ["process"],
        "event.type": ["start", "end"],
        "event.reason": "inventory",
        "labels.ticket": "SEC-1",
        "user.name": "alice",
        "host.name": "scanner-1.example.com",
        "process.entity_id": f"{next(COUNT):032x}",
        "nmap.attribution.output": "met",
        "nmap.audit.output.state": ["present"],
        "nmap.policy.scanner": "listed",
        "nmap.policy.scope": "inside",
        "nmap.policy.hours": "working",
        "nmap.scan.option_set": "-oX -sS",
        "nmap.scan.risk.class": "medium",
        "nmap.scan.target_count": 256,
        "nmap.scan.script_category": ["default", "safe"],
    }
    return record("audit", facts, dotted(more))


def finding(action: str, **more: Any) -> dict[str, Any]:
    """Something remarkable about the audit evidence itself."""
    facts = {"event.action": action, "event.category": ["process"], "event.type": ["info"]}
    return record("audit", facts, dotted(more))


def seal(action: str, code: str | None = None, **more: Any) -> dict[str, Any]:
    """A record of a verification or an anchor."""
    facts = {"event.action": action, "event.category": ["configuration"], "event.type": ["info"], "error.code": code}
    return record("seal", facts, dotted(more))


def change(action: str, ip: str, port: int, **more: Any) -> dict[str, Any]:
    """A difference between two scans of a host."""
    facts = {
        "network.type": "ipv6" if ":" in ip else "ipv4",
        "event.action": action,
        "event.category": ["host", "network"],
        "event.type": ["change"],
        "destination.ip": ip,
        "destination.port": port,
        "network.transport": "tcp",
    }
    return record("change", facts, dotted(more))


def port(not_after: str, certificate: str, **more: Any) -> dict[str, Any]:
    """A port with a certificate."""
    facts = {
        "event.kind": "state",
        "event.category": ["host", "network"],
        "event.type": ["info"],
        "host.id": "0f343b0931126a20f133d67c2b018a3b",
        "host.name": "web.example.com",
        "destination.ip": "10.0.0.1",
        "destination.port": 443,
        "tls.server.not_after": not_after,
        "tls.server.hash.sha256": certificate,
    }
    return record("port", facts, dotted(more))


def vulnerability(name: str, **more: Any) -> dict[str, Any]:
    """A finding of a script, concluded from a version."""
    facts = {
        "event.kind": "state",
        "event.category": ["vulnerability"],
        "event.type": ["info"],
        "host.id": "0f343b0931126a20f133d67c2b018a3b",
        "host.name": "web.example.com",
        "vulnerability.id": name,
        "vulnerability.enumeration": "CVE",
        "vulnerability.severity": "Critical",
    }
    return record("vulnerability", facts, dotted(more))


def alert(**more: Any) -> dict[str, Any]:
    """An alert of a detector of ours."""
    facts = {
        "event.kind": "alert",
        "event.category": ["intrusion_detection"],
        "event.type": ["info"],
        "event.risk_score": 73.0,
        "event.severity": 73,
        "rule.name": "Rare target",
    }
    return record("alert", facts, dotted(more))


def dotted(names: dict[str, Any]) -> dict[str, Any]:
    """Names of arguments, in which __ stands for a dot and at for @timestamp."""
    short = {"at": "@timestamp", "ingested": "event.ingested", "backfill": "nmap.backfill"}
    return {short.get(name, name.replace("__", ".")): value for name, value in names.items()}
