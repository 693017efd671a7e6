"""What is planted: for each detection rule something that it must find, and nothing else must."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from forwarder.demo import story as usual
from forwarder.demo.company import SERVICES, USERS, Machine
from forwarder.demo.documents import Document, Run
from forwarder.ecs import seals
from forwarder.reading import options
from forwarder.seal.manifest import timestamp

if TYPE_CHECKING:
    from forwarder.demo.story import Story

TICKET: Final = {"reason": "planned work", "ticket": "SEC-1500"}
FINDINGS: Final = {
    "seal_chain_broken": ("chain-broken", "the manifest names another previous one"),
    "anchor_missing": ("lock-missing", "it is not locked"),
    "checkpoint_rolled_back": ("cut-off", "the log once was longer"),
    "verification_failed": ("silent", "the newest batch is too old"),
}
FOUND: Final = {
    "audit_log_truncated": ("audit-log-truncated", "the log is shorter than what was read of it"),
    "spool_entry_refused": ("spool-entry-refused", "the entry's owner is not whom it names"),
}


def planted(story: Story) -> Iterator[list[Document]]:
    """Yield the documents of the incidents, a batch at a time; what rules must find is added to the story's marks."""
    plant = Planter(story)
    yield from plant.people()
    yield from plant.command_lines()
    yield from plant.outputs()
    yield from plant.findings()
    yield from plant.seals()
    yield from plant.surface()
    yield from plant.habits()
    yield from plant.others()


