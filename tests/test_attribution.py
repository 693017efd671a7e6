"""What analysts rely on: who made a scan is found, now or later, and nothing is lost or told twice."""

import hashlib
import json
import os
import pwd
import secrets
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

import crash
import pytest
import zstandard
from conftest import Forwarder, scan

from forwarder import gathering, intake, outbox, spool
from forwarder.audit.interface import Execution, Output, User, facts
from forwarder.cli import status
from forwarder.ecs.check import problems
from forwarder.errors import Exit
from forwarder.ledger import Ledger

ARGV = ("nmap", "-sS", "-oX", "x", "10.0.0.0/16")
START = 1700000000


def moment(seconds):
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:23] + "Z"


def seen(n=0, start=START, **members):
    """An execution as the kernel's log tells of it."""
    values = {
        "source": "auditd",
        "identity": f"{start}.100:{n}",
        "argv": ARGV,
        "start": moment(start + 0.1),
        "host": "scanner1",
        "cwd": "/home/alice",
        "executable": "/usr/bin/nmap",
        "pid": 4000 + n,
        "ppid": 300,
        "login": User("1000", "alice"),
        "real": User("1000", "alice"),
        "effective": User("0", "root"),
        "log_path": "/var/log/audit/audit.log",
        "log_offset": 100 * n,
        "raw": b"type=EXECVE msg=audit(%d.100:%d): argc=5\n" % (start, n),
    }
    return Execution(**values | members)


@pytest.fixture
def log(monkeypatch):
    """A log of executions; what reads real ones is tested in tests/audit."""
    evidence = []

    class Logs:
        def __init__(self, *_):
            pass

        def __iter__(self):
            return iter(evidence)

        def progress(self):
            return []

    monkeypatch.setattr(gathering, "Logs", Logs)
    return evidence


@pytest.fixture
def audited(forwarder, log):
    forwarder.flags["audit_sources"] = "auditd:/var/log/audit/audit.log"
    return forwarder


def sound(forwarder):
    """Nothing sealed is wrong: each record keeps to the table and has an id of its own."""
    records = forwarder.records()
    assert [problem for record in records for problem in problems(record)] == []
    ids = [record["event"]["id"] for record in records]
    assert len(set(ids)) == len(ids)
    assert not forwarder.verify().findings


def test_without_evidence_nobody_is_named_and_nothing_is_waited_for(forwarder):
    forwarder.forward(forwarder.write("a.xml", scan(1)))
    (record,) = forwarder.records("scan")
    assert record["nmap"]["attribution"] == {
        "confidence": "none",
        "reason": ["no evidence configured"],
        "status": "final",
    }
    assert not forwarder.records("audit")
    sound(forwarder)


def test_an_execution_and_its_scan_meet(audited, log):
    log.append(seen(ticket="SEC-7", reason="inventory"))
    outcome = audited.forward(audited.write("a.xml", scan(2)))
    assert outcome.executions == 1
    (record,) = audited.records("scan")
    assert record["nmap"]["attribution"]["confidence"] == "strong"
    assert record["nmap"]["attribution"]["status"] == "final"
    assert record["nmap"]["attribution"]["output"] == "met"
    assert record["user"] == {"id": "1000", "name": "alice", "effective": {"id": "0", "name": "root"}}
    assert record["labels"] == {"ticket": "SEC-7"}
    assert record["event"]["reason"] == "inventory"
    for dataset in ("host", "port"):
        assert {json.dumps(r["user"]) for r in audited.records(dataset)} == {'{"name": "alice"}'}
        assert {r["labels"]["ticket"] for r in audited.records(dataset)} == {"SEC-7"}
    first, second = audited.records("audit")
    assert first["event"]["action"] == "nmap-executed"
    assert first["nmap"]["attribution"] == {"status": "pending", "output": "waiting"}
    assert second["event"]["action"] == "evidence-linked"
    assert second["nmap"]["scan"]["id"] == record["nmap"]["scan"]["id"]
    assert second["nmap"]["attribution"]["supersedes"] == first["event"]["id"]
    assert record["nmap"]["attribution"]["execution"] == [first["process"]["entity_id"]]
    sound(audited)


