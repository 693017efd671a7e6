"""Documents as a forwarder of the company would deliver them, made by the makers of our own records."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import zstandard

from forwarder import reading
from forwarder.archive.interface import Receipt
from forwarder.attribute.model import Answer, Known, Subject, known
from forwarder.audit.interface import Execution, Finding, Output, User
from forwarder.config import Settings
from forwarder.deliver.document import BACKFILL
from forwarder.demo.company import OWNERS
from forwarder.ecs import attribution, audit, seals
from forwarder.ecs.context import Attributed
from forwarder.history import Asset
from forwarder.ledger import Batch, Input
from forwarder.nmap import command
from forwarder.nmap.targets import Range
from forwarder.seal.manifest import timestamp

Document = dict[str, Any]
UNKNOWN = Answer("none", ("no execution found",))


@dataclass
class Scanner:
    """A machine that scans, with its forwarder and log."""

    name: str
    host: str
    """Its full name."""
    ip: str
    vantage: str
    origin: str
    """Of its forwarder's log."""
    version: str = "7.95"
    batches: int = 0
    records: int = 0
    newest: int = 0
    """Records of the newest batch."""


@dataclass
class Run:
    """One execution of nmap, and what it is to say of itself."""

    user: str
    number: str
    args: str
    """Without the program."""
    start: datetime
    seconds: int = 120
    reason: str = "inventory"
    ticket: str = "SEC-1001"
    remote: str = "10.20.2.10"
    host: str = ""
    """Where it ran, if not on the scanner."""
    output: str = "met"
    """nmap.attribution.output."""
    refused: bool = False
    policy: dict[str, Any] = field(default_factory=dict)
    """Members of nmap.policy that are not as usual."""
    diverges_from: str = ""
    """Id of the scan that its result begins like, but is not."""


