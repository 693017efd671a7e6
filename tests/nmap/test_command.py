"""The command line is read as nmap reads it: real nmap is asked where one is installed."""

import os
import re
import shlex
import subprocess
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import need
from hypothesis import given
from hypothesis import strategies as st

from forwarder.nmap import nse, risk
from forwarder.nmap.argline import join, split
from forwarder.nmap.categories import table
from forwarder.nmap.command import asked, facts, outputs, parse
from forwarder.nmap.options import FLAGS, LONG, SHORT, VALUED, usual

PAGE = Path(__file__).parents[2] / "docs" / "COMMANDS.md"
SCRIPTS = Path("/usr/share/nmap/scripts")


def told(line: str) -> dict:
    command = parse(shlex.split(line))
    return facts(command)


def real(*words: str) -> subprocess.CompletedProcess[str]:
    """Nmap itself, which only lists and resolves nothing."""
    nmap = need("nmap")
    with TemporaryDirectory() as place:  # options for outputs write there
        return subprocess.run([nmap, *words], capture_output=True, text=True, timeout=60, check=False, cwd=place)


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("nmap -p80 h", "-p"),
        ("nmap -p 80 -T4 h", "-T -p"),
        ("nmap -sSV h", "-sS -sV"),
        ("nmap -sS -PS22,80 -PE -P0 h", "-PE -PS -Pn -sS"),
        ("nmap -oX file -oA name h", "-oA -oX"),
        ("nmap -oX=file h", "-oX"),
        ("nmap -nvv h", "-n -v"),
        ("nmap -vv -dd -d9 --debug=3 h", "-d -v"),
        ("nmap -script vuln --script=http-title h", "--script"),
        ("nmap -version-intensity 3 --version-i=4 h", "--version-intensity"),
        ("nmap h -sS -- -O", "-sS"),
        ("nmap --spoof 0 -g53 --source-port=53 -f --ff --mtu 16 h", "--mtu --source-port --spoof-mac -f"),
        ("nmap -iL list -iR 5 --exclude h2 --excludefile f", "--exclude --excludefile -iL -iR"),
        ("nmap --timing 4 -M 5 --rH --fuzzy h", "--max-parallelism --osscan-guess --randomize-hosts -T"),
        ("nmap -sP -PI -PT80 -sR h", "-PA -PE -sV -sn"),
        ("nmap -O2 -A -open --reason h", "--open --reason -A -O"),
        ("nmap - h -6", "-6"),
    ],
)
def test_options_are_told_by_their_usual_name(line, options):
    command = parse(shlex.split(line))
    assert command.problems == ()
    assert facts(command)["option_set"] == options


@pytest.mark.parametrize(
    "words",
    [
        "--nonsense",
        "-k",
        "--sc 1",
        "--no",
        "--open=1",
        "-nk",
        "-p",
        "--mtu",
        "-sQ",
        "-PQ",
        "--max 3",
        "-no",
        "-s",
    ],
)
def test_what_nmap_refuses_is_a_problem(words):
    line = [*words.split(), "-sL", "-n", "127.0.0.1"] if words not in {"-p", "--mtu"} else ["127.0.0.1", words]
    assert parse(["nmap", *line]).problems
    assert real(*line).returncode != 0


@pytest.mark.parametrize(
    "words", ["--packet", "-unp", "--osscan-l", "-ttl 5", "-reas", "--max-r 3", "--max-ra 3", "-vvv"]
)
def test_abbreviations_are_those_of_nmap(words):
    refused = real(*words.split(), "-sL", "-n", "127.0.0.1").returncode != 0
    assert bool(parse(["nmap", *words.split(), "-sL", "-n", "127.0.0.1"]).problems) == refused


def test_every_long_option_of_the_table_is_known_to_nmap():
    newer = {"adler32", "disable-arp-ping", "discovery-ignore-rst"}  # not in every version
    ends = {
        "help",
        "version",
        "thc",
        "iflist",
        "script-updatedb",
        "script-help",
        "resume",
        "route-dst",
        "oH",
        "yoloscan",
    }
    for name in sorted({*FLAGS.split(), *VALUED.split(), "debug"} - newer - ends):
        words = [f"--{name}", *(["\x01"] if LONG[name] == ":" else [])]
        assert "unrecognized option" not in real(*words).stderr, name