class Planter:
    """Plants incidents into the last minutes of a story.

    Args:
        story: the story.
    """

    def __init__(self, story: Story) -> None:
        self.story = story
        self.taken_in = story.end - timedelta(minutes=2)

    def run(self, user: str, args: str = usual.USUAL, minutes: float = 30, **facts: Any) -> Run:
        """Return an execution that began some minutes before the end."""
        start = self.story.end - timedelta(minutes=minutes)
        return Run(user, USERS.get(user, "1099"), args, start, 60, **(TICKET | facts))

    def plant(self, run: Run, network: str = "10.20.2.0/24", *rules: str, **more: Any) -> list[Document]:
        """Return the documents of a run; rules find its execution, or what `of` names."""
        of = more.pop("of", "nmap.audit")
        scanner = more.pop("scanner", self.story.main)
        documents = self.story.batch(scanner, run, network, ingested=self.taken_in, **more)
        for rule in rules:
            self.mark(rule, documents, of)
        return documents

    def mark(self, rule: str, documents: list[Document], dataset: str) -> None:
        """Say that a rule must find the documents of a dataset."""
        found = [one["event"]["id"] for one in documents if one["event"]["dataset"] == dataset]
        self.story.marks.setdefault(rule, []).extend(found)

    def people(self) -> Iterator[list[Document]]:
        """Who, why, where and when."""
        run = self.run("alice", reason="", ticket="")
        yield self.plant(run, "10.20.2.0/24", "scan_without_reason_or_ticket", of="nmap.scan")
        run = self.run("frank", policy={"scanner": "unlisted"})
        yield self.plant(run, "10.20.2.0/24", "user_not_among_scanners")
        run = self.run("alice", policy={"scope": "outside", "action": "flagged", "reason": ["outside-scope"]})
        yield self.plant(run, "192.0.2.0/28", "target_out_of_scope", found=[])
        night = self.run("bob", minutes=60 * 15, ticket="", policy={"hours": "off"})
        yield self.plant(night, "10.20.2.0/24", "scan_off_hours")
        yield self.plant(self.run("frank", refused=True), "192.0.2.0/24", "nmap_refused")
        run = self.run("mallory", "-sn -oX {out} {net}", remote="10.30.1.10")
        yield self.plant(run, "10.20.1.0/24", "first_use_of_nmap_by_user", "first_use_of_options_by_user")
        run = self.run("alice", host="db-20-3.example.com")
        yield self.plant(run, "10.20.1.0/24", "server_that_never_scans")

    def command_lines(self) -> Iterator[list[Document]]:
        """How."""
        first = "first_use_of_options_by_user"
        run = self.run("bob", "-sS -D 10.20.2.77,ME -f -p 22 -oX {out} {net}")
        yield self.plant(run, "10.20.1.0/24", "evasion_or_spoofing", first)
        run = self.run("carol", "-sV --script ftp-vsftpd-backdoor,ssh-brute -p 22 -oX {out} {net}", ticket="")
        documents = self.plant(run, "10.20.1.0/24", "exploit_or_brute_force_scripts", first)
        self.mark("risky_scan_without_ticket", documents, "nmap.scan")
        yield documents
        run = self.run("dana", "-sV --script http-enum -p 80 -oX {out} {net}", ticket="")
        documents = self.plant(run, "10.20.1.0/24", "intrusive_scripts", first)
        self.mark("risky_scan_without_ticket", documents, "nmap.scan")
        yield documents

    def outputs(self) -> Iterator[list[Document]]:
        """What became of the result."""
        yield self.plant(self.run("alice", output="discarded"), "10.20.2.0/24", "output_discarded")
        yield self.plant(self.run("bob", output="missing"), "10.20.2.0/24", "output_missing")
        run = self.run("nobody")
        yield self.plant(run, "10.30.1.0/24", "scan_result_without_execution", of="nmap.scan", made=False)
        network, run = "10.20.2.0/24", self.run("carol")
        documents = self.plant(run, network)
        yield documents
        (known,) = (one["nmap"]["scan"]["id"] for one in documents if one["event"]["dataset"] == "nmap.scan")
        run, found = replace(run, diverges_from=known), self.story.inside(network)[1:]
        yield self.plant(run, network, "scan_output_altered", of="nmap.scan", found=found)

    def findings(self) -> Iterator[list[Document]]:
        """What the forwarder found about its evidence."""
        for rule, (action, message) in FOUND.items():
            at = self.story.end - timedelta(minutes=4)
            documents = self.story.desk.finding(self.story.main, action, message, at, "/var/log/audit/audit.log")
            self.mark(rule, documents, "nmap.audit")
            yield self.story.desk.delivered(documents, self.story.main, self.taken_in)

    def seals(self) -> Iterator[list[Document]]:
        """What verifications found, and what is missing."""
        main = self.story.main
        look = options(self.story.desk.settings(main))
        for rule, (code, message) in FINDINGS.items():
            result = usual.verdict(main, self.taken_in, {"code": code, "message": message})
            lines = list(seals.verification(look, result, main.batches))
            documents = [usual.parsed(line) for line in lines]
            self.mark(rule, documents, "nmap.seal")
            yield self.story.desk.delivered(documents, main, self.taken_in)
        self.story.marks["verification_overdue"] = [[self.story.branch.origin]]
        self.story.marks["forwarder_silent"] = [[self.story.lab.origin]]

    def surface(self) -> Iterator[list[Document]]:
        """What is open now."""
        story, web = self.story, self.story.web
        story.file.ports[445] = SERVICES[445]
        documents = self.plant(self.run("svc-scan", usual.SCHEDULED, minutes=15), "10.20.1.0/24", scripts=True)
        self.mark("critical_port_newly_open", documents, "nmap.change")
        yield documents
        web.ports[5432] = SERVICES[5432]
        web.cves = (*web.cves, ("CVE-2026-31337", "9.8"))
        web.tested = "CVE-2014-3566"
        run = self.run("svc-scan", usual.SCHEDULED, minutes=20)
        documents = self.plant(run, "203.0.113.0/28", scripts=True, scanner=story.outside)
        self.mark("service_newly_exposed_in_public_network", documents, "nmap.change")
        found = [one for one in documents if one["event"]["dataset"] == "nmap.vulnerability"]
        critical = [one for one in found if one["vulnerability"].get("severity") == "Critical"]
        self.mark("new_critical_cve", critical, "nmap.vulnerability")
        tested = [one for one in found if "state" in one["nmap"]["vulnerability"]]
        self.mark("vulnerability_confirmed", tested, "nmap.vulnerability")
        port = next(one for one in documents if one["host"]["name"] == web.name and "tls" in one)
        certificate = port["tls"]["server"]["hash"]["sha256"]
        story.marks["tls_certificate_expired"] = [[port["host"]["id"], web.name, 443, certificate]]
        yield documents

    def habits(self) -> Iterator[list[Document]]:
        """More than usual."""
        yield self.plant(self.run("dana"), "10.20.0.0/16")
        self.story.marks["sweep_larger_than_habit"] = [["dana"]]
        for part in range(4):
            low, high = part * 5, part * 5 + 5
            networks = " ".join(f"10.8.{n}.0/28" for n in range(low, high))
            up = [_machine(f"10.8.{n}.1") for n in range(low, high)]
            yield self.plant(self.run("erik", minutes=40 - part), networks, found=up)
        self.story.marks["many_networks_swept"] = [["erik"]]

    def others(self) -> Iterator[list[Document]]:
        """A new scanner, a clock that is wrong, an alert of our own."""
        story = self.story
        new = replace(story.main, name="scanner-9", host="scanner-1.example.com")
        yield self.plant(self.run("alice"), "10.20.2.0/24", "new_scanner_host", of="nmap.scan", scanner=new)
        story.main.batches, story.main.records, story.main.newest = new.batches, new.records, new.newest
        run = self.run("svc-scan", minutes=-120)
        documents = self.plant(run, "10.20.2.0/24")
        late = {one["event"]["dataset"] for one in documents if one["@timestamp"] > timestamp(self.taken_in)}
        story.marks["event_time_after_ingestion"] = [[story.main.name, dataset] for dataset in sorted(late)]
        yield documents
        alert = story.alert(self.taken_in - timedelta(minutes=2), 73, "Rare target", "never scanned before", ("T1595",))
        self.mark("promoted_alert", alert, "nmap.alert")
        yield alert


def _machine(ip: str) -> Machine:
    return Machine(ip, ip, "file", {22: SERVICES[22]}, datetime.max.replace(tzinfo=UTC), "00:50:56:00:00:01")
