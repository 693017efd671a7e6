"""Programs that are not ours accept our archives, and refuse tampered ones; and real nmap is read."""

import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import Forwarder, need, scan, task

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests/fixtures/archive-v1"
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    forwarder = Forwarder(tmp_path_factory.mktemp("sealed"))
    for n in range(3):
        forwarder.forward(forwarder.write(f"{n}.xml", scan(n + 1, start=1700000000 + n)))
    return forwarder


def shell(log, vkey):
    for program in ("openssl", "jq", "zstd", "xxd", "sha256sum"):
        need(program)
    script = ROOT / "tests/independent/verify.sh"
    return subprocess.run(["bash", script, log, vkey], check=False, capture_output=True, text=True, timeout=120)


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


def test_tesseras_fsck_accepts_the_log(sealed):
    tool = need("tessera-fsck")
    result = subprocess.run(
        [
            tool,
            "-ui=false",
            "-N",
            "4",
            f"-storage_url=file://{sealed.log}",
            f"-public_key={sealed.directory / 'state' / 'key.vkey'}",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Successfully fsck'd log with size 3" in result.stdout + result.stderr


def test_the_archive_of_the_first_version_verifies_for_ever():
    from forwarder.seal.note import Verifier
    from forwarder.verify.run import verify

    key = Verifier.parse((FIXTURE / "key.vkey").read_text())
    (verdict,) = verify(FIXTURE / "archive", task([key]))
    assert (verdict.findings, verdict.batches, verdict.records) == ([], 3, 17)
    assert shell(FIXTURE / "archive" / key.name, FIXTURE / "key.vkey").returncode == 0


def test_the_worked_example_of_the_specification_runs():
    """Every command in the specification's last section prints what is written there."""
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
