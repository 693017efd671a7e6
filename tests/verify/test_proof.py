"""The proof of one record: found in an archive, judged without it, worth nothing when a byte of it is changed."""

import hashlib
import json
import random
from base64 import b64decode, b64encode
from dataclasses import replace

import pytest
from conftest import Forwarder, scan
from witness import WITNESS, cosign

from forwarder.archive.directory import DirectoryArchive
from forwarder.errors import IntegrityError, NothingError
from forwarder.keys.file import FileKey
from forwarder.prove import prove
from forwarder.seal import merkle
from forwarder.seal.note import split_note
from forwarder.seal.proof import MAX_PROOF, LogProof, RecordProof
from forwarder.verify.proof import check_proof


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """An archive of five batches, of 4, 7, 10, 13 and 16 records."""
    return Forwarder(tmp_path_factory.mktemp("sealed")).forward_scans(5)


def make(forwarder, record_id, batch=None):
    return prove(DirectoryArchive(forwarder.archive, forwarder.key.name), record_id, batch)


@pytest.fixture(scope="module")
def proof(sealed):
    return make(sealed, sealed.records()[13]["event"]["id"])


def refused(data, sealed, why=None):
    with pytest.raises(IntegrityError, match=why) as caught:
        check_proof(data, [sealed.key])
    assert "\n" not in str(caught.value)


def changed(data, **changes):
    """The proof with other extra data."""
    outer = LogProof.decode(data)
    return replace(outer, extra=replace(RecordProof.decode(outer.extra), **changes).encode()).encode()


def test_every_record_is_proven_with_the_key_alone(sealed):
    lines = sealed.lines()
    for line, record in zip(lines, sealed.records(), strict=True):
        proven = check_proof(make(sealed, record["event"]["id"]), [sealed.key])
        assert (proven.record, proven.record_id) == (line, record["event"]["id"])
        assert (proven.checkpoint.size, proven.key) == (5, sealed.key)


def test_the_batch_can_be_named(sealed):
    record_id = sealed.records()[13]["event"]["id"]
    assert make(sealed, record_id, 2) == make(sealed, record_id)
    with pytest.raises(NothingError, match=r"batch 1 of .* holds no record"):
        make(sealed, record_id, 1)
    with pytest.raises(NothingError, match="batch 9 of"):
        make(sealed, record_id, 9)
    with pytest.raises(NothingError, match="holds no record"):
        make(sealed, "0" * 64)


def test_a_record_that_only_names_an_id_is_not_taken_for_it(forwarder):
    whole = scan(4)
    path = forwarder.write("a.xml", whole[:-900])
    forwarder.forward(path)
    path.write_text(whole)
    forwarder.forward(path)
    first, second = forwarder.records("scan")
    assert second["nmap"]["scan"]["supersedes"] == first["event"]["id"]
    assert check_proof(make(forwarder, first["event"]["id"]), [forwarder.key]).manifest.sequence == 0


def test_no_byte_of_a_proof_can_be_changed(sealed, proof):
    rng = random.Random(5)
    for place in range(len(proof)):
        damaged = bytearray(proof)
        damaged[place] ^= 1 << rng.randrange(8)
        refused(bytes(damaged), sealed)


def test_no_byte_of_what_is_in_it_can_be_changed(sealed, proof):
    outer = LogProof.decode(proof)
    for place in range(len(outer.extra)):
        damaged = bytearray(outer.extra)
        damaged[place] ^= 1
        refused(replace(outer, extra=bytes(damaged)).encode(), sealed)


def test_a_proof_that_is_cut_or_longer_proves_nothing(sealed, proof):
    for end in range(0, len(proof), 7):
        refused(proof[:end], sealed)
    for more in (b"\n", b"\0", b"x", proof, b" " * MAX_PROOF):
        refused(proof + more, sealed)
        refused(more + proof, sealed)


