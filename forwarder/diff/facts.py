"""What is compared of a host: the same plain dict whether it comes from XML or from sealed records.

Left out is what differs from one scan to the next without meaning anything: reasons and their TTLs, round-trip times,
uptime, sequence numbers, accuracies, service fingerprints.
"""

from __future__ import annotations

from typing import Any, Final

from forwarder.ecs.ports import UNREMARKABLE
from forwarder.nmap import ranges

Facts = dict[str, Any]
NOT_COMPARED: Final = frozenset({"method", "confidence", "fingerprint"})
"""Of a service: how sure nmap is, not what it found."""
REMARKABLE: Final = frozenset({"product", "version", "extra_info"})
"""What nmap knows of a service only when it has answered."""


def of_host(
    body: dict[str, Any],
    script: dict[str, Any],
    ports: list[dict[str, Any]],
    groups: list[dict[str, Any]],
    scanned: list[dict[str, Any]],
) -> Facts:
    """Return what is compared of a host.

    Args:
        body: `nmap.host` of its record, or what the reader gives.
        script: results of its host scripts.
        ports: `nmap.port` of those with a record, each with its `script`.
        groups: `nmap.host.port.group`: the ports without a record.
        scanned: the port lists of the scan.

    Returns:
        `state`; `hostnames`, `addresses`, `macs`, `os`: sorted texts; `ports`: `tcp/22` → {state, service, owner?,
        scripts?}; `scripts`: id → {output, table?}; `not_shown`: a list of {state, protocol?, count, ports?}.
    """
    listed, boring = {}, []
    for port in ports:
        number, protocol, state = port.get("number"), port.get("protocol"), port.get("state", "")
        if number is None or not protocol or state in UNREMARKABLE:
            continue  # the groups have the unremarkable ones
        service, results = port.get("service", {}), of_scripts(port.get("script", {}))
        if state != "open" and not results and not REMARKABLE & service.keys():
            boring.append({"state": state, "protocol": protocol, "count": 1, "ports": str(number)})
            continue
        listed[f"{protocol}/{number}"] = _port(port, service, results)
    addresses = body.get("address", [])
    return {
        "state": body.get("state", ""),
        "hostnames": sorted({_name(entry) for entry in body.get("hostname", []) if entry.get("name")}),
        "addresses": sorted({entry["addr"] for entry in addresses if entry["type"] != "mac"}),
        "macs": sorted({entry["addr"] for entry in addresses if entry["type"] == "mac"}),
        "os": _os(body.get("os", {})),
        "ports": listed,
        "scripts": of_scripts(script),
        "not_shown": _not_shown(groups + boring, scanned),
    }


def address(facts: Facts) -> str:
    """Return what a host is known by in both scans: its first IPv4 address, else IPv6, else MAC."""
    ips = facts["addresses"]
    return next((ip for ip in ips if ":" not in ip), "") or next(iter(ips or facts["macs"]), "unknown")


def of_scripts(script: dict[str, Any]) -> dict[str, Any]:
    """Return script results by id: {output, table?}; what comes twice under one id is joined."""
    found: dict[str, Any] = {}
    for name, output in zip(script.get("id", []), script.get("output", []), strict=False):
        if name in found:
            found[name]["output"] += f"\n{output}"
        else:
            found[name] = {"output": output}
    for result in script.get("result", []):
        if result["id"] in found:
            found[result["id"]].setdefault("table", []).extend(result["table"])
    return found


def _name(entry: dict[str, str]) -> str:
    name = entry["name"].lower().rstrip(".")
    return f"{name} ({entry['type']})" if "type" in entry else name


def _port(port: dict[str, Any], service: dict[str, Any], results: dict[str, Any]) -> Facts:
    found: Facts = {
        "state": port.get("state", ""),
        "service": {key: value for key, value in service.items() if key not in NOT_COMPARED},
    }
    if owner := port.get("owner"):
        found["owner"] = owner
    if results:
        found["scripts"] = results
    return found


def _os(os: dict[str, Any]) -> list[str]:
    """Return the names of all matches; those of the classes where an old nmap gives no match."""
    if names := {match["name"] for match in os.get("match", []) if "name" in match}:
        return sorted(names)
    keys = ("vendor", "family", "generation")
    return sorted({" ".join(filter(None, map(each.get, keys))) for each in os.get("class", [])})


def _not_shown(groups: list[dict[str, Any]], scanned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the groups without their reasons, one for each state and protocol.

    An old nmap names no protocol; it goes without saying when only one was scanned, or only one is ever named.
    """
    protocols = {entry["protocol"] for entry in scanned or groups if "protocol" in entry}
    only = protocols.pop() if len(protocols) == 1 else ""
    totals = {group.get("state") for group in groups if "reason" not in group}
    merged: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for group in groups:
        state = group.get("state", "")
        if "ports" in group or "reason" not in group or state not in totals:  # else the total holds it
            merged.setdefault((state, group.get("protocol") or only), []).append(group)
    return [_merged(state, protocol, parts) for (state, protocol), parts in sorted(merged.items())]


def _merged(state: str, protocol: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"state": state, "count": sum(part.get("count", 0) for part in parts)}
    if protocol:
        found["protocol"] = protocol
    texts = [part.get("ports", "") for part in parts]
    if len(texts) == 1:
        text = texts[0]
    else:
        lists = [ranges.ports(text) for text in texts]
        text = ranges.write(port for ports in lists for port in ports) if all(lists) else ""
    if text:
        found["ports"] = text
    return found
