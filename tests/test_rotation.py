"""Changes of the signing key: they are batches of the log, survive a crash, and can be verified from any of the keys."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import crash
import pytest
import tsa
from conftest import Forwarder, need, scan
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forwarder import pipeline, state
from forwarder.archive.directory import DirectoryArchive
from forwarder.errors import Exit, TemporaryError, UsageError
from forwarder.keys.file import FileKey
from forwarder.outcome import Listener, Outcome
from forwarder.seal.keychange import KeyChange
from forwarder.seal.manifest import Manifest, ManifestError, key_name
from forwarder.seal.note import Verifier
from forwarder.verify.attest import third_parties
from forwarder.verify.policy import Policy
from forwarder.verify.run import Task, verify


def change_key(forwarder, *revocation):
    with state.opened(forwarder.settings) as opened:
        return pipeline.change_key(opened, forwarder.settings, Outcome(), Listener(), *revocation)


def add(forwarder, n):
    forwarder.forward(forwarder.write(f"{n}.xml", scan(1, start=1700000000 + n)))


def judged(forwarder, key=None, **options):
    (verdict,) = verify(forwarder.archive, Task([key or forwarder.key], lambda _: [], Policy(patience=0), **options))
    return verdict


def codes(forwarder, key=None):
    return {finding.code for finding in judged(forwarder, key).findings}


@pytest.fixture(scope="module")
def rotated(tmp_path_factory):
    """A log of 7 batches with three keys: changes in batches 1 and 4, the second a revocation that trusts size 3."""
    forwarder = Forwarder(tmp_path_factory.mktemp("rotated") / "f")
    add(forwarder, 0)
    two = change_key(forwarder)
    for n in (2, 3):
        add(forwarder, n)
    three = change_key(forwarder, 3, "2026-01-01T00:00:00.000Z")
    for n in (5, 6):
        add(forwarder, n)
    return forwarder, [forwarder.key, two, three]


@pytest.fixture
def copy(rotated, tmp_path):
    shutil.copytree(rotated[0].directory, tmp_path / "f")
    return Forwarder(tmp_path / "f")


def test_the_log_verifies_from_each_of_its_keys_and_says_what_it_rests_on(rotated):
    forwarder, keys = rotated
    for place, key in enumerate(keys):
        verdict = judged(forwarder, key)
        assert (verdict.findings, verdict.batches, verdict.size) == ([], 7, 7)
        assert verdict.rests_on[0].startswith(f"the public key {key}")
        assert ("signs from size" in verdict.rests_on[0]) == bool(place)
        links = [line for line in verdict.rests_on if line.startswith("the change of keys")]
        assert [("by which the key of before is known" in line) for line in links] == [place > 0, place > 1]
    stranger = FileKey.from_seed(b"\5" * 32, forwarder.key.name).verifier
    assert "checkpoint-invalid" in codes(forwarder, stranger)


def test_both_keys_sign_the_change_and_the_new_one_alone_what_follows(rotated):
    forwarder, keys = rotated
    for size, signers in {
        1: keys[:1],
        2: keys[:2],
        3: keys[1:2],
        4: keys[1:2],
        5: keys[1:],
        6: keys[2:],
        7: keys[2:],
    }.items():
        note = (forwarder.log / "checkpoints" / f"{size:020}").read_bytes()
        assert note.count(f"\n\N{EM DASH} {forwarder.key.name} ".encode()) == len(signers)
        from forwarder.seal.note import open_checkpoint

        for key in signers:
            assert open_checkpoint(note, key).size == size


def test_private_keys_that_sign_nothing_more_are_gone(rotated):
    forwarder, keys = rotated
    directory = forwarder.directory / "state"
    assert not (directory / "key.pem").exists()
    (left,) = directory.glob("keys/*.pem")
    assert FileKey.load(left, forwarder.key.name).verifier == keys[2]
    assert left.stat().st_mode & 0o777 == 0o600
    shown = json.loads(forwarder.command("keys", "show", "--json").stdout)["keys"]
    assert [(fact["verifier"], fact["first_size"], fact["last_size"]) for fact in shown] == [
        (str(keys[0]), 1, 2), (str(keys[1]), 2, 5), (str(keys[2]), 5, None),
    ]  # fmt: skip
    assert [bool(fact["private"]) for fact in shown] == [False, False, True]


def test_doubt_about_a_revoked_key_is_said(rotated):
    verdict = judged(rotated[0])
    (line,) = [line for line in verdict.cannot_exclude if "revoked" in line]
    assert "batches 3 to 3 " in line


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda log, key: (log / key_name(1)).unlink(), "checkpoint-invalid"),
        (lambda log, key: (log / key_name(4)).unlink(), "checkpoint-invalid"),
        (lambda log, key: (log / key_name(1)).write_text(f"{key}\n"), "key-changed"),
        (lambda log, key: (log / key_name(2)).write_text(f"{key}\n"), "stray"),
        (lambda log, key: (log / key_name(99)).write_text(f"{key}\n"), "stray"),
        (
            lambda log, key: shutil.copy(log / f"checkpoints/{3:020}", log / f"checkpoints/{2:020}"),
            "checkpoint-invalid",
        ),
    ],
)
def test_what_is_done_to_a_change_of_keys_is_found(copy, rotated, change, code):
    change(copy.log, rotated[1][0])
    assert code in codes(copy)
    assert codes(copy, rotated[1][2])


def test_a_signature_that_is_missing_at_a_change_is_found(copy, rotated):
    for size, keep in ((2, 0), (2, 1), (5, 0), (5, 1)):
        path = copy.log / "checkpoints" / f"{size:020}"
        note = path.read_bytes()
        text, _, block = note.rpartition(b"\n\n")
        path.write_bytes(text + b"\n\n" + block.splitlines(keepends=True)[keep])
        for key in rotated[1]:
            assert "checkpoint-invalid" in codes(copy, key), (size, keep)
        path.write_bytes(note)
    assert not codes(copy)


def test_the_old_key_alone_cannot_go_on(copy, rotated, tmp_path):
    """Who has stolen the first key forks the log before it was changed: found by whoever has the next, or a pin."""
    thief = Forwarder(tmp_path / "thief")
    shutil.copytree(copy.directory, thief.directory)
    private = Ed25519PrivateKey.generate()
    forged = FileKey(private, copy.key.name)
    path = copy.log / key_name(1)
    path.write_text(f"{forged.verifier}\n")
    manifest = copy.manifests()[1]
    lie = replace(manifest, key=KeyChange("rotate", str(copy.key), str(forged.verifier)))
    (copy.log / manifest.name).write_bytes(lie.encode())
    assert codes(copy) >= {"checkpoint-invalid", "chain-broken"}


def test_the_holder_of_no_key_cannot_bring_one_in(copy, rotated):
    """A key batch that was made up: the old key's true signature over the true tree does not vouch for it."""
    from forwarder.seal.note import Checkpoint, open_checkpoint

    forged = FileKey.from_seed(b"\6" * 32, copy.key.name)
    manifest = copy.manifests()[0]
    lie = Manifest(
        origin=manifest.origin, sequence=0, previous=manifest.previous, type="key", created=manifest.created,
        software=manifest.software, first_record=0, records=copy.manifests()[1].records,
        key=KeyChange("rotate", str(copy.key), str(forged.verifier)),
    )  # fmt: skip
    (copy.log / manifest.name).write_bytes(lie.encode())
    (copy.log / key_name(0)).write_text(f"{forged.verifier}\n")
    path = copy.log / "checkpoints" / f"{1:020}"
    note = path.read_bytes()
    both = open_checkpoint(note, copy.key).sign(forged).rpartition(b"\n\n")[2]
    path.write_bytes(note + both)
    assert "checkpoint-differs" in codes(copy)
    from forwarder.verify.keys import keys_of

    known = keys_of(DirectoryArchive(copy.archive, copy.key.name), copy.key)
    assert forged.verifier not in {change.new for change in known.changes}
    assert isinstance(open_checkpoint(note, copy.key), Checkpoint)


