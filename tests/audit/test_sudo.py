"""Executions in sudo's logs of every format, and how far each is believed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loglines import numbered

from forwarder.audit import problems, skim, sudo, sudo_message
from forwarder.audit.interface import Execution

MTIME = datetime(2026, 3, 2, 12, 0, tzinfo=UTC).timestamp()
FIELDS = b"alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/nmap -sS 192.0.2.1"
LINE = b"Mar  2 09:14:36 box sudo:   " + FIELDS


def read(data: bytes, **options) -> list[Execution]:
    return list(sudo.parse(numbered(data), "/var/log/auth.log", mtime=MTIME, **{"zone": UTC} | options))


def test_syslog():
    (one,) = read(LINE + b"\n")
    assert one.argv == ("/usr/bin/nmap", "-sS", "192.0.2.1")
    assert (one.source, one.start, one.host) == ("sudo", "2026-03-02T09:14:36.000Z", "box")
    assert (one.login.name, one.sudo_user, one.effective.name) == ("alice", "alice", "root")
    assert (one.terminal, one.cwd, one.executable) == ("pts/0", "/home/alice", "/usr/bin/nmap")
    assert (one.log_path, one.log_offset, one.raw) == ("/var/log/auth.log", 0, LINE + b"\n")
    assert one.problems == (problems.ANYONE, problems.YEAR_INFERRED, problems.ZONE_ASSUMED)
    assert not one.strong


@pytest.mark.parametrize(
    ("head", "start", "host"),
    [
        (b"Mar  2 09:14:36 box sudo[77]: ", "2026-03-02T09:14:36.000Z", "box"),
        (b"<85>Mar  2 09:14:36 box sudo: ", "2026-03-02T09:14:36.000Z", "box"),
        (b"2026-03-02T09:14:36.123456+01:00 box.example sudo[77]: ", "2026-03-02T08:14:36.123456Z", "box.example"),
        (b"2026-03-02T09:14:36Z box sudo: ", "2026-03-02T09:14:36.000Z", "box"),
        (b"<85>1 2026-03-02T09:14:36.5-03:00 box sudo 77 - - ", "2026-03-02T12:14:36.500Z", "box"),
        (b'<85>1 2026-03-02T09:14:36Z box sudo - - [meta x="1"] \xef\xbb\xbf', "2026-03-02T09:14:36.000Z", "box"),
    ],
)
def test_heads_of_syslog(head, start, host):
    (one,) = read(head + FIELDS)
    assert (one.start, one.host) == (start, host)
    assert not one.strong


@pytest.mark.parametrize(
    ("day", "start"),
    [
        (b"Mar  2 11:59:59", "2026-03-02T11:59:59.000Z"),
        (b"Mar  2 13:00:00", "2025-03-02T13:00:00.000Z"),  # or it were in the future
        (b"Mar  3 00:00:00", "2025-03-03T00:00:00.000Z"),
        (b"Dec 31 23:59:59", "2025-12-31T23:59:59.000Z"),
        (b"Feb 29 01:00:00", "2024-02-29T01:00:00.000Z"),
        (b"Feb 30 01:00:00", ""),
        (b"Foo 12 01:00:00", ""),
    ],
)
def test_the_year_is_the_last_that_is_not_in_the_future(day, start):
    (one,) = read(LINE.replace(b"Mar  2 09:14:36", day))
    assert one.start == start
    assert (problems.TIME_UNKNOWN in one.problems) == (not start)


def test_the_zone_of_the_log():
    (one,) = read(LINE, zone=timezone(timedelta(hours=5)))
    assert one.start == "2026-03-02T04:14:36.000Z"


@pytest.mark.parametrize(
    "why", ["command not allowed", "3 incorrect password attempts", "user NOT in sudoers", "a password is required"]
)
def test_a_refusal_says_so(why):
    (one,) = read(LINE.replace(b" : TTY", f" : {why} ; TTY".encode()))
    assert (one.policy_action, one.policy_reasons) == ("refused", (why,))
    assert one.argv[-1] == "192.0.2.1"


@pytest.mark.parametrize(
    "line",
    [
        b"Mar  2 09:14:36 box sudo: pam_unix(sudo:session): session opened for user nmap by alice(uid=0)",
        b"Mar  2 09:14:36 box sudo: alice : TTY=pts/0 ; PWD=/nmap ; USER=root ; COMMAND=/usr/bin/apt install nmap",
        b"Mar  2 09:14:36 box sudo: alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=list /usr/bin/nmap",
        b"Mar  2 09:14:36 box CRON[1]: (root) CMD (nmap)",
        b"Mar  2 09:14:36 box eve: x sudo: " + FIELDS,  # logger's text, behind a tag of its own
        b"Mar  2 09:14:36 box sudoku: " + FIELDS,
        b"Mar  2 09:14:36 box sudo: alice : TTY=pts/0 ; PWD=/",
    ],
)
def test_what_is_no_execution(line):
    assert read(line) == []


def test_a_forged_line_is_never_strong_even_in_a_log_of_root():
    """`logger -t sudo 'root : …'` makes this line; nothing tells it from a true one."""
    assert [one.strong for one in read(LINE + b"\n" + LINE.replace(b"alice", b"root"), private=True)] == [False, False]


@pytest.mark.parametrize(
    ("written", "argv"),
    [
        (b"nmap --script-args 'a=b c,d'", ["nmap", "--script-args", "a=b c,d"]),
        (rb"nmap 'it\'s \\ x' it\'s a\\b", ["nmap", "it's \\ x", "it's", "a\\b"]),
        (b"nmap new#012line#011", ["nmap", "new\nline\t"]),
        (rb"nmap new\012line", ["nmap", "new\nline"]),
        (b"nmap C#303 #1", ["nmap", "C#303", "#1"]),
        (b"nmap \xff\xc3\xa9", ["nmap", "\udcffé"]),
        (b"nmap 'no end", ["nmap", "'no", "end"]),
    ],
)
def test_arguments_as_sudo_writes_them(written, argv):
    (one,) = read(LINE.replace(b"/usr/bin/nmap -sS 192.0.2.1", b"/usr/bin/" + written))
    assert list(one.argv) == ["/usr/bin/nmap", *argv[1:]]


def quoted(argument: str) -> bytes:
    """An argument as sudo 1.9.13 writes it."""
    data = argument.encode(errors="surrogateescape").replace(b"\\", b"\\\\").replace(b"'", b"\\'")
    data = b"".join(bytes([byte]) if byte >= 32 and byte != 127 else b"#%03o" % byte for byte in data)
    return b"'" + data + b"'" if b" " in data else data


ARGUMENT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="#\0"), min_size=1, max_size=30)


@given(st.lists(ARGUMENT, max_size=6))
def test_quoted_arguments_come_back(arguments):
    command = b" ".join([b"/usr/bin/nmap", *map(quoted, arguments)])
    assert sudo_message.words(command) == (("/usr/bin/nmap", *arguments), True)


def test_a_shell_of_sudo_is_looked_into():
    for command in (
        rb"/bin/bash -c 'nmap -sV a\\ b'",
        rb"/bin/bash -c nmap\ -sV\ a\\\ b",
        b"/usr/bin/env X=1 /opt/nmap -sV 'a b'",
    ):
        (one,) = read(LINE.replace(b"/usr/bin/nmap -sS 192.0.2.1", command))
        assert one.argv[0].endswith("nmap")
        assert one.argv[1:] == ("-sV", "a b")


def test_fields_that_a_user_chose_are_no_fields():
    """The directory is the user's to name: both readings are seen, and neither is taken for certain."""
    trick = LINE.replace(b"PWD=/home/alice", b"PWD=/tmp/ ; USER=root ; COMMAND=/bin/ls x")
    (one,) = read(trick, private=True)
    assert one.argv[0] == "/usr/bin/nmap"
    assert problems.FIELDS_AMBIGUOUS in one.problems
    (two,) = read(b"Mar  2 09:14:36 : " + trick.partition(b"sudo:   ")[2], private=True)
    assert not two.strong


