"""Programs that are not ours accept our archives, and refuse tampered ones; and real nmap is read."""

import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import Forwarder, need, task

from forwarder.seal.note import Verifier
from forwarder.verify.attest import third_parties
from forwarder.verify.proof import check_proof, seen_by
from forwarder.verify.run import Task, verify

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests/fixtures/archive-v1"
CHANGED = ROOT / "tests/fixtures/archive-v1-keys"
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    return Forwarder(tmp_path_factory.mktemp("sealed")).forward_scans(3)


def shell(log, vkey, *more):
    for program in ("openssl", "jq", "zstd", "xxd", "sha256sum"):
        need(program)
    script = ROOT / "tests/independent/verify.sh"
    return subprocess.run(["bash", script, log, vkey, *more], check=False, capture_output=True, text=True, timeout=120)


def test_openssl_and_coreutils_verify_an_archive_and_find_tampering(sealed, tmp_path):
    vkey = sealed.directory / "state" / "key.vkey"
    result = shell(sealed.log, vkey)
    assert (result.returncode, result.stdout.startswith("verified: 3 batches, 23 records")) == (0, True), result.stdout
    log = shutil.copytree(sealed.log, tmp_path / sealed.key.name)
    victim = next(log.glob("records/*.zst"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"\0")
    assert shell(log, vkey).returncode == 1


def test_gos_tlog_packages_verify_the_log_and_its_proofs(sealed, tmp_path):
    tool = need("tlogcheck")
    vkey = sealed.directory / "state" / "key.vkey"
    result = subprocess.run([tool, sealed.log, vkey], check=False, capture_output=True, text=True, timeout=60)
    assert (result.returncode, "ok: size 3" in result.stdout) == (0, True), result.stdout + result.stderr
    log = shutil.copytree(sealed.log, tmp_path / sealed.key.name)
    manifest = log / "batches" / f"{1:020}" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    assert subprocess.run([tool, log, vkey], check=False, capture_output=True, timeout=60).returncode == 1


def test_gos_tlog_packages_verify_the_proof_of_a_record(sealed, tmp_path):
    tool = need("tlogcheck")
    vkey = sealed.directory / "state" / "key.vkey"
    file = tmp_path / "x.tlog-proof"
    for index, record in enumerate(sealed.records()):
        made = sealed.command("prove", record["event"]["id"], "--output", file)
        assert made.returncode == 0, made.stderr
        result = subprocess.run([tool, "-proof", file, vkey], check=False, capture_output=True, text=True, timeout=60)
        assert (result.returncode, "in size 3" in result.stdout) == (0, True), f"record {index}: {result.stdout}"
    data = file.read_bytes()
    for place in range(0, len(data), 97):
        file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert subprocess.run([tool, "-proof", file, vkey], check=False, capture_output=True).returncode == 1, place


def fsck(log, vkey):
    """What Tessera's fsck says; its exit status says nothing."""
    tool = need("tessera-fsck")
    arguments = ["-ui=false", "-N", "4", f"-storage_url=file://{log}", f"-public_key={vkey}"]
    result = subprocess.run([tool, *arguments], check=False, capture_output=True, timeout=120)
    assert b"Successfully fsck'd log with size" in result.stdout + result.stderr
    return result.stdout + result.stderr


def test_tesseras_fsck_accepts_the_log(sealed):
    assert b"size 3" in fsck(sealed.log, sealed.directory / "state" / "key.vkey")


def test_the_archive_of_the_first_version_verifies_for_ever():
    key = Verifier.parse((FIXTURE / "key.vkey").read_text())
    (verdict,) = verify(FIXTURE / "archive", task([key]))
    assert (verdict.findings, verdict.batches, verdict.records) == ([], 3, 17)
    assert shell(FIXTURE / "archive" / key.name, FIXTURE / "key.vkey").returncode == 0


def test_the_archive_that_changed_its_key_verifies_for_ever(tmp_path):
    """Two changes of keys, one of them a revocation; time-stamps, a cosignature, and a proof: by every program."""
    trust = third_parties([CHANGED / "tsa.pem"], [CHANGED / "witness.vkey"])
    for name in ("key.vkey", "newest.vkey"):
        key = Verifier.parse((CHANGED / name).read_text())
        (verdict,) = verify(CHANGED / "archive", Task([key], lambda _: [], trust=trust))
        assert (verdict.findings, verdict.batches, verdict.records) == ([], 6, 20)
        assert sum("it has seen the checkpoint of size 6" in line for line in verdict.rests_on) >= 2
    proven = check_proof((CHANGED / "record.tlog-proof").read_bytes(), [key])
    assert seen_by(proven, trust.witnesses)
    log = CHANGED / "archive" / key.name
    assert shell(log, CHANGED / "key.vkey", CHANGED / "tsa.pem").stdout.startswith("verified: 6 batches, 20 records")
    tool = need("tlogcheck")
    assert subprocess.run([tool, log, CHANGED / "key.vkey"], check=False, capture_output=True).returncode == 0
    proof = [tool, "-proof", CHANGED / "record.tlog-proof", CHANGED / "newest.vkey"]
    assert subprocess.run(proof, check=False, capture_output=True).returncode == 0
    assert b"size 6" in fsck(log, CHANGED / "newest.vkey")


@pytest.mark.parametrize(
    "change",
    [
        lambda log: (log / f"keys/{1:020}.vkey").unlink(),
        lambda log: shutil.copy(log / f"keys/{1:020}.vkey", log / f"keys/{4:020}.vkey"),
        lambda log: shutil.copy(log / f"keys/{1:020}.vkey", log / f"keys/{2:020}.vkey"),
        lambda log: keep_signatures(log / f"checkpoints/{2:020}", [0]),
        lambda log: keep_signatures(log / f"checkpoints/{5:020}", [1]),
        lambda log: keep_signatures(log / f"checkpoints/{5:020}", [0, 1, 1]),
        lambda log: next(log.rglob("*.tsr")).write_bytes(b""),
        lambda log: (log / "timestamps").rename(log / "stamps"),
        lambda log: shutil.copytree(log / f"cosignatures/{6:020}", log / f"cosignatures/{7:020}"),
    ],
)
def test_the_shell_script_finds_what_is_done_to_keys_and_time_stamps(tmp_path, change):
    log = shutil.copytree(CHANGED / "archive/example.com/nmap/scanner2", tmp_path / "log")
    assert shell(log, CHANGED / "key.vkey").returncode == 0
    change(log)
    assert shell(log, CHANGED / "key.vkey").returncode == 1


def keep_signatures(path, which):
    text, _, block = path.read_bytes().rpartition(b"\n\n")
    lines = block.splitlines(keepends=True)
    path.write_bytes(text + b"\n\n" + b"".join(lines[place] for place in which))


def test_the_worked_example_of_the_specification_runs():
    """Every command in the specification, from its worked example on, prints what is written there."""
    for program in ("openssl", "jq", "zstd", "xxd"):
        need(program)
    text = (ROOT / "docs/SEALED_ARCHIVE.md").read_text().split("## 11. Worked example")[1]
    blocks = [block.split("```")[0] for block in text.split("```console\n")[1:]]
    assert blocks
    for block in blocks:
        for step in block.split("$ ")[1:]:
            command, _, expected = step.partition("\n")
            result = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True, cwd=FIXTURE)
            assert result.stdout + result.stderr == expected, command