def test_evidence_is_sealed_as_it_was_read(audited, log):
    log.append(seen())
    audited.forward()
    (item,) = audited.manifests()[0].evidence
    assert item.kind == "audit-lines"
    record = audited.records("audit")[0]
    assert record["related"]["hash"] == [item.raw_sha256]
    sound(audited)


def test_the_same_evidence_again_says_nothing_new(audited, log):
    log.append(seen())
    audited.forward()
    assert audited.forward().executions == 0
    assert len(audited.records("audit")) == len({r["event"]["id"] for r in audited.records("audit")})
    sound(audited)


def test_arguments_that_are_no_utf_8_stop_nothing(audited, log):
    log.append(seen(argv=("nmap", "-sL", "\udcff\udcfe")))
    assert audited.forward().executions == 1
    log.append(seen(source="sudo", identity="other", pid=0, argv=("nmap", "-sL", "\udcff\udcfe")))
    assert audited.forward().executions == 0
    sound(audited)


@pytest.mark.parametrize(("zone", "start"), [("Asia/Tokyo", 253402300799), ("America/New_York", -62135596800)])
def test_the_ends_of_the_calendar_stop_nothing(audited, log, monkeypatch, zone, start):
    """A history may have any time, and so may a file that says it is nmap's."""
    audited.init()
    audited.write("config.toml", f'[policy]\ntimezone = "{zone}"\n')
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        ends = "9999-12-31T23:59:59.999Z" if start > 0 else "0001-01-01T00:00:00.000Z"
        log.append(replace(seen(), start=ends))
        outcome = audited.forward(audited.write("a.xml", scan(1, start=start)))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (outcome.executions, outcome.scans) == (1, 1)
    sound(audited)


HALF = "\ud800"
"""Half of a character: JSON may have it, UTF-8 cannot."""


def test_halves_of_characters_stop_nothing(forwarder, spooled, log):
    forwarder.flags["audit_sources"] = "laurel:/x"
    forwarder.init()
    spooled("", reason=HALF, argv=("nmap", HALF, "\udcff"), host=HALF, outputs=(Output(HALF, "xml"),))
    log.append(seen(source="laurel", identity=HALF, argv=("nmap", HALF), login=User("1000", HALF)))
    assert forwarder.forward().executions == 2
    assert forwarder.records("audit")[0]["event"]["reason"] == "\ufffd"
    assert forwarder.forward().executions == 0
    sound(forwarder)


def test_an_execution_of_which_no_argument_is_left_stops_nothing(audited, log):
    audited.flags["audit_grace"] = 10**9
    log.append(seen(argv=()))
    assert audited.forward().executions == 1
    with_ledger(audited, "UPDATE execution SET deadline = 1")
    audited.forward()
    assert audited.records("audit")[-1]["nmap"]["attribution"]["output"] == "discarded"
    sound(audited)


def test_late_evidence_adds_a_link_record(audited, log):
    now = int(time.time()) - 1100
    audited.forward(audited.write("a.xml", scan(1, start=now)))
    (first,) = audited.records("scan")
    assert first["nmap"]["attribution"] == {
        "confidence": "none",
        "output": "waiting",
        "reason": ["no execution fits"],
        "status": "pending",
    }
    log.append(seen(start=now))
    audited.forward()
    first, link = audited.records("scan")
    assert link["event"]["action"] == "scan-attributed"
    assert link["nmap"]["scan"]["id"] == first["nmap"]["scan"]["id"]
    assert link["nmap"]["scan"]["open_ports"] == first["nmap"]["scan"]["open_ports"]
    assert link["nmap"]["attribution"]["supersedes"] == first["event"]["id"]
    assert (link["nmap"]["attribution"]["confidence"], link["user"]["name"]) == ("strong", "alice")
    assert audited.records("audit")[-1]["nmap"]["attribution"]["output"] == "met"
    audited.forward()
    assert len(audited.records("scan")) == 2
    sound(audited)