# --- time -----------------------------------------------------------------------------------------------------


def test_doubt_ends_where_a_third_party_has_seen_the_log_before(tmp_path):
    need("openssl")
    forwarder = Forwarder(tmp_path / "f")
    with tsa.running(tmp_path / "tsa") as authority:
        for n in range(3):
            forwarder.flags["timestamps_url"] = authority.url if n == 1 else ""
            add(forwarder, n)
    forwarder.flags["timestamps_url"] = ""
    change_key(forwarder, 0, "2999-01-01T00:00:00.000Z")
    trust = third_parties([authority.ca], [])

    def doubt(**options):
        return [line for line in judged(forwarder, **options).cannot_exclude if "revoked" in line]

    assert "batches 0 to 2 " in doubt()[0]
    assert "batches 2 to 2 " in doubt(trust=trust)[0]
    verdict = judged(forwarder, trust=trust)
    assert not verdict.findings
    assert any("CN=Local TSA: it has seen the checkpoint of size 2" in line for line in verdict.rests_on)
    assert any("before the key of then was in other hands" in line for line in verdict.rests_on)
    assert "count for nothing" in judged(forwarder).notes[0]


# --- crashes --------------------------------------------------------------------------------------------------


def test_a_kill_at_any_step_of_a_rotation_leaves_a_log_that_the_next_run_finishes(tmp_path):
    template = Forwarder(tmp_path / "template")
    add(template, 0)
    steps, died, changed = 0, True, set()
    while died:
        steps += 1
        victim = Forwarder(tmp_path / f"v{steps}")
        shutil.copytree(template.directory, victim.directory)
        died = crash.dies(steps, lambda: change_key(victim))
        add(victim, 1)
        verdict = judged(victim)
        assert not verdict.findings, f"killed at step {steps}: {verdict.findings}"
        changes = [manifest for manifest in victim.manifests() if manifest.type == "key"]
        changed.add(len(changes))
        assert len(changes) <= 1, f"killed at step {steps}"
        key = Verifier.parse(changes[0].key.new) if changes else victim.key
        found = [*(victim.directory / "state").glob("*.pem"), *(victim.directory / "state").glob("keys/*.pem")]
        (private,) = [path for path in found if path.name != "next.pem"]  # which was never promised
        assert FileKey.load(private, victim.key.name).verifier == key, f"killed at step {steps}"
        assert not list((victim.directory / "state" / "outbox").iterdir())
        shutil.rmtree(victim.directory)
    assert steps > 25
    assert changed == {0, 1}  # before the promise nothing has happened, behind it all of it has


