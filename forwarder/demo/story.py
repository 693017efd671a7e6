"""What happens in the company: the days as usual, and what is planted at their end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson

from forwarder.demo.company import NETWORKS, SERVICES, USERS, Machine, machines, xml
from forwarder.demo.documents import Desk, Document, Run, Scanner
from forwarder.ecs import seals
from forwarder.reading import options
from forwarder.seal.manifest import timestamp

Marks = dict[str, list[Any]]
"""Rule → what it must find: ids of documents; of rules that aggregate, the values of what they group by."""
SCHEDULED: Final = "-sS -sV --script ssl-cert,http-title,vulners,ssh-hostkey -p 1-10000 -oX {out} {net}"
USUAL: Final = "-sS -p 1-10000 -oX {out} {net}"
DETECTIONS: Final = (
    ("Rare service", "its network had not shown the service in 30 days", 47, ("T1046",)),
    ("Larger than usual", "its user never asked for as many addresses", 62, ("T1595", "T1046")),
    ("Rare service", "its network had not shown the service in 30 days", 21, ("T1046",)),
    ("Unusual hour", "its user never scanned at this time of the day", 38, ("T1595",)),
    ("Rare target", "its user never scanned this network", 80, ("T1595",)),
)
"""Name, reason, score and techniques of the alerts that detectors would make."""
TECHNIQUES: Final = {
    "T1046": ("Network Service Discovery", "TA0007", "Discovery"),
    "T1595": ("Active Scanning", "TA0043", "Reconnaissance"),
}
"""Technique → its name, its tactic, the tactic's name."""
REASONS: Final = ("inventory", "patch check", "new firewall rule", "audit follow-up")