def test_when_the_grace_period_is_over_both_sides_are_said_to_be_alone(audited, log):
    audited.flags["audit_grace"] = 10_000
    now = int(time.time()) - 1100
    log.append(seen(start=now, argv=("nmap", "-oX", "other", "192.0.2.1")))
    audited.forward(audited.write("a.xml", scan(1, start=now)))
    assert audited.records("scan")[0]["nmap"]["attribution"]["status"] == "pending"
    assert len(audited.records("audit")) == 1
    audited.flags["audit_grace"] = 0
    with_ledger(audited, "UPDATE claim SET deadline = 1; UPDATE execution SET deadline = 1")
    audited.forward()
    link = audited.records("scan")[-1]
    assert link["nmap"]["attribution"] | {"supersedes": ""} == {
        "confidence": "none",
        "output": "unclaimed",
        "reason": ["no execution fits"],
        "status": "final",
        "supersedes": "",
    }
    assert audited.records("audit")[-1]["nmap"]["attribution"]["output"] == "missing"
    audited.forward()
    assert (len(audited.records("scan")), len(audited.records("audit"))) == (2, 2)
    sound(audited)


def with_ledger(forwarder, script):
    import sqlite3

    db = sqlite3.connect(forwarder.directory / "state" / "ledger.sqlite")
    db.executescript(script)
    db.close()


def test_equal_scans_at_one_time_are_never_told_apart_by_a_guess(audited, log):
    log += [seen(1), seen(2, login=User("1001", "bob"), real=User("1001", "bob"))]
    audited.forward(audited.write("a.xml", scan(1)), audited.write("b.xml", scan(2).replace('10.0.0.1"', '10.9.0.1"')))
    for record in audited.records("scan"):
        assert record["nmap"]["attribution"]["confidence"] == "weak"
        assert record["nmap"]["attribution"]["candidates"] == 2
        assert "user" not in record
    assert not any("user" in record for record in audited.records("host"))
    sound(audited)


@pytest.fixture
def spooled(forwarder):
    directory = forwarder.directory / "spool"
    directory.mkdir(parents=True)
    spool.make(directory)
    forwarder.flags["audit_spool"] = str(directory)

    def write(xml, **members):
        identity = secrets.token_hex(16)
        part = seen(source="run", identity=identity, **members)
        part.log_path, part.login, part.real, part.effective = "", User(str(os.getuid())), User(), User()
        entry = {"version": 1, "id": identity} | json.loads(
            json.dumps(facts(part), default=lambda u: {n: getattr(u, n) for n in u.__slots__})
        )
        entry.pop("identity"), entry.pop("log_offset", None)
        (directory / f"{identity}.start.json").write_text(json.dumps(entry))
        (directory / f"{identity}.end.json").write_text(
            json.dumps(entry | {"end": moment(START + 1000), "exit_code": 0})
        )
        if xml:
            (directory / f"{identity}.xml").write_text(xml)
        for file in directory.glob(f"{identity}*"):
            file.chmod(0o600)
        return identity

    return write


def test_what_the_wrapper_left_is_exact(forwarder, spooled):
    forwarder.init()
    spooled(scan(1))
    spooled(scan(2).replace('10.0.0.1"', '10.9.0.1"'), pid=5000)  # at the same time, with the same words
    outcome = forwarder.forward()
    assert (outcome.executions, outcome.scans) == (2, 2)
    answers = [record["nmap"]["attribution"] for record in forwarder.records("scan")]
    assert [(answer["confidence"], answer["reason"]) for answer in answers] == [("exact", ["spool"])] * 2
    assert len({answer["execution"][0] for answer in answers}) == 2
    assert forwarder.records("scan")[0]["user"]["name"] == pwd.getpwuid(os.getuid()).pw_name
    assert not list((forwarder.directory / "spool").glob("taken/*"))
    assert forwarder.forward().records == 0
    sound(forwarder)


