"""Executions in histories of shells, and what is said not to be known of them."""

from __future__ import annotations

import subprocess

import pytest
from conftest import need
from hypothesis import given
from hypothesis import strategies as st
from loglines import numbered

from forwarder.audit import history, problems
from forwarder.audit.interface import Execution


def read(data: bytes, path: str = "/home/alice/.bash_history", user: str = "alice") -> list[Execution]:
    return list(history.parse(numbered(data), path, user=user))


def test_bash_without_times():
    one, two = read(b"nmap -sS 192.0.2.1\nls\nnmap $x\n")
    assert one.argv == ("nmap", "-sS", "192.0.2.1")
    assert (one.source, one.start, one.strong) == ("history", "", False)
    assert one.problems == (problems.ITS_USER, problems.TIME_UNKNOWN)
    assert (one.real.name, one.effective.name, one.sudo_user) == ("alice", "alice", "")
    assert (one.log_path, one.log_offset, one.raw) == ("/home/alice/.bash_history", 0, b"nmap -sS 192.0.2.1")
    assert problems.ARGUMENTS_EXPANDED in two.problems
    assert two.log_offset == 22


def test_bash_with_times_and_commands_of_several_lines():
    data = b"#1700000000\nls\n#1700000001\nfor h in a b\ndo nmap $h\ndone\n#1700000002\nnmap z\n"
    one, two = read(data)
    assert (one.argv, one.start) == (("nmap", "$h"), "2023-11-14T22:13:21.000Z")
    assert problems.TIME_OF_ENTRY in one.problems
    assert problems.MAY_HAVE_REPEATED in one.problems
    assert (two.argv, two.start, two.problems) == (("nmap", "z"), "2023-11-14T22:13:22.000Z", (problems.ITS_USER,))
    assert two.raw == b"#1700000002\nnmap z"


def test_bash_that_began_to_write_times():
    one, two = read(b"nmap a\nnmap b\n#1700000000\nls\n")
    assert (one.start, two.start) == ("", "")


def test_zsh_with_times():
    data = b": 1700000000:5;nmap a\n: 1700000010:0;nmap -p 1 \\\n b\n: 1700000020:0;nmap \x83\xe3\x83\x89\n"
    one, two, three = read(data, "/home/alice/.zsh_history")
    assert (one.start, one.end) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:13:25.000Z")
    assert (two.argv[:3], two.end) == (("nmap", "-p", "1"), "")
    assert three.argv == ("nmap", b"\xc3\xa9".decode())


def test_plain_zsh_continues_lines_and_unmetafies():
    one, two = read(b"nmap a \\\\\n b\nnmap \x83\xe3\x83\x89\n", "/home/alice/.zsh_history")
    assert (one.argv, two.argv[1]) == (("nmap", "a", "b"), "é")
    (bash,) = read(b"nmap \x83\xe3\n")
    assert bash.argv[1].encode(errors="surrogateescape") == b"\x83\xe3"


def test_fish():
    data = b"- cmd: nmap a\\nnmap 'b\\\\\\\\c'\n  when: 1700000000\n  paths:\n    - nmap\n- cmd: ls nmap\n  when: 1700000001\n"
    one, two = read(data, "/home/alice/.local/share/fish/fish_history")
    assert (one.argv, two.argv) == (("nmap", "a"), ("nmap", "b\\\\c"))
    assert one.start == two.start == "2023-11-14T22:13:20.000Z"


def test_sudo_in_a_history():
    (one,) = read(b"sudo -u bob nmap a\n")
    assert (one.sudo_user, one.effective.name, one.argv) == ("alice", "bob", ("nmap", "a"))
    assert problems.MAY_NOT_HAVE_RUN in one.problems


def test_identities_are_of_content_and_differ():
    many = read(b"nmap a\nnmap a\nnmap b\n")
    assert len({one.identity for one in many}) == 3
    trimmed = read(b"nmap b\n")
    assert trimmed[0].identity == many[2].identity  # though its offset is another now


def test_only_chosen_tools():
    data = numbered(b"masscan x\nnmap y\n")
    assert [one.argv[0] for one in history.parse(data, "h", tools=("masscan",))] == ["masscan"]


def test_a_time_out_of_range_is_none():
    (one,) = read(b"#999999999999\nnmap a\n")
    assert one.start == ""
    assert problems.TIME_UNKNOWN in one.problems


def test_an_entry_is_bounded():
    (one,) = read(b"#1700000000\nnmap a\n" + b"x\n" * history.LIMIT)
    assert problems.ARGUMENTS_CUT in one.problems
    assert len(one.raw) <= history.LIMIT


BYTES = st.binary(max_size=60) | st.sampled_from(
    [
        b"nmap a",
        b"#1700000000",
        b": 1:2;nmap \x83",
        b"- cmd: nmap \\",
        b"  when: 5",
        b"nmap \\",
        b"\x83",
        b"nmap 'a",
        b"#12 x",
    ]
)


@given(st.lists(BYTES, max_size=20), st.sampled_from(["bash", "zsh", "fish"]))
def test_no_bytes_break_it(lines, dialect):
    data = b"\n".join(lines)
    for one in history.parse(numbered(data), "p", dialect=dialect):
        assert one.tool == "nmap"
        assert not one.strong
        assert one.raw in data


SCRIPT = "nmap --version\n\nnmap -p '1,2' \"it's é\" \\\n --version\necho nmap\n"


@pytest.mark.parametrize("times", [True, False])
def test_histories_that_bash_writes(tmp_path, times):
    need("bash")
    file = tmp_path / "history"
    env = {"HISTFILE": str(file), "HISTSIZE": "100", "HOME": str(tmp_path)} | (
        {"HISTTIMEFORMAT": "%s"} if times else {}
    )
    subprocess.run(
        ["bash", "--norc", "-i"],
        input=f"nmap() {{ :; }}\n{SCRIPT}exit\n",
        env=env,
        text=True,
        check=False,
        capture_output=True,
    )
    first, second = [one for one in read(file.read_bytes()) if problems.MAY_NOT_HAVE_RUN not in one.problems]
    assert (first.argv, second.argv) == (("nmap", "--version"), ("nmap", "-p", "1,2", "it's é", "--version"))
    assert bool(first.start) is times


@pytest.mark.parametrize("extended", [True, False])
def test_histories_that_zsh_writes(tmp_path, extended):
    need("zsh")
    file = tmp_path / ".zsh_history"
    setup = f"HISTFILE={file}; SAVEHIST=100; HISTSIZE=100; setopt {'' if extended else 'no_'}extended_history; nmap() {{ :; }}\n"
    subprocess.run(
        ["zsh", "-f", "-i"], input=setup + SCRIPT + "fc -W\nexit\n", text=True, check=False, capture_output=True
    )
    first, second = [one for one in read(file.read_bytes(), str(file)) if problems.MAY_NOT_HAVE_RUN not in one.problems]
    assert (first.argv, second.argv) == (("nmap", "--version"), ("nmap", "-p", "1,2", "it's é", "--version"))
    assert bool(first.start) is extended
