"""The program as its users see it: words, exit codes, machine output."""

import json
import os
import pty
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import scan

from forwarder import config
from forwarder.cli import main, parser
from forwarder.config import Settings
from forwarder.config.keys import KEYS
from forwarder.errors import Exit, UsageError, worst
from forwarder.terminal import safe

ROOT = Path(__file__).parent.parent


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in this process: (exit code, stdout, stderr)."""
    monkeypatch.setenv("NMAP_FORWARDER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("NMAP_FORWARDER_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("NMAP_FORWARDER_INTAKE_SETTLE", "0")
    (tmp_path / "config.toml").touch()

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def scanned(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(scan(2))
    return path


def test_init_makes_what_is_needed_and_a_second_time_nothing(forwarder):
    environment = {"HOME": str(forwarder.directory), "XDG_CONFIG_HOME": "", "PATH": os.environ["PATH"]}
    forwarder.directory.mkdir()
    config_file = forwarder.directory / "conf" / "config.toml"
    environment["NMAP_FORWARDER_STATE_DIR"] = str(forwarder.directory / "state")
    code = f"import sys; from forwarder import config; config.default_config = lambda e: __import__('pathlib').Path({str(config_file)!r}); from forwarder.cli import main; sys.exit(main(['init']))"
    first = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment, cwd=ROOT)
    assert first.stdout.count(b"made ") == 3
    state = forwarder.directory / "state"
    assert oct((state / "key.pem").stat().st_mode)[-3:] == "600"
    assert oct(state.stat().st_mode)[-3:] == "700"
    before = {path: path.read_bytes() for path in (state / "key.pem", state / "key.vkey", config_file)}
    second = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment, cwd=ROOT)
    assert b"nothing to do" in second.stdout
    assert before == {path: path.read_bytes() for path in before}


def test_forward_without_init_does_it_and_says_so(run, scanned):
    code, out, err = run("forward", scanned)
    assert code == 0
    assert "made signing key" in err
    assert "1 scans, 2 hosts, 7 records from 1 new inputs; sealed as batch 0" in out


def test_forward_for_machines(run, scanned):
    code, out, _ = run("forward", "--json", scanned)
    result = json.loads(out)
    assert (code, result["records"], result["batches"], result["exit_code"]) == (0, 7, 1, 0)


def test_verify_says_what_it_rests_on(run, scanned):
    run("forward", scanned)
    code, out, _ = run("verify")
    assert code == 0
    assert re.search(r"^ok .*: 1 batches, 7 records, 1 evidence objects", out)
    assert "rests on the public key" in out
    assert "cannot exclude" in out


def test_verify_for_machines_and_its_memory(run, scanned, tmp_path):
    run("forward", scanned)
    _, out, _ = run("verify", "--json")
    (log,) = json.loads(out)["logs"]
    assert (log["ok"], log["batches"]) == (True, 1)
    assert (tmp_path / "state" / "remembered" / log["origin"] / "checkpoint").exists()


def test_verify_reads_only_what_is_new_and_says_so(run, scanned, tmp_path):
    run("forward", scanned)
    assert json.loads(run("verify", "--new", "--json")[1])["logs"][0]["batches"] == 1, "nothing is remembered yet"
    (tmp_path / "more.xml").write_text(scan(1, start=9))
    run("forward", tmp_path / "more.xml")
    (log,) = json.loads(run("verify", "--new", "--json")[1])["logs"]
    assert (log["ok"], log["read_from"], log["batches"], log["size"]) == (True, 1, 1, 2)
    assert any("not read again" in line for line in log["cannot_exclude"])
    next((tmp_path / "state" / "archive").rglob("batches/*0/manifest.json")).unlink()
    assert run("verify", "--new")[0] == 0
    assert run("verify")[0] == 1


def test_verify_writes_a_report_for_pipelines(run, scanned, tmp_path):
    run("forward", scanned)
    report = tmp_path / "verify.xml"
    assert run("verify", "--junit", report)[0] == 0
    (suite,) = ET.parse(report).getroot()
    assert (suite.get("failures"), suite.get("tests")) == ("0", str(len(suite.findall("testcase"))))
    assert "cannot exclude" in suite.findtext("system-out")
    victim = next((tmp_path / "state" / "archive").rglob("records/*.zst"))
    victim.write_bytes(victim.read_bytes() + b"\x1b[2J\0")
    assert run("verify", "--junit", report)[0] == 1
    (suite,) = ET.parse(report).getroot()
    (failed,) = [case for case in suite.findall("testcase") if case.find("failure") is not None]
    assert (failed.get("name"), suite.get("failures")) == ("records", "1")
    assert "records-damaged" in failed.find("failure").get("type")
    assert run("verify", "--junit", tmp_path / "no" / "such")[0] == 2


def test_verify_judges_silence(run, scanned):
    run("forward", scanned)
    assert run("verify", "--max-age", "1")[0] == 0
    code, out, _ = run("verify", "--max-age", "0")
    assert (code, "older than is allowed" in out) == (1, True)
    assert run("verify", "--max-age", "soon")[0] == 2


def test_verify_elsewhere_needs_the_key_and_finds_a_cut_by_the_remembered_checkpoint(
    run, scanned, tmp_path, monkeypatch
):
    run("forward", scanned)
    vkey = tmp_path / "state" / "key.vkey"
    archive = tmp_path / "state" / "archive"
    pinned = next(archive.rglob("checkpoints/*"))
    (tmp_path / "pin").write_bytes(pinned.read_bytes())
    monkeypatch.setenv("NMAP_FORWARDER_STATE_DIR", str(tmp_path / "auditor"))
    code, _, err = run("verify", archive)
    assert (code, "no public key" in err) == (2, True)
    assert run("verify", archive, "--key", vkey)[0] == 0
    for path in archive.rglob("*"):
        if path.is_file():
            path.unlink()
    assert run("verify", archive, "--key", vkey)[0] == 3
    code, out, _ = run("verify", "--quiet", archive, "--key", vkey, "--checkpoint", tmp_path / "pin")
    assert (code, "the newest batches are gone" in out) == (1, True)


def test_a_cut_off_tail_is_found_by_the_forwarders_own_ledger(run, scanned, tmp_path):
    run("forward", scanned)
    for path in (tmp_path / "state" / "archive").rglob("*"):
        if path.is_file():
            path.unlink()
    code, out, _ = run("verify")
    assert (code, "the newest batches are gone" in out) == (1, True)


def test_status_tells_what_is_waiting_sealed_and_rejected(run, scanned, tmp_path):
    assert run("status")[0] == 3
    (tmp_path / "bad.xml").write_text("<svg/>")
    (tmp_path / "young.xml").write_text(scan(3, start=5)[:-100])
    code, _, _ = run("forward", tmp_path / "bad.xml", scanned)
    assert code == 65
    assert run("forward", "--settle", "100", tmp_path / "young.xml")[0] == 0
    code, out, _ = run("status", "--json")
    facts = json.loads(out)
    assert [entry["path"] for entry in facts["waiting"]] == [str(tmp_path / "young.xml")]
    assert [entry["path"] for entry in facts["rejected"]] == [str(tmp_path / "bad.xml")]
    assert (facts["head"]["batches"], facts["head"]["records"], facts["scans"]) == (1, 7, 1)
    assert "waiting   1 files" in run("status")[1]


def test_standard_input(forwarder):
    result = forwarder.command("forward", "-", input=scan(2).encode())
    assert result.returncode == 0, result.stderr
    assert b"2 hosts" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "required: COMMAND"),
        (("frobnicate",), "invalid choice"),
        (("forward", "--records", "x"), "unrecognized"),
        (("forward", "--ports", "some"), 'records.ports = \'some\' (command line) must be "open" or "all"'),
        (("forward", "--settle", "-1"), "must be a number that is not negative"),
        (("verify", "--key", "/nonexistent"), "No such file"),
        (("forward", "--config", "/nonexistent"), "no such configuration file"),
        (("init", "--origin", "../x"), "must be parts of"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(run, arguments, words):
    code, _, err = run(*arguments)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


def test_missing_file_and_empty_pattern(run, tmp_path):
    code, _, err = run("forward", tmp_path / "none.xml")
    assert code == 65
    assert "none.xml: No such file or directory" in err
    (tmp_path / "d").mkdir()
    assert run("forward", tmp_path / "d")[0] == 3


def test_a_state_directory_that_cannot_be_made(run, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NMAP_FORWARDER_STATE_DIR", str(tmp_path / "file" / "state"))
    code, _, err = run("init")
    assert code == 2
    assert "file: File exists" in err


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "/x"), OSError(5, "I/O error", "/x")])
def test_a_full_or_broken_disk_is_temporary(run, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("forwarder.state.init", fail)
    code, _, err = run("init")
    assert (code, "/x" in err) == (75, True)


def test_an_interrupt_says_that_nothing_is_lost(run, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("forwarder.state.init", fail)
    code, _, err = run("init")
    assert (code, "nothing is lost" in err) == (130, True)


def test_settings_come_from_flag_then_environment_then_file(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text('namespace = "file"\n[scan]\nvantage = "file"\n[target]\nnetworks = ["10.0.0.0/8"]\n')
    environment = {"NMAP_FORWARDER_CONFIG": str(file), "NMAP_FORWARDER_SCAN_VANTAGE": "env"}
    settings = Settings({}, environment=environment)
    assert (settings["namespace"], settings["scan.vantage"], settings["target.networks"]) == (
        "file",
        "env",
        ("10.0.0.0/8",),
    )
    assert Settings({"scan_vantage": "flag"}, environment=environment)["scan.vantage"] == "flag"
    assert len(settings) == len(list(settings)) == len(KEYS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = ", "Invalid value"),
        ("frob = 1", "unknown key frob"),
        ("lock_wait = true", "lock_wait = True"),
        ("lock_wait = 'x'", "lock_wait"),
        ("[intake]\nmax_bytes = -1", "whole number"),
        ("[observer]\nip = 'x'", "an IP address"),
        ("[observer]\nname = 1", "a text"),
        ("[target]\nnetworks = ['x']", "CIDR"),
        ("[records]\nos_accuracy = 101", "percentage"),
        ("namespace = 'A-b'", "namespace"),
        ("[audit]\nsources = ['/var/log/audit/audit.log']", "KIND:PATH"),
        ("[audit]\nsources = ['auditd:audit.log']", "an absolute path"),
        ("[audit]\nsources = ['syslog:/var/log/auth.log']", "kinds are auditd, laurel"),
        ("[audit]\ntools = ['nmap', 'nc']", "some of nmap, ncat"),
    ],
)
def test_a_bad_configuration_names_the_key(tmp_path, text, words):
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=re.escape(words)):
        Settings({}, config=str(file), environment={})


@pytest.mark.parametrize("name", ["elasticsearch.url", "kibana.url", "s3.endpoint", "timestamps.url"])
@pytest.mark.parametrize("host", ["es.example", "[::1"])
def test_a_password_in_a_url_is_refused_and_not_shown(tmp_path, name, host):
    file = tmp_path / "c.toml"
    table, _, key = name.partition(".")
    file.write_text(f'[{table}]\n{key} = "https://me:geheim@{host}"\n')
    with pytest.raises(UsageError, match=r"must be .*URL") as caught:
        Settings({}, config=str(file), environment={})
    assert "geheim" not in str(caught.value)


def test_audit_sources_and_tools(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text(
        '[audit]\nsources = ["auditd:/var/log/audit/audit.log", "history:/home/*/.bash_history"]\ntools = ["zmap"]\n'
    )
    settings = Settings({}, config=str(file), environment={})
    assert settings["audit.sources"] == ("auditd:/var/log/audit/audit.log", "history:/home/*/.bash_history")
    assert settings["audit.tools"] == ("nmap", "zmap")
    given = Settings(
        {}, environment={"NMAP_FORWARDER_AUDIT_SOURCES": "sudo:/var/log/auth.log, laurel:/var/log/laurel/audit.log"}
    )
    assert given["audit.sources"] == ("sudo:/var/log/auth.log", "laurel:/var/log/laurel/audit.log")


def test_a_configuration_that_is_no_text(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="cannot be read"):
        Settings({}, config=str(tmp_path / "c.toml"), environment={})


def test_the_sample_configuration_is_valid_and_names_every_key(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text(config.sample())
    assert Settings({}, config=str(file), environment={})["lock_wait"] == 10
    file.write_text(re.sub(r"^# (\w+ = )", r"\1", config.sample(), flags=re.MULTILINE))
    assert Settings({}, config=str(file), environment={})["intake.settle"] == 60
    for key in KEYS:
        assert key.variable in config.sample()


def test_places_of_users_and_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    environment = {"XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "relative is ignored"}
    assert config.default_state_dir(environment) == Path("/s/nmap-forwarder")
    if not Path("/etc/nmap-forwarder/config.toml").exists():
        assert config.default_config(environment) == Path.home() / ".config/nmap-forwarder/config.toml"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert config.default_state_dir({}) == Path("/var/lib/nmap-forwarder")
    assert config.default_config({}) == Path("/etc/nmap-forwarder/config.toml")


def test_exit_codes_have_the_documented_precedence():
    order = [Exit.INTEGRITY, Exit.USAGE, Exit.TEMPORARY, Exit.REJECTED, Exit.NOTHING, Exit.OK]
    for place, code in enumerate(order):
        assert worst(*order[place:]) == code
    assert worst() == Exit.OK


def test_hostile_text_is_made_visible():
    assert safe("a\x1b[31m\u202eb\n\x9b\U000e0001é") == "a\\x1b[31m\\u202eb\\x0a\\x9b\\U000e0001é"


@pytest.mark.parametrize(
    ("command", "words"), [(["verify"], [b"verifying"]), (["pull", "--out", "x"], [b"reading manifests", b"pulling"])]
)
def test_a_terminal_gets_a_progress_bar_and_cron_gets_none(forwarder, command, words):
    path = forwarder.write("a.xml", scan(50))
    quiet = forwarder.command("forward", "--quiet", path)
    assert quiet.stdout == b""
    try:
        master, slave = pty.openpty()
    except OSError:  # a container without /dev/pts
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("no pseudo-terminal can be had here")
    code = "import sys; from forwarder.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "NMAP_FORWARDER_STATE_DIR": str(forwarder.directory / "state"),
        "NMAP_FORWARDER_CONFIG": str(forwarder.directory / "config.toml"),
        "TERM": "xterm",
    }
    subprocess.run(
        [sys.executable, "-c", code, *command],
        check=True,
        cwd=forwarder.directory,
        stderr=slave,
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    os.close(slave)
    said = os.read(master, 1 << 16)
    assert all(word in said for word in words)


def test_every_command_has_help_with_examples():
    for name in ("init", "forward", "verify", "pull", "status", "diff"):
        result = subprocess.run([sys.executable, "-m", "forwarder", name, "--help"], check=True, capture_output=True)
        assert b"examples:" in result.stdout
    assert "exit codes" in parser().format_help()