@pytest.mark.parametrize("result", ["no scan\n", "<other/>\n"], ids=["no XML", "no scan"])
def test_a_result_that_is_no_scan_is_kept_where_status_says(forwarder, spooled, result):
    forwarder.init()
    spooled(result)
    spooled(result, pid=5000)
    outcome = forwarder.forward()
    assert (outcome.executions, len(outcome.rejected)) == (2, 2)
    (rejected,) = status.gather(forwarder.settings)["rejected"]
    assert f"kept as {rejected['path']}" in outcome.rejected[0]
    assert (
        zstandard.ZstdDecompressor().decompressobj().decompress(Path(rejected["path"]).read_bytes()).decode() == result
    )
    assert not list((forwarder.directory / "spool").rglob("*.xml"))
    assert forwarder.forward().rejected == []  # said once, and kept by later runs
    assert Path(rejected["path"]).exists()
    sound(forwarder)


def test_a_kill_at_any_durable_step_loses_no_result_that_is_no_scan(forwarder, spooled):
    forwarder.init()
    operations = [*crash.DURABLE, (Ledger, "set_file"), (Ledger, "forget_file")]
    step, died = 0, True
    while died:
        step += 1
        result = f"no scan {step}\n".encode()
        spooled(result.decode(), pid=5000 + step)
        died = crash.dies(step, forwarder.forward, operations)
        forwarder.forward()
        name = f"{hashlib.sha256(result).hexdigest()}.zst"
        (kept,) = [item["path"] for item in status.gather(forwarder.settings)["rejected"] if name in item["path"]]
        assert zstandard.ZstdDecompressor().decompressobj().decompress(Path(kept).read_bytes()) == result
        left = [path for path in (forwarder.directory / "spool").rglob("*") if path.is_file()]
        assert left == [], f"killed at step {step}"
    told = forwarder.records("audit")
    assert len({record["process"]["entity_id"] for record in told}) == step > 20
    assert not [record for record in told if "problem" in record["nmap"]["audit"]]
    sound(forwarder)


def test_a_result_that_cannot_be_taken_in_stays_in_the_spool_until_it_can(forwarder, spooled):
    forwarder.init()
    spooled(scan(20))
    forwarder.flags["intake_max_bytes"] = 5000
    for _ in range(2):
        assert "larger than 5000 bytes" in forwarder.forward().rejected[0]
        (waiting,) = status.gather(forwarder.settings)["waiting"]
        assert Path(waiting["path"]).read_text() == scan(20)
        assert "larger than 5000 bytes" in waiting["reason"]
    assert len({record["process"]["entity_id"] for record in forwarder.records("audit")}) == 1
    del forwarder.flags["intake_max_bytes"]
    assert forwarder.forward().scans == 1
    assert forwarder.records("scan")[0]["nmap"]["attribution"]["reason"] == ["spool"]
    assert status.gather(forwarder.settings)["waiting"] == []
    assert not list((forwarder.directory / "spool").rglob("*.xml"))
    sound(forwarder)


def test_what_is_too_large_when_decompressed_is_read_once(forwarder, spooled, monkeypatch):
    forwarder.init()
    identity = spooled("-")
    file = forwarder.directory / "spool" / f"{identity}.xml"
    file.write_bytes(zstandard.compress(scan(20).encode()))
    forwarder.flags["intake_max_bytes"] = 5000
    assert "larger than 5000 bytes" in forwarder.forward().rejected[0]
    copied = []
    copy = intake.copy
    monkeypatch.setattr(intake, "copy", lambda *args: copied.append(args) or copy(*args))
    for _ in range(2):
        assert "larger than 5000 bytes" in forwarder.forward().rejected[0]
    assert not copied
    forwarder.flags["intake_max_bytes"] = 6000
    assert "larger than 6000 bytes" in forwarder.forward().rejected[0]
    del forwarder.flags["intake_max_bytes"]
    assert forwarder.forward().scans == 1