# --- what cannot be -------------------------------------------------------------------------------------------


def test_a_size_that_the_log_has_not_had_cannot_be_trusted(copy):
    with pytest.raises(UsageError, match="7 batches only"):
        change_key(copy, 8)
    assert len(copy.manifests()) == 7


def test_a_key_of_before_does_not_come_back(tmp_path):
    forwarder = Forwarder(tmp_path / "f")
    add(forwarder, 0)
    old = tmp_path / "old.pem"
    shutil.copy(forwarder.directory / "state" / "key.pem", old)
    change_key(forwarder)
    forwarder.flags["key_uri"] = f"file:{old}"
    with pytest.raises(UsageError, match="has or had"):
        change_key(forwarder)


def test_the_old_key_stays_until_the_archive_has_the_change(forwarder, monkeypatch):
    add(forwarder, 0)

    def away(*_):
        raise TemporaryError("the archive is away")

    monkeypatch.setattr(DirectoryArchive, "put", away)
    outcome = Outcome()
    with state.opened(forwarder.settings) as opened:
        key = pipeline.change_key(opened, forwarder.settings, outcome, Listener())
    assert (outcome.unanchored, outcome.exit_code) == ("the archive is away", Exit.TEMPORARY)
    assert (forwarder.directory / "state" / "key.pem").exists()
    monkeypatch.undo()
    add(forwarder, 1)
    assert not (forwarder.directory / "state" / "key.pem").exists()
    assert (judged(forwarder, key).findings, len(forwarder.manifests())) == ([], 3)


def test_a_log_may_begin_with_changes_of_keys(forwarder):
    forwarder.init()
    keys = [forwarder.key, change_key(forwarder), change_key(forwarder)]
    add(forwarder, 0)
    for key in keys:
        verdict = judged(forwarder, key)
        assert (verdict.findings, verdict.batches) == ([], 3)


def test_the_words_of_the_command(copy):
    assert copy.command("keys", "revoke").returncode == 2
    assert copy.command("keys", "rotate", "--trusted-size", "1").returncode == 2
    assert copy.command("keys", "revoke", "--trusted-size", "-1").returncode == 2
    assert copy.command("keys", "revoke", "--trusted-size", "1", "--since", "yesterday").returncode == 2
    assert copy.command("keys", "other").returncode == 2
    done = copy.command("keys", "revoke", "--trusted-size", "7", "--since", "2026-11-20T00:00:00.000Z")
    assert (done.returncode, done.stdout.decode().count("\n")) == (0, 3), done.stderr
    assert not judged(copy).findings
    facts = json.loads(copy.command("keys", "rotate", "--json").stdout)
    assert (facts["action"], facts["old_private"]) == ("rotate", "")
    shown = copy.command("keys", "show").stdout.decode()
    assert facts["new"] in shown
    assert shown.count("-----BEGIN PUBLIC KEY-----") == 5
    assert Forwarder(copy.directory / "none").command("keys", "show").returncode == 3


