"""Laurel's JSON."""

from __future__ import annotations

import json

import pytest
from audit_runs import Runs

from forwarder.audit import laurel
from forwarder.audit.interface import Execution, Finding, User

CALL = {
    "arch": "0xc000003e", "syscall": 59, "success": "yes", "exit": 0, "a0": "0x55c0", "items": 2, "ppid": 2100, "pid": 2101,
    "auid": 1000, "uid": 0, "euid": 0, "tty": "pts3", "ses": 3, "comm": "nmap", "exe": "/usr/bin/nmap", "key": None,
    "ARCH": "x86_64", "SYSCALL": "execve", "AUID": "alice", "UID": "root", "EUID": "root",
    "PPID": {"EVENT_ID": "1700000000.001:1", "exe": "/bin/bash", "comm": "bash", "ppid": 99},
}  # fmt: skip


def event(serial=1, argv=("nmap", "-sS", "10.0.0.1"), call=(), **members) -> dict:
    found = {
        "ID": f"1700000000.123:{serial}",
        "SYSCALL": CALL | dict(call),
        "EXECVE": {"argc": len(argv), "ARGV": list(argv)},
        "CWD": {"cwd": "/home/alice"},
        "PATH": [{"item": 0, "name": "/usr/bin/nmap", "nametype": "NORMAL"}],
        "PROCTITLE": {"ARGV": list(argv)},
    } | members
    return {name: value for name, value in found.items() if value is not None}


def read(*events, prefix=b""):
    lines = [prefix + json.dumps(item, separators=(",", ":")).encode() for item in events]
    found = (laurel.evidence(line, "/var/log/laurel/audit.log", 0, ("nmap",)) for line in lines)
    return [item for item in found if item]


def test_everything_that_an_event_says():
    (found,) = read(event(NODE="scanner1", CONTAINER_INFO={"ID": "cafe01"}))
    assert found.argv == ("nmap", "-sS", "10.0.0.1")
    assert (found.source, found.identity, found.host) == ("laurel", "1700000000.123:1@scanner1", "scanner1")
    assert (found.login, found.effective) == (User("1000", "alice"), User("0", "root"))
    assert (found.pid, found.ppid, found.terminal, found.cwd) == (2101, 2100, "pts/3", "/home/alice")
    assert (found.parent_executable, found.container_id) == ("/bin/bash", "cafe01")
    assert found.problems == ()


def test_escapes_and_a_prefix():
    (found,) = read(event(argv=("nmap", "50%25", "%ff%0a", "ü", "")), prefix=b"@cee: ")
    assert [word.encode("utf-8", "surrogateescape") for word in found.argv] == [
        b"nmap",
        b"50%",
        b"\xff\n",
        "ü".encode(),
        b"",
    ]


def test_what_laurel_cut_or_left_out():
    (found,) = read(event(EXECVE={"argc": 900, "ARGV": ["nmap", "a", "<... 897 args ...>", "z"]}, PROCTITLE=None))
    assert found.argv == ("nmap", "a")
    assert "arguments cut" in found.problems
    (found,) = read(event(EXECVE=None))
    assert "no EXECVE record" in found.problems
    (found,) = read(event(EXECVE={"argc": 2, "ARGV_STR": "nmap a"}))
    assert "arguments cut" in found.problems
    raw = {name: value for name, value in CALL.items() if name not in {"auid", "uid", "euid", "arch", "syscall"}}
    (found,) = read(event(SYSCALL=raw))
    assert found.login == User("", "alice")


@pytest.mark.parametrize(
    "other",
    [
        event(call={"success": "no", "exit": -13}),
        event(argv=("ls", "nmap"), call={"exe": "/usr/bin/ls", "comm": "ls"}),
        event(call={"SYSCALL": "openat", "syscall": 257}, EXECVE=None),
        {"ID": 5, "SYSCALL": "nmap"},
        {"ID": "x", "EXECVE": {"ARGV": ["nmap"]}},
        {"ID": "1.000:1", "EXECVE": "nmap", "SYSCALL": [1, None, {"exe": ["nmap"]}]},
        ["nmap"],
    ],
)
def test_what_is_no_execution(other):
    assert read(other) == []


def test_contradictions_are_findings():
    (found,) = read(event(SYSCALL=None))
    assert isinstance(found, Finding)
    (found,) = read(event(call={"SYSCALL": "openat"}))
    assert isinstance(found, Finding)


@pytest.mark.parametrize(
    "line", [b"nmap", b'{"nmap', b'{"ID":' + b"[" * 100_000 + b"nmap", b"\xff{nmap}", b'{"a":1e999999,"ID":"nmap"}']
)
def test_hostile_lines(line):
    assert laurel.evidence(line, "log", 0, ("nmap",)) is None


def test_a_kill_at_any_event(tmp_path):
    log = tmp_path / "audit.log"
    log.write_bytes(b"".join(json.dumps(event(n)).encode() + b"\n" for n in range(5)))
    runs = Runs(tmp_path, f"laurel:{log}")
    got = []
    for _ in range(7):
        got += [item.identity for item in runs.interrupted(1)]
    assert got == [f"1700000000.123:{n}" for n in range(5)]
    assert all(isinstance(item, Execution) for item in runs.run())