def test_a_result_whose_entry_is_refused_is_sealed_as_a_scan_of_nobody(forwarder, spooled):
    forwarder.init()
    identity = spooled(scan(1))
    for kind in ("start", "end"):
        (forwarder.directory / "spool" / f"{identity}.{kind}.json").write_text("{}")
    outcome = forwarder.forward()
    assert (outcome.executions, outcome.findings, outcome.scans) == (0, 1, 1)
    assert forwarder.records("scan")[0]["nmap"]["attribution"]["confidence"] == "none"
    assert not [path for path in (forwarder.directory / "spool").rglob("*") if path.is_file()]
    sound(forwarder)


def test_a_result_that_nmap_never_wrote_to_is_no_input(forwarder, spooled):
    forwarder.init()
    identity = spooled("")
    empty = forwarder.directory / "spool" / f"{identity}.xml"
    empty.touch(0o600)
    assert forwarder.forward().rejected == []
    assert not list((forwarder.directory / "spool").rglob("*.xml"))


@pytest.mark.parametrize("first", [True, False], ids=["the first host", "a later host"])
def test_a_result_that_was_changed_after_nmap_ended_is_told(forwarder, spooled, first):
    forwarder.init()
    path = forwarder.directory / "x"
    sha256 = hashlib.sha256(scan(3).encode()).hexdigest()
    output = Output(str(path), "xml", "present", sha256)
    spooled(scan(3), outputs=(output,), end=moment(START + 60), host=forwarder.settings["observer.name"])
    forwarder.forward()
    where, what = ("10.0.0.1", "10.0.0.9") if first else ("10.0.0.2", "10.0.0.9")
    path.write_text(scan(3).replace(f'"{where}"', f'"{what}"'))
    forwarder.forward(str(path))
    kept, changed = forwarder.records("scan")
    assert kept["nmap"]["attribution"]["reason"] == ["spool"]
    assert "output differs from its hash" in changed["nmap"]["attribution"]["reason"]
    assert forwarder.forward(str(path)).records == 0
    sound(forwarder)


def test_a_hash_that_comes_after_its_file_was_read_is_held_against_it(forwarder, spooled):
    forwarder.init()
    path = forwarder.directory / "x"
    path.write_text(scan(2))
    forwarder.forward(str(path))
    output = Output(str(path), "xml", "present", "ab" * 32)
    spooled("", outputs=(output,), host=forwarder.settings["observer.name"])
    forwarder.forward()
    first, link = forwarder.records("scan")
    assert "output differs from its hash" not in first["nmap"]["attribution"]["reason"]
    assert "output differs from its hash" in link["nmap"]["attribution"]["reason"]
    sound(forwarder)


def reasons(forwarder):
    """Confidence of each record of scans, and whether it says that the file was altered."""
    answers = [record["nmap"]["attribution"] for record in forwarder.records("scan")]
    return [(answer["confidence"], "output differs from its hash" in answer["reason"]) for answer in answers]


@pytest.mark.parametrize("order", [*permutations(("kernel", "file", "wrapper"))], ids=" ".join)
def test_a_file_that_is_not_what_the_wrapper_hashed_is_told_in_any_order_of_evidence(forwarder, spooled, log, order):
    forwarder.flags["audit_sources"] = "auditd:/x"
    forwarder.init()
    path = forwarder.directory / "x"
    members = {"host": forwarder.settings["observer.name"], "cwd": str(forwarder.directory)}
    outputs = (Output(str(path), "xml", "present", "ab" * 32),)
    for what in order:
        if what == "kernel":
            log.append(seen(0, **members))
        elif what == "wrapper":
            spooled("", outputs=outputs, **members)
        else:
            path.write_text(scan(2))
        forwarder.forward(*[path] if path.exists() else [])
    if order[-1] == "wrapper":
        assert ("exact", False) in reasons(forwarder)  # by the path alone
    assert reasons(forwarder)[-1] == ("strong", True)
    assert forwarder.forward(path).records == 0
    assert len({record["process"]["entity_id"] for record in forwarder.records("audit")}) == 1
    sound(forwarder)


