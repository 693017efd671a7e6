"""Answers hold what was asked for, the very bytes that were sealed, and nothing that was not verified."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile

import pytest
import zstandard
from conftest import Forwarder, host, scan
from test_guide import check

from forwarder.archive.directory import DirectoryArchive
from forwarder.pull import fetch
from forwarder.seal import manifest as manifests
from forwarder.seal.manifest import Evidence

DAY = 86400
START = 1700000000
"""2023-11-14T22:13:20Z."""


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """An archive of four batches, a day apart; the third holds two scans of their own files."""
    forwarder = Forwarder(tmp_path_factory.mktemp("sealed"))
    for n in range(4):
        names = [forwarder.write(f"{n}{name}.xml", on_day(n, name)) for name in ("ab" if n == 2 else "a")]
        forwarder.forward(*names)
    return forwarder


def on_day(day, name="a", hosts=3):
    """A scan of that day, of a network of its own for each name."""
    text = scan(hosts, start=START + day * DAY)
    for n in range(hosts):
        text = text.replace(f'"{START + n}"', f'"{START + n + day * DAY}"')
        text = text.replace(f'"{START + 100 + n}"', f'"{START + 100 + n + day * DAY}"')
    return text.replace('"10.0.0.', f'"10.{ord(name)}.0.')


@pytest.fixture
def copy(sealed, tmp_path):
    """A copy of it to tamper with."""
    shutil.copytree(sealed.directory, tmp_path / "f")
    return Forwarder(tmp_path / "f")


@pytest.fixture
def pull(tmp_path, sealed):
    """Pulls into a new place: (exit code, standard output, directory, standard error)."""
    count = iter(range(1000))

    def pull(*asked, of=sealed, key=None, **options):
        out = options.pop("out", None) or tmp_path / f"answer{next(count)}"
        key = key or sealed.directory / "state/key.vkey"
        where = () if "--tar" in asked else ("--out", out)
        result = of.command("pull", of.archive, "--key", key, *where, *asked, **options)
        return result.returncode, result.stdout.decode(), out, result.stderr.decode()

    return pull


def lines(out):
    return (out / "records.ndjson").read_bytes().splitlines()


def files(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_without_a_question_the_answer_is_everything(sealed, pull):
    code, said, out, _ = pull()
    assert code == 0
    assert lines(out) == sealed.lines()
    assert f"{len(sealed.lines())} records" in said
    texts = {path.read_bytes() for path in out.glob("evidence/*.xml")}
    assert texts == {path.read_bytes() for path in sealed.directory.glob("*.xml")}
    stored = {path.name: path.read_bytes() for path in sealed.log.glob("evidence/*")}
    assert {path.name: path.read_bytes() for path in out.glob("log-*/evidence/*")} == stored
    assert not list(out.rglob("*.part"))
    assert not out.with_name(out.name + ".part").exists()


def test_each_line_has_its_place_and_its_leaf_is_in_the_batch(sealed, pull):
    out = pull()[2]
    with (out / "places.csv").open() as file:
        places = list(csv.DictReader(file))
    assert len(places) == len(lines(out)) > 30
    for number, (line, place) in enumerate(zip(lines(out), places, strict=True), 1):
        assert (int(place["line"]), place["hash"]) == (number, hashlib.sha256(line).hexdigest())
        manifest = manifests.Manifest.decode(
            (out / place["log"] / manifests.manifest_name(int(place["batch"]))).read_bytes()
        )
        assert int(place["sequence"]) == manifest.first_record + int(place["record"])
        leaves = (out / place["log"] / manifest.records.leaves_name).read_bytes()
        at = 32 * int(place["record"])
        assert leaves[at : at + 32] == hashlib.sha256(b"\0" + line).digest()


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (("--from", "2023-11-15", "--until", "2023-11-16"), lambda r: "2023-11-15" <= r["@timestamp"] < "2023-11-17"),
        (("--until", "2023-11-14T22:15:00Z"), lambda r: r["@timestamp"] <= "2023-11-14T22:15:00.000Z"),
        (("--host", "10.97.0.2"), lambda r: "10.97.0.2" in r.get("host", {}).get("ip", ())),
        (("--host", "::ffff:10.98.0.1"), lambda r: "10.98.0.1" in r.get("host", {}).get("ip", ())),
        (
            ("--host", "10.97.0.2", "--from", "2023-11-16"),
            lambda r: "10.97.0.2" in r.get("host", {}).get("ip", ()) and r["@timestamp"] >= "2023-11-16",
        ),
    ],
)
def test_the_answer_has_the_records_that_match_and_no_other(sealed, pull, asked, wanted):
    code, _, out, _ = pull(*asked)
    expected = [line for line in sealed.lines() if wanted(json.loads(line))]
    assert (code, lines(out)) == (0, expected)
    assert 0 < len(expected) < len(sealed.lines())


def test_a_scan_and_its_file_and_no_other(sealed, pull):
    record = next(r for r in sealed.records("scan") if r["file"]["name"] == "2b.xml")
    code, _, out, _ = pull("--scan", record["nmap"]["scan"]["id"][:8])
    of_scan = {json.loads(line)["nmap"]["scan"]["id"] for line in lines(out)}
    assert (code, of_scan) == (0, {record["nmap"]["scan"]["id"]})
    (evidence,) = out.glob("evidence/*")
    assert evidence.read_bytes() == (sealed.directory / "2b.xml").read_bytes()
    assert evidence.name == f"{record['file']['hash']['sha256']}.xml"


def test_the_owner_of_a_file_is_a_user(sealed, pull):
    owner = sealed.records("scan")[0]["file"]["owner"]
    out = pull("--user", owner.upper())[2]
    assert [json.loads(line)["event"]["dataset"] for line in lines(out)] == ["nmap.scan"] * 5


def test_batches_outside_of_the_period_are_not_even_read(copy, pull):
    first = copy.manifests()[0]
    (copy.log / first.records.name).unlink()
    (copy.log / first.records.leaves_name).unlink()
    assert pull("--from", "2023-11-15", of=copy)[0] == 0
    assert pull("--from", "2023-11-14", of=copy)[0] == 1


def test_nothing_found_is_said_and_leaves_nothing(pull, tmp_path):
    code, said, out, err = pull("--ticket", "SEC-1")
    assert (code, said, "no record is what was asked for" in err) == (3, "", True)
    assert not out.exists()
    assert not list(tmp_path.glob("*.part"))
    assert pull("--from", "2030-01-01", "--json")[0] == 3


def test_for_machines(sealed, pull):
    code, said, out, _ = pull("--json", "--from", "2023-11-15", "--until", "2023-11-15")
    told = json.loads(said)
    assert (code, told["ok"], told.pop("answer")) == (0, True, str(out))
    assert told["asked"] == {"earliest": "2023-11-15T00:00:00.000Z", "latest": "2023-11-15T23:59:59.999Z"}
    assert told["records"] == len(lines(out)) == sum(told["datasets"].values())
    assert (told["logs"][0]["size"], told["logs"][0]["batches"]) == (4, 1)
    assert json.loads((out / "summary.json").read_bytes()) == told


def test_the_same_question_gives_the_same_bytes(sealed, pull, tmp_path):
    asked = ("--from", "2023-11-15")
    one, two = pull(*asked)[2], pull(*asked)[2]
    assert files(one) == files(two)
    for name in ("a.tar", "b.tar"):
        assert pull(*asked, "--tar", tmp_path / name)[0] == 0
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = tar.getmembers()
        tar.extractall(tmp_path / "x", filter="data")
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert len({member.mtime for member in members}) == 1
    assert files(tmp_path / "x/nmap-forwarder-answer") == files(one)
    assert sorted(path.name for path in tmp_path.glob("*.part")) == []


def test_a_place_that_is_taken_is_left_alone(pull, tmp_path):
    (tmp_path / "mine").mkdir()
    code, _, _, err = pull(out=tmp_path / "mine")
    assert (code, "exists" in err, list((tmp_path / "mine").iterdir())) == (2, True, [])


CHANGES = {
    "records": lambda f: (f.log / f.manifests()[1].records.name, "records-changed"),
    "leaves": lambda f: (f.log / f.manifests()[1].records.leaves_name, "leaves-changed"),
    "evidence": lambda f: (f.log / f.manifests()[1].evidence[0].name, "evidence-changed"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("gone", [False, True])
def test_what_is_damaged_is_left_out_and_named(copy, pull, what, gone):
    path, finding = CHANGES[what](copy)
    data = path.read_bytes()
    path.unlink()
    if not gone:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    code, said, out, _ = pull(of=copy)
    assert (code, path.name in said) == (1, True)
    expected = list(copy_lines(copy, without=None if what == "evidence" else 1))
    assert lines(out) == expected
    assert path.name in (out / "VERIFY.md").read_text().replace("\\", "")
    assert path.name not in {Path.name for Path in out.rglob("*")}
    codes = {
        found["code"] for log in json.loads((out / "summary.json").read_bytes())["logs"] for found in log["findings"]
    }
    assert (finding.replace("changed", "missing") if gone else finding) in codes


def copy_lines(forwarder, without):
    for manifest in forwarder.manifests():
        if manifest.sequence != without:
            path = forwarder.log / manifest.records.name
            yield from zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()).splitlines()


def test_a_damaged_batch_is_no_answer_of_nothing(copy, pull):
    (copy.log / copy.manifests()[0].records.name).write_bytes(b"")
    code, said, out, err = pull("--until", "2023-11-14", of=copy)
    assert (code, "FOUND" in said, "as far as can be read" in err, out.exists()) == (1, True, True, False)


@pytest.mark.parametrize("victim", ["manifest", "newest manifest", "checkpoint", "gap", "no checkpoint"])
def test_a_log_that_cannot_be_proven_gives_nothing(copy, pull, victim):
    if victim.endswith("manifest"):
        path = copy.log / manifests.manifest_name(3 if "newest" in victim else 1)
        path.write_bytes(path.read_bytes().replace(b'"software":"n', b'"software":"m'))
    elif victim == "checkpoint":
        path = copy.log / manifests.checkpoint_name(4)
        path.write_bytes(path.read_bytes().replace(b"\n4\n", b"\n5\n"))
    elif victim == "gap":
        (copy.log / manifests.manifest_name(2)).unlink()
    else:
        for path in copy.log.glob("checkpoints/*"):
            path.unlink()
    code, _, out, err = pull(of=copy)
    assert (code, out.exists(), err.count("\n")) == (1, False, 1), err


def test_a_batch_without_a_checkpoint_is_named_and_not_in_the_answer(copy, pull):
    (copy.log / manifests.checkpoint_name(4)).unlink()
    code, said, out, _ = pull(of=copy)
    assert (code, "no checkpoint seals this" in said) == (1, True)
    assert lines(out) == list(copy_lines(copy, without=3))


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_the_oldest_batches_may_be_gone_when_their_retention_is_over(copy, pull, gone):
    for sequence in range(gone):
        manifest = copy.manifests()[0]
        (copy.log / manifests.manifest_name(sequence)).unlink()
        (copy.log / manifests.checkpoint_name(sequence + 1)).unlink()
        (copy.log / manifest.records.name).unlink()
    code, said, out, _ = pull(of=copy)
    assert (code, f"the {gone} batches before this one are missing" in said) == (1, True)
    assert lines(out) == copy.lines()
    code, _, out, _ = pull("--retention-days", "0", of=copy)
    assert code == 1, "kept for ever"
    new = [json.loads(line)["@timestamp"] for line in lines(out)]
    assert min(new) >= f"2023-11-{14 + gone}"
    assert "are missing" in (out / "VERIFY.md").read_text()
    assert check(out) == {}, "and proofs hold without what is gone"


def test_what_is_gone_is_no_finding_after_its_retention(sealed):
    """By the policy's clock, which for these tests' logs, sealed today, is years ahead."""
    from datetime import UTC, datetime, timedelta

    from forwarder.pull.log import Log
    from forwarder.verify.policy import Policy

    later = datetime.now(UTC) + timedelta(days=500)
    for days, codes in ((400, []), (600, ["batches-missing"])):
        work = sealed.directory / f"work{days}"
        archive = _Shortened(sealed.archive, sealed.key.name)
        log = Log(archive, sealed.key, work, Policy(timedelta(days=days), now=later))
        log.read([], lambda _: None)
        assert [finding.code for finding in log.verdict.findings] == codes
        assert bool(log.verdict.notes) is not bool(codes)


class _Shortened(DirectoryArchive):
    """An archive whose first batch is gone."""

    def read(self, key, limit):
        if key == manifests.manifest_name(0):
            raise FileNotFoundError(key)
        return super().read(key, limit)

    def keys(self, *arguments):
        return (key for key in super().keys(*arguments) if key != manifests.manifest_name(0))


def test_a_pinned_checkpoint_shows_a_cut_log(sealed, copy, pull, tmp_path):
    pin = sealed.log / manifests.checkpoint_name(4)
    code, _, out, _ = pull("--checkpoint", pin)
    assert (code, "a checkpoint of size 4 known from before" in (out / "VERIFY.md").read_text()) == (0, True)
    for name in (manifests.checkpoint_name(4), manifests.manifest_name(3)):
        (copy.log / name).unlink()
    assert pull(of=copy)[0] == 0
    code, _, out, err = pull("--checkpoint", pin, of=copy)
    assert (code, "it had 4 batches before" in err, out.exists()) == (1, True, False)


def test_another_key_opens_nothing(pull, tmp_path):
    other = Forwarder(tmp_path / "other")
    other.forward(other.write("a.xml", scan(1)))
    code, _, out, err = pull(key=other.directory / "state/key.vkey")
    assert (code, "no log" in err, out.exists()) == (3, True, False)


def test_several_logs_and_one_without_its_key(sealed, pull, tmp_path):
    other = Forwarder(tmp_path / "other")
    other.forward(other.write("a.xml", scan(1)))
    shutil.copytree(sealed.archive, tmp_path / "both")
    shutil.copytree(other.archive, tmp_path / "both", dirs_exist_ok=True)
    both = tmp_path / "both"
    keys = [forwarder.directory / "state/key.vkey" for forwarder in (sealed, other)]
    result = sealed.command("pull", both, "--key", keys[0], "--key", keys[1], "--out", tmp_path / "two")
    assert result.returncode == 0, result.stderr
    assert sorted(lines(tmp_path / "two")) == sorted(sealed.lines() + other.lines())
    assert len(list((tmp_path / "two").glob("log-*"))) == 2
    result = sealed.command("pull", both, "--key", keys[0], "--out", tmp_path / "one")
    assert (result.returncode, b"was not looked at" in result.stderr) == (0, True)
    assert lines(tmp_path / "one") == sealed.lines()
    assert "was not looked at" in (tmp_path / "one/VERIFY.md").read_text()


def test_the_machines_own_archive_needs_no_names(sealed, tmp_path):
    result = sealed.command("pull", "--out", tmp_path / "own", "--host", "10.97.0.1")
    assert result.returncode == 0, result.stderr
    assert lines(tmp_path / "own")


def test_evidence_that_is_not_kept(forwarder, pull):
    forwarder.flags = {"privacy_evidence": "hash-only"}
    forwarder.forward(forwarder.write("a.xml", scan(1)))
    code, said, out, _ = pull("--json", of=forwarder, key=forwarder.directory / "state/key.vkey")
    assert (code, json.loads(said)["evidence"], json.loads(said)["evidence_not_kept"]) == (0, 0, 1)
    assert "only the hash" in (out / "VERIFY.md").read_text()


def test_a_scan_over_several_batches_brings_its_file_once(forwarder, pull, monkeypatch):
    monkeypatch.setattr("forwarder.outbox.MAX_RECORDS", 7)
    forwarder.forward(forwarder.write("a.xml", scan(9)), forwarder.write("b.xml", scan(2, start=5)))
    assert len(forwarder.manifests()) > 4
    key = forwarder.directory / "state/key.vkey"
    scan_id = next(r for r in forwarder.records("scan") if r["file"]["name"] == "a.xml")["nmap"]["scan"]["id"]
    code, _, out, _ = pull("--scan", scan_id, of=forwarder, key=key)
    assert (code, len(lines(out))) == (0, 9 * 3 + 1)
    found = {path.read_bytes() for path in out.glob("evidence/*")}
    assert (forwarder.directory / "a.xml").read_bytes() in found


def test_which_inputs_records_were_made_from():
    def of(*lines):
        return fetch.evidence_of(lines, [Evidence("nmap-xml", "full", 1, raw) for raw in "ABCD"])

    ended = [("a", "", False), ("a", "A", False), ("b", "", True), ("b", "B", False), ("c", "C", False)]
    assert of(*ended) == [1]
    assert of(("b", "", True), ("b", "B", True), ("c", "C", False)) == [1]
    assert of(("a", "", True), ("c", "C", False), ("d", "", False)) == [0, 1, 2], "a scan that has no end here"
    assert of(("b", "B", False), ("d", "", True)) == [1, 2, 3], "a scan that goes on in the next batch"
    assert of(("", "", True)) == [0, 1, 2, 3], "a record of no scan"
    assert of(("a", "A", False)) == []


KILLED = """
import os, signal, sys
from forwarder.archive.directory import DirectoryArchive
from forwarder.cli import main
left, log = int(sys.argv[1]), open(sys.argv[2], "a")
def counted(real):
    def call(self, key, *limit):
        global left
        if str(self.root).startswith(sys.argv[3]):
            print(key, file=log, flush=True)
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return real(self, key, *limit)
    return call
