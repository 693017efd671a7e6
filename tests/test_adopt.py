"""Going on with a log whose state directory is lost or old, from a directory and from buckets."""

import json
import shutil

import crash
import pytest
import s3_server
from conftest import Forwarder, scan

from forwarder import outbox, state
from forwarder.adopt import adopt
from forwarder.archive.place import open_archive
from forwarder.archive.records import batches, lines
from forwarder.errors import Exit, IntegrityError
from forwarder.ledger import Ledger
from forwarder.verify.keys import keys_of
from forwarder.verify.log import verify_log
from forwarder.verify.policy import Policy
from forwarder.verify.pool import Pool


@pytest.fixture(params=["directory", *s3_server.KINDS])
def place(request, tmp_path, shared_s3, new_bucket):
    """An archive outside of the state directory."""
    if request.param == "directory":
        return str(tmp_path / "archive")
    return f"s3://{new_bucket(shared_s3(request.param))}/nmap"


def machine(directory, place, key=None):
    """A forwarder; with the key of another one."""
    made = Forwarder(directory, {"archive": place, "s3_retry_seconds": 0})
    if key:
        (directory / "state").mkdir(parents=True)
        (directory / "config.toml").touch()
        for name in ("key.pem", "key.vkey"):
            shutil.copy2(key.directory / "state" / name, directory / "state" / name)
        state.init(made.settings)
    return made


def take_over(forwarder, **options):
    said = []
    with state.opened(forwarder.settings) as opened:
        return adopt(opened, forwarder.settings, options.get("pins", []), options.get("resend", -1), said.append), said


def archive(forwarder):
    return open_archive(forwarder.settings["archive"], forwarder.key.name, forwarder.settings)


def sealed(forwarder):
    found = archive(forwarder)
    return [json.loads(line) for batch in batches(found) for line in lines(found, batch)]


def ids(forwarder):
    return sorted(record["event"]["id"] for record in sealed(forwarder) if record["event"]["dataset"] != "nmap.seal")


def check(forwarder):
    pool = Pool(lambda: archive(forwarder), jobs=1)
    verdict = verify_log(pool, keys_of(pool.archive, forwarder.key), [], Policy(patience=0), lambda _: None)
    assert not [finding for finding in verdict.findings if finding.code != "stray"]
    return verdict


def test_a_new_machine_goes_on_where_the_old_one_died(tmp_path, place):
    old = machine(tmp_path / "old", place)
    whole = scan(5, start=1700000001)
    old.forward(old.write("a.xml", scan(2)))
    old.forward(old.write("b.xml", whole[: whole.index("10.0.0.4") - 200]))
    before = ids(old)
    new = machine(tmp_path / "new", place, old)
    with pytest.raises(IntegrityError, match=r"already has a batch 0 .* adopt"):
        new.forward(new.write("a.xml", scan(2)))
    result, _ = take_over(new)
    assert (result.batches, result.inputs, result.given_up, result.finished) == (2, 2, [], False)
    assert new.forward(new.write("a.xml", scan(2))).known == 1
    assert ids(new) == before
    outcome = new.forward(new.write("b.xml", whole))  # grown since: only the rest is new
    assert outcome.exit_code == Exit.OK
    assert len(set(ids(new))) == len(ids(new)) > len(before)
    reference = Forwarder(tmp_path / "reference")
    cut = reference.write("b.xml", whole[: whole.index("10.0.0.4") - 200])
    reference.forward(reference.write("a.xml", scan(2)))
    reference.forward(cut)
    reference.forward(reference.write("b.xml", whole))
    assert ids(new) == sorted(record["event"]["id"] for record in reference.records())
    assert check(new).batches == 3