@pytest.mark.parametrize("late", [True, False], ids=["late", "in time"])
def test_what_a_path_proved_is_taken_back_by_another_that_may_have_written_there(forwarder, log, late):
    forwarder.flags["audit_sources"] = "auditd:/x"
    forwarder.init()
    (forwarder.directory / "x").write_text(scan(2))
    members = {"host": forwarder.settings["observer.name"], "cwd": str(forwarder.directory)}
    log.append(seen(0, **members))
    if late:
        forwarder.forward(forwarder.directory / "x")
        assert reasons(forwarder) == [("exact", False)]
    log.append(seen(1, pid=400, **members))
    forwarder.forward(forwarder.directory / "x")
    assert reasons(forwarder)[late:] == [("weak", False)]
    assert len(forwarder.records("scan")[-1]["nmap"]["attribution"]["execution"]) == 2
    sound(forwarder)


def test_what_a_killed_nmap_had_found_is_read_although_it_was_written_just_now(forwarder, spooled):
    forwarder.init()
    spooled(scan(2, end=False), signal="SIGKILL")
    assert forwarder.forward().waiting == 0
    (record,) = forwarder.records("scan")
    assert record["nmap"]["attribution"]["reason"] == ["spool"]
    assert not record["nmap"]["scan"]["complete"]
    assert len(forwarder.records("host")) == 2
    assert not list((forwarder.directory / "spool").glob("taken/*"))


def test_wrapper_kernel_and_sudo_saw_one_execution(forwarder, spooled, log):
    forwarder.flags["audit_sources"] = "auditd:/x"
    forwarder.init()
    spooled(scan(1))
    log.append(seen(0))
    log.append(
        seen(
            1, source="sudo", pid=299, login=User(), real=User(), sudo_user="root", cwd="", log_path="/var/log/auth.log"
        )
    )
    assert forwarder.forward().executions == 1
    first = forwarder.records("audit")[0]
    assert first["nmap"]["audit"]["source"] == ["run", "auditd", "sudo"]
    assert len(forwarder.records("audit")) == 2
    sound(forwarder)


@pytest.fixture
def received(spooled, forwarder):
    """Has an entry of the drop box be one that a user sent instead."""

    def send(identity, uid=20001, **members):
        directory = forwarder.directory / "spool"
        peer = {"uid": uid, "gid": uid, "pid": 77, "real": uid} | members
        for path in directory.glob(f"{identity}.*"):
            said = path.read_bytes()
            path.unlink()
            peer["received"] = moment(START + (1 if path.name.endswith("start.json") else 1001))
            if path.suffix == ".json":
                entry = json.loads(said) | {"login": {"id": str(uid)}}
                said = json.dumps(peer).encode() + b"\n" + json.dumps(entry).encode()
            kept = directory / "received" / f"{uid}.{path.name}"
            kept.write_bytes(said)
            kept.chmod(0o600)

    return send


def test_what_was_received_is_exact_and_tells_what_the_kernel_said(forwarder, spooled, received):
    forwarder.init()
    received(spooled(scan(1)), login=20001, started=moment(START))
    assert forwarder.forward().executions == 1
    (scanned,) = forwarder.records("scan")
    assert scanned["nmap"]["attribution"]["reason"] == ["spool"]
    assert scanned["user"]["id"] == "20001"
    record = forwarder.records("audit")[0]
    assert record["nmap"]["audit"]["peer"] == {
        "login": "20001",
        "pid": 77,
        "received": moment(START + 1001),
        "started": moment(START),
        "uid": "20001",
    }
    assert record["nmap"]["audit"]["strength"] == "strong"
    assert not [path for path in (forwarder.directory / "spool").rglob("*") if path.is_file()]
    assert forwarder.forward().records == 0
    sound(forwarder)
    for path in (forwarder.directory / "state").glob("ledger.sqlite*"):
        path.unlink()
    assert forwarder.command("adopt").returncode == 0
    assert forwarder.forward().records == 0


