"""Logs of several spans, in several processes; what is new only; what is past retention; what is being put just now."""

import shutil
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import Forwarder, scan, task

from forwarder.seal.manifest import checkpoint_name, manifest_name
from forwarder.verify.keys import Keys
from forwarder.verify.names import size_of
from forwarder.verify.run import read_checkpoint, verify

SIZE = 700


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """An archive of three spans, the last not full; every batch has records and evidence."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    import archive

    sys.path.pop(0)
    directory = tmp_path_factory.mktemp("long") / "archive"
    archive.make(directory, SIZE, 2, 1)
    return directory, archive


@pytest.fixture
def log(long, tmp_path):
    """A copy of it."""
    shutil.copytree(long[0], tmp_path / "archive")
    return tmp_path / "archive" / long[1].ORIGIN


def check(log, since=0, jobs=1, **policy):
    """Verify it."""
    archive, key = log.parents[2], None
    from archive import KEY, ORIGIN

    assert log == archive / ORIGIN
    key = KEY.verifier
    file = log / checkpoint_name(since)
    pin = read_checkpoint(file, Keys(key)) if since else None
    asked = replace(task([key], [pin] if pin else [], **policy), since=lambda _: pin, jobs=jobs)
    (verdict,) = verify(archive, asked)
    return verdict


def codes(verdict):
    return {finding.code for finding in verdict.findings}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_log_of_several_spans(log, jobs):
    verdict = check(log, jobs=jobs)
    assert (verdict.findings, verdict.batches, verdict.records, verdict.evidence) == ([], SIZE, 2 * SIZE, SIZE)
    assert verdict.size == SIZE


def test_workers_find_the_same(log, monkeypatch):
    """Workers are started for the second span already."""
    from forwarder.verify import walk

    monkeypatch.setattr(walk, "SPAN_WEIGHT", 1 << 40)
    for n in (10, 300, 699):
        path = log / manifest_name(n)
        path.write_bytes(path.read_bytes().replace(b'"software":"benchmark"', b'"software":"tampering"'))
    for path in (log / "tile/1/000.p/2", log / "tile/0/001"):
        path.write_bytes(bytes(len(path.read_bytes())))
    alone, together = check(log), check(log, jobs=2)
    assert alone.findings == together.findings
    assert {"chain-broken", "checkpoint-differs", "tile-changed"} <= codes(alone)
    assert {"tile/1/000.p/2", "tile/0/001"} <= {finding.object for finding in alone.findings}


@pytest.mark.parametrize("since", [1, 255, 256, 257, 512, 699, 700])
def test_only_what_is_new_is_read(log, since):
    verdict = check(log, since)
    assert (verdict.findings, verdict.read_from, verdict.batches, verdict.size) == ([], since, SIZE - since, SIZE)
    assert any(f"0 to {since - 1} were changed since" in line for line in verdict.cannot_exclude)


def test_what_is_new_costs_what_is_new(log):
    everything, new = check(log), check(log, 699)
    assert new.bytes_read < everything.bytes_read / 200


def test_a_rewritten_log_is_not_gone_on_from(log, long, tmp_path):
    """Tiles that lead elsewhere than the remembered root: all is read, and the rewrite is named."""
    _, archive = long
    other = tmp_path / "other"
    writer = archive.Log(other, seed=8)
    for _ in range(20):
        writer.add(1, 0)
    name = checkpoint_name(10)
    pin = read_checkpoint(log / name, Keys(archive.KEY.verifier))
    (verdict,) = verify(other, replace(task([archive.KEY.verifier], [pin]), since=lambda _: pin))
    assert (codes(verdict), verdict.read_from, verdict.batches) == ({"rewritten"}, 0, 20)
    assert any("everything was read" in note for note in verdict.notes)


def test_new_batches_are_checked_behind_a_checkpoint(log):
    path = log / manifest_name(650)
    path.write_bytes(path.read_bytes() + b" ")
    assert "manifest-malformed" in codes(check(log, 600))
    for name in (manifest_name(640), checkpoint_name(641)):
        (log / name).unlink()
    assert {"gap", "batches-missing"} <= codes(check(log, 600))


def test_batches_past_retention_may_be_gone(log):
    """Where they end, the tree proves the leaves; where the policy keeps them, they are missing."""
    for n in range(300):
        shutil.rmtree(log / "batches" / f"{n:020}")
        (log / checkpoint_name(n + 1)).unlink()
    for path in [*(log / "tile/0/001.p").iterdir(), *(log / "tile/entries/001.p").iterdir()]:
        if int(path.name) < 44:
            path.unlink()
    assert {"gap", "batches-missing"} <= codes(check(log))
    verdict = check(log, retention=timedelta(days=30))
    assert (verdict.findings, verdict.read_from, verdict.batches) == ([], 300, SIZE - 300)
    assert any("900 objects" in note for note in verdict.notes), "their records, leaves and evidence are still there"
    assert verdict.expired == 300
    assert "gap" in codes(check(log, retention=timedelta(days=365 * 5000)))


def test_contents_past_retention_may_be_gone(log):
    for path in [*log.glob("records/0*"), *log.glob("evidence/0*")]:
        path.unlink()
    assert {"records-missing", "leaves-missing", "evidence-missing"} == codes(check(log))
    verdict = check(log, retention=timedelta(days=30))
    assert not verdict.findings
    assert verdict.expired > 50


def test_a_clock_that_ran_backwards_is_a_warning(tmp_path, monkeypatch):
    from forwarder import batcher

    forwarder = Forwarder(tmp_path / "f", {"seal_heartbeat_hours": 0})
    for n, moment in enumerate(("2026-11-23T09:00:00.000Z", "2026-11-23T08:00:00.000Z")):
        monkeypatch.setattr(batcher, "timestamp", lambda moment=moment: moment)
        forwarder.forward(forwarder.write(f"{n}.xml", scan(n + 1, start=1700000000 + n)))
    verdict = forwarder.verify()
    assert not verdict.findings
    (warning,) = verdict.warnings
    assert (warning.code, warning.batch, warning.found) == ("clock-backwards", 1, "2026-11-23T08:00:00.000Z")


@pytest.mark.parametrize("parts", [("checkpoints", "tile"), ("batches", "checkpoints", "tile")])
def test_a_batch_that_is_just_being_put_is_waited_for(log, tmp_path, parts):
    """As a running forwarder puts it: the manifest, or only records and evidence, are there; the rest comes."""
    later = {
        path: path.read_bytes()
        for path in log.rglob("*")
        if path.is_file() and size_of(path.relative_to(log).as_posix()) == SIZE
    }
    late = [path for path in later if path.relative_to(log).parts[0] in parts]
    for path in late:
        path.unlink()
    pointer = log / "checkpoint"
    newest = pointer.read_bytes()
    pointer.write_bytes((log / checkpoint_name(SIZE - 1)).read_bytes())
    assert check(log, SIZE - 5).findings if "batches" not in parts else check(log).findings

    def put():
        time.sleep(0.7)
        for path in sorted(late):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(later[path])
        pointer.write_bytes(newest)

    thread = threading.Thread(target=put)
    thread.start()
    verdict = check(log, patience=20)
    thread.join()
    assert (verdict.findings, verdict.batches) == ([], SIZE)


def test_a_forwarder_that_runs_all_the_time_is_never_called_unsealed(tmp_path):
    forwarder = Forwarder(tmp_path / "f")
    forwarder.forward(forwarder.write("first.xml", scan(1)))
    done = threading.Event()

    def run():
        for n in range(15):
            forwarder.forward(forwarder.write(f"{n}.xml", scan(2, start=1700000001 + n)))
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    seen = []
    while not done.is_set():
        (verdict,) = verify(forwarder.archive, task([forwarder.key], patience=10))
        assert not verdict.findings
        seen.append(verdict.batches)
    thread.join()
    assert seen == sorted(seen)
    assert forwarder.verify().batches == 16


@pytest.mark.parametrize(
    ("key", "size"),
    [
        ("batches/00000000000000000007/manifest.json", 8),
        ("checkpoints/00000000000000000008", 8),
        ("tile/0/000.p/8", 8),
        ("tile/0/000", 256),
        ("tile/entries/x001/234.p/3", 1234 * 256 + 3),
        ("tile/1/000.p/2", 512),
        ("tile/2/000.p/1", 65536),
        ("checkpoints/00000000000000000000", None),
        ("tile/0/000.p/256", None),
        ("tile/0/x000/001", None),
        ("records/x", None),
    ],
)
def test_at_which_size_a_key_comes(key, size):
    assert size_of(key) == size