def test_the_ledger_is_what_it_was(tmp_path, place):
    old = machine(tmp_path / "old", place)
    for n in range(3):
        old.forward(old.write(f"{n}.xml", scan(3, 2 + n, start=1700000000 + n)))
    new = machine(tmp_path / "new", place, old)
    take_over(new)
    one, two = (Ledger(each.directory / "state" / "ledger.sqlite") for each in (old, new))
    for table in ("batch", "scan", "node", "asset", "asset_state"):
        columns = "*" if table != "batch" else "sequence, manifest_sha256, first_record, records, created"
        rows = [sorted(each._db.execute(f"SELECT {columns} FROM {table}").fetchall()) for each in (one, two)]
        assert rows[0] == rows[1], table
        assert rows[0]
    hashes = [
        each._db.execute("SELECT raw_sha256, stored_sha256, state, anchored FROM input ORDER BY 1").fetchall()
        for each in (one, two)
    ]
    assert hashes[0] == hashes[1]


def test_only_what_may_be_missing_is_delivered_again(tmp_path):
    old = machine(tmp_path / "old", str(tmp_path / "archive"))
    for n in range(3):
        old.forward(old.write(f"{n}.xml", scan(1, start=1700000000 + n)))
    for resend, expected in ((-1, [2]), (1, [1, 2]), (0, [0, 1, 2]), (3, [])):
        new = machine(tmp_path / f"new{resend}", str(tmp_path / "archive"), old)
        take_over(new, resend=resend)
        book = Ledger(new.directory / "state" / "ledger.sqlite")
        assert [batch.sequence for batch in book.batches("delivering")] == expected


def die_at(forwarder, step):
    """Forward, and die by SIGKILL before the step-th write to the archive; tell if it did."""
    writes = [(type(archive(forwarder)), name) for name in ("put", "point")]
    return crash.dies(step, lambda: forwarder.forward(forwarder.directory / "in"), writes)


def test_a_machine_lost_at_any_write_is_succeeded_by_another(tmp_path, place, monkeypatch):
    """Every put is the last one of some machine, of which only the key is left; the next one has the scans again."""
    monkeypatch.setattr(outbox, "MAX_RECORDS", 6)
    every = 1 if place.startswith("/") else 3  # a bucket takes its time
    steps, died, finished = 0, True, 0
    first, second = scan(2, start=1700000001), scan(3, 1, start=1700000002).replace('portid="100"', 'portid="200"')
    reference = Forwarder(tmp_path / "reference")
    for name, text in (("in/0.xml", first), ("in/1.xml", second)):
        reference.write(name, text)
    reference.forward(reference.directory / "in")
    wanted = sorted(record["event"]["id"] for record in reference.records())
    while died:
        steps += every
        victim = machine(tmp_path / f"v{steps}", f"{place}/{steps}")
        victim.write("in/0.xml", first)
        victim.write("in/1.xml", second)
        victim.init()
        died = die_at(victim, steps)
        heir = machine(tmp_path / f"h{steps}", f"{place}/{steps}", victim)
        shutil.copytree(victim.directory / "in", heir.directory / "in")
        if any(True for _ in batches(archive(heir))):
            finished += take_over(heir)[0].finished
        assert heir.forward(heir.directory / "in").exit_code == Exit.OK, f"killed at step {steps}"
        assert ids(heir) == wanted, f"killed at step {steps}"
        check(heir)
    assert steps > 15
    assert finished > 1


def test_an_old_state_directory_goes_on_and_what_it_sealed_in_vain_is_sealed_again(tmp_path, place):
    forwarder = machine(tmp_path / "f", place)
    forwarder.forward(forwarder.write("a.xml", scan(1)))
    shutil.copytree(forwarder.directory, tmp_path / "backup")
    forwarder.forward(forwarder.write("b.xml", scan(2, start=1)))
    before = ids(forwarder)
    restored = Forwarder(tmp_path / "backup", forwarder.flags)
    real = outbox.check_head
    with pytest.MonkeyPatch.context() as patch:  # it sealed while it could not see the archive
        patch.setattr(outbox, "check_head", lambda *_: (_ for _ in ()).throw(outbox_away()))
        outcome = restored.forward(restored.write("c.xml", scan(3, start=2)))
        assert (outcome.batches, outcome.exit_code) == (1, Exit.TEMPORARY)
    assert outbox.check_head is real
    with pytest.raises(IntegrityError, match="already has a batch 1"):
        restored.forward()
    result, _ = take_over(restored)
    assert (result.batches, result.given_up, result.again) == (2, [1], 1)
    assert restored.forward().exit_code == Exit.OK
    assert set(ids(restored)) > set(before)
    assert len({record["nmap"]["scan"]["id"] for record in sealed(restored) if "scan" in record["nmap"]}) == 3
    assert check(restored).batches == 3


