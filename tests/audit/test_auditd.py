"""What one event says, from the lines that the kernel writes for it."""

from __future__ import annotations

import pytest
from audit_lines import event, text

from forwarder.audit.auditd import Auditd
from forwarder.audit.follow import Block
from forwarder.audit.interface import Execution, Finding, User


def read(data: bytes, *tools: str):
    reader = Auditd(tools or ("nmap",), ())
    return [*reader.read(iter([Block(0, "/var/log/audit/audit.log", 0, data, None)])), *reader.end(settled=True)]


def one(*args, tools=("nmap",), **options) -> Execution:
    (found,) = read(text(event(1, *args, **options)), *tools)
    assert isinstance(found, Execution), found
    return found


def test_everything_that_an_enriched_event_says():
    found = one([b"nmap", b"-oX", b"my scan.xml", b"10.0.0.0/8"], time="1767225599.250", node="scanner1.example")
    assert found.argv == ("nmap", "-oX", "my scan.xml", "10.0.0.0/8")
    assert found.identity == "1767225599.250:1@scanner1.example"
    assert found.start == "2025-12-31T23:59:59.250Z"
    assert found.host == "scanner1.example"
    assert found.login == User("1000", "alice")
    assert found.real == found.effective == User("0", "root")
    assert (found.pid, found.ppid, found.session, found.terminal) == (2101, 2100, "7", "pts/3")
    assert (found.cwd, found.executable) == ("/home/alice", "/usr/bin/nmap")
    assert (found.problems, found.title) == ((), "")
    assert found.raw.count(b"\n") == 6
    assert found.source == "auditd"


def test_a_log_that_is_not_enriched_has_numbers_only():
    assert one(names="").login == User("1000", "")


def test_enrichment_without_the_byte_before_it():
    lines = [line.replace(b"\x1dARCH", b"ARCH") for line in event(1)]
    (found,) = read(text(lines))
    assert (found.login, found.problems) == (User("1000", "alice"), ())


@pytest.mark.parametrize("auid", ["4294967295", "-1", "unset"])
def test_unset_login(auid):
    found = one(auid=auid, names='\x1dARCH=x86_64 SYSCALL=execve AUID="unset" UID="root"')
    assert found.login == User()
    assert "login user unset" in found.problems


@pytest.mark.parametrize(
    ("arch", "syscall", "ran"),
    [
        ("c000003e", 59, True),
        ("c000003e", 322, True),
        ("40000003", 11, True),
        ("40000003", 358, True),
        ("40000003", 59, False),
        ("c00000b7", 221, True),
        ("c00000b7", 281, True),
        ("c000003e", 257, False),
    ],
)
def test_calls_that_run_programs(arch, syscall, ran):
    data = text(event(1, arch=arch, syscall=syscall, names="", without=["EXECVE"]))
    assert bool(read(data)) is ran


def test_enrichment_names_the_call_of_an_architecture_that_is_not_known():
    assert one(arch="c0009999", syscall=7).tool == "nmap"


def test_a_failed_call_ran_nothing():
    assert read(text(event(1, success="success=no exit=-13"))) == []
    assert read(text(event(1, success="success=no exit=-2", without=["EXECVE"]))) == []


def test_only_chosen_tools():
    masscan = event(2, [b"masscan", b"10.0.0.0/8"], exe=b"/usr/bin/masscan", comm=b"masscan")
    ls = event(3, [b"ls", b"/usr/share/nmap"], exe=b"/usr/bin/ls", comm=b"ls")
    grep = event(4, [b"grep", b"nmap", b"x y"], exe=b"/usr/bin/grep", comm=b"grep")
    sudo = event(5, [b"sudo", b"nmap"], exe=b"/usr/bin/sudo", comm=b"sudo")
    assert read(text(masscan, ls, grep, sudo)) == []
    assert [found.tool for found in read(text(masscan, ls, grep, sudo), "nmap", "masscan")] == ["masscan"]


def test_a_program_is_known_by_its_file_whatever_it_calls_itself():
    found = one([b"kworker/0:1", b"-sS", b"10.0.0.1"])
    assert (found.tool, found.argv[0]) == ("nmap", "kworker/0:1")


def test_a_program_that_only_calls_itself_nmap_is_said_to():
    found = one([b"nmap", b"60"], exe=b"/usr/bin/sleep", comm=b"sleep")
    assert "named by its first argument only" in found.problems


@pytest.mark.parametrize("exe", [b"/usr/bin/nmap (deleted)", b"/opt/my tools/nmap", b"/usr/bin/nmap.distrib"])
def test_odd_paths_of_the_program(exe):
    assert one([b"x"], exe=exe, comm=b"x").executable == exe.decode().removesuffix(" (deleted)")


def test_a_script_by_the_name_of_a_tool():
    found = one([b"/bin/sh", b"/usr/local/bin/nmap", b"-sS"], exe=b"/usr/bin/dash", comm=b"nmap")
    assert found.argv == ("/usr/local/bin/nmap", "-sS")
    assert found.executable == "/usr/bin/dash"


def test_a_script_that_calls_a_tool_is_none():
    assert (
        read(text(event(1, [b"/bin/sh", b"/root/weekly-nmap.sh"], exe=b"/usr/bin/dash", comm=b"weekly-nmap.sh"))) == []
    )


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("word", [b"x" * 100_000, b"a b" * 40_000, b"\xff\x00\n".replace(b"\0", b"") * 30_000])
def test_arguments_over_several_records(word, old):
    argv = [b"nmap", word, b"-oX", b"", b"last"]
    found = one(argv, old=old)
    assert [item.encode("utf-8", "surrogateescape") for item in found.argv] == argv
    assert found.problems == ()


