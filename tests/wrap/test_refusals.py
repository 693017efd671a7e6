"""The policy is asked before nmap runs: it refuses, flags or allows, and asks a person for what is missing."""

import os
import subprocess

import pytest
import wrapped
from test_signals import Terminal

wrapper = wrapped.wrapper
LIST = ("-sL", "-n", "127.0.0.1")


@pytest.fixture
def strict(wrapper, tmp_path):
    wrapper.config = tmp_path / "config.toml"
    wrapper.config.write_text(
        "[policy]\n"
        'require_reason = "refuse"\nrequire_ticket = "refuse"\nticket_pattern = "CHG-[0-9]+"\n'
        'scopes = ["127.0.0.0/8"]\nforbid = ["script:exploit"]\nforbidden = "refuse"\n'
    )
    return wrapper


def said(ticket="CHG-1", reason="inventory"):
    return os.environ | {"NMAP_FORWARDER_TICKET": ticket, "NMAP_FORWARDER_REASON": reason}


def test_what_is_refused_does_not_run_and_is_written_down(strict):
    ran = strict.run(*LIST)
    assert ran.returncode == 77
    assert ran.stdout == b""
    assert ran.stderr.count(b"\n") == 1
    assert b"reason-missing" in ran.stderr
    assert b"--ticket" in ran.stderr
    entry = strict.entry()
    assert entry["policy_action"] == "refused"
    assert set(entry["policy_reasons"]) == {"reason-missing", "ticket-missing"}
    assert not entry.keys() & {"pid", "exit_code", "signal", "outputs"}
    assert not strict.entries("start.json")


@pytest.mark.parametrize("ticket", ["CHG-", "x CHG-1", "CHG-1\n"])
def test_a_ticket_must_be_like_one(strict, ticket):
    assert strict.run(*LIST, env=said(ticket)).returncode == 77
    assert strict.entry()["policy_reasons"] == ["ticket-malformed"]


def test_what_keeps_the_policy_runs(strict):
    assert strict.run(*LIST, env=said()).returncode == 0
    entry = strict.entry()
    assert (entry["policy_action"], entry["reason"], entry["ticket"]) == ("allowed", "inventory", "CHG-1")


def test_what_is_flagged_runs(strict):
    ran = strict.run("-sL", "-n", "192.0.2.1", env=said())
    assert ran.returncode == 0
    assert ran.stderr == b""
    entry = strict.entry()
    assert (entry["policy_action"], entry["policy_reasons"]) == ("flagged", ["outside-scope"])


def test_forbidden_scripts_do_not_run(strict):
    assert strict.run("--script", "exploit", "127.0.0.1", env=said()).returncode == 77
    assert strict.entry()["policy_reasons"] == ["forbidden:script:exploit"]


def test_asking_for_the_version_needs_no_reason(strict):
    assert strict.run("--version").returncode == 0


def test_a_person_is_asked_for_what_is_missing(strict):
    terminal = Terminal(strict.command(*LIST))
    terminal.until(b"Reason for this scan: ")
    terminal.type("because é\n".encode())
    terminal.until(b"Ticket of this scan: ")
    terminal.type(b"CHG-7\n")
    terminal.until(b"Nmap done")
    assert terminal.end() == 0
    entry = strict.entry()
    assert (entry["reason"], entry["ticket"], entry["policy_action"]) == ("because é", "CHG-7", "allowed")


def test_who_gives_up_when_asked_ends_as_by_control_c(strict):
    terminal = Terminal(strict.command(*LIST))
    terminal.until(b"Reason for this scan: ")
    terminal.type(b"\x03")
    assert terminal.end() == -2
    assert b"Traceback" not in terminal.said
    assert b"Starting" not in terminal.said


def test_users_cannot_change_the_machines_policy_by_the_environment(strict):
    ran = strict.run(*LIST, env=os.environ | {"NMAP_FORWARDER_POLICY_REQUIRE_TICKET": "none"})
    assert ran.returncode == 77
    assert "ticket-missing" in strict.entry()["policy_reasons"]


def test_a_policy_that_fails_lets_nmap_run_and_is_written_down(strict):
    command = strict.command(*LIST)
    broken = "import sys; sys.modules['forwarder.nmap.command'] = None\n" + command[4]
    ran = subprocess.run([*command[:4], broken, *command[5:]], capture_output=True, check=False)
    assert ran.returncode == 0
    assert any(problem.startswith("forwarder failed: policy: ") for problem in strict.entry()["problems"])


def test_secrets_are_not_written_down(wrapper):
    words = ["-sL", "-n", "--script-args", "smbuser=joe,smbpass=Hunter2", "127.0.0.1"]
    wrapper.run(*words, env=os.environ | {"NMAP_ARGS": "--script-args smbpass=Hunter2"})
    for path in wrapper.spool.glob("*.json"):
        assert b"Hunter2" not in path.read_bytes()
    assert "joe" in wrapper.entry()["argv"][4]


def test_the_mask_can_be_set(wrapper, tmp_path):
    wrapper.config = tmp_path / "config.toml"
    wrapper.config.write_text('[audit]\nmask = ["*user*"]\n')
    wrapper.run("-sL", "--script-args", "smbuser=joe,smbpass=Hunter2", "127.0.0.1")
    assert "joe" not in str(wrapper.entry()["argv"])
    assert "Hunter2" in str(wrapper.entry()["argv"])
