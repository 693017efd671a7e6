"""What a user relies on when the archive is a bucket: all of it is locked, in order, whatever happens in between."""

import base64
import json
import shutil
from datetime import UTC, datetime, timedelta

import crash
import pytest
from conftest import Forwarder, scan
from scripted import Scripted

from forwarder import outbox
from forwarder.archive import s3 as s3_archive
from forwarder.archive.place import open_archive
from forwarder.archive.s3_client import Client
from forwarder.cli.status import gather
from forwarder.errors import Exit, IntegrityError
from forwarder.ledger import Ledger
from forwarder.seal.manifest import checkpoint_name, manifest_name


@pytest.fixture
def forwarder(forwarder, bucket):
    forwarder.flags |= {"archive": f"s3://{bucket}/nmap", "s3_retry_seconds": 0}
    return forwarder


def archive(forwarder):
    return open_archive(forwarder.settings["archive"], forwarder.key.name, forwarder.settings)


def verify(forwarder):
    return forwarder.verify()


def one(forwarder, n):
    """Forward one more scan."""
    return forwarder.forward(forwarder.write(f"{n}.xml", scan(2, start=1700000000 + n)))


def ledger(forwarder):
    return Ledger(forwarder.directory / "state" / "ledger.sqlite")


def versions(forwarder):
    return list(archive(forwarder).versions())


def sealed(forwarder):
    """All records of the bucket's log."""
    from forwarder.archive import records

    found = archive(forwarder)
    return [json.loads(line) for batch in records.batches(found) for line in records.lines(found, batch)]


def test_everything_is_locked_once_and_verifies(forwarder):
    one(forwarder, 1)
    outcome = one(forwarder, 2)
    assert (outcome.exit_code, outcome.unanchored) == (Exit.OK, "")
    verdict = verify(forwarder)
    assert (verdict.findings, verdict.batches) == ([], 2)
    found = versions(forwarder)
    keys = [version.key for version in found if version.key != "checkpoint"]
    assert len(set(keys)) == len(keys)
    store = archive(forwarder)
    soon = datetime.now(UTC) + timedelta(days=399)
    for version in found:
        lock = store.lock(version.key, version.version_id)
        assert (lock.mode, lock.unknown) == ("COMPLIANCE", "")
        assert lock.retain_until > soon
    assert not list((forwarder.directory / "state" / "outbox").iterdir())


def test_the_ledger_and_the_next_batch_tell_of_the_anchor(forwarder, bucket):
    one(forwarder, 1)
    assert [record["event"]["dataset"] for record in sealed(forwarder)].count("nmap.seal") == 0
    assert forwarder.forward().batches == 0  # a seal record never causes a batch
    one(forwarder, 2)
    (record,) = [record for record in sealed(forwarder) if record["event"]["dataset"] == "nmap.seal"]
    told = record["nmap"]["anchor"]
    (version,) = archive(forwarder).versions(manifest_name(0))
    assert told["version"] == version.version_id
    assert (told["batch"], told["bucket"], told["key"]) == (0, bucket, f"nmap/{forwarder.key.name}/{manifest_name(0)}")
    lock = archive(forwarder).lock(version.key, version.version_id)
    assert datetime.fromisoformat(told["retain_until"]) == lock.retain_until
    note = archive(forwarder).read(checkpoint_name(1), 9999).decode()
    assert note.split("\n")[2] == base64.b64encode(bytes.fromhex(told["root"])).decode()
    book = ledger(forwarder)
    assert book.receipts.of(manifest_name(1)).retain_until >= lock.retain_until
    assert book.receipts.of(checkpoint_name(2)).version_id
    assert [sequence for sequence, _ in book.receipts.untold(9)] == [1]


