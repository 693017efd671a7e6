"""Scan records."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePath
from typing import Any, Final

from forwarder.ecs import attribution, commands, fit
from forwarder.ecs.context import Context, Options
from forwarder.ecs.identity import EventId
from forwarder.ecs.tally import Tally
from forwarder.nmap import ranges
from forwarder.nmap.argline import split
from forwarder.nmap.command import parse
from forwarder.nmap.mask import mask, mask_line

COVERED: Final = ("tcp", "udp", "sctp", "ip")
NANOSECONDS: Final = 1_000_000_000
LONGEST: Final = 2**53 // NANOSECONDS
"""Seconds (104 days) whose nanoseconds are a number in canonical JSON; start and end tell of a longer scan."""


def record(context: Context, tally: Tally, supersedes: str = "", diverges_from: str = "") -> tuple[str, bytes]:
    """Make the record of one scan.

    Args:
        context: the scan.
        tally: totals over all its hosts.
        supersedes: event.id of the record made when less of the scan was there.
        diverges_from: the known scan that this one begins like, but is not.

    Returns:
        (event.id, canonical JSON).
    """
    document = context.document
    facts = dict(document.run.facts)
    asked, policy = _asked(context, facts)
    facts |= asked
    identity = EventId(context.scan_id, "scan")(
        "" if document.open_host is None else document.open_host, n=document.length
    )
    outcome = "unknown" if document.cut else "failure" if facts.get("exit") == "error" else "success"
    event: dict[str, Any] = {
        "action": {"unknown": "scan-incomplete", "failure": "scan-failed", "success": "scan-completed"}[outcome],
        "category": ["network"],
        "dataset": "nmap.scan",
        "id": identity,
        "kind": "event",
        "module": "nmap",
        "outcome": outcome,
        "provider": "nmap",
        "type": ["info"],
    }
    event |= _times(facts, tally, cut=bool(document.cut))
    source, timestamp = _timestamp(context, facts, tally)
    nmap: dict[str, Any] = {"scan": _scan(context, facts, tally), "time": {"source": source}}
    if supersedes:
        nmap["scan"]["supersedes"] = supersedes
    if diverges_from:
        nmap["scan"]["diverges_from"] = diverges_from
    if policy:
        nmap["policy"] = policy
    if tally.networks:
        nmap["target"] = {"network": list(tally.networks)}
    if scripts := document.run.scripts():
        nmap["script"] = scripts
    if odd := document.run.odd:
        nmap["unparsed"] = odd
    if dropped := document.run.dropped:
        names = ("nmap.script" if name == "script" else f"nmap.scan.{name}" for name in dropped)
        nmap["truncated"] = sorted(names)
    result = {
        "@timestamp": timestamp,
        "event": event,
        "file": _file(context),
        "message": _message(facts, tally, document.cut),
        "nmap": nmap,
        "observer": context.observer,
        "related": {"hash": [context.origin.sha256]},
    } | context.stream("scan")
    if args := facts.get("args"):
        result["process"] = {"command_line": args, "name": facts.get("scanner", "nmap")}
    if error := facts.get("error"):
        result["error"] = {"message": error}
    return identity, fit.line(attribution.merged(result, context.who))


def _scan(context: Context, facts: dict[str, Any], tally: Tally) -> dict[str, Any]:
    """Return nmap.scan: nmap's facts, and ours about its file."""
    document = context.document
    scan = facts | {
        "id": context.scan_id,
        "vantage": context.options.vantage,
        "complete": not document.cut,
        "document": {"index": document.index, "offset": document.start, "bytes": document.length},
        "hosts": facts.get("hosts", {})
        | {
            "recorded": tally.hosts,
            "recorded_up": tally.up,
            "damaged": tally.damaged,
        },
        "open_ports": tally.open_ports,
    }
    if document.cut:
        scan["incomplete_reason"] = document.cut
    if document.run.damage:
        scan["damage"] = document.run.damage
    if types := sorted({entry["type"] for entry in facts.get("info", []) if "type" in entry}):
        scan["type"] = types
    covered = {
        entry["protocol"]: [{"gte": low, "lte": high} for low, high in zip(found.first, found.last, strict=True)]
        for entry in facts.get("info", [])
        if entry.get("protocol") in COVERED and (found := ranges.parse(entry.get("ports", "")))
    }
    if covered:
        scan["covered"] = covered
    return scan


def _asked(context: Context, facts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return members of (nmap.scan, nmap.policy) that the command line and the time of the scan tell."""
    options = context.options
    scan, policy = commands.times(facts.get("start", ""), options)
    if skipped := facts.get("target"):
        scan["target"] = [_masked(entry, options) for entry in skipped]
    args = facts.get("args", "")
    if args and facts.get("scanner", "nmap") == "nmap":
        scan |= commands.of_args(args, options)
        policy |= commands.scope(parse(split(args)), options.policy)
    elif args:
        scan["args"], masked = mask_line(args, options.mask)
        scan |= {"masked": masked} if masked else {}
    return scan, policy


def _masked(target: dict[str, Any], options: Options) -> dict[str, Any]:
    """Return a target that nmap passed over, which may be a URL with a password."""
    typed = target.get("specification", "")
    return target | {"specification": mask(["", typed], options.mask)[0][1]} if typed else target


def _timestamp(context: Context, facts: dict[str, Any], tally: Tally) -> tuple[str, str]:
    """Return (nmap.time.source, @timestamp): the scan's end, or as late as a cut one lets us see."""
    if "finish" not in facts and tally.last_end:
        return "last-host-end", tally.last_end
    return context.time["source"], context.time["value"]


def _times(facts: dict[str, Any], tally: Tally, *, cut: bool) -> dict[str, Any]:
    """Return event.start, end and duration."""
    times = {}
    start, end = facts.get("start"), facts.get("finish") or (tally.last_end if cut else "")
    if start:
        times["start"] = start
    if end:
        times["end"] = end
    if start and end:
        seconds = int((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
        if 0 <= seconds <= LONGEST:
            times["duration"] = seconds * NANOSECONDS
    return times


def _file(context: Context) -> dict[str, Any]:
    """Return the input that the record was made from."""
    origin = context.origin
    found: dict[str, Any] = {"hash": {"sha256": origin.sha256}, "size": origin.size}
    if origin.path:
        path = PurePath(origin.path)
        found |= {"path": origin.path, "name": path.name, "directory": str(path.parent)}
    if origin.uid:
        found["uid"] = origin.uid
    if origin.owner:
        found["owner"] = origin.owner
    return found


def _message(facts: dict[str, Any], tally: Tally, cut: str) -> str:
    what = facts.get("args") or facts.get("scanner", "nmap")
    how = f"incomplete ({cut})" if cut else facts.get("error") or "complete"
    return f"{what[: fit.SHORT]}: {tally.up} hosts up, {tally.open_ports} open ports, {how[: fit.SHORT]}"