@pytest.mark.parametrize(
    "bad",
    [
        {"action": "steal"},
        {"old": "x"},
        {"new": None},
        {"new": 7},
        {"trusted_size": 1},
        {"since": "2026-01-01T00:00:00.000Z"},
        {"action": "revoke"},
        {"action": "revoke", "trusted_size": 2},
        {"action": "revoke", "trusted_size": -1},
        {"action": "revoke", "trusted_size": True},
        {"action": "revoke", "trusted_size": 1, "since": "then"},
    ],
)
def test_a_change_of_keys_that_does_not_say_which_is_no_manifest(rotated, bad):
    manifest = rotated[0].manifests()[1]
    assert Manifest.decode(manifest.encode()) == manifest
    with pytest.raises(ManifestError):
        Manifest.decode(replace(manifest, key=replace(manifest.key, **bad)).encode())


def test_the_same_key_or_one_of_another_name_is_no_change(rotated):
    manifest = rotated[0].manifests()[1]
    other = str(FileKey.from_seed(b"\1" * 32, "other").verifier)
    for bad in ({"new": manifest.key.old}, {"new": other}, {"new": manifest.key.new + " "}):
        with pytest.raises(ManifestError):
            Manifest.decode(replace(manifest, key=replace(manifest.key, **bad)).encode())
    for bad in (replace(manifest, type="heartbeat"), replace(manifest, key=None)):
        with pytest.raises(ManifestError):
            Manifest.decode(bad.encode())


def test_proofs_need_the_key_that_signed(rotated, tmp_path):
    forwarder, keys = rotated
    record_id = forwarder.records()[0]["event"]["id"]
    file = tmp_path / "x.tlog-proof"
    made = forwarder.command("prove", record_id, "--output", file)
    assert made.returncode == 0, made.stderr
    for key, code in zip(keys, (1, 1, 0), strict=True):
        vkey = tmp_path / "key.vkey"
        vkey.write_text(f"{key}\n")
        assert Forwarder(tmp_path / "a").command("verify", file, "--key", vkey).returncode == code
    assert Path(file).stat().st_size < 10_000


# --- another machine ------------------------------------------------------------------------------------------


def test_a_log_that_changed_its_key_is_adopted_with_the_key_in_force(rotated, tmp_path):
    old, (first, _, newest) = rotated
    heir = Forwarder(tmp_path / "heir", {"archive": str(tmp_path / "archive")})
    shutil.copytree(old.archive, tmp_path / "archive")
    directory = heir.directory / "state"
    directory.mkdir(parents=True)
    shutil.copy(old.directory / "state" / "key.vkey", directory)
    without = heir.command("adopt", "--archive", tmp_path / "archive")
    assert (without.returncode, without.stderr.count(b"\n")) == (2, 1), without.stderr
    assert f"private half of the key {newest}" in without.stderr.decode()
    shutil.copytree(old.directory / "state" / "keys", directory / "keys")
    done = heir.command("adopt", "--archive", tmp_path / "archive")
    assert done.returncode == 0, done.stderr
    add(heir, 7)
    (verdict,) = verify(tmp_path / "archive", Task([first], lambda _: [], Policy(patience=0)))
    assert (verdict.findings, verdict.batches) == ([], 8)


def test_a_ledger_that_knows_less_never_costs_a_key(rotated, tmp_path):
    """An old state directory is restored with the newest keys; a run with an archive that is away leaves them alone."""
    old, _ = rotated
    shutil.copytree(old.directory / "state" / "keys", tmp_path / "f" / "state" / "keys")
    shutil.copy(old.directory / "state" / "key.vkey", tmp_path / "f" / "state")
    before = {path.name for path in (tmp_path / "f" / "state" / "keys").iterdir()}
    with pytest.raises(UsageError, match="private half"):
        add(Forwarder(tmp_path / "f"), 0)
    assert {path.name for path in (tmp_path / "f" / "state" / "keys").iterdir()} == before


def test_the_commands_of_the_page_about_keys_run(copy):
    text = (Path(__file__).parents[1] / "docs" / "KEYS.md").read_text()
    commands = [line.removeprefix("$ nmap-forwarder ").split() for line in text.splitlines() if line.startswith("$ ")]
    assert len(commands) == 3
    for command in commands:
        done = copy.command(*command)
        assert done.returncode == 0, done.stderr
    assert not judged(copy).findings