@dataclass
class Story:
    """Tells the days from `end - days` to `end`.

    Args:
        end: the time that incidents lead up to; all they bring was taken in during the last minutes before.
        days: how long the usual goes on before.
        seed: the same story for the same seed and end.
        namespace: of the data streams.
        directory: for inputs while they are read.
    """

    end: datetime
    days: int
    seed: int
    namespace: str
    directory: Path
    marks: Marks = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)  # noqa: S311 - a story, no secret
        self.start = self.end - timedelta(days=self.days)
        self.machines = machines(self.rng, self.end)
        self.desk = Desk(self.namespace, self.directory)
        self.count = 0
        self.made: Document = {}  # the newest scan of a person, which detectors tell of
        host, origin = "example.com", "example.com/nmap"
        self.main = Scanner("scanner-1", f"scanner-1.{host}", "10.20.1.5", "internal", f"{origin}/scanner1")
        self.branch = Scanner("scanner-2", f"scanner-2.{host}", "10.30.1.5", "branch", f"{origin}/scanner2")
        self.outside = Scanner("scanner-3", f"scanner-3.{host}", "198.51.100.7", "internet", f"{origin}/scanner3")
        self.lab = Scanner("scanner-lab", f"scanner-lab.{host}", "10.99.0.5", "lab", f"{origin}/lab")
        self.scanners = {"internal": self.main, "branch": self.branch, "internet": self.outside}
        self.web = next(
            machine for machine in self.machines if machine.ip.startswith("203.0.113.") and 443 in machine.ports
        )
        self.web.certificate_end = self.end - timedelta(hours=2)
        self.file = next(machine for machine in self.machines if machine.role == "file")

    def tell(self) -> Iterator[list[Document]]:
        """Yield the documents, a batch at a time, in the order in which they were taken in."""
        yield from sorted([*self._usual(), *self._planted()], key=lambda batch: batch[0]["event.ingested"])

    # --- the usual ----------------------------------------------------------------------------------------

    def _usual(self) -> Iterator[list[Document]]:
        for day in range(self.days):
            midnight = (self.start + timedelta(days=day + 1)).replace(hour=0, minute=0, second=0, microsecond=0)
            whole = midnight + timedelta(hours=20) <= self.end - timedelta(hours=3)
            if whole:
                self._drift(day)
                yield from self._scheduled(midnight, day)
                yield from self._by_people(midnight)
            for scanner in (*self.scanners.values(), self.lab):
                at = midnight + timedelta(hours=18, minutes=self.rng.randrange(60))
                silent = timedelta(hours=30) if scanner is self.lab else timedelta(minutes=40)
                if at < self.end - silent:  # whenever the story ends, none but the lab's is silent for a day
                    yield self._kept(scanner, at)
            if whole and day % 3 == 2 and self.made:
                name, why, score, techniques = DETECTIONS[day // 3 % len(DETECTIONS)]
                yield self.alert(midnight + timedelta(hours=19, minutes=40), score, name, why, techniques)

    def _drift(self, day: int) -> None:
        """Change the company a little, as companies do."""
        machine = self.rng.choice(self.machines)
        if day % 3 == 1 and machine.role != "app" and not machine.ports.pop(8080, None):
            machine.ports[8080] = SERVICES[8080]
        if day == self.days // 2:
            for one in self.machines:
                one.ports |= {port: ("http", "nginx", "1.26.1") for port in (80, 443) if port in one.ports}

    def _scheduled(self, midnight: datetime, day: int) -> Iterator[list[Document]]:
        for number, (network, (vantage, _)) in enumerate(NETWORKS.items()):
            if vantage == "branch" and day % 3:
                continue
            start = midnight + timedelta(hours=1 + number, minutes=self.rng.randrange(30))
            run = Run("svc-scan", "990", SCHEDULED, start, 300, "scheduled scan", "SEC-1000", host="", remote="")
            yield self.batch(self.scanners[vantage], run, network, scripts=True)
        if day % 2:
            start = midnight + timedelta(hours=6)
            run = Run("svc-scan", "990", USUAL, start, 60, "lab", "SEC-1000", remote="")
            if start < self.end - timedelta(hours=31):
                yield self.batch(self.lab, run, "10.99.0.0/28")

    def _by_people(self, midnight: datetime) -> Iterator[list[Document]]:
        for user in ("alice", "bob", "carol", "dana", "erik"):
            if self.rng.random() < 0.4:
                start = midnight + timedelta(hours=8 + self.rng.randrange(8), minutes=self.rng.randrange(60))
                network, (vantage, _) = self.rng.choice(list(NETWORKS.items()))
                reason, ticket = self.rng.choice(REASONS), f"SEC-{self.rng.randrange(1001, 1400)}"
                run = Run(user, USERS[user], USUAL, start, self.rng.randrange(30, 400), reason, ticket)
                yield self.batch(self.scanners[vantage], run, network)
        if midnight.day % 10 == 1:
            start = midnight + timedelta(hours=14)
            run = Run("bob", USERS["bob"], USUAL, start, 20, "patch check", "SEC-1400")
            yield self.batch(self.main, run, "10.20.1.0/24", found=[], error="out of memory")
        if midnight.day % 10 == 2:
            start = midnight + timedelta(hours=15)
            run = Run("alice", USERS["alice"], USUAL, start, 200, "was left on a laptop", "SEC-1401")
            yield self.batch(self.branch, run, "10.30.1.0/24", ingested=start + timedelta(days=2))
        if self.rng.random() < 0.1:
            start = midnight + timedelta(hours=9)
            run = Run("frank", "1010", USUAL, start, 40, "looking at a printer", policy={"scanner": "unlisted"})
            yield self.batch(self.main, run, "10.20.2.0/24")

    def batch(
        self,
        scanner: Scanner,
        run: Run,
        network: str,
        *,
        scripts: bool = False,
        found: list[Machine] | None = None,
        error: str = "",
        made: bool = True,
        ingested: datetime | None = None,
    ) -> list[Document]:
        """Return the documents of one run: the execution, and what its scan saw.

        Args:
            scanner: where.
            run: what.
            network: targets.
            scripts: whether scripts ran.
            found: machines that are up, by default those of the network.
            error: why nmap failed, if it did.
            made: whether an execution is known of.
            ingested: when they were taken in, by default ten minutes after the end.
        """
        self.count += 1
        out = "/dev/null" if run.output == "discarded" else f"/var/spool/nmap/{self.count:06}.xml"
        run = replace(run, args=run.args.format(out=out, net=network))
        end = run.start + timedelta(seconds=run.seconds)
        item, documents = self.desk.execution(scanner, run, self.count)
        if run.output not in {"missing", "discarded"} and not run.refused:
            up = found if found is not None else self.inside(network)
            total = sum(ip_network(part).num_addresses for part in network.split())
            text = xml(
                f"nmap {run.args}", run.start, end, up, total, scripts=scripts, version=scanner.version, error=error
            )
            documents = documents if made else []
            scanned = self.desk.scan(scanner, run, item if made else None, text)
            if made and up and run.user != "svc-scan" and run.ticket:
                self.made = next(one for one in scanned if one["event"]["dataset"] == "nmap.scan")
            documents += scanned
        return self.desk.delivered(documents, scanner, ingested or end + timedelta(minutes=10))

    def inside(self, networks: str) -> list[Machine]:
        """Return the machines in networks."""
        ranges = [ip_network(part) for part in networks.split()]
        return [machine for machine in self.machines if any(ip_address(machine.ip) in one for one in ranges)]

    def _kept(self, scanner: Scanner, at: datetime) -> list[Document]:
        """Return a day's records of the archive: a verification, a heartbeat."""
        look = options(self.desk.settings(scanner))
        found = [seals.heartbeat(look, scanner.origin, scanner.batches, timestamp(at))]
        if scanner is not self.branch or at < self.end - timedelta(days=12):
            found += seals.verification(look, verdict(scanner, at), scanner.batches)
        return self.desk.delivered([parsed(line) for line in found], scanner, at + timedelta(minutes=5))

    def alert(self, at: datetime, score: int, name: str, why: str, techniques: tuple[str, ...]) -> list[Document]:
        """Return an alert of a detector about the scan that a person made last."""
        self.count += 1
        scan = self.made
        tactics = {TECHNIQUES[one][1]: TECHNIQUES[one][2] for one in techniques}
        record: Document = {
            "@timestamp": timestamp(at),
            "data_stream": {"dataset": "nmap.alert", "namespace": self.namespace, "type": "logs"},
            "ecs": {"version": "8.17.0"},
            "event": {
                "category": ["intrusion_detection"],
                "dataset": "nmap.alert",
                "end": scan["event"]["end"],
                "id": sha256(f"alert {self.count} {at}".encode()).hexdigest(),
                "kind": "alert",
                "module": "nmap",
                "provider": "nmap-forwarder",
                "reason": scan["event"]["reason"],
                "risk_score": float(score),
                "severity": score,
                "start": scan["event"]["start"],
                "type": ["info"],
            },
            "labels": scan["labels"],
            "message": f"{name}: {why} ({scan['process']['command_line']})",
            "nmap": {
                "scan": {"id": scan["nmap"]["scan"]["id"], "vantage": scan["nmap"]["scan"]["vantage"]},
                "target": scan["nmap"]["target"],
            },
            "observer": {"name": scan["observer"]["name"]},
            "rule": {"id": name.lower().replace(" ", "-"), "name": name, "description": why},
            "threat": {
                "framework": "MITRE ATT&CK",
                "tactic": {"id": [*tactics], "name": [*tactics.values()]},
                "technique": {"id": [*techniques], "name": [TECHNIQUES[one][0] for one in techniques]},
            },
            "user": {"name": scan["user"]["name"]},
        }
        return self.desk.delivered([record], self.main, at + timedelta(minutes=2))

    def _planted(self) -> Iterator[list[Document]]:
        from forwarder.demo.incidents import planted  # noqa: PLC0415

        return planted(self)


def parsed(line: bytes) -> Document:
    """Return a record from its line."""
    found: Document = orjson.loads(line)
    return found


def verdict(scanner: Scanner, at: datetime, *findings: dict[str, str]) -> dict[str, Any]:
    """Return what a verification leaves, with (code, message) of its findings."""
    return {
        "time": timestamp(at),
        "origin": scanner.origin,
        "batches": scanner.batches,
        "size": scanner.batches,
        "count": len(findings),
        "warnings": 0,
        "findings": list(findings),
    }