LONG_VALUE = b",".join(b"10.0.0.%d" % n for n in range(250))


def pieces(caller: bytes, text: bytes, head: bytes = b"Mar  2 09:14:36 box sudo: ") -> list[bytes]:
    """Lines of syslog as sudo cuts a text: at a blank, which is lost, or at its limit."""
    lines = []
    while text:
        limit = 937 - len(caller) + (20 if not lines else 0)
        at = len(text)
        if at > limit:
            at = text.rfind(b" ", 0, limit)
            at = limit if at < 0 else at
        lines.append(head + caller + b" : " + (b"(command continued) " if lines else b"") + text[:at])
        text = text[at:].lstrip(b" ")
    return lines


@pytest.mark.parametrize(
    "arguments", [[LONG_VALUE, b"192.0.2.1"], [b"%d" % n for n in range(900)], [b"a", LONG_VALUE, b"b", LONG_VALUE]]
)
def test_a_command_over_several_lines(arguments):
    text = b"PWD=/ ; USER=root ; COMMAND=/usr/bin/nmap " + b" ".join(arguments)
    lines = pieces(b"alice", text)
    other = pieces(b"bob", text.replace(b"192", b"198"), b"Mar  2 09:14:36 box sudo[78]: ")
    assert len(lines) > 2
    (one,) = read(b"\n".join(lines))
    assert one.argv[1:] == tuple(argument.decode() for argument in arguments)
    assert problems.ARGUMENTS_JOINED in one.problems
    assert one.raw == b"\n".join(lines) + b"\n"
    mixed = [line for both in zip(lines, other, strict=True) for line in both]
    assert {found.login.name: found.argv for found in read(b"\n".join(mixed))}["alice"] == one.argv