def test_an_outage_leaves_batches_sealed_and_the_next_run_anchors_them_in_order(forwarder, own_s3, s3, monkeypatch):
    with own_s3(s3.kind) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        forwarder.flags["archive"] = f"s3://{server.bucket()}/nmap"
        one(forwarder, 1)
        server.kill()
        for n in (2, 3):
            forwarder.said.clear()
            outcome = one(forwarder, n)
            assert (outcome.exit_code, outcome.batches, outcome.scans) == (Exit.TEMPORARY, 1, 1)
            assert len(forwarder.said) == 1
        assert "cannot be reached" in forwarder.said[0]
        status = json.loads(forwarder.command("status", "--json", env=server.environment).stdout)
        assert status["queued"] == 2
        server.start()
        order = []
        real = s3_archive.S3Archive.put
        monkeypatch.setattr(
            s3_archive.S3Archive, "put", lambda self, key, path: (order.append(key), real(self, key, path))[1]
        )
        outcome = forwarder.forward()
        assert (outcome.exit_code, outcome.batches) == (Exit.OK, 0)
        assert [key for key in order if key.startswith("batches/")] == [manifest_name(1), manifest_name(2)]
        verdict = verify(forwarder)
        assert (verdict.findings, verdict.batches) == ([], 3)
        one(forwarder, 4)
        assert [r["nmap"]["anchor"]["batch"] for r in sealed(forwarder) if r["event"]["dataset"] == "nmap.seal"] == [
            0,
            1,
            2,
        ]


def test_an_outage_from_the_beginning_and_in_the_middle_of_a_batch(forwarder, monkeypatch):
    real = Client.call
    left = 0

    def call(self, operation, **arguments):
        nonlocal left
        if operation == "put_object":
            left -= 1
            if left < 0:
                raise s3_archive.UsageError("no")
        return real(self, operation, **arguments)

    monkeypatch.setattr(Client, "call", call)
    for n in range(9):
        left = n
        outcome = one(forwarder, 1)
        assert outcome.exit_code == (Exit.USAGE if n < 7 + 1 else Exit.OK), n
        assert outcome.batches == (n == 0)
    assert not verify(forwarder).findings
    assert len([version for version in versions(forwarder) if version.key != "checkpoint"]) == 7


def test_what_cannot_be_compared_in_an_outage_is_left_and_the_others_go_on(forwarder, own_s3, s3, monkeypatch):
    with own_s3(s3.kind) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        forwarder.flags["archive"] = f"s3://{server.bucket()}/nmap"
        whole = scan(5, start=1700000001)
        forwarder.forward(forwarder.write("a.xml", whole))
        server.kill()
        forwarder.write("in/cut.xml", whole[: whole.index("10.0.0.4")])
        forwarder.write("in/new.xml", scan(2, start=1700000002))
        outcome = forwarder.forward(forwarder.directory / "in")
        assert (outcome.exit_code, outcome.scans, outcome.batches) == (Exit.TEMPORARY, 1, 1)
        server.start()
        assert forwarder.forward().exit_code == Exit.OK
        assert not list((forwarder.directory / "state" / "spool").iterdir())
        assert (verify(forwarder).findings, verify(forwarder).batches) == ([], 2)


def die_at_put(forwarder, step):
    """Forward in a process that is killed before or after a request that writes, the step-th such instant; tell if it was."""

    def prepare(count):
        real = Client.call

        def call(self, operation, **arguments):
            writes = not operation.startswith(("get_", "list_", "head_"))
            if writes:
                count()
            answer = real(self, operation, **arguments)
            if writes:
                count()  # the server took it, and we never heard
            return answer

        Client.call = call

    return crash.killed(step, prepare, lambda: forwarder.forward(forwarder.directory / "in"))