class Desk:
    """Makes documents, and knows the assets as they were seen last.

    Args:
        namespace: of the data streams.
        directory: for inputs while they are read.
    """

    def __init__(self, namespace: str, directory: Path) -> None:
        self._namespace = namespace
        self._directory = directory
        self._assets: dict[tuple[str, str], Asset] = {}
        self._owners = directory / "owners.csv"
        self._owners.write_text(OWNERS, encoding="utf-8")

    def settings(self, scanner: Scanner) -> Settings:
        """Return the settings of a scanner's forwarder."""
        flags = {
            "namespace": self._namespace,
            "observer_name": scanner.name,
            "observer_ip": scanner.ip,
            "scan_vantage": scanner.vantage,
            "target_owners": str(self._owners),
        }
        return Settings(flags, "/dev/null", {})

    def execution(self, scanner: Scanner, run: Run, number: int) -> tuple[Known, list[Document]]:
        """Return an execution, and its record."""
        look = reading.options(self.settings(scanner))
        argv = ("nmap", *shlex.split(run.args))
        path = next((word for option, word in pairwise(argv) if option == "-oX"), "")
        state = {"missing": "missing", "discarded": "discarded"}.get(run.output, "present")
        whole = Execution(
            source="auditd",
            identity=f"{run.start.timestamp():.3f}:{number}",
            argv=argv,
            start=timestamp(run.start),
            end=timestamp(run.start + timedelta(seconds=run.seconds)),
            host=run.host or scanner.host,
            cwd=f"/home/{run.user}",
            executable="/usr/bin/nmap",
            pid=2000 + number % 60000,
            ppid=1900,
            login=User(run.number, run.user),
            real=User("0", "root"),
            effective=User("0", "root"),
            remote_ip=run.remote,
            interactive=run.user != "svc-scan",
            parent_executable="/usr/bin/bash",
            parent_command_line="-bash",
            exit_code=None if run.refused else 0,
            reason=run.reason,
            ticket=run.ticket,
            outputs=(Output(path, "xml", state),) if path else (),
            policy_action="refused" if run.refused else "",
        )
        item = known(whole)
        parsed = command.parse(argv, at=run.start.timestamp())
        said = audit.Command(argv, scan=self._scan(parsed, run), policy=self._policy(run))
        link = audit.Link("final", run.output, Answer("exact", ("output-hash",), (item.entity_id,), 1))
        if run.output in {"missing", "discarded"} or run.refused:
            link = audit.Link("final", "" if run.refused else run.output)
        identity = audit.event_id(whole.source, whole.host, whole.identity)
        return item, [orjson.loads(audit.record(look, item, said, link, identity))]

    @staticmethod
    def _scan(parsed: command.Command, run: Run) -> dict[str, Any]:
        return command.facts(parsed) | {"hour": run.start.hour, "weekday": run.start.isoweekday()}

    @staticmethod
    def _policy(run: Run) -> dict[str, Any]:
        usual = {"action": "allowed", "scope": "inside", "scanner": "listed", "hours": "working"}
        return usual | run.policy | ({"action": "refused", "reason": ["outside-scope"]} if run.refused else {})

    def scan(self, scanner: Scanner, run: Run, item: Known | None, xml: str) -> list[Document]:
        """Return the records of a scan's XML; without an execution, of one that nobody is known to have made."""
        data = xml.encode()
        copy = self._directory / "scan.zst"
        copy.write_bytes(zstandard.compress(data, 1))
        digest = sha256(data).hexdigest()
        end = run.start + timedelta(seconds=run.seconds)
        source = Input(digest, len(data), "", 0, f"/var/spool/nmap/{digest[:12]}.xml", timestamp(end), owner=run.user)
        found: list[Document] = []
        policy = self._policy(run)

        def attribute(_: Subject) -> Attributed:
            if item is None:
                return attribution.attributed(audit.Link("final", "unclaimed", UNKNOWN), [], {})
            answer = Answer("exact", ("output-hash",), (item.entity_id,), 1)
            return attribution.attributed(audit.Link("final", "met", answer), [item], policy)

        def add(line: bytes) -> bool:
            found.append(orjson.loads(line))
            return False

        def observed(asset: Asset) -> None:
            self._assets[asset.vantage, asset.host_id] = asset

        sink = reading.Sink(
            add,
            lambda _: None,
            lambda _: None,
            lambda: False,
            lambda: None,
            lambda _: None,
            lambda vantage, name: self._assets.get((vantage, name)),
            observed,
            self._up,
            attribute,
        )
        reading.read_input(source, copy, self.settings(scanner), sink, lambda _: None)
        parsed = command.parse(("nmap", *shlex.split(run.args)), at=run.start.timestamp())
        for document in found:
            if document["event"]["dataset"] == "nmap.scan":
                document["nmap"]["scan"] = self._scan(parsed, run) | document["nmap"]["scan"]
                document["nmap"]["policy"] = policy
                if run.diverges_from:
                    document["nmap"]["scan"]["diverges_from"] = run.diverges_from
        return found

    def _up(self, vantage: str, addresses: Range, *_: str) -> Iterator[Asset]:
        low, high = addresses
        for asset in list(self._assets.values()):
            if (
                asset.vantage == vantage
                and asset.up
                and asset.ip
                and int(low) <= int(ip_address(asset.ip)) <= int(high)
            ):
                yield asset

    def finding(self, scanner: Scanner, action: str, message: str, time: datetime, path: str) -> list[Document]:
        """Return the record of something remarkable about audit evidence."""
        look = reading.options(self.settings(scanner))
        found = Finding(action, message, timestamp(time), path, 1 << 20, f"{time:%FT%T}")
        return [orjson.loads(audit.finding(look, found, audit.finding_id(found), []))]

    def delivered(self, documents: list[Document], scanner: Scanner, ingested: datetime) -> list[Document]:
        """Return records with what sealing and delivery add; they are one batch of the scanner's log.

        Like a forwarder's, the batch also tells what keeps the one before it.
        """
        created = ingested - timedelta(seconds=20)
        if scanner.batches:
            documents = [*documents, self._anchor(scanner, created)]
        manifest = _manifest(scanner, scanner.batches)
        late = timestamp(created - BACKFILL)
        for index, document in enumerate(documents):
            line = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
            document |= {
                "agent.id": sha256(scanner.origin.encode()).hexdigest()[:16],
                "agent.name": scanner.host,
                "agent.type": "nmap-forwarder",
                "agent.version": "0.1.0",
                "event.created": timestamp(created),
                "event.hash": sha256(line).hexdigest(),
                "event.ingested": timestamp(ingested),
                "event.sequence": scanner.records + index,
                "nmap.seal.anchor": "none" if scanner.batches % 50 == 49 else "s3:example-archive",
                "nmap.seal.batch": scanner.batches,
                "nmap.seal.index": index,
                "nmap.seal.manifest": manifest,
                "nmap.seal.origin": scanner.origin,
            }
            if document["@timestamp"] < late:
                document["nmap.backfill"] = True
        scanner.newest = len(documents)
        scanner.records += len(documents)
        scanner.batches += 1
        return documents

    def _anchor(self, scanner: Scanner, at: datetime) -> Document:
        """Return the record of what keeps the newest batch of a scanner's log."""
        number, root = scanner.batches - 1, sha256(f"{scanner.origin} root {scanner.batches}".encode())
        key = f"nmap/{scanner.origin}/batches/{number:020}/manifest.json"
        until = at + timedelta(days=45 if scanner.vantage == "lab" else 400)
        receipt = Receipt("example-archive", key, root.hexdigest()[:32], "COMPLIANCE", until)
        first = scanner.records - scanner.newest
        batch = Batch(number, _manifest(scanner, number), first, scanner.newest, timestamp(at), "anchored")
        look = reading.options(self.settings(scanner))
        record = seals.record(look, scanner.origin, batch, root.digest(), receipt, timestamp(at))
        found: Document = orjson.loads(record)
        return found


def _manifest(scanner: Scanner, batch: int) -> str:
    return sha256(f"{scanner.origin} {batch}".encode()).hexdigest()