def test_many_arguments():
    argv = [b"nmap", *(b"10.0.%d.%d" % (n // 250, n % 250) for n in range(20_000))]
    assert len(one(argv).argv) == 20_001


def test_newlines_escapes_and_bytes_that_are_no_utf8():
    argv = [b"nmap", b"\ntype=EXECVE msg=audit(1.000:1): argc=1", b"\x1b[2J", b"\xff\xfe", b'"', b"\x1d"]
    found = one(argv)
    assert [item.encode("utf-8", "surrogateescape") for item in found.argv] == argv


def test_without_execve_the_title_is_what_is_known():
    found = one([b"nmap", b"-sV", b"10.0.0.1"], without=["EXECVE"])
    assert found.argv == ("nmap", "-sV", "10.0.0.1")
    assert found.title == "nmap -sV 10.0.0.1"
    assert found.problems == ("no EXECVE record",)
    found = one([b"nmap", b"x" * 300], without=["EXECVE"])
    assert found.problems == ("no EXECVE record", "arguments cut")


def test_a_missing_record_of_arguments_is_said():
    lines = event(1, [b"nmap", b"y z" * 9000, b"-oX", b"out.xml"])
    (found,) = read(text([lines[0], lines[1], *lines[3:]]))  # the second EXECVE is lost
    assert found.argv[0] == "nmap"
    assert "out.xml" not in found.argv
    assert "arguments cut" in found.problems


@pytest.mark.parametrize("at", range(60, 400, 17))
def test_a_line_that_was_cut_is_no_traceback(at):
    lines = event(1)
    (found, *more) = read(text([lines[0][:at], *lines[1:]]))
    assert not more
    assert isinstance(found, Execution | Finding)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda lines: [*lines, lines[1].replace(b"argc=3", b"argc=2")], "numbers of arguments differ"),
        (lambda lines: [*lines, lines[1].replace(b"-sS", b"-sn")], "argument 0 is there twice"),
        (lambda lines: [lines[0], lines[1] + b' a3="-oX"', *lines[2:]], "argument 3 of 3"),
        (lambda lines: [lines[0], lines[1] + b' a1="-sn"', *lines[2:]], "argument a1 is there twice"),
        (lambda lines: [lines[0], lines[1] + b' a1[0]="-sn"', *lines[2:]], "argument 1 is there twice"),
        (lambda lines: [lines[0].replace(b"auid=1000", b"auid=1001"), *lines], "several SYSCALL records"),
        (lambda lines: [lines[0].replace(b" uid=0", b" uid=0 uid=1001"), *lines[1:]], "field uid is there twice"),
        (lambda lines: lines[1:], "no SYSCALL record"),
        (
            lambda lines: [lines[0].replace(b"syscall=59", b"syscall=257").partition(b"\x1d")[0], *lines[1:]],
            "runs no program",
        ),
        (lambda lines: [line.replace(b"(1700000000.123", b"(999999999999.123") for line in lines], "year 9999"),
    ],
)
def test_contradictions_are_findings_and_no_executions(change, why):
    (found,) = read(text(change(event(1))))
    assert isinstance(found, Finding)
    assert found.action == "audit-event-refused"
    assert why in found.message
    assert found.raw


def test_a_line_that_is_there_twice_says_nothing_new():
    lines = event(1)
    (found,) = read(text([line for line in lines for _ in range(2)]))
    assert isinstance(found, Execution)
    assert found.raw == text(lines)


HOSTILE = [
    b"nmap",
    b"type=EXECVE nmap",
    b"type=EXECVE msg=audit(): argc=1 nmap",
    b"type=EXECVE msg=audit(1.000:1): nmap",
    b'type=SYSCALL msg=audit(1.000:1): exe="nmap',
    b'type=SYSCALL msg=audit(1.000:1): arch=c000003e syscall=59 success=yes pid=x ppid=99999999999999999999999 exe="nmap"',
    b'type=EXECVE msg=audit(1.000:2): argc=-1 a0="nmap"',
    b'type=EXECVE msg=audit(1.000:3): argc=99999999999999999999 a0="nmap" a9999999="x" a1[9999999]="x" a1_len=\xb2',
    b"type=SYSCALL msg=audit(1.000:4): comm=6E6D6170 exe=6E6D61",
    b'node=\xff\xfe type=SYSCALL msg=audit(1.000:5): comm="nmap"',
    b"type=PROCTITLE msg=audit(1.000:6): proctitle=6E6D6170ZZ",
    b'type=UNKNOWN[1334] msg=audit(1.000:7): "nmap"',
    b"\x00" * 50 + b"nmap",
    b"type=SYSCALL msg=audit(1.000:8): " + b"nmap=" * 5000,
    b'type=CWD msg=audit(1.000:9): cwd="nmap',
]


@pytest.mark.parametrize("line", HOSTILE)
def test_hostile_lines_invent_nothing(line):
    found = read(line + b"\n" + text(event(77)) + line + b"\n")
    assert [item.identity for item in found if isinstance(item, Execution)] in (
        ["1700000000.123:77"],
        ["1.000:1", "1700000000.123:77"],  # where SYSCALL says that nmap was run, but not with what
    )


def test_containers():
    inside = "a1" * 32
    found = one(cwd=f"/var/lib/docker/overlay2/{inside}/merged".encode())
    assert found.container_id == inside
    lines = event(2)
    lines.insert(3, b"type=CONTAINER_ID msg=audit(1700000000.123:2): record=SYSCALL contid=123456")
    (found,) = read(text(lines))
    assert found.container_marks == ("contid:123456",)
