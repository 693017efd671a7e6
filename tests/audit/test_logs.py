"""Every kind of log by its reader, from where the last run stopped."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from audit_lines import event, text
from audit_runs import Runs

from forwarder import config
from forwarder.audit.files import Content
from forwarder.audit.interface import TOOLS
from forwarder.config import Settings
from forwarder.errors import InputError


def syslog(second: int, *words: str) -> bytes:
    command = " ".join(words)
    return (
        f"2026-01-05T10:00:{second:02}.000000+00:00 scanner1 sudo: alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; "
        f"COMMAND=/usr/bin/{command}\n"
    ).encode()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_sudo_goes_on_where_it_stopped(tmp_path):
    log = tmp_path / "auth.log"
    log.write_bytes(syslog(1, "nmap", "-sS", "a") + syslog(2, "ls") + syslog(3, "nmap", "b"))
    runs = Runs(tmp_path, f"sudo:{log}")
    assert [item.argv[-1] for item in runs.run()] == ["a", "b"]
    assert runs.run() == []
    append(log, syslog(4, "nmap", "c"))
    (found,) = runs.run()
    assert (found.argv[-1], found.source, found.sudo_user) == ("c", "sudo", "alice")
    assert found.log_offset == log.read_bytes().rindex(b"2026-")
    log.rename(tmp_path / "auth.log.1")
    log.write_bytes(syslog(5, "nmap", "d"))
    assert [item.argv[-1] for item in runs.run()] == ["d"]
    log.write_bytes(b"")
    assert [item.action for item in runs.run()] == ["audit-log-truncated"]


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_kill_while_sudo_is_read(tmp_path, after):
    log = tmp_path / "auth.log"
    log.write_bytes(b"".join(syslog(second, "nmap", str(second)) for second in range(4)))
    runs = Runs(tmp_path, f"sudo:{log}")
    first = list(runs.interrupted(after))
    append(log, syslog(9, "nmap", "9"))
    assert [item.argv[-1] for item in first + runs.run()] == ["0", "1", "2", "3", "9"]
    assert runs.run() == []


def test_an_event_of_sudos_json_log_that_is_not_whole_yet(tmp_path):
    log = tmp_path / "sudo.json"
    entry = json.dumps(
        {
            "accept": {
                "uuid": "f3b7f9e4-6d8e-4b8a-9f3d-0a1b2c3d4e5f",
                "server_time": {"seconds": 1767607200, "nanoseconds": 0, "iso8601": "20260105100000Z"},
                "submituser": "alice",
                "command": "/usr/bin/nmap",
                "runuser": "root",
                "runargv": ["nmap", "-sS", "10.0.0.1"],
            }
        },
        indent=4,
    ).encode()[2:-2]  # members of the one object that the log is
    at = entry.index(b"\n", 150) + 1
    log.write_bytes(b"{\n" + entry[:at])
    runs = Runs(tmp_path, f"sudo:{log}")
    assert runs.run() == []
    append(log, entry[at:] + b"\n}\n")
    assert [item.argv for item in runs.run()] == [("nmap", "-sS", "10.0.0.1")]
    assert runs.run() == []


def test_sudos_io_logs_are_sessions_in_a_directory(tmp_path):
    for number in ("01", "02"):
        session = tmp_path / "io/00/00" / number
        session.mkdir(parents=True)
        (session / "log").write_bytes(
            f"17676072{number}:alice:root::/dev/pts/0:24:80\n/root\n/usr/bin/nmap {number}\n".encode()
        )
    runs = Runs(tmp_path, f"sudo-io:{tmp_path}/io")
    assert [item.argv[-1] for item in runs.run()] == ["01", "02"]
    assert runs.run() == []


def test_a_history_is_read_anew_but_nothing_comes_twice(tmp_path):
    log = tmp_path / ".bash_history"
    log.write_bytes(b"nmap -sS 10.0.0.1\nls\n")
    runs = Runs(tmp_path, f"history:{log}")
    (found,) = runs.run()
    assert (found.source, found.strong) == ("history", False)
    append(log, b"nmap -sS 10.0.0.1\n")
    assert len(runs.run()) == 1  # the same again is another
    assert runs.run() == []
    log.write_bytes(b"ls\nnmap -sS 10.0.0.1\nnmap -sS 10.0.0.1\nnmap 10.0.0.2\n")
    assert [item.argv for item in runs.run()] == [("nmap", "10.0.0.2")]
    log.write_bytes(b"ls\n")
    assert [item.action for item in runs.run()] == ["audit-log-truncated"]


def test_a_history_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b"nmap --script-args password=x\n")
    (tmp_path / ".bash_history").symlink_to(tmp_path / "secret")
    runs = Runs(tmp_path, f"history:{tmp_path}/.bash_history")
    assert runs.run() == []
    assert ".bash_history" in runs.said[0]


def test_a_history_that_would_cost_too_much(tmp_path):
    (tmp_path / "large").open("wb").truncate(100 << 20)
    bomb = gzip.compress(b"nmap 10.0.0.1\n" + bytes(30 << 20))
    (tmp_path / "bomb").write_bytes(bomb)
    runs = Runs(tmp_path, f"history:{tmp_path}/large", f"history:{tmp_path}/bomb")
    assert runs.run() == []
    assert "larger than any history" in runs.said[0]


def test_nothing_new_is_nothing_to_save(tmp_path):
    (tmp_path / "audit.log").write_bytes(text(event(1)))
    runs = Runs(tmp_path, f"auditd:{tmp_path}/audit.log")
    runs.run()
    logs = runs.logs()
    assert (list(logs), logs.progress()) == ([], [])


def test_a_log_that_cannot_be_read_to_its_end_goes_on_later(tmp_path, monkeypatch):
    (tmp_path / "audit.log").write_bytes(text(event(1)) + bytes(3 << 20) + b"\n" + text(event(2)))
    runs = Runs(tmp_path, f"auditd:{tmp_path}/audit.log")
    read = Content.read

    def broken(content, size):
        if content._at > 1 << 20:
            raise InputError("audit.log: Input/output error")
        return read(content, size)

    monkeypatch.setattr(Content, "read", broken)
    assert [item.identity for item in runs.run()] == ["1700000000.123:1"]
    assert runs.said == ["audit.log: Input/output error"]
    monkeypatch.setattr(Content, "read", read)
    assert [item.identity for item in runs.run()] == ["1700000000.123:2"]


def test_several_sources_and_tools(tmp_path):
    (tmp_path / "audit.log").write_bytes(text(event(1), event(2, [b"zmap"], exe=b"/usr/bin/zmap", comm=b"zmap")))
    (tmp_path / "auth.log").write_bytes(syslog(1, "nmap", "a"))
    sources = (f"auditd:{tmp_path}/audit.log", f"sudo:{tmp_path}/auth.log", f"auditd:{tmp_path}/*.log")
    found = Runs(tmp_path, *sources, tools=("nmap", "zmap")).run()
    assert [(item.source, item.tool) for item in found] == [("auditd", "nmap"), ("auditd", "zmap"), ("sudo", "nmap")]
    assert {Path(item.log_path).name for item in found} == {"audit.log", "auth.log"}


def test_the_configuration_in_the_documentation(tmp_path):
    page = (Path(__file__).parents[2] / "docs/AUDIT_LOGS.md").read_text()
    (tmp_path / "c.toml").write_text(page.partition("```toml\n")[2].partition("```")[0])
    settings = Settings({}, config=str(tmp_path / "c.toml"), environment={})
    assert {source.partition(":")[0] for source in settings["audit.sources"]} == set(config.AUDIT_KINDS)
    assert settings["audit.tools"] == TOOLS
