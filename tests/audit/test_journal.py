"""Sudo's messages in the journal: both formats, binary values, and senders that are not sudo."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from pathlib import Path

import pytest
from conftest import need
from hypothesis import given, settings
from hypothesis import strategies as st
from loglines import numbered

from forwarder.audit import problems, sudo
from forwarder.audit.interface import Execution

REMOTE = Path("/lib/systemd/systemd-journal-remote")
FIELDS = {
    "__REALTIME_TIMESTAMP": b"1772442876123456",
    "__MONOTONIC_TIMESTAMP": b"1000000",
    "_BOOT_ID": b"0123456789abcdef0123456789abcdef",
    "_TRANSPORT": b"syslog",
    "SYSLOG_IDENTIFIER": b"sudo",
    "_PID": b"77",
    "_UID": b"1000",
    "_COMM": b"sudo",
    "_EXE": b"/usr/bin/sudo",
    "_AUDIT_LOGINUID": b"1000",
    "_AUDIT_SESSION": b"3",
    "_HOSTNAME": b"box",
    "MESSAGE": b"   alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/nmap -sS 192.0.2.1",
}
TRICK = (
    b"root : PWD=/ ; USER=root ; COMMAND=/usr/bin/nmap x\n_EXE=/usr/bin/sudo\n_UID=0\n\n__CURSOR=s=1\n"
    + b"\n".join(name.encode() + b"=" + (b"0" if name == "_UID" else value) for name, value in FIELDS.items())
)


def entry(number: int = 1, **changed: bytes) -> dict[str, bytes]:
    fields = FIELDS | changed
    moment = int(fields["__REALTIME_TIMESTAMP"]) + number
    cursor = f"s={'ab' * 16};i={number:x};b={'01' * 16};m=1;t={moment:x};x=1"
    return {"__CURSOR": cursor.encode()} | fields | {"__REALTIME_TIMESTAMP": b"%d" % moment}


def export(*entries: dict[str, bytes]) -> bytes:
    written = b""
    for fields in entries:
        for name, value in fields.items():
            plain = all(byte >= 32 or byte == 9 for byte in value)
            written += (
                name.encode() + (b"=" + value if plain else b"\n" + struct.pack("<Q", len(value)) + value) + b"\n"
            )
        written += b"\n"
    return written


def as_json(*entries: dict[str, bytes]) -> bytes:
    def value(data: bytes) -> object:
        plain = all(32 <= byte < 127 for byte in data)
        return data.decode() if plain else list(data)

    return b"".join(json.dumps({name: value(data) for name, data in one.items()}).encode() + b"\n" for one in entries)


def read(data: bytes, **options) -> list[Execution]:
    return list(sudo.parse(numbered(data), "journal", mtime=0, **options))


BOTH = pytest.mark.parametrize("write", [export, as_json])


@BOTH
def test_what_an_entry_tells(write):
    (one,) = read(write(entry(0)))
    assert one.argv == ("/usr/bin/nmap", "-sS", "192.0.2.1")
    assert (one.start, one.host, one.session) == ("2026-03-02T09:14:36.123456Z", "box", "3")
    assert (one.login.id, one.login.name, one.effective.name, one.cwd) == ("1000", "alice", "root", "/home/alice")
    assert one.identity.startswith("s=abab")
    assert one.problems == (problems.ITS_USER,)
    assert one.raw == write(entry(0))


@BOTH
@pytest.mark.parametrize(
    ("changed", "strong", "said"),
    [
        ({}, False, [problems.ITS_USER]),
        ({"_UID": b"0"}, True, []),
        ({"_EXE": b"/usr/bin/logger", "_COMM": b"logger", "_UID": b"0"}, False, [problems.NOT_SUDO, problems.ANYONE]),
        ({"_EXE": b"/usr/bin/logger", "_COMM": b"logger"}, False, [problems.NOT_SUDO, problems.ANYONE]),
        ({"_EXE": b"/home/eve/sudo", "_UID": b"0"}, False, [problems.NOT_SUDO, problems.ANYONE]),
        ({"_EXE": b"", "_UID": b"0"}, False, [problems.ANYONE]),
        ({"_UID": b"x"}, False, [problems.ITS_USER]),
    ],
)
def test_who_is_believed(write, changed, strong, said):
    (one,) = read(write(entry(**changed)), private=True)
    assert (one.strong, list(one.problems)) == (strong, said)


@BOTH
def test_a_journal_that_others_may_write_is_not_believed(write):
    (one,) = read(write(entry(_UID=b"0")))
    assert (one.strong, one.problems) == (False, (problems.ANYONE,))


@BOTH
@pytest.mark.parametrize("order", [1, -1])
def test_a_journal_within_syslog_is_not_believed(write, order):
    """A syslog daemon may write newlines that a user sent, and so anything at the beginning of a line."""
    parts = [b"Mar  2 09:14:36 box eve: x\n", write(entry(_UID=b"0"))][::order]
    assert [one.strong for one in read(b"".join(parts), private=True)] == [False]


@BOTH
def test_a_value_that_looks_like_an_entry_is_a_value(write):
    (one,) = read(write(entry(_EXE=b"/usr/bin/logger", MESSAGE=TRICK)), private=True)
    assert not one.strong
    assert problems.NOT_SUDO in one.problems


@BOTH
def test_bytes_and_lengths_that_hold_newlines(write):
    padding = [b"x" * (0x0A - 2), b"y" * 0x0A0A, b"\n" * 10]
    (one, two) = read(
        write(
            entry(1, MESSAGE=FIELDS["MESSAGE"] + b" \xff\x01"),
            *[entry(9, _COMM=b"cron", SYSLOG_IDENTIFIER=b"cron", MESSAGE=b"\x00" + one) for one in padding],
            entry(2),
        )
    )
    assert one.argv[-1] == b"\xff\x01".decode(errors="surrogateescape")
    assert two.argv[-1] == "192.0.2.1"


@BOTH
def test_others_than_sudo_are_passed_over(write):
    assert read(write(entry(_COMM=b"cron", SYSLOG_IDENTIFIER=b"cron"))) == []


@BOTH
def test_a_long_command_over_entries(write):
    head = FIELDS["MESSAGE"] + b" " + b"a" * 100
    (one,) = read(write(entry(1, MESSAGE=head), entry(2, MESSAGE=b"   alice : (command continued) b c")))
    assert one.argv[-3:] == ("a" * 100, "b", "c")


def test_several_values_of_a_trusted_field_are_none():
    value = {name: data.decode() for name, data in entry(_UID=b"0").items()} | {"_EXE": ["/usr/bin/sudo", "/bin/x"]}
    (one,) = read(json.dumps(value).encode())
    assert not one.strong


def test_an_entry_without_end_is_left_for_later():
    left = []
    data = export(entry(1), entry(2))
    lines = numbered(data)
    found = list(sudo.parse(lines[:-3], "journal", mtime=0, unfinished=left.append))
    assert len(found) == 1
    assert left == [len(export(entry(1)))]


LINE = b"Mar  2 09:14:36 box sudo: " + FIELDS["MESSAGE"] + b"\n"
FAKE = b"x" * 50 + b"\n" + export(entry(7, _UID=b"0"))


def test_what_stands_in_a_value_is_not_believed_after_a_gap():
    """A search for bytes may begin to read within a value."""
    data = export(entry(1, _EXE=b"/usr/bin/logger", MESSAGE=FAKE))
    lines = numbered(data)
    inside = next(number for number, (_, line) in enumerate(lines) if b"x" * 50 in line) + 1
    found = list(sudo.parse([lines[0], *lines[inside:]], "journal", mtime=0, private=True))
    assert found
    assert not any(one.strong for one in found)


def test_the_rest_of_a_line_is_no_line():
    """What is too long for a line comes in pieces, and a user may choose what one begins with."""
    fields = entry()
    del fields["_UID"]
    lines = numbered(export(fields))
    at = next(number for number, (_, line) in enumerate(lines) if line.startswith(b"MESSAGE="))
    offset, message = lines[at]
    pieces = [(offset, message[:-1]), (offset + len(message) - 1, b"_UID=0\n")]
    rest = [(later + 6, line) for later, line in lines[at + 1 :]]
    (one,) = sudo.parse([*lines[:at], *pieces, *rest], "journal", mtime=0, private=True)
    assert not one.strong
    assert list(sudo.parse([(0, b"y"), *((later + 1, line) for later, line in numbered(LINE))], "p", mtime=0)) == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6))
def test_damage_breaks_nothing(changes):
    data = bytearray(export(entry(1, MESSAGE=TRICK), entry(2), entry(3)))
    for at, byte in changes:
        data[at % len(data)] = byte
    read(bytes(data))


@pytest.mark.parametrize("form", ["export", "json"])
def test_what_journalctl_writes(tmp_path, form):
    need("journalctl")
    if not REMOTE.exists():
        pytest.skip("systemd-journal-remote, which makes journals, is not installed")
    (tmp_path / "in.export").write_bytes(
        export(
            entry(1, _PID=b"1"),
            entry(2, _PID=b"2", MESSAGE=FIELDS["MESSAGE"] + b" \xff\n"),
            entry(3, _PID=b"3", _EXE=b"/usr/bin/logger", MESSAGE=TRICK),
            entry(4, _PID=b"4", _UID=b"0"),
        )
    )
    journal = tmp_path / "x.journal"
    subprocess.run([REMOTE, "-o", journal, tmp_path / "in.export"], check=True, capture_output=True)
    data = subprocess.run(["journalctl", "--file", journal, "-o", form], check=True, capture_output=True).stdout
    process = re.compile(rb'^_PID=(\d)$|"_PID":"(\d)"', re.MULTILINE)
    found = {process.search(execution.raw).group(1, 2): execution for execution in read(data, private=True)}
    one, two, three, four = (found[key] for key in sorted(found, key=str))  # in whatever order the journal has them
    assert [found.strong for found in (one, two, three, four)] == [False, False, False, True]
    assert two.argv[-1] == "\udcff\n"
    assert problems.NOT_SUDO in three.problems
