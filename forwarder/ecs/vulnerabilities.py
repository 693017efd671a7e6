"""Vulnerability records: one for each finding of a script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from forwarder.ecs import fit, scripts
from forwarder.ecs.context import Context
from forwarder.ecs.identity import EventId
from forwarder.nmap.values import IPV4
from forwarder.nse.finding import Finding
from forwarder.nse.results import Facts

MAX_FINDINGS: Final = 50_000
"""Records of findings for one host; the keys of all of them are kept while its records are made."""
EVENT: Final = {
    "category": ["vulnerability"],
    "dataset": "nmap.vulnerability",
    "kind": "state",
    "module": "nmap",
    "provider": "nmap",
    "type": ["info"],
}
SHARED: Final = ("@timestamp", "destination", "host", "network", "observer", "service", "source")
"""Members that a finding has in common with the port or host it is about."""
CATEGORIES: Final = {"cpe:/a": "Application", "cpe:/o": "Operating System", "cpe:/h": "Hardware"}
"""How a CPE name begins → what the product is."""
IDENTITY: Final = ("id", "ip", "mac", "name")
"""Facts of a host that other records have of it, too."""


class Findings:
    """Makes the records of what scripts found on one host.

    Args:
        context: the scan.
        ordinal: the host's place in it.
        label: the host for people.
    """

    def __init__(self, context: Context, ordinal: int, label: str) -> None:
        self._context = context
        self._ordinal = ordinal
        self._id = EventId(context.scan_id, "vulnerability")
        self._label = label
        self._keys: dict[str, int] = {}
        """Key of event.id → its highest n. Whatever a script names its findings, none has the id of another."""
        self._made = 0

    def of(self, record: dict[str, Any], port: str = "", facts: Facts | None = None) -> Iterator[bytes] | None:
        """Put what scripts found into the fields of a record; return the records of their findings, None for none.

        Args:
            record: of a port or the host, with `nmap.script`.
            port: `<protocol>/<portid>` of a port.
            facts: what scripts found, if it was read already.
        """
        related = record["related"]
        found = scripts.limited(record, scripts.add(record, facts), MAX_FINDINGS - self._made)
        if not found:
            return None
        self._made += len(found)
        common = self._common(record) | {"related": related}
        return (fit.line(self._record(common, finding, port)) for finding in found)

    def _common(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the members that all findings of a record share."""
        common = {name: record[name] for name in SHARED if name in record} | self._context.stream("vulnerability")
        known = record["nmap"]
        nmap = {name: known[name] for name in ("scan", "target", "time")} | {"host": {"ordinal": self._ordinal}}
        if "port" in known:
            nmap["port"] = {name: known["port"][name] for name in ("protocol", "number") if name in known["port"]}
        else:
            host = record["host"]
            common["host"] = {name: host[name] for name in IDENTITY if name in host}
            if ip := next(iter(host.get("ip", ())), ""):
                common["destination"] = {"ip": ip}
                common["network"] = {"type": "ipv4" if IPV4.fullmatch(ip) else "ipv6"}
            if source := self._context.options.observer_ip:
                common["source"] = {"ip": source}
        return common | {"nmap": nmap}

    def _record(self, common: dict[str, Any], finding: Finding, port: str) -> dict[str, Any]:
        key = f"{port} {finding.script} {finding.id}" if port else f"{finding.script} {finding.id}"
        n = self._keys[key] = self._keys.get(key, -1) + 1
        nmap = common["nmap"] | {
            "vulnerability": _present(
                disclosed=finding.disclosed,
                exploit=finding.exploit,
                product=finding.product,
                script=finding.script,
                state=finding.state,
                title=finding.title,
            )
        }
        severity = f"({finding.severity})" if finding.severity else ""
        place = f"on {port} of {self._label}" if port else f"on {self._label}"
        words = (finding.id, severity, finding.title or finding.product, place)
        return common | {
            "event": EVENT | {"id": self._id(self._ordinal, key, n)},
            "message": " ".join(filter(None, words))[: fit.SHORT],
            "nmap": nmap,
            "vulnerability": self._facts(finding),
        }

    def _facts(self, finding: Finding) -> dict[str, Any]:
        """Return ECS's `vulnerability`."""
        found = _present(
            description=finding.description,
            enumeration=finding.enumeration,
            id=finding.id,
            reference=finding.reference,
            severity=finding.severity,
        ) | {"report_id": self._context.scan_id, "scanner": {"vendor": "nmap"}}
        if category := CATEGORIES.get(finding.product[:6]):
            found["category"] = [category]
        if finding.score is not None:
            found["classification"] = "CVSS"
            found["score"] = {"base": finding.score} | _present(version=finding.score_version)
        return found


def _present(**facts: Any) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value not in {"", None}}