def test_a_continuation_of_nothing_is_nothing():
    assert read(b"Mar  2 09:14:36 box sudo: alice : (command continued) /usr/bin/nmap x") == []


def test_start_and_end_are_one_execution():
    end = LINE.replace(b"09:14:36", b"09:20:00")
    (one,) = read(LINE + b"\n" + end + b" ; EXIT=1\n")
    assert (one.start, one.end, one.exit_code) == ("2026-03-02T09:14:36.000Z", "2026-03-02T09:20:00.000Z", 1)
    assert one.argv[-1] == "192.0.2.1"
    (two,) = read(LINE + b"\n" + end + b" ; SIGNAL=INT ; EXIT=130\n")
    assert (two.signal, two.exit_code) == ("SIGINT", 130)


def test_an_end_without_a_start():
    (one,) = read(LINE + b" ; EXIT=0\n")
    assert (one.start, one.end) == ("", "2026-03-02T09:14:36.000Z")
    assert problems.START_UNKNOWN in one.problems


def test_identities():
    again = read(LINE + b"\n" + LINE + b"\n")
    assert len({one.identity for one in again}) == 2
    moved = read(b"Mar  1 00:00:00 box cron: x\n" * 9 + LINE + b"\n")
    assert moved[0].identity == again[0].identity  # though its place is another


LOGFILE = b"""Mar  2 09:14:36 2026 : alice : HOST=box ; TTY=pts/0 ; PWD=/home/alice ;
    USER=root ; TSID=00000A ; ENV=NMAPDIR=/x LANG=C ; COMMAND=/usr/bin/nmap
    --script-args 'a=b c' 192.0.2.1
Mar  2 09:14:37 2026 : alice : command not allowed ; HOST=box ; PWD=/ ; USER=root
    ; COMMAND=/usr/bin/nmap x
Mar  2 09:14:38 : bob : HOST=box ; PWD=/ ; USER=root ; COMMAND=/usr/bin/nmap y
"""


