"""Every kind of change to an archive is found and named."""

import hashlib
import random
import shutil

import pytest
import zstandard
from conftest import Forwarder, scan, task

from forwarder.errors import NothingError, UsageError
from forwarder.outcome import Listener, Outcome
from forwarder.seal.note import Checkpoint
from forwarder.verify.keys import Keys
from forwarder.verify.run import locate, read_checkpoint, verify


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """An archive of four batches."""
    forwarder = Forwarder(tmp_path_factory.mktemp("sealed")).forward_scans(4)
    assert not forwarder.verify().findings
    return forwarder


@pytest.fixture
def copy(sealed, tmp_path):
    """A copy of it to tamper with."""
    shutil.copytree(sealed.directory, tmp_path / "f")
    return Forwarder(tmp_path / "f")


def codes(forwarder, **options):
    return {finding.code for finding in forwarder.verify(**options).findings}


def rewrite(path, change):
    lines = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(b"".join(change(lines))))


def test_every_single_byte_matters(copy):
    """One bit anywhere in the archive is flipped, at several places in every file: always found, the object named."""
    rng = random.Random(3)
    for path in sorted(file for file in copy.log.rglob("*") if file.is_file()):
        data = path.read_bytes()
        for place in {0, len(data) - 1, *(rng.randrange(len(data)) for _ in range(6))}:
            changed = bytearray(data)
            changed[place] ^= 1 << rng.randrange(8)
            path.write_bytes(bytes(changed))
            verdict = copy.verify()
            assert verdict.findings, f"{path.name} byte {place}"
            key = path.relative_to(copy.log).as_posix()
            named = {finding.object for finding in verdict.findings}
            if key.startswith("batches/"):  # a changed manifest shows in what is signed over it
                named |= {key} if any(finding.batch is not None for finding in verdict.findings) else set()
            assert key in named
        path.write_bytes(data)
    assert not copy.verify().findings


def test_every_file_matters(copy):
    for path in sorted(file for file in copy.log.rglob("*") if file.is_file()):
        data = path.read_bytes()
        for change in (
            lambda: path.unlink(),
            lambda: path.write_bytes(data + b"\0"),
            lambda: path.write_bytes(data[:-1]),
        ):
            change()
            assert copy.verify().findings, path
            path.write_bytes(data)


def test_a_changed_record_is_named(copy):
    manifest = copy.manifests()[2]
    rewrite(
        copy.log / manifest.records.name,
        lambda lines: [*lines[:3], lines[3].replace(b"open", b"OPEN", 1), *lines[4:]],
    )
    findings = copy.verify().findings
    (record,) = [finding for finding in findings if finding.code == "record-changed"]
    assert (record.batch, record.record, record.object) == (2, 3, manifest.records.name)
    assert {"records-changed", "record-root"} <= {finding.code for finding in findings}
    assert "batch 2, record 3" in str(record)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1:],
        lambda lines: lines[:-1],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [lines[0], *lines],
        lambda lines: [*lines, b'{"@timestamp":"2026-11-23T09:31:38.000Z"}\n'],
        lambda lines: [*lines[:-1], lines[-1][:-1]],
        lambda lines: [b"\n".join(lines[:1]) + b"\n", *lines[1:]],
        lambda lines: [],
    ],
    ids=[
        "first deleted",
        "last deleted",
        "reordered",
        "duplicated",
        "inserted",
        "no end",
        "blank line",
        "all gone",
    ],
)
def test_deleted_reordered_inserted_records_are_found(copy, change):
    rewrite(copy.log / copy.manifests()[3].records.name, change)
    assert "record-root" in codes(copy) or "records-damaged" in codes(copy)


def test_a_records_object_of_another_batch_is_found(copy):
    one, other = copy.manifests()[1:3]
    shutil.copy(copy.log / other.records.name, copy.log / one.records.name)
    assert {"records-changed", "record-changed"} <= codes(copy)


def test_a_decompression_bomb_is_refused(copy):
    path = copy.log / copy.manifests()[0].records.name
    path.write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(b"x" * (64 << 20)))
    assert "records-damaged" in codes(copy)


def test_a_missing_batch_is_a_gap(copy):
    shutil.rmtree(copy.log / "batches" / f"{1:020}")
    assert {"gap", "batches-missing"} <= codes(copy)