def test_exchanged_parts_prove_nothing(sealed, proof):
    other = make(sealed, sealed.records()[-1]["event"]["id"])
    one, two = LogProof.decode(proof), LogProof.decode(other)
    inner, theirs = RecordProof.decode(one.extra), RecordProof.decode(two.extra)
    older = (sealed.log / "checkpoints" / f"{4:020}").read_bytes()
    refused(replace(one, extra=two.extra).encode(), sealed, "index says 2")
    refused(replace(one, path=two.path).encode(), sealed, "not in the tree")
    refused(replace(one, path=one.path[::-1]).encode(), sealed, "not in the tree")
    refused(replace(one, path=()).encode(), sealed, "not in the tree")
    refused(replace(one, path=one.path * 22).encode(), sealed, "path is too long")
    refused(replace(one, index=3).encode(), sealed, "index says 3")
    refused(replace(one, checkpoint=older).encode(), sealed, "not in the tree")
    refused(replace(one, extra=b"").encode(), sealed, "holds no record")
    for field, values in {
        "record": [theirs.record, b"{}", b"", inner.record + b"\n", inner.record + b"\n" + inner.record],
        "index": [inner.index + 1, 0, -1, 2**62],
        "count": [inner.count + 1, inner.index + 1, 0, -1, 2**62],
        "path": [theirs.path, inner.path[1:], (*inner.path, merkle.EMPTY), (), inner.path * 20],
        "manifest": [theirs.manifest, inner.manifest + b" ", b"{}", b""],
    }.items():
        for value in values:
            refused(changed(proof, **{field: value}), sealed)


@pytest.mark.parametrize(
    "extra",
    [
        b"[" * 100_000,
        b'{"count":1e999}',
        b"null",
        b"\xff\xfe",
        b'{"format":"nmap-forwarder/record-proof/v2"}',
        b'{"format":"nmap-forwarder/record-proof/v1","path":7}',
        b'{"format":"nmap-forwarder/record-proof/v1","path":[7],"index":0,"count":1}',
        b'{"format":"nmap-forwarder/record-proof/v1","path":[],"index":0,"count":1,"record":1,"manifest":1}',
    ],
)
def test_hostile_extra_data_is_refused(sealed, proof, extra):
    refused(replace(LogProof.decode(proof), extra=extra).encode(), sealed, "extra data")


def test_base64_has_one_form(sealed, proof):
    refused(proof.replace(b"extra ", b"extra\t", 1), sealed)
    refused(proof.replace(b"index 2", b"index 02", 1), sealed)
    refused(proof.replace(b"index 2", b"index +2", 1), sealed)
    refused(proof.replace(b"\n", b"\r\n"), sealed)
    head, _, rest = proof.partition(b"\nindex")
    loose = json.dumps(json.loads(b64decode(head.split(b" ")[-1]))).encode()  # spaces: not canonical
    refused(b"c2sp.org/tlog-proof@v1\nextra " + b64encode(loose) + b"\nindex" + rest, sealed, "canonical")


def test_another_key_or_origin_proves_nothing(sealed, proof, tmp_path):
    stranger = Forwarder(tmp_path / "stranger")
    stranger.forward(stranger.write("a.xml", scan(2)))
    refused(make(stranger, stranger.records()[0]["event"]["id"]), sealed, "not signed by")
    impostor = FileKey.from_seed(b"\1" * 32, sealed.key.name)
    outer = LogProof.decode(proof)
    forged = check_proof(proof, [sealed.key]).checkpoint.sign(impostor)
    refused(replace(outer, checkpoint=forged).encode(), sealed, "not signed by")
    with pytest.raises(IntegrityError, match="no key was given"):
        check_proof(proof, [])
    assert check_proof(proof, [stranger.key, sealed.key]).key == sealed.key