@pytest.mark.parametrize(
    ("entry", "kernel", "problem"),
    [
        ({"start": START - 3600}, {"started": moment(START - 600)}, "not of the time of its process"),
        ({"wrapper_pid": 1}, {}, "wrapper's process only claimed"),
        ({}, {"login": 0}, "claims another login user than the kernel's"),
    ],
)
def test_what_the_kernel_contradicts_is_weak_evidence(forwarder, spooled, received, entry, kernel, problem):
    forwarder.init()
    received(spooled("", **entry), **kernel)
    forwarder.forward()
    record = forwarder.records("audit")[0]
    assert record["nmap"]["audit"]["strength"] == "weak"
    assert problem in record["nmap"]["audit"]["problem"]
    sound(forwarder)


def test_who_claims_to_be_another_is_a_finding(forwarder, spooled, received):
    forwarder.init()
    received(spooled(""), uid=20001)
    for path in (forwarder.directory / "spool" / "received").iterdir():
        path.write_text(path.read_text().replace('"real": {"id": ""', '"real": {"id": "0"'))
    outcome = forwarder.forward()
    assert (outcome.executions, outcome.findings) == (0, 1)
    (record,) = forwarder.records("audit")
    assert record["event"]["action"] == "spool-entry-refused"
    assert "uid 20001" in record["message"]
    assert "real user that it claims" in record["message"]
    assert not list((forwarder.directory / "spool" / "received").iterdir())
    sound(forwarder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_another_users_entry_with_the_same_id_process_and_start_is_another_execution(forwarder, spooled):
    """All three can be seen by everybody in /proc."""
    forwarder.init()
    directory = forwarder.directory / "spool"
    identity = spooled(scan(1))
    copies = {path.name: path.read_bytes() for path in directory.glob(f"{identity}.*.json")}
    forwarder.forward()
    name = f"{identity}.start.json"
    (directory / name).write_bytes(
        copies[name].replace(f'"login": {{"id": "{os.getuid()}"'.encode(), b'"login": {"id": "20001"')
    )
    (directory / name).chmod(0o600)
    os.chown(directory / name, 20001, 20001)
    os.utime(directory / name, (1, 1))
    forwarder.flags["audit_grace"] = 0
    before = forwarder.records("scan")
    spool_settle = spool.SETTLE
    spool.SETTLE = -60.0
    try:
        assert forwarder.forward().executions == 1
    finally:
        spool.SETTLE = spool_settle
    first, *_, last = [record for record in forwarder.records("audit") if record["event"]["action"] == "nmap-executed"]
    assert first["process"]["entity_id"] != last["process"]["entity_id"]
    assert last["user"]["id"] == "20001"
    assert forwarder.records("scan") == before
    sound(forwarder)


def test_one_file_that_the_kernel_saw_being_asked_for_is_exact(audited, log):
    path = audited.write("a.xml", scan(1))
    log.append(seen(argv=ARGV, cwd=str(audited.directory), outputs=(Output(str(path), "xml"),)))
    audited.forward(path)
    (record,) = audited.records("scan")
    assert (record["nmap"]["attribution"]["confidence"]) == "exact"
    assert {"arguments", "output-path", "host", "time"} <= set(record["nmap"]["attribution"]["reason"])
    sound(audited)


# --- logs that are not there ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("auditd:{}/none.log", "there is no such log"),
        ("auditd:{}", "is a directory; name a log in it"),
        ("auditd:{}/none*", "nothing matches this pattern"),
        ("auditd:{}/fifo", "no regular file"),
        ("sudo-io:{}/none", "there is no such log"),
        ("sudo-io:{}/fifo", "is no directory"),
    ],
)
def test_a_log_that_is_named_must_be_there_and_one_that_is_configured_may_come(forwarder, source, why):
    forwarder.init()
    os.mkfifo(forwarder.directory / "fifo")
    source = source.format(forwarder.directory)
    forwarder.flags["audit_sources"] = source
    outcome = forwarder.forward()
    assert outcome.exit_code == Exit.REJECTED
    assert [line for line in outcome.rejected if why in line]
    del forwarder.flags["audit_sources"]
    forwarder.write("config.toml", f'[audit]\nsources = ["{source}"]\n')
    forwarder.said.clear()
    assert forwarder.forward().exit_code == Exit.OK
    assert [line for line in forwarder.said if why in line]