def test_a_kill_before_and_after_every_put_loses_nothing_and_doubles_nothing(tmp_path, bucket, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_RECORDS", 5)
    steps, died = 0, True
    wanted = None
    while died:
        steps += 1
        victim = Forwarder(tmp_path / f"v{steps}", {"archive": f"s3://{bucket}/{steps}"})
        victim.write("in/a.xml", scan(3, 1))
        victim.init()
        died = die_at_put(victim, steps)
        assert victim.forward(victim.directory / "in").exit_code == Exit.OK
        verdict = verify(victim)
        assert not verdict.findings, f"killed at step {steps}: {verdict.findings}"
        found = sorted(r["event"]["id"] for r in sealed(victim) if r["event"]["dataset"] != "nmap.seal")
        wanted = wanted or found
        assert found == wanted, f"killed at step {steps}"
        keys = [version.key for version in versions(victim) if version.key != "checkpoint"]
        assert len(set(keys)) == len(keys), f"killed at step {steps}"
        assert not list((victim.directory / "state" / "outbox").iterdir())
    assert steps > 25


def test_a_restored_state_directory_cannot_fork_the_log(forwarder, tmp_path):
    one(forwarder, 1)
    shutil.copytree(forwarder.directory / "state", tmp_path / "backup")
    one(forwarder, 2)
    before = versions(forwarder)
    shutil.rmtree(forwarder.directory / "state")
    shutil.copytree(tmp_path / "backup", forwarder.directory / "state")
    with pytest.raises(IntegrityError, match=r"already has a batch 1 .* nmap-forwarder adopt"):
        one(forwarder, 3)
    assert versions(forwarder) == before


@pytest.mark.parametrize("late", [False, True])
def test_of_two_forwarders_with_one_key_the_second_is_stopped(forwarder, tmp_path, monkeypatch, late):
    """Late: the other one comes between our look at the bucket and our put, so that only the put can tell."""
    one(forwarder, 1)
    twin = Forwarder(tmp_path / "twin", forwarder.flags)
    shutil.copytree(forwarder.directory / "state", twin.directory / "state")
    (twin.directory / "config.toml").touch()
    real = outbox.check_free

    def check(*arguments):
        if not late:
            one(forwarder, 2)
        real(*arguments)
        if late:
            one(forwarder, 2)

    monkeypatch.setattr(outbox, "check_free", lambda *a: (monkeypatch.setattr(outbox, "check_free", real), check(*a)))
    with pytest.raises(IntegrityError, match="holds other bytes" if late else "already has a batch 1"):
        one(twin, 3)
    (manifest,) = archive(forwarder).versions(manifest_name(1))
    assert manifest.is_latest
    assert one(forwarder, 4).exit_code == Exit.OK
    assert {finding.code for finding in verify(forwarder).findings} == ({"stray"} if late else set())


@pytest.mark.parametrize("name", [manifest_name(0), checkpoint_name(1), manifest_name(1), checkpoint_name(2)])
def test_a_delete_marker_at_the_end_of_the_log_stops_the_run(forwarder, s3, bucket, name):
    one(forwarder, 1)
    key = f"nmap/{forwarder.key.name}/{name}"
    if not archive(forwarder).has(name):
        s3.client().put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.client().delete_object(Bucket=bucket, Key=key)
    before = versions(forwarder)
    assert any(version.is_delete_marker for version in before)
    with pytest.raises(IntegrityError, match=r"hidden by a delete marker|already has a batch 1|does not hold"):
        one(forwarder, 2)
    assert versions(forwarder) == before


def test_evidence_that_is_there_is_kept_as_long_as_what_refers_to_it(forwarder, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_RECORDS", 3)
    forwarder.flags["s3_retention_days"] = 2
    real = outbox.anchor

    def anchor(directory, manifest, store, skip, changes=()):
        if manifest.sequence:
            store._locking = s3_archive.Locking(days=9)
            store._until = None
        store._set_until()
        return real(directory, manifest, store, skip, changes)

    monkeypatch.setattr(outbox, "anchor", anchor)
    one(forwarder, 1)
    (version,) = archive(forwarder).versions("evidence/")
    assert archive(forwarder).lock(version.key, version.version_id).retain_until > datetime.now(UTC) + timedelta(days=8)
    (first,) = archive(forwarder).versions(manifest_name(0))
    assert archive(forwarder).lock(first.key, first.version_id).retain_until < datetime.now(UTC) + timedelta(days=3)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_skewed_clock_is_refused_and_everything_is_kept(forwarder, monkeypatch, hours):
    class Skewed(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=hours)

    with monkeypatch.context() as context:
        context.setattr(s3_archive, "datetime", Skewed)
        outcome = one(forwarder, 1)
    assert (outcome.exit_code, outcome.batches) == (Exit.USAGE, 1)
    assert "set the clock" in outcome.unanchored
    assert versions(forwarder) == []
    assert forwarder.forward().exit_code == Exit.OK
    assert not verify(forwarder).findings


def test_a_bucket_that_cannot_lock_is_refused_and_nothing_is_lost(forwarder, s3, bucket):
    right = forwarder.flags["archive"]
    forwarder.flags["archive"] = f"s3://{s3.bucket(lock=False)}"
    outcome = one(forwarder, 1)
    assert (outcome.exit_code, outcome.batches) == (Exit.USAGE, 1)
    assert "setup s3 --archive s3://" in outcome.unanchored
    assert not versions(forwarder)
    forwarder.flags["archive"] = right
    assert forwarder.forward().exit_code == Exit.OK
    assert verify(forwarder).batches == 1


def test_governance_and_legal_hold(forwarder):
    forwarder.flags |= {"s3_mode": "governance", "s3_retention_days": "1", "s3_legal_hold": "true"}
    one(forwarder, 1)
    for version in versions(forwarder):
        lock = archive(forwarder).lock(version.key, version.version_id)
        assert (lock.mode, lock.legal_hold) == ("GOVERNANCE", True)
        assert lock.retain_until < datetime.now(UTC) + timedelta(days=2)


def test_what_is_locked_can_be_deleted_by_nobody(forwarder, s3, bucket):
    one(forwarder, 1)
    for version in versions(forwarder):
        with pytest.raises(s3.client().exceptions.ClientError):
            s3.client().delete_object(
                Bucket=bucket, Key=f"nmap/{forwarder.key.name}/{version.key}", VersionId=version.version_id
            )


def test_another_bucket_than_before_is_refused(forwarder, s3):
    one(forwarder, 1)
    forwarder.flags["archive"] = f"s3://{s3.bucket()}"
    with pytest.raises(IntegrityError, match="does not hold this log's checkpoint of size 1"):
        one(forwarder, 2)


def test_an_input_that_is_too_large_for_one_put_is_refused_when_it_comes(forwarder, monkeypatch):
    monkeypatch.setattr(s3_archive.S3Archive, "largest", 100)
    outcome = one(forwarder, 1)
    assert (outcome.exit_code, outcome.batches) == (Exit.REJECTED, 0)
    assert "takes no object above 100: split it" in outcome.rejected[0]
    assert not list((forwarder.directory / "state" / "spool").iterdir())
    forwarder.flags["privacy_evidence"] = "hash-only"
    assert one(forwarder, 1).exit_code == Exit.OK


def test_documents_wait_for_the_anchor_unless_the_settings_say_otherwise(forwarder, s3, bucket):
    with Scripted() as server:
        away = forwarder.flags["archive"]
        flags = {"url": server.url, "retry_seconds": 0.1, "timeout": 5, "connections": 1}
        forwarder.flags |= {f"elasticsearch_{name}": value for name, value in flags.items()}
        forwarder.flags |= {"archive": f"s3://{s3.bucket(lock=False)}"}
        assert one(forwarder, 1).delivered == 0
        assert not server.documents
        forwarder.flags["elasticsearch_unanchored"] = "true"
        early = forwarder.forward()
        assert (early.exit_code, early.delivered) == (Exit.USAGE, 7)
        assert {json.loads(body)["nmap.seal.anchor"] for body in server.documents.values()} == {"none"}
        assert gather(forwarder.settings)["delivery"]["delivered"] == 7
        forwarder.flags["archive"] = away
        late = forwarder.forward()
        assert (late.exit_code, late.delivered) == (Exit.OK, 0)
        status = gather(forwarder.settings)
        assert (status["queued"], status["delivery"]["delivered"], status["delivery"]["waiting"]) == (0, 7, 0)
        one(forwarder, 2)
        told = [json.loads(body) for body in server.documents.values()]
        assert {body["nmap.seal.anchor"] for body in told} == {"none", f"s3:{bucket}"}
        assert [body["nmap"]["anchor"]["batch"] for body in told if body["event"]["dataset"] == "nmap.seal"] == [0]
        assert verify(forwarder).findings == []


def test_the_command_says_it_in_one_line(forwarder, s3, bucket):
    path = forwarder.write("a.xml", scan(1))
    environment = {**s3.environment, "NMAP_FORWARDER_ARCHIVE": f"s3://{bucket}/nmap"}
    good = forwarder.command("forward", path, env=environment)
    assert (good.returncode, good.stderr.count(b"\n")) == (0, 2), good.stderr  # made: state directory, key
    assert f"in s3://{bucket}/nmap/".encode() in good.stdout
    status = forwarder.command("status", env=environment).stdout.decode()
    assert "queued    0 batches" in status
    assert "locked    until" in status
    bad = forwarder.command(
        "forward", forwarder.write("b.xml", scan(2)), env=environment | {"AWS_SECRET_ACCESS_KEY": "x"}
    )
    assert bad.returncode == 2
    assert bad.stderr.count(b"\n") == 1
    assert b"refuses our credentials" in bad.stderr
    assert b"not in the archive yet waits" in bad.stdout
