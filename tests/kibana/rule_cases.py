"""For each rule, documents that it must find and documents that it must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rule_records import ago, alert, change, execution, finding, port, scan, seal, vulnerability

Documents = list[dict[str, Any]]
KINDS = ("chain", "lock", "rollback", "other")


class Case(NamedTuple):
    """What is sent, and what of it is to be found."""

    found: Documents
    passed: Documents
    """Not to be found."""
    groups: set[tuple[Any, ...]] | None = None
    """Of rules that aggregate: what they are to find."""


def executed(name: str, value: Any, harmless: Any, **facts: Any) -> Case:
    """A rule on what was executed, which takes the scan where no execution is known of."""
    known = {name: value} | facts
    alone = {
        "nmap__attribution__confidence": "none",
        "nmap__attribution__execution": None,
        "nmap__attribution__output": "unclaimed",
    }
    return Case(
        [execution(**known), scan(**known, **alone)],
        [
            execution(**known | {name: harmless}),
            execution(**known, event__action="evidence-linked"),
            scan(**known),
            scan(**known | alone, nmap__attribution__status="pending"),
            scan(**alone),
        ],
    )


def verification(kind: str) -> Case:
    """A rule on one kind of what a verification found."""
    found = {name: seal("verification-failed", nmap__verification__kind=name) for name in KINDS}
    return Case([found.pop(kind)], [seal("archive-verified"), seal("batch-anchored"), *found.values()])


def sweep() -> Case:
    def scans(user: str, count: int, targets: int, **when: Any) -> Documents:
        facts = {"user__name": user, "nmap__scan__target_count": targets}
        return [execution(**facts, **when) for _ in range(count)]

    before = {"ingested": ago(days=3), "at": ago(days=3)}
    return Case(
        [*scans("alice", 5, 256, **before), *scans("alice", 1, 1024, at=ago(hours=20))],
        [
            *scans("bob", 5, 512, **before),
            *scans("bob", 1, 1024),
            *scans("carol", 4, 16, **before),
            *scans("carol", 1, 65536),
            *scans("dave", 5, 16, **before),
            *scans("dave", 1, 65536, backfill=True),
            *scans("erin", 5, 1, **before),
            *scans("erin", 1, 256),
        ],
        {("alice",)},
    )


def swept() -> Case:
    def scans(user: str, *networks: int, **facts: Any) -> Documents:
        return [
            scan(user__name=user, nmap__target__network=[f"10.0.{n}.0/24", f"10.1.{n}.0/24"], **facts) for n in networks
        ]

    return Case(
        scans("alice", *range(8), at=ago(hours=20)),
        [
            *scans("bob", *range(7)),
            *scans("carol", *range(9), backfill=True),
            *scans("dave", *range(9), ingested=ago(hours=3)),
            *scans("erin", *range(9), nmap__attribution__status="pending"),
        ],
        {("alice",)},
    )


def expired() -> Case:
    host = "0f343b0931126a20f133d67c2b018a3b"

    def key(certificate: str) -> tuple[Any, ...]:
        return host, "web.example.com", 443, certificate

    return Case(
        [
            port(ago(days=1), "ended", at=ago(hours=20)),
            port(ago(days=1), "ended-in-use", at=ago(days=3), ingested=ago(days=3)),
            port(ago(days=1), "ended-in-use"),
        ],
        [
            port(ago(days=-1), "valid"),
            port(ago(days=9), "known", ingested=ago(days=5)),
            port(ago(days=9), "known"),
            port(ago(days=9), "old", backfill=True),
        ],
        {key("ended"), key("ended-in-use")},
    )


def overdue() -> Case:
    def log(name: str, *ages: float, verified: float | None = None, **facts: Any) -> Documents:
        origin = {"nmap__seal__origin": name}
        found = [scan(ingested=ago(days=age), at=ago(days=age), **origin, **facts) for age in ages]
        if verified is not None:
            found.append(seal("archive-verified", at=ago(days=verified), ingested=ago(days=verified), **origin))
        return found

    return Case(
        [*log("never", 20, 1), *log("late", 20, 1, verified=9)],
        [
            *log("new", 3, 1),
            *log("fine", 20, 1, verified=2),
            *log("imported", 20, 1, backfill=True),
            *log("failing", 20, 1),
            seal("verification-failed", "gap", nmap__seal__origin="failing"),
        ],
        {("never",), ("late",)},
    )


def silent() -> Case:
    def last(name: str, hours: float, **facts: Any) -> dict[str, Any]:
        return scan(ingested=ago(hours=hours), at=ago(hours=hours), nmap__seal__origin=name, **facts)

    return Case(
        [last("gone", 30), last("gone", 50)],
        [
            last("scans", 30),
            last("scans", 3),
            last("beats", 40),
            seal("heartbeat", nmap__seal__origin="beats"),
            last("imported", 30, backfill=True),
            last("forgotten", 24 * 20),
        ],
        {("gone",)},
    )


def future() -> Case:
    return Case(
        [scan(at=ago(hours=-2))],
        [
            scan(at=ago(minutes=-2), observer__name="a-little"),
            scan(at=ago(hours=-2), observer__name="imported", backfill=True),
            scan(at=ago(hours=-2), observer__name="earlier", ingested=ago(hours=1)),
        ],
        {("scanner-1", "nmap.scan")},
    )


def unexplained(**facts: Any) -> Case:
    nothing = {"event__reason": None, "labels__ticket": None}
    return Case(
        [scan(**nothing), scan(**nothing, event__action="scan-attributed", nmap__attribution__confidence="strong")],
        [
            scan(),
            scan(**nothing, nmap__attribution__status="pending"),
            scan(**nothing, nmap__attribution__confidence="none"),
            scan(**nothing, nmap__attribution__confidence="weak"),
            scan(**nothing | {"event__reason": "a test"}),
            scan(**nothing | {"labels__ticket": "SEC-2"}),
            execution(**nothing),
        ],
    )


def newly_open(ip: str, port: int, *others: tuple[str, int]) -> Case:
    return Case(
        [change("port-opened", ip, port)],
        [
            change("port-closed", ip, port),
            change("port-opened", ip, port, network__transport="udp"),
            *(change("port-opened", *other) for other in others),
        ],
    )


def first(make: Callable[..., dict[str, Any]], name: str, new: Any, known: Any, **facts: Any) -> Case:
    """A rule on new terms; what was seen before, even long before, is known."""
    return Case(
        [make(**{name: new}, **facts)],
        [
            make(**{name: known}, **facts, ingested=ago(days=80), at=ago(days=80)),
            make(**{name: known}, **facts),
            make(**{name: "long-ago"}, **facts, ingested=ago(days=80), at=ago(days=80)),
        ],
    )


CASES: dict[str, Callable[[], Case]] = {
    "scan_without_reason_or_ticket": unexplained,
    "risky_scan_without_ticket": lambda: Case(
        [scan(labels__ticket=None, nmap__scan__risk__class=risk) for risk in ("high", "critical")],
        [
            scan(nmap__scan__risk__class="high"),
            scan(labels__ticket=None, nmap__scan__risk__class="medium"),
            scan(labels__ticket=None, nmap__scan__risk__class="high", nmap__attribution__status="pending"),
        ],
    ),
    "user_not_among_scanners": lambda: Case(
        [execution(nmap__policy__scanner="unlisted")],
        [execution(), execution(nmap__policy__scanner="unknown"), scan(nmap__policy__scanner="unlisted")],
    ),
    "target_out_of_scope": lambda: executed("nmap__policy__scope", "outside", "unknown"),
    "scan_off_hours": lambda: executed("nmap__policy__hours", "off", "working", labels__ticket=None),
    "evasion_or_spoofing": lambda: executed("nmap__scan__evasion", ["decoys", "fragments"], None),
    "exploit_or_brute_force_scripts": lambda: executed("nmap__scan__script_category", ["brute", "safe"], ["intrusive"]),
    "intrusive_scripts": lambda: executed(
        "nmap__scan__script_category", ["intrusive", "safe"], ["intrusive", "brute"], labels__ticket=None
    ),
    "nmap_refused": lambda: Case([execution(event__action="nmap-refused")], [execution()]),
    "scan_result_without_execution": lambda: Case(
        [scan(nmap__attribution__output="unclaimed", nmap__attribution__confidence="none")],
        [
            scan(),
            scan(nmap__attribution__confidence="none", nmap__attribution__output=None),
            scan(nmap__attribution__output="unclaimed", nmap__attribution__status="pending"),
        ],
    ),
    "output_discarded": lambda: Case(
        [execution(nmap__attribution__output="discarded")],
        [
            execution(),
            execution(nmap__attribution__output="discarded", process__entity_id="told", ingested=ago(hours=1)),
            execution(nmap__attribution__output="discarded", process__entity_id="told"),
        ],
    ),
    "output_missing": lambda: Case(
        [
            execution(nmap__attribution__output="missing", event__action="evidence-linked"),
            execution(nmap__audit__output__state=["missing"], nmap__attribution__output="waiting"),
        ],
        [
            execution(),
            execution(nmap__attribution__output="waiting"),
            execution(nmap__attribution__output="met", nmap__audit__output__state=["missing"]),
            execution(nmap__attribution__output="missing", process__entity_id="told", ingested=ago(days=2)),
            execution(nmap__attribution__output="missing", process__entity_id="told"),
        ],
    ),
    "audit_log_truncated": lambda: Case(
        [finding("audit-log-truncated")], [finding("audit-event-refused"), execution()]
    ),
    "scan_output_altered": lambda: Case(
        [
            scan(nmap__scan__diverges_from="6f1ed002ab5595859014ebf0951522d9"),
            scan(nmap__attribution__reason=["arguments", "output differs from its hash"]),
        ],
        [finding("audit-log-truncated"), scan(), scan(nmap__attribution__reason=["arguments", "output-hash"])],
    ),
    "spool_entry_refused": lambda: Case(
        [finding("spool-entry-refused"), finding("audit-event-refused")], [finding("audit-log-truncated"), execution()]
    ),
    "seal_chain_broken": lambda: verification("chain"),
    "anchor_missing": lambda: verification("lock"),
    "checkpoint_rolled_back": lambda: verification("rollback"),
    "verification_failed": lambda: verification("other"),
    "verification_overdue": overdue,
    "forwarder_silent": silent,
    "new_scanner_host": lambda: first(scan, "observer__name", "scanner-2", "scanner-1"),
    "server_that_never_scans": lambda: first(execution, "host__name", "db.example.com", "scanner-1.example.com"),
    "first_use_of_nmap_by_user": lambda: first(execution, "user__name", "mallory", "alice"),
    "first_use_of_options_by_user": lambda: first(execution, "nmap__scan__option_set", "--script -sS", "-oX -sS"),
    "sweep_larger_than_habit": sweep,
    "many_networks_swept": swept,
    "critical_port_newly_open": lambda: newly_open("10.0.0.1", 445, ("10.0.0.1", 8443)),
    "service_newly_exposed_in_public_network": lambda: newly_open(
        "192.0.2.7", 5432, ("10.1.2.3", 5432), ("172.20.0.1", 5432), ("fd00::1", 5432), ("192.0.2.7", 443)
    ),
    "tls_certificate_expired": expired,
    "new_critical_cve": lambda: (
        case := first(lambda name, **more: vulnerability(name, **more), "name", "CVE-2026-0001", "CVE-2020-0001")
    )._replace(
        passed=[
            *case.passed,
            vulnerability("CVE-2026-0002", vulnerability__severity="High"),
            vulnerability("EDB-ID:52426", vulnerability__enumeration="exploitdb"),
        ]
    ),
    "vulnerability_confirmed": lambda: (
        case := first(vulnerability, "name", "CVE-2014-3566", "CVE-2017-0143", nmap__vulnerability__state="VULNERABLE")
    )._replace(passed=[*case.passed, vulnerability("CVE-2026-0003", nmap__vulnerability__state="LIKELY VULNERABLE")]),
    "event_time_after_ingestion": future,
    "promoted_alert": lambda: Case([alert()], [finding("audit-log-truncated"), scan()]),
}
