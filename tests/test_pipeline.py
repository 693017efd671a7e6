"""What a user relies on when forwarding: nothing is lost, nothing is sealed twice, whatever happens in between."""

import bz2
import gzip
import hashlib
import lzma
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import crash
import pytest
import zstandard
from conftest import Forwarder, host, scan

from forwarder import outbox, state
from forwarder.cli import status
from forwarder.errors import Exit, IntegrityError, TemporaryError, UsageError
from forwarder.seal.manifest import Manifest, manifest_name


def ids(forwarder):
    return [record["event"]["id"] for record in forwarder.records()]


def test_a_scan_becomes_records_that_verify(forwarder):
    outcome = forwarder.forward(forwarder.write("a.xml", scan(3, 2)))
    assert (outcome.scans, outcome.hosts, outcome.records, outcome.batches) == (1, 3, 10, 1)
    assert [r["event"]["dataset"] for r in forwarder.records()] == [
        "nmap.port",
        "nmap.port",
        "nmap.host",
    ] * 3 + ["nmap.scan"]
    verdict = forwarder.verify()
    assert not verdict.findings
    assert (verdict.batches, verdict.records, verdict.evidence) == (1, 10, 1)


def test_the_evidence_is_the_raw_input(forwarder):
    path = forwarder.write("a.xml", scan())
    forwarder.forward(path)
    (manifest,) = forwarder.manifests()
    (item,) = manifest.evidence
    stored = (forwarder.log / item.name).read_bytes()
    assert zstandard.ZstdDecompressor().decompressobj().decompress(stored) == path.read_bytes()
    assert item.raw_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_content_is_recognised_under_another_name_and_compressed(forwarder):
    text = scan().encode()
    forwarder.forward(forwarder.write("a.xml", text))
    before = ids(forwarder)
    files = [
        forwarder.write("b.xml", text),
        forwarder.write("c.xml.gz", gzip.compress(text)),
        forwarder.write("d.bz2", bz2.compress(text)),
        forwarder.write("e.xz", lzma.compress(text)),
        forwarder.write("f", zstandard.compress(text)),
    ]
    outcome = forwarder.forward(*files)
    assert (outcome.known, outcome.inputs, outcome.batches) == (5, 0, 0)
    assert ids(forwarder) == before


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_compressed_files_are_read(forwarder, pack):
    assert forwarder.forward(forwarder.write("x", pack(scan(2).encode()))).hosts == 2