def test_two_exchanged_batches_are_found(copy):
    a, b = (copy.log / "batches" / f"{n:020}" / "manifest.json" for n in (1, 2))
    one, other = a.read_bytes(), b.read_bytes()
    a.write_bytes(other)
    b.write_bytes(one)
    assert {"chain-broken", "checkpoint-differs", "tile-changed"} <= codes(copy)


def cut_off(forwarder, size):
    """Remove everything that the batches from `size` on brought, as a thorough attacker would."""
    for manifest in forwarder.manifests()[size:]:
        (forwarder.log / manifest.name).unlink()
        (forwarder.log / manifest.records.name).unlink()
        (forwarder.log / manifest.records.leaves_name).unlink()
        for item in manifest.evidence:
            (forwarder.log / item.name).unlink()
        n = manifest.sequence + 1
        for name in (f"checkpoints/{n:020}", f"tile/0/000.p/{n}", f"tile/entries/000.p/{n}"):
            (forwarder.log / name).unlink()
    shutil.copy(forwarder.log / "checkpoints" / f"{size:020}", forwarder.log / "checkpoint")


def test_a_clean_cut_needs_memory_to_be_found_and_the_verdict_says_so(copy):
    note = (copy.log / "checkpoints" / f"{4:020}").read_bytes()
    pin_file = copy.write("pin", note)
    cut_off(copy, 2)
    verdict = copy.verify()
    assert not verdict.findings
    assert any("cut off" in line for line in verdict.cannot_exclude)
    pin = read_checkpoint(pin_file, Keys(copy.key))
    assert codes(copy, pins=[pin]) == {"cut-off"}


def test_a_log_rewritten_with_the_key_is_found_by_memory(copy):
    pin = Checkpoint(copy.key.name, 2, b"\x01" * 32)
    assert codes(copy, pins=[pin]) == {"rewritten"}


def test_another_key_is_found(copy, key):
    (verdict,) = verify(copy.archive, task([type(key.verifier)(copy.key.name, key.verifier.public)]))
    assert {finding.code for finding in verdict.findings} == {"checkpoint-invalid", "pointer-changed"}
    (verdict,) = verify(copy.archive, task([key.verifier]))
    assert {finding.code for finding in verdict.findings} == {"key-unknown"}


def test_a_stray_file_is_found_and_an_unfinished_one_noted(copy):
    (copy.log / "records" / "x.part").touch()
    assert not copy.verify().findings
    assert "x.part" in copy.verify().notes[0]
    (copy.log / "evidence" / ("0" * 64 + ".zst")).touch()
    assert codes(copy) == {"stray"}


def test_an_older_pointer_is_noted_only(copy):
    shutil.copy(copy.log / "checkpoints" / f"{2:020}", copy.log / "checkpoint")
    verdict = copy.verify()
    assert not verdict.findings
    assert "that of size 2" in verdict.notes[0]


def test_missing_and_misdescribed_parts(copy):
    manifest = copy.manifests()[1]
    (copy.log / manifest.records.name).unlink()
    (copy.log / manifest.records.leaves_name).unlink()
    (copy.log / manifest.evidence[0].name).unlink()
    assert {"records-missing", "evidence-missing"} <= codes(copy)


