"""Headers of sudo's I/O logs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from loglines import numbered

from forwarder.audit import problems, sudo_io

OLD = b"1772442876:alice:root::/dev/pts/0:24:80\n/home/alice\n/usr/bin/nmap -sS new\nline 192.0.2.1\n"
NEW = {
    "timestamp": {"seconds": 1772442876, "nanoseconds": 123456789},
    "submituser": "alice",
    "command": "/usr/bin/nmap",
    "runuser": "root",
    "runuid": 0,
    "ttyname": "/dev/pts/0",
    "submithost": "box",
    "submitcwd": "/home/alice",
    "runargv": ["nmap", "-sS", "new\nline"],
    "runenv": ["SUDO_UID=1000"],
}


def read(path: Path | str, data: bytes, **options):
    return list(sudo_io.parse(numbered(data), str(path), mtime=0, **options))


def session(tmp_path: Path, mode: int = 0o400) -> Path:
    directory = tmp_path / "00/00/0A"
    directory.mkdir(parents=True)
    timing = directory / "timing"
    timing.write_bytes(b"")
    os.utime(timing, (1772442900, 1772442900))
    timing.chmod(mode)
    return directory


def test_json_header(tmp_path):
    directory = session(tmp_path)
    (one,) = read(directory / "log.json", json.dumps(NEW, indent=4).encode(), private=True)
    assert one.argv == ("nmap", "-sS", "new\nline")
    assert (one.source, one.start, one.end) == ("sudo-io", "2026-03-02T09:14:36.123456Z", "2026-03-02T09:15:00.000Z")
    assert (one.login.id, one.sudo_user, one.effective.id) == ("1000", "alice", "0")
    assert (one.executable, one.cwd, one.host, one.terminal) == ("/usr/bin/nmap", "/home/alice", "box", "pts/0")
    assert one.identity == f"{directory}@{one.start}"
    assert (one.strong, one.problems) == (True, ())


def test_old_header(tmp_path):
    (one,) = read(session(tmp_path) / "log", OLD)
    assert one.argv == ("/usr/bin/nmap", "-sS", "new\nline", "192.0.2.1")
    assert (one.start, one.cwd, one.login.name, one.terminal) == (
        "2026-03-02T09:14:36.000Z",
        "/home/alice",
        "alice",
        "pts/0",
    )
    assert one.problems == (problems.ARGUMENTS_SPLIT, problems.ANYONE)
    assert not one.strong


def test_a_session_that_runs_has_no_end(tmp_path):
    (one,) = read(session(tmp_path, 0o600) / "log", OLD)
    assert one.end == ""


def test_a_link_tells_no_end(tmp_path):
    directory = session(tmp_path)
    (directory / "timing").rename(tmp_path / "elsewhere")
    (directory / "timing").symlink_to(tmp_path / "elsewhere")
    (one,) = read(directory / "log", OLD)
    assert one.end == ""


def test_a_header_that_is_being_written_is_left_for_later():
    left = []
    assert read("/x/log.json", json.dumps(NEW).encode()[:-1], unfinished=left.append) == []
    assert left == [0]


def test_other_commands_are_passed_over():
    assert read("/x/log", OLD.replace(b"/usr/bin/nmap", b"/usr/bin/less nmap")) == []
    assert read("/x/log.json", json.dumps(NEW | {"runargv": ["less", "nmap"]}).encode()) == []


@given(
    st.sampled_from(["log", "log.json"]), st.binary(max_size=300) | st.just(OLD) | st.just(json.dumps(NEW).encode()[5:])
)
def test_no_bytes_break_it(name, data):
    for one in read(f"/x/{name}", data + b" nmap }"):
        assert one.tool == "nmap"