def test_a_directory_in_which_sudo_has_logged_nothing_yet_is_no_problem(forwarder):
    forwarder.init()
    (forwarder.directory / "io").mkdir()
    forwarder.flags["audit_sources"] = f"sudo-io:{forwarder.directory}/io"
    assert forwarder.forward().exit_code == Exit.OK
    assert forwarder.said == []


# --- crashes ------------------------------------------------------------------------------------------------


def audit_line(n, start):
    """Two records of one execve as auditd writes them, and its end."""
    head = f"msg=audit({start}.100:{n}):"
    return (
        f"type=SYSCALL {head} arch=c000003e syscall=59 success=yes exit=0 ppid=300 pid={4000 + n} auid=1000 uid=0 gid=0 "
        f'euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=3 comm="nmap" exe="/usr/bin/nmap" key="nmap"\n'
        f'type=EXECVE {head} argc=5 a0="nmap" a1="-sS" a2="-oX" a3="x" a4="10.0.0.0/16"\n'
        f'type=CWD {head} cwd="/home/alice"\n'
        f"type=EOE {head}\n"
    )


def with_real_log(forwarder):
    log = forwarder.write("audit.log", "".join(audit_line(n, START + 400 * n) for n in range(9)))
    forwarder.flags |= {"audit_sources": f"auditd:{log}", "audit_grace": 0}
    for n in range(3):
        text = scan(2, start=START + 400 * n).replace('addr="10.0.0.', f'addr="10.{n}.0.')
        forwarder.write(f"in/{n}.xml", text)
    return forwarder.directory / "in"


def test_a_real_log_names_the_login_user(forwarder):
    paths = with_real_log(forwarder)
    outcome = forwarder.forward(paths)
    assert (outcome.executions, outcome.scans) == (9, 3)
    assert [r["user"]["id"] for r in forwarder.records("scan")] == ["1000"] * 3
    assert [r["nmap"]["attribution"]["confidence"] for r in forwarder.records("scan")] == ["strong"] * 3
    fates = [r["nmap"]["attribution"]["output"] for r in forwarder.records("audit")]
    assert sorted(fates) == ["met"] * 3 + ["missing"] * 6 + ["waiting"] * 9
    sound(forwarder)


def test_a_kill_at_any_durable_step_loses_no_evidence_and_tells_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_RECORDS", 5)
    monkeypatch.setattr(gathering, "AT_A_TIME", 4)
    reference = Forwarder(tmp_path / "reference")
    reference.forward(with_real_log(reference))
    wanted = sorted(told(reference))
    steps, died = 0, True
    while died:
        steps += 11
        victim = Forwarder(tmp_path / f"v{steps}")
        paths = with_real_log(victim)
        victim.init()
        died = crash.dies(steps, lambda: victim.forward(paths))
        victim.forward(paths)
        assert sorted(told(victim)) == wanted, f"killed at step {steps}"
        sound(victim)
        assert not list((victim.directory / "state" / "spool").iterdir())
        shutil.rmtree(victim.directory)
    assert steps > 100


def told(forwarder):
    """What records say, in the end, of each execution and scan; the ids of all others."""
    for record in forwarder.records():
        if record["event"]["dataset"] == "nmap.audit":
            yield record["event"]["action"], record["process"]["pid"], record["nmap"]["attribution"]["output"]
        elif record["event"]["dataset"] == "nmap.scan":
            yield "scan", record["nmap"]["scan"]["id"], record["nmap"]["attribution"]["confidence"]
        else:
            yield record["event"]["id"], 0, ""


def test_a_log_that_is_adopted_takes_no_evidence_for_new(forwarder):
    paths = with_real_log(forwarder)
    forwarder.forward(paths)
    before = len(forwarder.records())
    for path in (forwarder.directory / "state").glob("ledger.sqlite*"):
        path.unlink()
    done = forwarder.command("adopt")
    assert done.returncode == 0, done.stderr
    outcome = forwarder.forward(paths)
    assert (outcome.executions, len(forwarder.records())) == (0, before)
    sound(forwarder)
