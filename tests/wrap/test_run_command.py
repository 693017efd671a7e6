"""`nmap-forwarder run`: what the shim does, and the result is forwarded at once."""

import os
import subprocess
import sys

import pytest
import wrapped
from conftest import need

NMAP = "nmap"
LIST = ("-sL", "-n", "127.0.0.1")


@pytest.fixture(autouse=True)
def _nmap():
    need("nmap")


def executed(forwarder):
    return [record for record in forwarder.records("audit") if record["event"]["action"] == "nmap-executed"]


def test_a_scan_is_run_and_forwarded(forwarder):
    ran = forwarder.command("run", "--reason", "inventory", "--ticket", "CHG-1", "--", "nmap", *LIST)
    assert ran.returncode == 0
    assert ran.stdout.startswith(b"Starting Nmap")
    assert b"sealed" not in ran.stdout
    (scan,) = forwarder.records("scan")
    assert scan["nmap"]["scan"]["hosts"]["total"] == 1


@pytest.mark.parametrize("words", [["nmap", *LIST], ["--", "nmap", *LIST], ["--", NMAP, *LIST, "--reason"]])
def test_it_takes_words_as_a_shell_does(forwarder, words):
    assert forwarder.command("run", *words).returncode == 0


def test_nmaps_exit_code_is_ours(forwarder):
    assert forwarder.command("run", "--", "nmap", "--no-such-option").returncode == 255
    assert forwarder.command("run", "--", "nmap", "--version").returncode == 0


@pytest.mark.parametrize("words", [[], ["--"], ["--", "no-such-program"], ["--", "sudo", "-u", "x"]])
def test_nothing_to_run_is_told_in_one_line(forwarder, words):
    ran = forwarder.command("run", *words)
    assert ran.returncode == 2
    assert ran.stderr.count(b"\n") == 1


def test_a_configuration_that_cannot_be_used_stops_nothing(forwarder):
    forwarder.init()
    (forwarder.directory / "config.toml").write_text("nonsense = [")
    ran = forwarder.command("run", "--", "nmap", *LIST)
    assert ran.returncode == 0
    assert b"Nmap done" in ran.stdout
    assert b"all the same" in ran.stderr


def test_an_archive_that_cannot_be_written_stops_nothing(forwarder):
    forwarder.init()
    (forwarder.directory / "state/archive").write_text("no directory")
    ran = forwarder.command("run", "--", "nmap", *LIST)
    assert ran.returncode == 0
    assert b"Nmap done" in ran.stdout
    assert b"nmap-forwarder: " in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_a_shim_in_the_path_is_passed_by(forwarder, tmp_path):
    shim = tmp_path / "bin" / "nmap"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\n# nmap-forwarder shim\necho shim\n")
    shim.chmod(0o755)
    ran = forwarder.command("run", "nmap", *LIST, env={"PATH": f"{shim.parent}:{os.environ['PATH']}"})
    assert b"Starting Nmap" in ran.stdout
    assert b"shim" not in ran.stdout


def test_under_sudo_and_around_sudo(forwarder, tmp_path):
    if subprocess.run([need("sudo"), "-n", "true"], check=False).returncode:
        pytest.skip("sudo asks for a password here")
    words = ("sudo", "-n", "nmap", "-sT", "-n", "-p", "1-3", "127.0.0.1")
    ran = forwarder.command("run", "--", *words, env={"TMPDIR": str(tmp_path)})
    assert ran.returncode == 0, ran.stderr
    (scan,) = forwarder.records("scan")
    assert scan["nmap"]["scan"]["type"] == ["connect"]
    assert not list(tmp_path.glob("nmap-forwarder-of-*"))