@pytest.mark.parametrize(
    "expressions",
    [
        "127.0.0.1",
        "127.0.0.0/28",
        "127.0.0.77/29",
        "127.0.0.250-",
        "127.0.0.-5",
        "127.0.0-3.1,7,9-11",
        "127.0.0.1,1,2",
        "127.0.0-1.*",
        "127.0.0.1-3/30",
        "127.0.0.1/33",
        "127.0.0.256",
        "127.0.0.5-3",
        "127.0.0.1/x",
        "127.0.0.1 127.0.0.1 127.0.0.0/30",
        "127.0.0.1/",
        "127.0.0,2.1/24",
        "127.0.0.0001",
        "::1",
        "-6 ::1",
        "-6 ::1/120",
        "-6 127.0.0.1",
        "127.0.0.1-",
        "127.0.0.*,1",
    ],
)
def test_targets_are_counted_as_nmap_lists_them(expressions):
    words = expressions.split()
    output = real("-sL", "-n", "--system-dns", *words).stdout
    lines = [line for line in output.splitlines() if line.startswith("Nmap scan report for ")]
    listed = [ip_address(line.rpartition(" ")[2].strip("()")) for line in lines]
    found = facts(parse(["nmap", "-sL", *words]))
    ranges = [
        (ip_address(pair["gte"]), ip_address(pair["lte"])) for pair in found.get("target_range", []) if "gte" in pair
    ]
    assert [address for low, high in ranges for address in _between(low, high)] == listed
    unresolved = not ranges and found["target_count"] == 1  # a name to us, and to nmap one that nobody knows
    assert unresolved or found["target_count"] == len(listed)


def _between(low, high):
    return [type(low)(number) for number in range(int(low), int(high) + 1)]


def test_a_big_range_costs_nothing():
    found = told("nmap 1-254.1-254.1-254.1 10.0.0.0/8")
    assert found["target_count"] == 254**3 + 2**24
    assert len(found["target_range"]) == 1000
    assert "target_count" not in told("nmap -6 2001:db8::/32")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("nmap h", {"technique": ["tcp"]}),
        ("nmap -sn h", {"technique": ["ping"]}),
        ("nmap -sL h", {"technique": ["list"]}),
        ("nmap -sV h", {"technique": ["tcp", "version"]}),
        ("nmap -sU -sS h", {"technique": ["syn", "udp"]}),
        ("nmap -A h", {"technique": ["os", "scripts", "tcp", "traceroute", "version"], "script_wanted": ["default"]}),
        ("nmap -sI z h", {"technique": ["idle"], "evasion": ["idle-scan"]}),
        ("nmap -b ftp h", {"technique": ["bounce"], "evasion": ["ftp-bounce"]}),
        ("nmap -T aggressive h", {"timing": 4}),
        ("nmap -T0 h", {"timing": 0, "evasion": ["slow-timing"]}),
        ("nmap -F h", {"ports_wanted": "F"}),
        ("nmap --top-ports 100 h", {"ports_wanted": "top 100"}),
        ("nmap -p T:1-5,U:53 h", {"ports_wanted": "T:1-5,U:53"}),
        ("nmap -D RND:5 -S 192.0.2.1 --spoof-mac 0 h", {"evasion": ["decoys", "spoofed-mac", "spoofed-source"]}),
        ("nmap --badsum --data-length 9 --ttl 3 h", {"evasion": ["bad-checksum", "data-padding", "ttl"]}),
        ("nmap -oA x -oN - h", {"output_path": ["x.nmap", "x.gnmap", "x.xml"]}),
        ("nmap -iR 100", {"target_source": ["random"], "target_count": 100}),
        ("nmap --resume x.nmap", {"target_source": ["resume"]}),
        ("nmap -iL x --exclude y h", {"target_source": ["arguments", "exclude", "list"]}),
        ("nmap --script smb-brute h", {"script_category": ["brute", "intrusive"]}),
        ("nmap --script +vuln,http-title h", {"script_category": ["vuln"], "script_wanted": ["+vuln", "http-title"]}),
        ("nmap --script 'not intrusive' h", {"script_wanted": ["not intrusive"]}),
    ],
)
def test_facts(line, expected):
    found = told(line)
    assert {name: found.get(name) for name in expected} == expected
    if "--resume" not in line:
        assert found["risk"]["reason"]


