"""Which tools a line of shell runs."""

from __future__ import annotations

import shlex
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.audit.wrappers import in_text, in_words

TOOLS = ("nmap",)


def found(text: str) -> list[tuple[str, ...]]:
    return [one.argv for one in in_text(text, TOOLS)]


@pytest.mark.parametrize(
    "text",
    [
        "man nmap",
        "which nmap; type nmap; command -v nmap",
        "apt install nmap",
        "grep nmap /var/log/syslog | sort",
        "echo 'nmap -sS 192.0.2.1'",
        'echo "nmap -sS 192.0.2.1"',
        "# nmap 192.0.2.1",
        "ls # nmap 192.0.2.1",
        "cat <<EOF\nnmap 192.0.2.1\nEOF",
        "cat > nmap",
        "tools=(nmap masscan)",
        "sudo -l nmap",
        "sudo -e nmap",
        "for nmap in 1 2; do :; done",
        "ssh host nmap 192.0.2.1",
        "nmap=1",
        "vi ./nmap/x; cd nmap",
        "alias n='nmap -sS'",
        "docker run image nmap x",
        "",
    ],
)
def test_a_mention_is_no_execution(text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("nmap -sS 192.0.2.1", "nmap -sS 192.0.2.1"),
        ("/usr/local/bin/nmap a > out 2>&1 < in", "/usr/local/bin/nmap a"),
        ("NMAPDIR=/x LANG=C nmap a &", "nmap a"),
        ("nmap \\\n -p 1\\\n a", "nmap -p 1 a"),
        ("sudo nmap a", "nmap a"),
        ("sudo -nu bob -- nmap a", "nmap a"),
        ("sudo -E PATH=/x nmap a", "nmap a"),
        ("sudo --user=bob --preserve-env nmap a", "nmap a"),
        ("sudo sh -c 'cd /tmp && nmap a'", "nmap a"),
        ("bash -lc 'nmap a'", "nmap a"),
        ("su - bob -c 'nmap a'", "nmap a"),
        ("runuser -u bob -- nmap a", "nmap a"),
        ("env -i -u HOME X=1 nmap a", "nmap a"),
        ("env -S 'nmap a'", "nmap a"),
        ("time -p nmap a", "nmap a"),
        ("nohup nice -n 5 ionice -c3 nmap a", "nmap a"),
        ("timeout -k 5 -s INT 60 nmap a", "nmap a"),
        ("proxychains4 -q -f x nmap a", "nmap a"),
        ("ip netns exec red nmap a", "nmap a"),
        ("screen -dmS scan nmap a", "nmap a"),
        ("script -qc 'nmap a' /dev/null", "nmap a"),
        ("watch -n 60 nmap a", "nmap a"),
        ("eval nmap a", "nmap a"),
        ("! nmap a", "nmap a"),
        ("{ nmap a; }", "nmap a"),
        ("(nmap a)", "nmap a"),
        ("x=$(nmap a | grep 'b)')", "nmap a"),
        ('echo "open: `nmap a`"', "nmap a"),
        ("diff <(nmap a) old", "nmap a"),
        ("$'nmap' $'\\x61'", "nmap a"),
        ("if nmap a; then :; fi", "nmap a"),
        ("cat <<EOF | tee x; nmap a\nnmap b\nEOF", "nmap a"),
    ],
)
def test_what_runs_is_found_with_its_arguments(text, argv):
    assert found(text) == [tuple(argv.split())]


def test_each_command_of_a_line_is_one():
    assert found("nmap a; nmap b && nmap c || nmap d | nmap e & nmap f\nnmap g") == [("nmap", x) for x in "abcdefg"]


@pytest.mark.parametrize(
    ("text", "doubts"),
    [
        ("nmap a", ""),
        ("nmap 'a b' \"c\" '$x' \\*", ""),
        ("nmap $TARGET", "expands"),
        ('nmap "${t[0]}"', "expands"),
        ("nmap 10.0.0.*", "expands"),
        ("nmap -iL ~/targets", "expands"),
        ("nmap -p{1,2} a", "expands"),
        ("nmap $(cat x)", "expands"),
        ("true && nmap a", "conditional"),
        ("if true; then nmap a; fi", "conditional"),
        ("f() { nmap a; }", "conditional"),
        ("sudo nmap a", "conditional"),
        ("for h in a b; do nmap a; done", "repeated"),
        ("while read h; do nmap $h; done", "expands repeated"),
        ("xargs -n1 nmap -sV", "more"),
    ],
)
def test_what_the_text_does_not_tell_is_said(text, doubts):
    (one,) = in_text(text, TOOLS)
    assert {name for name in ("expands", "conditional", "repeated", "more") if getattr(one, name)} == set(
        doubts.split()
    )


def test_after_a_loop_nothing_repeats():
    assert [one.repeated for one in in_text("for i in 1 2; do nmap $i; done; nmap z", TOOLS)] == [True, False]


def test_who_sudo_runs_it_as_and_what_is_set_for_it():
    (one,) = in_text("NMAPDIR=/a sudo -u bob NMAP_PRIVILEGED=1 LANG=C nmap x", TOOLS)
    assert (one.run_as, one.environment, one.through) == ("bob", ("NMAPDIR=/a", "NMAP_PRIVILEGED=1"), ("sudo",))


WORDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), max_size=5)


@given(WORDS)
def test_quoted_words_come_back(words):
    text = shlex.join(["nmap", *words])
    assert found(text) == [("nmap", *words)]
    (one,) = in_text(text, TOOLS)
    assert not one.expands


SYNTAX = "nmap |$(|)|`|'|\"|\\|<<E|\n|;|&&|(|{|}|do |done|if |fi|then |#|$'|${|$((|))|<(|a|sudo -|sh -c '|\udcff|=| "
PIECES = st.sampled_from(SYNTAX.split("|"))


@settings(deadline=None)
@given(st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=200))
def test_no_text_breaks_it(text):
    for one in in_text(text, TOOLS):
        assert one.argv[0].rpartition("/")[2] == "nmap"


@given(
    st.lists(
        st.text(max_size=8) | st.sampled_from(["sudo", "env", "sh", "-c", "-u", "--", "nmap", "xargs"]), max_size=12
    )
)
def test_no_words_break_it(words):
    list(in_words(words, TOOLS))


@pytest.mark.parametrize(
    "piece", ["$(", "`", "$((", "${", "{a,", "'", "\\`", "((", "sh -c '", "nmap a;", "<<E\n", "a=(", "{", "*"]
)
def test_a_hundred_kilobytes_of_anything_take_no_minute(piece):
    begin = time.process_time()
    found("nmap " + piece * (100_000 // len(piece)))
    assert time.process_time() - begin < 10