def test_a_shim_below_sudo_leaves_recording_to_run(forwarder, tmp_path):
    """sudo lets no variable of ours through."""
    if subprocess.run([need("sudo"), "-n", "true"], check=False).returncode:
        pytest.skip("sudo asks for a password here")
    wrapper = wrapped.Wrapper(tmp_path / "spool")
    wrapper.spool.mkdir()
    shim = tmp_path / "bin" / "nmap"
    shim.parent.mkdir()
    code = wrapper.command()[4].replace("'", '"')
    python = f"{sys.executable} -I -S -c '{code}'"
    shim.write_text(f'#!/bin/sh\n# nmap-forwarder shim\nexec {python} {wrapped.NMAP} nmap "$@"\n')
    shim.chmod(0o755)
    assert subprocess.run(["sudo", "-n", shim, *LIST], capture_output=True, check=False).returncode == 0
    assert len(wrapper.entries()) == 1
    assert forwarder.command("run", "--", "sudo", "-n", shim, *LIST).returncode == 0
    assert len(wrapper.entries()) == 1
    assert len(executed(forwarder)) == len(forwarder.records("scan")) == 1


def test_the_users_own_stays(forwarder, tmp_path):
    ran = forwarder.command("run", "--", "nmap", "-oA", tmp_path / "mine", *LIST)
    assert ran.returncode == 0
    assert sorted(path.suffix for path in tmp_path.glob("mine.*")) == [".gnmap", ".nmap", ".xml"]
    assert len(forwarder.records("scan")) == 1


def test_help_has_examples():
    ran = subprocess.run([sys.executable, "-m", "forwarder", "run", "--help"], capture_output=True, check=True)
    assert b"nmap-forwarder run -- sudo nmap" in ran.stdout


def test_the_record_of_the_execution_leads_to_the_scan(forwarder, tmp_path):
    forwarder.command("run", "--reason", "inventory", "--ticket", "CHG-1", "--", "nmap", *LIST)
    forwarder.command("run", "--", "nmap", "-oX", tmp_path / "mine.xml", "-sT", "-n", "-p", "1", "127.0.0.1")
    audits = {record["event"].get("reason", ""): record for record in executed(forwarder)}
    assert audits["inventory"]["labels"]["ticket"] == "CHG-1"
    assert audits["inventory"]["process"]["args"] == ["nmap", *LIST]
    scans = forwarder.records("scan")
    assert len(scans) == len(audits) == 2
    assert [scan["nmap"]["attribution"]["confidence"] for scan in scans] == ["exact", "exact"]
    assert {scan["nmap"]["attribution"]["execution"][0] for scan in scans} == {
        audit["process"]["entity_id"] for audit in audits.values()
    }
    assert not list((forwarder.directory / "state/runs").glob("*.*"))
    assert not list((forwarder.directory / "state/runs/taken").glob("*.*"))


def test_what_the_policy_refuses_is_a_record(forwarder):
    forwarder.init()
    (forwarder.directory / "config.toml").write_text('[policy]\nrequire_ticket = "refuse"\n')
    ran = forwarder.command("run", "--", "nmap", *LIST)
    assert ran.returncode == 77
    (record,) = forwarder.records("audit")
    assert record["event"]["action"] == "nmap-refused"
    assert record["nmap"]["policy"]["reason"] == ["ticket-missing"]
    assert forwarder.command("run", "--ticket", "CHG-1", "--", "nmap", *LIST).returncode == 0


def test_where_nothing_can_be_written_nmap_runs_and_one_line_says_so(forwarder, tmp_path):
    (tmp_path / "file").touch()
    places = {"NMAP_FORWARDER_STATE_DIR": str(tmp_path / "file/x"), "NMAP_FORWARDER_AUDIT_SPOOL": str(tmp_path / "no")}
    ran = forwarder.command("run", "--", "nmap", *LIST, env=places)
    assert ran.returncode == 0
    assert b"Nmap done" in ran.stdout
    assert ran.stderr.count(b"\n") == 1
    assert ran.stderr.endswith(b"it ran all the same, but is not recorded\n")


def test_users_without_a_state_directory_write_to_the_machines_spool(forwarder, tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    spool.chmod(0o1733)
    ran = forwarder.command("run", "--", "nmap", *LIST, env={"NMAP_FORWARDER_AUDIT_SPOOL": str(spool)})
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert len(list(spool.glob("*.*"))) == 3
    assert not (forwarder.directory / "state").exists()
    env = {"NMAP_FORWARDER_AUDIT_SPOOL": str(spool)}
    assert forwarder.command("forward", env=env).returncode == 0
    (record,) = executed(forwarder)
    assert record["process"]["args"] == ["nmap", *LIST]