def test_log_file_of_sudo():
    one, refused, two = read(LOGFILE)
    assert one.argv == ("/usr/bin/nmap", "--script-args", "a=b c", "192.0.2.1")
    assert (one.host, one.environment, one.start) == ("box", ("NMAPDIR=/x",), "2026-03-02T09:14:36.000Z")
    assert one.problems == (problems.ANYONE, problems.ZONE_ASSUMED)
    assert refused.policy_reasons == ("command not allowed",)
    assert (two.login.name, two.start) == ("bob", "2026-03-02T09:14:38.000Z")
    assert [found.strong for found in read(LOGFILE, private=True)] == [True] * 3


@pytest.mark.parametrize("order", [1, -1])
def test_a_log_file_within_syslog_is_not_believed(order):
    parts = [b"Mar  2 09:14:36 box eve: x\n", LOGFILE][::order]
    assert [found.strong for found in read(b"".join(parts), private=True)] == [False] * 3


def accept(**members) -> dict:
    return {
        "uuid": "f14e577b16-c2b4-409b-d563-f4d615da2d",
        "server_time": {"seconds": 1772442876, "nanoseconds": 123456789},
        "submituser": "alice",
        "command": "/usr/bin/nmap",
        "runuser": "root",
        "runuid": 0,
        "ttyname": "/dev/pts/0",
        "submithost": "box",
        "submitcwd": "/home/alice",
        "runargv": ["nmap", "-sS", "a b\n"],
        "runenv": ["NMAPDIR=/x", "SUDO_UID=1000"],
    } | members


def test_json_log_of_sudo():
    events = ["accept", "reject", "exit"]
    values = [accept(), accept(uuid="2", reason="command not allowed"), {"uuid": accept()["uuid"], "exit_value": 1}]
    values[2]["server_time"] = {"seconds": 1772442900}
    text = ",".join(
        f"\n    {json.dumps(name)}: " + json.dumps(value, indent=4).replace("\n", "\n    ")
        for name, value in zip(events, values, strict=True)
    )
    one, refused = read(("{" + text + "\n}\n").encode(), private=True)
    assert refused.policy_reasons == ("command not allowed",)
    assert one.argv == ("nmap", "-sS", "a b\n")
    assert (one.start, one.end, one.exit_code) == ("2026-03-02T09:14:36.123456Z", "2026-03-02T09:15:00.000Z", 1)
    assert (one.login.id, one.login.name, one.effective.id, one.terminal) == ("1000", "alice", "0", "pts/0")
    assert (one.environment, one.problems, one.strong, one.identity) == (("NMAPDIR=/x",), (), True, accept()["uuid"])


@pytest.mark.parametrize(
    "value", [{"accept": accept()}, {"sudo": {"accept": accept()}}, accept()], ids=["named", "in sudo", "flat"]
)
def test_json_on_a_line(value):
    (one,) = read(json.dumps(value).encode())
    assert (one.argv, one.strong) == (("nmap", "-sS", "a b\n"), False)
    (two,) = read(LINE.partition(b"alice")[0] + b"@cee:" + json.dumps(value).encode(), private=True)
    assert (two.argv, two.start, two.problems) == (one.argv, one.start, (problems.ANYONE,))
    assert not two.strong


def test_json_that_syslog_cut():
    whole = json.dumps({"sudo": {"accept": accept(runargv=["nmap", "-sS", "x", "y" * 50])}})
    (one,) = read(LINE.partition(b"alice")[0] + b"@cee:" + whole[: whole.index("yyy") + 9].encode())
    assert one.argv == ("nmap", "-sS", "x")
    assert one.login.name == "alice"
    assert problems.ARGUMENTS_CUT in one.problems