def outbox_away():
    from forwarder.errors import TemporaryError

    return TemporaryError("away")


def test_where_nothing_is_new_nothing_is_changed(tmp_path, place):
    forwarder = machine(tmp_path / "f", place)
    forwarder.forward(forwarder.write("a.xml", scan(1)))
    result, said = take_over(forwarder)
    assert (result.batches, len(said)) == (1, 1)
    assert not (forwarder.directory / "state" / "ledger.before-adopt.sqlite").exists()
    assert forwarder.forward(forwarder.write("b.xml", scan(2))).exit_code == Exit.OK


def test_what_does_not_verify_is_not_adopted(tmp_path):
    old = machine(tmp_path / "old", str(tmp_path / "archive"))
    old.forward(old.write("a.xml", scan(1)))
    old.forward(old.write("b.xml", scan(2, start=1)))
    new = machine(tmp_path / "new", str(tmp_path / "archive"), old)
    (evidence, *_) = (tmp_path / "archive" / old.key.name / "evidence").iterdir()
    evidence.write_bytes(evidence.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match=r"is not adopted: .*evidence"):
        take_over(new)
    assert Ledger(new.directory / "state" / "ledger.sqlite").last_batch() is None


def test_a_cut_off_tail_is_not_adopted_by_whom_knows_better(tmp_path):
    forwarder = machine(tmp_path / "f", str(tmp_path / "archive"))
    forwarder.forward(forwarder.write("a.xml", scan(1)))
    shutil.copytree(tmp_path / "archive", tmp_path / "older")
    forwarder.forward(forwarder.write("b.xml", scan(2, start=1)))
    forwarder.flags["archive"] = str(tmp_path / "older")
    result = forwarder.command("adopt", "--archive", tmp_path / "older")
    assert (result.returncode, b"the newest batches are gone" in result.stderr) == (1, True)


def test_the_command(tmp_path):
    old = machine(tmp_path / "old", str(tmp_path / "archive"))
    old.forward(old.write("a.xml", scan(1)))
    new = Forwarder(tmp_path / "new")
    nothing = new.command("adopt", "--archive", tmp_path / "archive")
    assert (nothing.returncode, b"copy its key.pem and key.vkey there, and keys/" in nothing.stderr) == (3, True)
    new = machine(tmp_path / "newer", str(tmp_path / "archive"), old)
    result = new.command("adopt", "--archive", tmp_path / "archive")
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"1 batches with 1 inputs" in result.stdout
    again = new.command("forward", "--archive", tmp_path / "archive", new.write("a.xml", scan(1)))
    assert (again.returncode, b"1 known already" in again.stdout) == (0, True)


def test_a_marker_that_hides_the_end_is_no_end(tmp_path, bucket, s3):
    old = machine(tmp_path / "old", f"s3://{bucket}/nmap")
    for n in range(2):
        old.forward(old.write(f"{n}.xml", scan(1, start=1700000000 + n)))
    for version in archive(old).versions():
        if version.key.startswith(("batches/00000000000000000001", "checkpoints/00000000000000000002")):
            s3.client().delete_object(Bucket=bucket, Key=f"nmap/{old.key.name}/{version.key}")
    new = machine(tmp_path / "new", f"s3://{bucket}/nmap", old)
    with pytest.raises(IntegrityError, match="is not adopted"):
        take_over(new)