def test_what_was_changed_in_the_archive_is_not_proven(tmp_path):
    forwarder = Forwarder(tmp_path / "f")
    for n in range(3):
        forwarder.forward(forwarder.write(f"{n}.xml", scan(1, start=1700000000 + n)))
    record_id = forwarder.records()[5]["event"]["id"]
    batch = forwarder.manifests()[1]
    for name in (batch.name, batch.records.name, "tile/0/000.p/3", f"checkpoints/{3:020}"):
        path = forwarder.log / name
        data = path.read_bytes()
        for damaged in (None, data[:-1] + b"\0", data + b"\0", b""):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(IntegrityError):
                check_proof(make(forwarder, record_id), [forwarder.key])
        path.write_bytes(data)
    (forwarder.log / "checkpoint").unlink()  # a hint only: the batch's own checkpoint does
    assert check_proof(make(forwarder, record_id), [forwarder.key]).checkpoint.size == 2


def test_the_commands(sealed, tmp_path):
    record = sealed.records()[13]
    record_id = record["event"]["id"]
    made = sealed.command("prove", record_id, cwd=tmp_path)
    file = tmp_path / f"{record_id}.tlog-proof"
    assert (made.returncode, made.stdout.decode()) == (0, f"{file.name}\n"), made.stderr
    vkey = tmp_path / "key.vkey"
    vkey.write_text(f"{sealed.key}\n")
    elsewhere = Forwarder(tmp_path / "auditor")
    shown = elsewhere.command("verify", file, "--key", vkey)
    assert shown.returncode == 0, shown.stderr
    assert f"record {record_id}" in shown.stdout.decode()
    assert "rests on the public key" in shown.stdout.decode()
    facts = json.loads(elsewhere.command("verify", file, "--key", vkey, "--json").stdout)
    assert (facts["ok"], facts["batch"], json.loads(facts["record"])) == (True, 2, record)
    file.write_bytes(file.read_bytes()[:-5])
    bad = elsewhere.command("verify", file, "--key", vkey)
    assert (bad.returncode, bad.stdout) == (1, b"")
    assert bad.stderr.decode().count("\n") == 1
    assert "proves nothing" in bad.stderr.decode()
    facts = json.loads(elsewhere.command("verify", file, "--key", vkey, "--json").stdout)
    assert facts["ok"] is False
    assert sealed.command("prove", "x").returncode == 2
    assert sealed.command("prove", record_id, "--batch", "1").returncode == 3
    assert elsewhere.command("prove", record_id).returncode == 2
    out = elsewhere.command("prove", record_id, "--key", vkey, "--archive", sealed.archive, "--output", "-").stdout
    assert out.startswith(b"c2sp.org/tlog-proof@v1\n")


def test_a_witness_in_the_proof_counts_for_who_knows_it(forwarder, tmp_path):
    forwarder.forward(forwarder.write("a.xml", scan(1)))
    note = (forwarder.log / "checkpoints" / f"{1:020}").read_bytes()
    lines = cosign(split_note(note)[0], 1700000000)
    for data in (lines, b"nonsense"):
        path = forwarder.log / "cosignatures" / f"{1:020}" / hashlib.sha256(data).hexdigest()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    file, vkey, witness = tmp_path / "p.tlog-proof", tmp_path / "key.vkey", tmp_path / "w.vkey"
    file.write_bytes(make(forwarder, forwarder.records()[0]["event"]["id"]))
    vkey.write_text(f"{forwarder.key}\n")
    witness.write_text(f"{WITNESS}\n")
    command = ("verify", file, "--key", vkey, "--witness", witness)
    auditor = Forwarder(tmp_path / "auditor")
    shown = auditor.command(*command)
    assert b"it has seen that checkpoint at 2023-11-14T22:13:20.000Z" in shown.stdout, shown.stderr
    file.write_bytes(file.read_bytes().replace(lines[-20:], b"AAAA" + lines[-16:]))
    shown = auditor.command(*command)
    assert shown.returncode == 1
    assert b"witness.example/w1+" in shown.stderr
    assert auditor.command(*command[:-2]).returncode == 0  # who does not know it passes it over
