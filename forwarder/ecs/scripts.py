"""Real fields for what NSE scripts found; their own words stay beside them in nmap.script."""

from __future__ import annotations

from typing import Any, Final

from forwarder.ecs import fit
from forwarder.nse import smb
from forwarder.nse.finding import Finding
from forwarder.nse.registry import read
from forwarder.nse.results import MAX_VALUES, Facts

PORT: Final = ("tls", "ssh", "http", "login")
"""Families whose facts go under nmap.* of a port as they are."""
HOST: Final = ("smb", "login")
"""Likewise of a host."""
TRUNCATED: Final = "nmap.vulnerability"
"""What nmap.truncated of a port or host names when there are more findings than get records."""


def add(record: dict[str, Any], facts: Facts | None = None) -> list[Finding]:
    """Add what scripts found to a port or host record; return the findings that get records of their own.

    Args:
        record: has `nmap.script`, and `nmap.port` if it is a port's.
        facts: what they found, if it was read already.
    """
    facts = read(record["nmap"]["script"]) if facts is None else facts
    if not facts:
        return []
    if "port" in record["nmap"]:
        _port(record, facts)
    else:
        _host(record, facts)
    found: list[Finding] = facts.get("vulnerability", {}).get("finding", [])
    return found


def within(facts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return those facts of a port that go under its `nmap`."""
    found = {family: facts[family] for family in PORT if facts.get(family)}
    if keys := found.get("ssh", {}).get("host_key"):
        found["ssh"]["host_key"] = [
            {name: value for name, value in zip(key._fields, key, strict=True) if value not in {"", None}}
            for key in keys
        ]
    return found


def _port(record: dict[str, Any], facts: dict[str, dict[str, Any]]) -> None:
    record["nmap"] |= within(facts)
    if certificate := facts.get("certificate"):
        record["tls"] = {"server": _server(certificate)}
        if digest := certificate.get("hash", {}).get("sha256"):
            record["related"] = fit.opened(record["related"]) | {"hash": [digest]}


def _server(certificate: dict[str, Any]) -> dict[str, Any]:
    """Return tls.server: what x509 has, and the few that ECS has beside it for older readers."""
    x509 = {name: value for name, value in certificate.items() if name != "hash"}
    server: dict[str, Any] = {name: x509[name] for name in ("not_before", "not_after") if name in x509}
    for name in ("subject", "issuer"):
        if name in x509:
            server[name] = x509[name]["distinguished_name"]
    if "hash" in certificate:
        server["hash"] = certificate["hash"]
    if x509:
        server["x509"] = x509
    return server


def _host(record: dict[str, Any], facts: dict[str, dict[str, Any]]) -> None:
    nmap = record["nmap"]
    if known := {**facts.get("netbios", {}), **facts.get("smb", {})}:  # what SMB says of a name goes further
        if ways := known.get("signing"):
            known["signing"] = min(ways, key=smb.SIGNING.index)
        facts["smb"] = known
        if "domain" in known:
            record["host"]["domain"] = known["domain"]
    for family in HOST:
        if found := facts.get(family):
            nmap[family] = found


def limited(record: dict[str, Any], found: list[Finding], left: int) -> list[Finding]:
    """Return as many findings of a record as get records of their own, and mark the record when that is not all.

    Args:
        record: the port or host.
        found: its findings.
        left: how many its host may still have.
    """
    most = min(left, MAX_VALUES)
    if len(found) > most:
        record["nmap"]["truncated"] = [TRUNCATED]
    return found[:most]