def test_a_cut_compressed_file_gives_what_is_there(forwarder):
    data = gzip.compress("".join([scan(200)]).encode())
    outcome = forwarder.forward(forwarder.write("cut.gz", data[: len(data) // 2]))
    assert outcome.hosts > 10
    assert any("compressed data ends early" in line for line in forwarder.said)
    assert forwarder.records("scan")[0]["nmap"]["scan"]["complete"] is False


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_a_damaged_compressed_file_does_not_stop_the_others(forwarder, pack):
    data = bytearray(pack(scan(200).encode()))
    data[len(data) // 2 : len(data) // 2 + 8] = b"\xff" * 8
    forwarder.forward(forwarder.write("a.damaged", bytes(data)), forwarder.write("b.xml", scan(2, start=1800000000)))
    assert "2027-01-15T08:00:00.000Z" in {record["event"]["start"] for record in forwarder.records("scan")}
    assert any("a.damaged: " in line for line in forwarder.said)


def test_a_file_that_grows_adds_only_what_is_new(forwarder):
    whole = scan(5)
    path = forwarder.write("a.xml", whole[: whole.index(host(3)) + 50])
    assert forwarder.forward(path).hosts == 3
    cut = forwarder.records("scan")[0]
    assert (cut["event"]["outcome"], cut["nmap"]["scan"]["complete"]) == ("unknown", False)
    assert "inside the host" in cut["nmap"]["scan"]["incomplete_reason"]
    path.write_text(whole)
    assert forwarder.forward(path).hosts == 2
    first, second = forwarder.records("scan")
    assert second["nmap"]["scan"]["supersedes"] == first["event"]["id"]
    assert second["nmap"]["scan"]["hosts"]["recorded"] == 5
    assert len(set(ids(forwarder))) == len(ids(forwarder)) == 5 * 3 + 2
    path.write_text(whole + scan(2, start=1800000000).replace("10.0.", "10.9."))
    assert forwarder.forward(path).hosts == 2
    assert len(set(ids(forwarder))) == len(ids(forwarder))
    assert not forwarder.verify().findings


def test_growing_gives_the_records_of_reading_at_once(forwarder, tmp_path):
    whole = scan(4)
    path = forwarder.write("a.xml", whole[: whole.index(host(2))])
    forwarder.forward(path)
    path.write_text(whole)
    forwarder.forward(path)
    other = Forwarder(tmp_path / "other")
    other.forward(other.write("a.xml", whole))
    grown = {line for line in forwarder.lines() if b'"nmap.scan"' not in line}
    assert grown == {line for line in other.lines() if b'"nmap.scan"' not in line}


def test_a_cut_copy_of_a_known_scan_adds_nothing(forwarder):
    whole = scan(5)
    forwarder.forward(forwarder.write("a.xml", whole))
    outcome = forwarder.forward(forwarder.write("cut.xml", whole[: whole.index(host(3))]))
    assert (outcome.hosts, outcome.records, outcome.batches) == (0, 0, 0)


@pytest.mark.parametrize("keep", [5, 3])
def test_an_altered_copy_of_a_known_scan_is_a_scan_of_its_own(forwarder, keep):
    whole = scan(5)
    forwarder.forward(forwarder.write("a.xml", whole))
    known = forwarder.records("scan")[0]["nmap"]["scan"]["id"]
    altered = whole.replace("p1-0", "forged")
    if keep < 5:
        altered = altered[: altered.index(host(keep))]
    assert forwarder.forward(forwarder.write("b.xml", altered)).hosts == keep
    scan_record = forwarder.records("scan")[1]["nmap"]["scan"]
    assert scan_record["diverges_from"] == known != scan_record["id"]
    assert any("differs from it" in line for line in forwarder.said)


def test_many_files_go_into_one_batch_in_sorted_order(forwarder):
    for n in (2, 0, 1):
        forwarder.write(f"in/{n}/s.xml", scan(1, start=1700000000 + n).replace("10.0.0.1", f"10.0.{n}.1"))
    outcome = forwarder.forward(forwarder.directory / "in")
    assert (outcome.inputs, outcome.batches) == (3, 1)
    names = [record["file"]["path"] for record in forwarder.records("scan")]
    assert names == sorted(names)


def test_a_batch_is_cut_and_the_records_go_on_in_the_next(forwarder, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_RECORDS", 7)
    forwarder.forward(forwarder.write("a.xml", scan(10, 4)))
    manifests = forwarder.manifests()
    assert [m.records.count for m in manifests] == [7] * 7 + [2]
    assert [m.first_record for m in manifests] == [7 * n for n in range(8)]
    assert len(set(ids(forwarder))) == 51
    assert not forwarder.verify().findings


def test_evidence_can_be_kept_as_a_hash_only(forwarder):
    forwarder.flags["privacy_evidence"] = "hash-only"
    forwarder.forward(forwarder.write("a.xml", scan(4)))
    (item,) = forwarder.manifests()[0].evidence
    assert (item.rule, item.stored_sha256) == ("hash-only", "")
    assert not (forwarder.log / "evidence").exists()
    assert not forwarder.verify().findings
    assert forwarder.forward(forwarder.write("b.xml", scan(4)[:-900])).records == 0


def test_more_files_than_a_manifest_may_name_make_more_batches(forwarder, monkeypatch):
    monkeypatch.setattr("forwarder.batcher.MAX_EVIDENCE", 2)
    for n in range(5):
        forwarder.write(f"in/{n}.xml", scan(1, start=1700000000 + n))
    forwarder.forward(forwarder.directory / "in")
    assert [len(m.evidence) for m in forwarder.manifests()] == [2, 2, 1]


def test_silence_is_broken_by_a_heartbeat(forwarder):
    forwarder.forward(forwarder.write("a.xml", scan()))
    assert forwarder.forward().batches == 0
    forwarder.flags["seal_heartbeat_hours"] = 1e-9
    assert forwarder.forward().batches == 1
    assert [m.type for m in forwarder.manifests()] == ["records", "heartbeat"]
    forwarder.flags["seal_heartbeat_hours"] = 0
    assert forwarder.forward().batches == 0
    assert not forwarder.verify().findings


def test_a_file_still_being_written_is_left_for_the_next_run(forwarder):
    whole = scan(5)
    path = forwarder.write("a.xml", whole[:-200])
    forwarder.flags["intake_settle"] = 60
    outcome = forwarder.forward(path)
    assert (outcome.waiting, outcome.inputs, outcome.exit_code) == (1, 0, Exit.OK)
    old = time.time() - 120
    os.utime(path, (old, old))
    with path.open("ab"):  # held open by us does not count, by another process does
        assert forwarder.forward(path).inputs == 1


def test_a_waiting_file_is_listed_until_it_is_read_or_gone(forwarder, monkeypatch):
    def waiting():
        return [item["path"] for item in status.gather(forwarder.settings)["waiting"]]

    paths = [forwarder.write(name, scan(5)[:-200]) for name in ("a.xml", "b.xml")]
    monkeypatch.chdir(forwarder.directory)
    forwarder.flags["intake_settle"] = 60
    forwarder.forward("a.xml", "b.xml")
    monkeypatch.chdir("/")
    assert waiting() == [str(path) for path in paths]
    paths[0].unlink()
    assert waiting() == [str(paths[1])]
    forwarder.forward()
    paths[0].write_text(scan(5))
    assert waiting() == [str(paths[1])]  # the ledger knows no more of it
    forwarder.flags["intake_settle"] = 0
    forwarder.forward(paths[1])
    assert waiting() == []


def test_a_file_that_a_process_holds_open_is_left_however_old(forwarder):
    path = forwarder.write("a.xml", scan(5)[:-200])
    old = time.time() - 1000
    holder = subprocess.Popen(
        [sys.executable, "-c", f"f=open({str(path)!r},'ab');print(1,flush=True);input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        holder.stdout.readline()
        os.utime(path, (old, old))
        assert forwarder.forward(path).waiting == 1
    finally:
        holder.communicate(b"\n")
    assert forwarder.forward(path).inputs == 1


def test_a_bad_file_does_not_stop_the_others(forwarder):
    forwarder.write("in/a.xml", "<svg/>")
    forwarder.write("in/b.xml", scan(2))
    forwarder.write("in/c.nmap", "# Nmap 7.93 scan initiated")
    forwarder.write("in/d.xml", "")
    outcome = forwarder.forward(forwarder.directory / "in", forwarder.directory / "missing.xml")
    assert (outcome.hosts, outcome.exit_code) == (2, Exit.REJECTED)
    assert len(outcome.rejected) == 2
    assert any("a.xml: not nmap XML: its first element is <svg>" in line for line in outcome.rejected)
    assert any("missing.xml: No such file" in line for line in outcome.rejected)
    assert forwarder.forward(forwarder.directory / "in").exit_code == Exit.REJECTED


def test_declared_entities_are_refused(forwarder):
    bomb = '<!DOCTYPE nmaprun [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>' + scan(1).split("<!DOCTYPE nmaprun>")[1]
    outcome = forwarder.forward(forwarder.write("bomb.xml", bomb))
    assert (outcome.records, outcome.exit_code) == (0, Exit.REJECTED)
    assert "declares entities" in outcome.rejected[0]


def test_a_scan_beside_a_refused_one_is_kept(forwarder):
    bomb = '<!DOCTYPE nmaprun [<!ENTITY a "ha">]><nmaprun>&a;</nmaprun>'
    outcome = forwarder.forward(forwarder.write("both.xml", scan(2) + bomb))
    assert (outcome.hosts, outcome.exit_code) == (2, Exit.REJECTED)


def test_a_foreign_document_type_is_said_and_not_fetched(forwarder):
    text = scan(1).replace("<!DOCTYPE nmaprun>", '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/evil.dtd">')
    assert forwarder.forward(forwarder.write("a.xml", text)).hosts == 1
    assert any("evil.dtd, which was not fetched" in line for line in forwarder.said)


def test_an_input_above_the_limit_is_refused(forwarder):
    forwarder.flags["intake_max_bytes"] = 1000
    outcome = forwarder.forward(forwarder.write("a.xml.gz", gzip.compress(b"<" + b" " * 10**6)))
    assert "larger than 1000 bytes" in outcome.rejected[0]
    assert not list((forwarder.directory / "state" / "spool").iterdir())


def test_utf16_and_latin1_are_read(forwarder):
    text = scan(2).replace("p0-0", "Zürich").replace('encoding="UTF-8"', 'encoding="{}"')
    forwarder.forward(
        forwarder.write("a.xml", text.format("UTF-16").encode("utf-16")),
        forwarder.write("b.xml", text.format("iso-8859-1").replace("10.0.", "10.1.").encode("latin-1")),
    )
    products = [record["nmap"]["port"]["service"]["product"] for record in forwarder.records("port")]
    assert products.count("Zürich") == 2


def test_a_ten_megabyte_attribute_is_kept_as_evidence_and_shortened_in_the_record(forwarder):
    text = scan(2).replace('product="p1-1"', f'product="{"x" * (10 << 20)}"')
    forwarder.forward(forwarder.write("a.xml", text))
    (record,) = [r for r in forwarder.records("port") if "truncated" in r["nmap"]]
    assert record["nmap"]["truncated"] == ["nmap.port.service.product"]
    assert max(map(len, forwarder.lines())) <= 1 << 20
    assert len(forwarder.records("port")) == 4


def test_control_characters_reach_no_line_of_output(forwarder):
    path = forwarder.write("a\x1b[31m.xml", "<svg/>")
    result = forwarder.command("forward", path)
    assert result.returncode == 65
    assert b"\x1b" not in result.stdout + result.stderr
    assert b"a\\x1b[31m.xml: not nmap XML" in result.stderr


def test_a_symlink_loop_is_named_and_the_rest_goes_on(forwarder):
    forwarder.write("in/a.xml", scan(1))
    (forwarder.directory / "in" / "loop").symlink_to("loop")
    (forwarder.directory / "in" / "self").symlink_to(".")
    outcome = forwarder.forward(forwarder.directory / "in")
    assert outcome.hosts == 1
    assert any("loop: Too many levels" in line for line in outcome.rejected)


def test_a_glob_is_expanded_and_one_without_match_is_said(forwarder):
    forwarder.write("in/x/a.xml", scan(1))
    outcome = forwarder.forward(f"{forwarder.directory}/in/**/*.xml", f"{forwarder.directory}/*.gz")
    assert outcome.hosts == 1
    assert "nothing matches" in outcome.rejected[0]


def test_a_second_process_waits_and_then_names_the_first(forwarder):
    forwarder.init()
    forwarder.flags["lock_wait"] = 0.2
    with (
        state.opened(forwarder.settings),
        pytest.raises(TemporaryError, match=f"in use by process {os.getpid()}"),
    ):
        forwarder.forward()


def test_another_archive_than_before_is_refused(forwarder, tmp_path):
    forwarder.forward(forwarder.write("a.xml", scan(1)))
    forwarder.flags["archive"] = str(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="does not hold this log's checkpoint"):
        forwarder.forward(forwarder.write("b.xml", scan(2, start=1)))


def test_a_restored_state_directory_cannot_fork_the_log(forwarder, tmp_path):
    archive = tmp_path / "archive"
    forwarder.flags["archive"] = str(archive)
    forwarder.forward(forwarder.write("a.xml", scan(1)))
    shutil.copytree(forwarder.directory / "state", tmp_path / "backup")
    forwarder.forward(forwarder.write("b.xml", scan(2, start=1)))
    shutil.rmtree(forwarder.directory / "state")
    shutil.copytree(tmp_path / "backup", forwarder.directory / "state")
    with pytest.raises(IntegrityError, match="already has a batch 1"):
        forwarder.forward(forwarder.write("c.xml", scan(3, start=2)))


def test_a_key_that_others_can_read_is_refused(forwarder):
    forwarder.init()
    (forwarder.directory / "state" / "key.pem").chmod(0o644)
    with pytest.raises(UsageError, match="can be read by others"):
        forwarder.forward()


def test_an_origin_that_is_not_the_keys_is_refused(forwarder):
    forwarder.init()
    forwarder.flags["origin"] = "other"
    with pytest.raises(UsageError, match="was made for"):
        forwarder.forward()


# --- crashes ------------------------------------------------------------------------------------------------


def crash_test_inputs(forwarder):
    forwarder.write("in/a.xml", scan(4))
    forwarder.write("in/b.xml", scan(3, start=1600000000)[:-300])
    forwarder.write("in/c.xml", "<html/>")


def test_a_kill_at_any_durable_step_loses_nothing_and_seals_nothing_twice(tmp_path, monkeypatch):
    """Every file operation and ledger entry of a run is the last one of some run; the next run finishes the work."""
    monkeypatch.setattr(outbox, "MAX_RECORDS", 8)
    reference = Forwarder(tmp_path / "reference")
    crash_test_inputs(reference)
    reference.forward(reference.directory / "in")
    wanted = sorted(ids(reference))
    steps, died = 0, True
    while died:
        steps += 1
        victim = Forwarder(tmp_path / f"v{steps}")
        crash_test_inputs(victim)
        victim.init()
        died = crash.dies(steps, lambda: victim.forward(victim.directory / "in"))
        victim.forward(victim.directory / "in")
        assert sorted(ids(victim)) == wanted, f"killed at step {steps}"
        verdict = victim.verify()
        assert not verdict.findings, f"killed at step {steps}: {verdict.findings}"
        assert not list((victim.directory / "state" / "outbox").iterdir())
        assert not list((victim.directory / "state" / "spool").iterdir())
        shutil.rmtree(victim.directory)
    assert steps > 100


def test_kills_at_random_instants_lose_nothing(forwarder, tmp_path):
    rng = random.Random(1)
    for n in range(30):
        forwarder.write(f"in/{n:02}.xml", scan(20, start=1500000000 + n))
    reference = Forwarder(tmp_path / "reference")
    reference.forward(forwarder.directory / "in")
    wanted = sorted(ids(reference))
    forwarder.init()
    for _ in range(40):
        child = os.fork()
        if not child:
            try:
                forwarder.forward(forwarder.directory / "in")
            finally:
                os._exit(0)
        time.sleep(rng.random() * 0.15)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = ids(forwarder) if forwarder.log.exists() else []
        assert len(found) == len(set(found))
    forwarder.forward(forwarder.directory / "in")
    assert sorted(ids(forwarder)) == wanted
    assert not forwarder.verify().findings


def test_a_full_disk_is_said_in_one_line_and_loses_nothing(forwarder, monkeypatch):
    path = forwarder.write("a.xml", scan(3))
    forwarder.init()
    real = os.fsync
    calls = iter(range(1000))

    def full(descriptor):
        if next(calls) == 4:
            raise OSError(28, "No space left on device")
        return real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        forwarder.forward(path)
    monkeypatch.setattr(os, "fsync", real)
    forwarder.forward(path)
    assert len(ids(forwarder)) == 10
    assert not forwarder.verify().findings


def test_a_manifest_reads_back_as_it_was_written(forwarder):
    forwarder.forward(forwarder.write("a.xml", scan(1)))
    (manifest,) = forwarder.manifests()
    assert Manifest.decode(manifest.encode()) == manifest
    assert manifest_name(0) == manifest.name