@pytest.mark.parametrize(
    ("rule", "has", "lacks"),
    [
        ("http-*", {"exploit", "dos", "brute"}, set()),
        ("http-* and not (brute or dos or exploit)", {"vuln", "intrusive"}, {"brute", "dos", "exploit"}),
        ("not intrusive", {"vuln"}, {"intrusive"}),
        ("default and safe", {"default", "safe"}, {"vuln"}),
        ("all", {"all", "dos"}, set()),
        ("smb-vuln-ms17-010.nse", {"vuln"}, {"dos"}),
        ("(vuln", {"vuln"}, {"dos"}),
        ("./own.nse", {"files"}, set()),
        ("(" * 5000, set(), {"dos"}),
        ("not " * 5000 + "vuln", set(), {"dos"}),
    ],
)
def test_expressions_of_scripts(rule, has, lacks):
    found = nse.categories(nse.rules(rule))
    assert has <= found
    assert not lacks & found


def test_our_table_of_scripts_agrees_with_an_installed_nmap():
    installed = nse.installed()
    if len(installed) < len(table()) or installed == table():
        assert not os.environ.get("CI"), "no script.db"
        pytest.skip("no script.db on this machine")
    known = table()
    risky = {"auth", "brute", "dos", "exploit", "fuzzer", "intrusive", "malware", "vuln"}
    assert {name: those for name, those in installed.items() if those & risky and known.get(name) != those} == {}


@pytest.mark.parametrize(
    "rule",
    [
        "vuln",
        "Default",
        "http-*",
        "http-title.nse,+ssh-*",
        "not intrusive",
        "default and not http-*",
        "http-* and not (brute or dos or exploit)",
        "(default or safe) and smb-*",
        "not (safe or intrusive) or ftp-anon",
        "safe and discovery or dos",
        "NOT not malware",
        "all and *-brute",
        "http-*-info*",
        "true and dos",
    ],
)
def test_scripts_are_chosen_as_nmap_chooses_them(rule):
    listed = real("--script-help", rule).stdout
    names = set(re.findall(r"^(\S+)\nCategories: ", listed, re.MULTILINE))
    scripts = {name: those for name, those in nse.installed().items() if (SCRIPTS / f"{name}.nse").exists()}
    assert names
    assert nse.chosen(nse.rules(rule), scripts) == names


def test_a_database_of_the_user_does_not_make_a_script_harmless(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "script.db").write_text('Entry { filename = "smb-flood.nse", categories = { "safe", } }\n')
    assert nse.installed(str(tmp_path))["smb-flood"] >= {"dos", "safe"}


def test_a_database_of_scripts_is_found_by_datadir(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "script.db").write_text('Entry { filename = "own.nse", categories = { "dos", } }\n')
    scripts = nse.installed(str(tmp_path))
    assert facts(parse(["nmap", "--script", "own", "h"]), scripts)["risk"]["class"] == "critical"


def test_a_list_of_targets_is_read_when_it_is_still_that_of_the_time(tmp_path):
    path = tmp_path / "targets"
    path.write_text("192.0.2.0/30 # lab\n\n198.51.100.7\n")
    argv = ["nmap", "-iL", "targets"]
    found = facts(parse(argv, tmp_path))
    assert (found["target_count"], found["target_wanted"]) == (5, ["192.0.2.0/30", "198.51.100.7"])
    assert parse(argv).listed is None
    assert parse(argv, tmp_path, at=1.0).listed is None
    assert "target_count" not in facts(parse(argv, tmp_path, at=1.0))
    path.chmod(0o600)
    assert parse(argv, tmp_path, uid=path.stat().st_uid).listed
    assert parse(argv, tmp_path, uid=path.stat().st_uid + 1).listed is None
    os.mkfifo(tmp_path / "fifo")
    assert parse(["nmap", "-iL", "fifo"], tmp_path).listed is None
    assert parse(["nmap", "-iL", "/dev/zero"], tmp_path).listed is None
    with path.open("wb") as file:
        file.truncate(5 << 20)
    assert parse(argv, tmp_path).listed is None


def test_outputs_have_the_names_that_nmap_gives_them():
    command = parse(["nmap", "-oX", "%Y-%T%%.xml", "-oA", "a%Q", "h"])
    at = datetime(2026, 3, 2, 9, 12, 56, tzinfo=UTC)
    assert outputs(command, at) == [
        ("xml", "2026-091256%.xml"),
        ("normal", "aQ.nmap"),
        ("grepable", "aQ.gnmap"),
        ("xml", "aQ.xml"),
    ]
    assert outputs(command)[0] == ("xml", "%Y-%T%%.xml")


