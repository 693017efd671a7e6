"""Every kind of log by its reader, from where the last run stopped."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from audit_lines import event, text
from audit_runs import Runs

from forwarder.audit import TOOLS, sudo
from forwarder.audit.files import CHUNK, Content
from forwarder.audit.follow import MAX_LINE
from forwarder.config import Settings
from forwarder.config.checks import AUDIT_KINDS
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
    assert {source.partition(":")[0] for source in settings["audit.sources"]} == set(AUDIT_KINDS)
    assert settings["audit.tools"] == TOOLS


def noise(form: str, lines: int) -> bytes:
    if form == "json":
        entry = {
            "__REALTIME_TIMESTAMP": "1772442876123456",
            "_COMM": "cron",
            "_UID": "0",
            "MESSAGE": "session " + "x" * 99,
        }
        return (json.dumps(entry) + "\n").encode() * lines
    return (
        b"2026-01-05T10:00:01.000000+00:00 scanner1 cron[7]: pam_unix: session opened "
        + b"x" * 99
        + b"\n"
        + (b"2026-01-05T10:00:01.000000+00:00 scanner1 cron[7]: pam_unix: session closed\n" * lines)
    )


@pytest.mark.parametrize("form", ["json", "syslog"])
def test_lines_of_no_matter_are_not_looked_at(tmp_path, monkeypatch, form):
    """A search is a hundred times faster than a look at each line."""
    log = tmp_path / "auth.log"
    data = noise(form, 60_000)
    log.write_bytes(data + syslog(2, "nmap", "a") + data)
    read = []
    parse = sudo.parse
    monkeypatch.setattr(sudo, "parse", lambda lines, *args, **more: parse(seen(lines, read), *args, **more))
    (found,) = Runs(tmp_path, f"sudo:{log}").run()
    assert (found.argv[-1], found.log_offset) == ("a", len(data))
    assert sum(read) < 0.6 * 2 * len(data)


def seen(lines, read):
    for offset, line in lines:
        read.append(len(line))
        yield offset, line


def test_the_rest_of_an_overlong_line_is_no_line_of_its_own(tmp_path):
    log = tmp_path / "auth.log"
    before = noise("syslog", 60_000)
    before += b"y" * (-(len(before) + 1) % CHUNK) + b"\n"
    log.write_bytes(before + b"x" * (2 * MAX_LINE) + syslog(1, "nmap", "forged") + syslog(2, "nmap", "a"))
    assert [found.argv[-1] for found in Runs(tmp_path, f"sudo:{log}").run()] == ["a"]


def sudo_json(*targets: str) -> bytes:
    """A log as sudo writes it: one object, whose end each new event is written over."""
    events = []
    for number, target in enumerate(targets):
        event = {
            "uuid": f"f3b7f9e4-6d8e-4b8a-9f3d-0a1b2c3d4e{number:02}",
            "server_time": {"seconds": 1767607200 + number, "nanoseconds": 0, "iso8601": "20260105100000Z"},
            "submituser": "alice",
            "command": "/usr/bin/nmap",
            "runuser": "root",
            "runargv": ["nmap", target],
        }
        events.append(json.dumps({"accept": event}, indent=4)[2:-2])
    return ("{\n" + ",\n".join(events) + "\n}\n").encode()


def test_sudo_writes_over_the_end_of_its_json(tmp_path):
    log, targets = tmp_path / "sudo.json", [f"10.0.0.{number}" for number in range(30)]
    runs = Runs(tmp_path, f"sudo:{log}")
    for count in (1, 2, 5, 30):
        log.write_bytes(sudo_json(*targets[:count]))
        assert [getattr(item, "argv", item)[-1] for item in runs.run()] == targets[
            {1: 0, 2: 1, 5: 2, 30: 5}[count] : count
        ]
        assert runs.run() == []
    log.write_bytes(sudo_json("10.9.9.9"))
    assert runs.run()[0].action == "audit-log-truncated"


def test_a_sessions_header_that_is_a_link_is_not_followed(tmp_path):
    session = tmp_path / "io/00/00/01"
    session.mkdir(parents=True)
    (tmp_path / "secret").write_bytes(
        b"1767607201:alice:root::/dev/pts/0:24:80\n/root\n/usr/bin/nmap --script-args p=x\n"
    )
    (session / "log").symlink_to(tmp_path / "secret")
    runs = Runs(tmp_path, f"sudo-io:{tmp_path}/io")
    assert runs.run() == []
    assert "io/00/00/01/log" in runs.said[0]


def test_sessions_are_looked_for_so_deep_only(tmp_path):
    for depth in (9, 8):
        session = tmp_path.joinpath("io", *"abcdefghi"[:depth])
        session.mkdir(parents=True, exist_ok=True)
        (session / "log").write_bytes(b"1767607201:alice:root::/dev/pts/0:24:80\n/root\n/usr/bin/nmap %d\n" % depth)
    assert [item.argv[-1] for item in Runs(tmp_path, f"sudo-io:{tmp_path}/io").run()] == ["8"]