@pytest.mark.parametrize(
    "arguments",
    [
        ("-sT", "-p", "1-50", "127.0.0.1", "127.0.0.2"),
        ("-sn", "127.0.0.1"),
        ("-sT", "-6", "-p", "1-20", "::1"),
        ("-sT", "-p", "1-5", "--script", "banner", "-v", "--reason", "127.0.0.1"),
    ],
)
def test_real_nmap_is_read_without_loss(forwarder, arguments):
    need("nmap")
    path = forwarder.write("x.xml", "")
    subprocess.run(["nmap", "-n", *arguments, "-oX", path], check=True, capture_output=True, timeout=60)
    outcome = forwarder.forward(path)
    tree = ET.parse(path).getroot()
    assert outcome.hosts == len(tree.findall("host"))
    assert not outcome.rejected
    listed = sum(record["nmap"]["host"]["port"]["listed"] for record in forwarder.records("host"))
    assert listed == len(tree.findall("host/ports/port"))
    (record,) = forwarder.records("scan")
    assert record["nmap"]["scan"]["args"] == tree.get("args")
    assert record["event"]["outcome"] == "success"
    assert not [r["nmap"]["unparsed"] for r in forwarder.records() if "unparsed" in r["nmap"]]
    assert not forwarder.verify().findings