@pytest.mark.parametrize(
    "field",
    [
        "earliest",
        "raw_sha256",
        "leaves",
        "evidence",
        "unknown member",
        "format",
        "spaces",
        "type",
        "count",
        "hash",
        "rule",
        "origin",
    ],
)
def test_a_signed_manifest_that_lies_is_found(tmp_path, monkeypatch, field):
    """Even the key's holder cannot describe records wrongly without a verifier noticing."""
    from dataclasses import replace

    from forwarder.seal.manifest import Manifest

    encode = Manifest.encode
    lies = {
        "unknown member": lambda data: data[:-1] + b',"zzz":1}',
        "format": lambda data: data.replace(b"manifest/v1", b"manifest/v9"),
        "spaces": lambda data: data.replace(b",", b", ", 1),
        "type": lambda data: data.replace(b'"records"}', b'"other"}'),
        "count": lambda data: data.replace(b'"count":4', b'"count":-4'),
        "hash": lambda data: data.replace(b'"previous":"0', b'"previous":"g'),
        "rule": lambda data: data.replace(b'"full"', b'"none"'),
        "origin": lambda data: data.replace(b'"origin":"', b'"origin":"../'),
    }

    def lying(self):
        if field in lies:
            return lies[field](encode(self))
        changes = {
            "earliest": {"records": replace(self.records, earliest="2020-01-01T00:00:00.000Z")},
            "raw_sha256": {"records": replace(self.records, raw_sha256="0" * 64)},
            "leaves": {"records": replace(self.records, root="0" * 64)},
            "evidence": {"evidence": tuple(replace(item, raw_sha256="0" * 64) for item in self.evidence)},
        }
        return encode(replace(self, **changes[field]))

    forwarder = Forwarder(tmp_path / "f")
    path = forwarder.write("a.xml", scan(1))
    forwarder.init()
    monkeypatch.setattr(Manifest, "encode", lying)
    from forwarder import pipeline, state

    def put(opened):
        for batch in opened.ledger.batches("sealed"):
            directory = opened.outbox / f"{batch.sequence:020d}"
            shutil.copytree(directory, opened.archive.root, dirs_exist_ok=True)
            opened.archive.point((directory / f"checkpoints/{batch.sequence + 1:020d}").read_bytes())

    monkeypatch.setattr(pipeline, "Anchor", lambda opened, *_: lambda: put(opened))
    with state.opened(forwarder.settings) as opened:
        pipeline.forward(opened, forwarder.settings, [str(path)], Listener())
    monkeypatch.undo()
    found = codes(forwarder)
    wanted = {
        "earliest": "records-misdescribed",
        "raw_sha256": "records-misdescribed",
        "leaves": "leaves-misdescribed",
        "evidence": "evidence-misdescribed",
    }
    assert wanted.get(field, "manifest-malformed") in found


def test_an_empty_archive_is_never_success(copy, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingError, match="nothing was verified"):
        verify(tmp_path / "empty", task([copy.key]))
    with pytest.raises(NothingError, match="no such archive"):
        verify(tmp_path / "none", task([copy.key]))
    (tmp_path / "empty" / copy.key.name / "batches").mkdir(parents=True)
    with pytest.raises(NothingError, match="no batch"):
        verify(tmp_path / "empty", task([copy.key]))


def test_the_directory_of_one_log_can_be_given(copy):
    assert locate(copy.log, [copy.key], {}) == (copy.archive.resolve(), [copy.key.name])
    assert locate(copy.log, [], {}) == (copy.archive.resolve(), [copy.key.name])


def test_what_is_no_pin(copy):
    with pytest.raises(UsageError, match="No such file"):
        read_checkpoint(copy.directory / "none", Keys(copy.key))
    assert read_checkpoint(copy.write("other", "other\n1\n"), Keys(copy.key)) is None
    with pytest.raises(UsageError, match="not a signed note"):
        read_checkpoint(copy.write("bad", f"{copy.key.name}\n1\n"), Keys(copy.key))


def test_more_batches_than_a_tile_holds(tmp_path):
    """The 256th batch fills a tile, and the tree gets a level."""
    forwarder = Forwarder(tmp_path / "f", {"seal_heartbeat_hours": 1e-12})
    forwarder.forward(forwarder.write("a.xml", scan(1)))
    from forwarder import state
    from forwarder.anchoring import Anchor
    from forwarder.batcher import Batcher

    with state.opened(forwarder.settings) as opened:
        batcher = Batcher(opened, forwarder.settings, Anchor(opened, Outcome(), Listener()))
        while batcher.sequence < 258:
            batcher.heartbeat()
    verdict = forwarder.verify()
    assert (verdict.findings, verdict.batches) == ([], 258)
    assert {"000", "000.p", "001.p"} == {path.name for path in (forwarder.log / "tile" / "0").iterdir()}
    level = [(forwarder.log / "tile/0/000").read_bytes()[i : i + 32] for i in range(0, 256 * 32, 32)]
    while len(level) > 1:  # a full tile is a perfect tree, so no code of ours is needed to know its root
        level = [hashlib.sha256(b"\1" + level[i] + level[i + 1]).digest() for i in range(0, len(level), 2)]
    assert (forwarder.log / "tile/1/000.p/1").read_bytes() == level[0]
    (forwarder.log / "tile/0/000").unlink()
    assert codes(forwarder) == {"tile-missing"}
