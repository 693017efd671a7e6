"""Change records, and what the records of a host say of it for comparison with what was known."""

from __future__ import annotations

from typing import Any, Final

from forwarder.ecs import fit
from forwarder.ecs.context import Context
from forwarder.ecs.identity import EventId
from forwarder.ecs.ports import PROTOCOLS
from forwarder.history import NO_PORTS, OPEN, Asset, Change, Seen, Sight
from forwarder.nmap.values import IPV4
from forwarder.nse.registry import certificate_sha256

EVENT: Final = {"kind": "event", "module": "nmap", "provider": "nmap", "type": ["change"]}
WORDS: Final = {
    "host-new": "is new",
    "host-gone": "is gone",
    "port-opened": "is open now",
    "port-closed": "is open no more",
    "service-changed": "has another service",
    "certificate-changed": "has another certificate",
}
"""event.action → what the message says."""
NO_STATES: Final = frozenset({"", "unknown", "skipped"})
"""States of hosts that nmap only listed."""


def seen(port: dict[str, Any], time: str, scan_id: str) -> tuple[str, Seen] | None:
    """Return (`tcp/22`, what was seen) of a port, given as `nmap.port` with its `script`; None without a number."""
    number, protocol = port.get("number"), port.get("protocol")
    if number is None or protocol not in PROTOCOLS:
        return None
    name, service = f"{protocol}/{number}", port.get("service")
    if service is None:
        return name, Seen(port.get("state", ""), time=time, scan_id=scan_id)
    script = port.get("script")
    return name, Seen(
        port.get("state", ""),
        service.get("name", "") if service.get("method") == "probed" else "",
        service.get("product", ""),
        service.get("version", ""),
        certificate_sha256(script) if script else "",
        time,
        scan_id,
    )


def sight(
    vantage: str,
    scan_id: str,
    time: str,
    host: dict[str, Any],
    body: dict[str, Any],
    network: str,
    scanned: list[dict[str, Any]],
    ports: dict[str, Seen],
    packed: bytes = NO_PORTS,
) -> Sight | None:
    """Return what a scan says of a host; None when it says nothing of a host that can be told from others.

    Args:
        vantage: network position of the scanner.
        scan_id: the scan.
        time: of the host's record.
        host: its ECS facts.
        body: its `nmap.host`.
        network: the one it is in, empty for none.
        scanned: `nmap.host.port.scanned`.
        ports: those with a record; not those that are `packed`.
        packed: open ones, as Asset has them.
    """
    state = body.get("state", "")
    if state in NO_STATES or not (host.get("ip") or host.get("mac")):
        return None
    ip = next(iter(host.get("ip", ())), "")
    asset = Asset(vantage, host["id"], ip, host["name"], state == "up", time, scan_id, packed)
    if found := {name: port for name, port in ports.items() if port.state == OPEN}:
        asset.ports = found
    return Sight(
        asset,
        sure=not body.get("damaged") and not body.get("timed_out"),
        answered=body.get("reason") != "user-set" or bool(found) or packed != NO_PORTS,
        network=network,
        scanned=scanned,
        groups=body.get("port", {}).get("group", []),
        others={name: port for name, port in ports.items() if port.state != OPEN},
    )


def record(
    context: Context, change: Change, timestamp: str, source: str, facts: dict[str, Any], ordinal: int | None = None
) -> bytes:
    """Return a change record as canonical JSON.

    Args:
        context: the scan that showed it.
        change: what changed.
        timestamp: when the scan saw it.
        source: what that time was taken from.
        facts: ECS facts of the host: id, name, ip, mac.
        ordinal: the host's place in the scan, None for one that is not in it.
    """
    label = f"{facts['name']} ({ip})" if (ip := next(iter(facts.get("ip", ())), "")) else facts["name"]
    subject = f"{change.port} on {label}" if change.port else label
    difference = {name: _facts(side) for name, side in (("before", change.before), ("after", change.after)) if side}
    difference.get("after", {}).pop("time", None)
    difference.get("after", {}).pop("scan_id", None)
    nmap: dict[str, Any] = {
        "scan": context.scan,
        "time": {"source": source},
        "change": difference,
    }
    if ordinal is not None:
        nmap["host"] = {"ordinal": ordinal}
    key = f"{change.action} {change.port}" if change.port else f"{change.action} {facts['id']}"
    result: dict[str, Any] = {
        "@timestamp": timestamp,
        "event": EVENT
        | {
            "action": change.action,
            "category": ["host", "network"] if change.port else ["host"],
            "dataset": "nmap.change",
            "id": EventId(context.scan_id, "change")("" if ordinal is None else ordinal, key),
        },
        "host": facts,
        "message": f"{subject} {WORDS[change.action]}{_how(change)}",
        "nmap": nmap,
        "observer": context.observer,
    } | context.stream("change")
    if ip:
        result["related"] = {"ip": facts["ip"]}
        result["destination"] = {"ip": ip}
        result["network"] = {"type": "ipv4" if IPV4.fullmatch(ip) else "ipv6"}
        nmap["target"] = context.target(ip)
    if change.port:
        protocol, _, number = change.port.partition("/")
        nmap["port"] = {"protocol": protocol, "number": int(number)}
        if protocol != "ip":
            result.setdefault("network", {})["transport"] = protocol
            result.setdefault("destination", {})["port"] = int(number)
    return fit.line(result)


def _facts(side: Seen) -> dict[str, str]:
    return {name: value for name, value in side._asdict().items() if value}


def _how(change: Change) -> str:
    """Return the two sides for the message, where they say more than the action does."""
    if change.action == "service-changed" and change.before and change.after:
        before, after = (
            " ".join(filter(None, (side.service, side.product, side.version))) for side in (change.before, change.after)
        )
        return f": {before} became {after}"[: fit.SHORT]
    if change.action == "port-closed" and change.after:
        return f": {change.after.state}"
    return ""


def host_facts(asset: Asset) -> dict[str, Any]:
    """Return the ECS facts of an asset that is known only from the history."""
    facts: dict[str, Any] = {"id": asset.host_id, "name": asset.name}
    if asset.ip:
        facts["ip"] = [asset.ip]
    return facts


def tombstone(port: str, change: Change) -> dict[str, Any]:
    """Return nmap.port of a port that was open before, was covered by the scan, and is open no more."""
    protocol, _, number = port.partition("/")
    found = {"protocol": protocol, "number": int(number), "tombstone": True}
    if change.after:
        found["state"] = change.after.state
    if change.reason:
        found["reason"] = change.reason
    return found