@pytest.mark.parametrize("lines", [2, 3, 10, 20])
def test_an_event_that_is_being_written_is_left_for_later(lines):
    data = (
        "{\n    " + json.dumps("accept") + ": " + json.dumps(accept(), indent=4).replace("\n", "\n    ") + "\n"
    ).encode()
    left = []
    found = list(sudo.parse(numbered(data)[:lines], "p", mtime=MTIME, unfinished=left.append))
    assert (found, left) == ([], [2])
    (one,) = sudo.parse(numbered(data[2:]), "p", mtime=MTIME, unfinished=left.append)
    assert one.argv[0] == "nmap"


def test_a_gap_joins_nothing():
    """What begins before a gap is not made whole with what comes behind it."""
    first = (
        "{\n    " + json.dumps("accept") + ": " + json.dumps(accept(), indent=4).replace("\n", "\n    ") + "\n"
    ).encode()
    lines = numbered(first)
    gap = [(offset + 1000, line) for offset, line in lines]
    assert list(sudo.parse(lines[:8] + gap[8:], "p", mtime=MTIME)) == []


@pytest.mark.parametrize("write", [LINE + b"\n", LOGFILE, json.dumps({"accept": accept()}).encode() + b"\n"])
@pytest.mark.parametrize("at", [0, 5000, 17000, 80_000, 259_900])
def test_skimming_finds_what_reading_finds(write, at):
    filler = b"Mar  2 09:14:36 box cron[1]: nothing of interest\n"
    data = filler * (at // len(filler)) + write + filler * ((500_000 - at) // len(filler))
    blocks, offset = [], 0
    while offset < len(data):
        end = data.rfind(b"\n", offset, offset + 80_000) + 1
        blocks.append((offset, data[offset:end]))
        offset = end
    found = list(sudo.parse(skim.lines(blocks, sudo.marks(("nmap",))), "p", mtime=MTIME, zone=UTC))
    assert found
    assert [one.argv for one in found] == [one.argv for one in read(data)]
    assert [one.log_offset for one in found] == [one.log_offset for one in read(data)]
    assert len(list(skim.lines(blocks, sudo.marks(("nmap",))))) < len(numbered(data))


HOSTILE = st.sampled_from(
    [
        LINE,
        LOGFILE,
        b"{",
        b'    "accept": {',
        b"    }",
        b'{"accept": {"submituser": 1, "runargv": [1, {}, "nmap"], "runenv": "x", "runuid": 1e999, "command": "nmap", "uuid": "\\ud800"}}',
        b'{"sudo": [1], "accept": {"runargv": ["\\udc41nmap", "nmap"], "server_time": {"seconds": 99999999999999999}}}',
        b'{"__REALTIME_TIMESTAMP": "x", "MESSAGE": [1, 300, "a"], "_COMM": ["sudo", "sudo"], "SYSLOG_IDENTIFIER": "sudo"}',
        b"[" * 100_000 + b"nmap",
        b'{"a":' * 100_000 + b"nmap",
        b"__CURSOR=x",
        b"MESSAGE",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"Mar  2 09:14:36 box sudo: alice : " + b" ; COMMAND=nmap" * 50,
        b"Mar  2 09:14:36 box sudo: alice : (command continued) nmap",
        b"",
    ]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(HOSTILE | st.binary(max_size=80), max_size=12))
def test_no_bytes_break_it(lines):
    for one in read(b"\n".join(lines), private=True):
        assert one.tool == "nmap"
        json.dumps(
            [
                one.identity.encode(errors="surrogateescape").hex(),
                [word.encode(errors="surrogateescape").hex() for word in one.argv],
            ]
        )


@given(st.data())
def test_a_damaged_line_breaks_nothing(data):
    line = bytearray(data.draw(st.sampled_from([LINE, LOGFILE, json.dumps({"accept": accept()}).encode()])))
    for _ in range(data.draw(st.integers(1, 5))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(line))