@pytest.mark.parametrize(
    ("args", "ranges"),
    [
        ("nmap 192.0.2.0/24", [("192.0.2.0", "192.0.2.255")]),
        ("nmap -p 80 10.0.0-1.1-9", [("10.0.0.1", "10.0.0.9"), ("10.0.1.1", "10.0.1.9")]),
        ("nmap -6 2001:db8::1 name", [("2001:db8::1", "2001:db8::1")]),
        ("nmap -oX 192.0.2.1 192.0.2.2", [("192.0.2.2", "192.0.2.2")]),
        ("nmap -oX it's 192.0.2.2", [("192.0.2.2", "192.0.2.2")]),
        ("nmap --exclu 192.0.2.3 192.0.2.0/24", []),
        ("nmap --excludefile f 192.0.2.0/24", []),
        ("nmap -iL f 192.0.2.0/24", []),
        ("nmap -iLf 192.0.2.0/24", []),
        ("nmap --ex 192.0.2.3 192.0.2.0/24", []),
        ("nmap -iR 5", []),
        ("nmap --resume f", []),
        ("nmap -sL 192.0.2.0/24", []),
        ("nmap --new-option 192.0.2.0/24 192.0.2.1", []),
        ('nmap "192.0.2.1', []),
        ("nmap 1-254.1-254.1-254.1", []),
        ("nmap 2001:db8::1", []),
        ("", []),
    ],
)
def test_what_was_certainly_asked_for(args, ranges):
    assert [(str(low), str(high)) for low, high in asked(args)] == ranges


def test_the_table_of_risks_is_the_documented_one():
    documented = re.findall(r"^\| `([^`]+)` \| (low|medium|high|critical) \|$", PAGE.read_text(), re.MULTILINE)
    made = {
        (reason, kind) for kind, reason in [*risk.TECHNIQUES.values(), *risk.SCRIPTS.values(), *risk.EVASION.values()]
    }
    assert set(documented) == made | set(risk.OTHER.items())
    assert len(documented) == len(set(documented))


@pytest.mark.parametrize(
    ("line", "kind", "reason"),
    [
        ("nmap -sn 192.0.2.0/24", "low", "no more than discovery"),
        ("nmap -sL 192.0.2.0/24", "low", "no more than discovery"),
        ("nmap 192.0.2.0/24", "low", "port scan"),
        ("nmap --version", "low", "no scan"),
        ("nmap -sV h", "medium", "version detection"),
        ("nmap -sC h", "medium", "scripts"),
        ("nmap -A h", "medium", "OS detection"),
        ("nmap -p- h", "medium", "all ports"),
        ("nmap -p U:53,T:1-65535 h", "medium", "all ports"),
        ("nmap -T5 h", "medium", "insane timing"),
        ("nmap 10.0.0.0/19", "medium", "big sweep"),
        ("nmap -iR 0", "medium", "random targets"),
        ("nmap -sF h", "medium", "unusual TCP scan"),
        ("nmap --script vuln h", "high", "vulnerability scripts"),
        ("nmap --script ./own.nse h", "high", "scripts from files"),
        ("nmap --script ssh-brute h", "high", "brute force scripts"),
        ("nmap -f h", "high", "fragments"),
        ("nmap --proxies http://p h", "high", "proxies"),
        ("nmap --script smb-flood h", "critical", "denial of service scripts"),
        ("nmap --script all h", "critical", "exploit scripts"),
    ],
)
def test_risk(line, kind, reason):
    found = told(line)["risk"]
    assert found["class"] == kind
    assert reason in found["reason"]


def test_usual_names():
    assert [usual(name) for name in ("-g", "--spoof-mac", "-sP", "-sS", "--spoof", "-k", "spoof", "")] == [
        *("--source-port", "--spoof-mac", "-sn", "-sS", "--spoof-mac", "", "", ""),
    ]


WORDS = st.lists(
    st.one_of(
        st.sampled_from([f"-{letter}" for letter in SHORT] + [f"--{name}" for name in LONG]),
        st.text(max_size=12),
        st.from_regex(r"-{1,2}[a-zA-Z0-9=,\-]{0,9}", fullmatch=True),
        st.from_regex(r"[0-9.,*/:\-]{1,16}", fullmatch=True),
        st.text(alphabet="and or not()*,+vuln./", max_size=30).map(lambda text: f"--script={text}"),
    ),
    max_size=8,
)


@given(WORDS)
def test_reading_never_fails(words):
    command = parse(["nmap", *words])
    facts(command)
    asked(join(["nmap", *words]))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_words_are_split_as_nmap_joins_them(words):
    assert split(join(words)) == words