DirectoryArchive.open, DirectoryArchive.read = counted(DirectoryArchive.open), counted(DirectoryArchive.read)
sys.exit(main(sys.argv[4:]))
"""
"""Reading anything from the archive is noted, and at the given time the process killed."""


def test_a_pull_that_is_killed_goes_on_where_it_was(sealed, pull, tmp_path):
    whole = files(pull("--host", "10.97.0.1")[2])
    arguments = ["pull", sealed.archive, "--key", sealed.directory / "state/key.vkey", "--host", "10.97.0.1"]

    def run(name, reads):
        log = tmp_path / f"{name}.log"
        log.unlink(missing_ok=True)
        command = [sys.executable, "-c", KILLED, reads, log, sealed.archive, *arguments, "--out", tmp_path / name]
        environment = os.environ | {"NMAP_FORWARDER_STATE_DIR": str(tmp_path / "none")}
        result = subprocess.run([str(word) for word in command], check=False, capture_output=True, env=environment)
        return result.returncode, log.read_text().split()

    code, all_reads = run("whole", 0)
    assert code == 0
    assert len(all_reads) == len(set(all_reads)) > 15
    for reads in range(1, len(all_reads) + 1):
        code, before = run(f"k{reads}", reads)
        assert code == -signal.SIGKILL
        assert not (tmp_path / f"k{reads}").exists()
        code, after = run(f"k{reads}", 0)
        assert code == 0
        assert files(tmp_path / f"k{reads}") == whole
        again = set(before[:-1]) & set(after)
        assert len(again) <= 3, "but for the batch that was being pulled, nothing is read twice"
        assert {key.split("/")[0] for key in again} <= {"records", "evidence"} | ({"batches"} if reads < 7 else set())


def test_a_pull_keeps_to_what_it_began_with(copy, pull, tmp_path):
    """While it was away the archive grew, and somebody asks another question in the same place."""
    out = tmp_path / "answer"
    victim = copy.log / copy.manifests()[3].records.name
    data = victim.read_bytes()
    victim.unlink()
    victim.mkdir()  # what cannot be read stops a pull, like an archive that is not there
    assert pull(of=copy, out=out)[0] not in {0, 1}
    victim.rmdir()
    victim.write_bytes(data)
    before = copy.lines()
    code, _, _, err = pull("--host", "10.97.0.1", of=copy, out=out)
    assert (code, "another question" in err) == (2, True)
    copy.forward(copy.write("new.xml", scan(1, start=77)))
    assert pull(of=copy, out=out)[0] == 0
    assert lines(out) == before


def test_two_pulls_into_one_place_do_not_meet(copy, pull, tmp_path):
    import fcntl

    out = tmp_path / "answer"
    victim = copy.log / copy.manifests()[3].records.name
    victim.unlink()
    victim.mkdir()
    pull(of=copy, out=out)
    with (tmp_path / "answer.part/lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, _, err = pull(of=copy, out=out)
    assert (code, "in use" in err) == (75, True)


def test_hostile_banners_are_no_formulas(forwarder, pull):
    banners = ["=cmd|'/C calc'!A0", "+1", "-1", "@SUM(1)", ' "=1+1', "a;=1", "\u202e=x", "&#9;=1", "＝1", "plain, text"]
    ports = "".join(
        f'<port protocol="tcp" portid="{n}"><state state="open"/><service name="x" version="{n}" '
        f"product={json.dumps(text) if chr(34) not in text else repr(text)}/></port>"
        for n, text in enumerate(banners, 1)
    ).replace('"=cmd', '"=cmd')
    text = scan(0).replace("<runstats>", host(0, 0).replace("</ports>", f"{ports}</ports>") + "<runstats>")
    forwarder.forward(forwarder.write("a.xml", text))
    out = pull(of=forwarder, key=forwarder.directory / "state/key.vkey")[2]
    with (out / "csv/port.csv").open(newline="") as file:
        products = [row["product"] for row in csv.DictReader(file)]
    assert len(products) == len(banners)
    assert products[0] == "'=cmd|'/C calc'!A0"
    for product in products:
        assert product.lstrip(" \"'")[0] not in "=+-@＝" or product.startswith("'")
        assert product.isprintable()
        assert ";" not in product
    assert products[-1] == "plain, text"
    assert [json.loads(line)["nmap"]["port"]["service"]["product"] for line in lines(out)[:2]] == banners[:2]


def test_memory_does_not_grow_with_the_period(forwarder, tmp_path, monkeypatch):
    import tracemalloc

    from forwarder.cli import main

    for n in range(24):
        forwarder.forward(forwarder.write(f"{n}.xml", on_day(n, hosts=40)))
    peaks = []
    for until in ("2023-11-17", "2023-12-31"):
        arguments = [forwarder.archive, "--key", forwarder.directory / "state/key.vkey", "--until", until]
        tracemalloc.start()
        code = main(["pull", *map(str, arguments), "--out", str(tmp_path / until), "--quiet"])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert code == 0
    assert len(lines(tmp_path / "2023-12-31")) > 4 * len(lines(tmp_path / "2023-11-17"))
    assert peaks[1] < 1.3 * peaks[0] + (1 << 18)


def test_every_name_in_an_answer_is_a_hash_or_a_word_of_ours(pull):
    import re

    word = r"(log-[0-9a-f]{8}|[0-9]{20}|[0-9a-f]{64}|[a-z]+|VERIFY)(\.(ndjson|zst|leaves|xml|csv|json|md|vkey|tlog-proof))*"
    names = {part for path in pull()[2].rglob("*") for part in path.parts[-1:]}
    assert all(re.fullmatch(word, name) for name in names), names


def test_archives_are_only_read(sealed, pull):
    before = {path: path.stat().st_mtime_ns for path in sealed.archive.rglob("*")}
    pull()
    assert {path: path.stat().st_mtime_ns for path in sealed.archive.rglob("*")} == before
