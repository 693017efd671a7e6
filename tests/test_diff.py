"""What differs between two scans: every kind of change is seen, what is none is not, and a sealed scan is its file."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import host, need
from conftest import scan as generated

from forwarder.cli import main, parser
from forwarder.cli.diff import EPILOG
from forwarder.diff import compare as comparing
from forwarder.diff.side import order

ROOT = Path(__file__).parent.parent
FIXTURES = sorted((ROOT / "tests/fixtures/nmap").glob("*.xml"))
BASE = """<nmaprun scanner="nmap" args="nmap -A 192.0.2.0/24" start="1700000000" version="7.95">
<scaninfo type="syn" protocol="tcp" numservices="1000" services="1-1000"/>
<prescript><script id="pre" output="one"/></prescript>
<host starttime="1700000001" endtime="1700000002"><status state="up" reason="arp-response" reason_ttl="0"/>
<address addr="192.0.2.10" addrtype="ipv4"/><address addr="00:00:5e:00:53:10" addrtype="mac" vendor="A"/>
<hostnames><hostname name="web.example" type="PTR"/></hostnames>
<ports><extraports state="closed" count="997"><extrareasons reason="reset" count="997" proto="tcp" ports="1-21,23-79,81-442,444-1000"/></extraports>
<port protocol="tcp" portid="22"><state state="open" reason="syn-ack" reason_ttl="64"/><service name="ssh" product="OpenSSH" version="9.6" method="probed" conf="10" servicefp="SF:1"><cpe>cpe:/a:openbsd:openssh:9.6</cpe></service><script id="ssh-hostkey" output="&#xa;  aa&#xa;  bb&#xa;  cc"><table><elem key="type">rsa</elem></table></script></port>
<port protocol="tcp" portid="80"><state state="filtered" reason="no-response" reason_ttl="0"/></port>
<port protocol="tcp" portid="443"><state state="open" reason="syn-ack" reason_ttl="64"/><owner name="root"/><service name="http" tunnel="ssl" method="table" conf="3"/></port>
</ports>
<os><osmatch name="Linux 5" accuracy="96" line="1"/></os>
<uptime seconds="100"/><distance value="1"/>
<hostscript><script id="smb" output="x"><elem key="signing">on</elem></script></hostscript>
<times srtt="100" rttvar="1" to="100000"/></host>
<host><status state="up"/><address addr="192.0.2.9" addrtype="ipv4"/></host>
<runstats><finished time="1700000100" elapsed="100" exit="success"/><hosts up="2" down="254" total="256"/></runstats></nmaprun>
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in this process: (exit code, stdout, stderr)."""
    monkeypatch.setenv("NMAP_FORWARDER_STATE_DIR", str(tmp_path / "f/state"))
    monkeypatch.setenv("NMAP_FORWARDER_CONFIG", str(tmp_path / "f/config.toml"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    (tmp_path / "f").mkdir()
    (tmp_path / "f/config.toml").touch()

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return int(code), out, err

    return run


@pytest.fixture
def diff(run, tmp_path):
    """The difference between two texts: (exit code, lines behind the head, JSON object)."""

    def diff(before: str | bytes, after: str | bytes):
        for name, text in (("a.xml", before), ("b.xml", after)):
            (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        code, out, err = run("diff", tmp_path / "a.xml", tmp_path / "b.xml")
        lines = out.splitlines()
        assert (code == 0) == (lines == [])
        assert [line[:4] for line in lines[:2]] == ["--- ", "+++ "][: len(lines)]
        as_json = run("diff", "--json", "--quiet", tmp_path / "a.xml", tmp_path / "b.xml")
        assert as_json[0] == code, as_json
        assert as_json[2] == ""
        result = json.loads(as_json[1])
        assert result["different"] == bool(code)
        return code, lines[2:], result, err

    return diff


CHANGES = {
    "a port opens": (
        ('portid="80"><state state="filtered"', 'portid="80"><state state="open"'),
        ["- not shown: 1 filtered tcp ports", "- 80/tcp filtered", "+ 80/tcp open"],
        {"ports": {"tcp/80": {"changed": ["state"]}}, "not_shown": ...},
    ),
    "a port closes": (
        (re.compile(r'<port protocol="tcp" portid="443">.*?</port>'), ""),
        ["- 443/tcp open ssl/http", "+ 443/tcp closed|filtered"],
        {"ports": {"tcp/443": {"changed": ["state"]}}},
    ),
    "a port closes, and nmap counts it among others": (
        (re.compile(r'count="997"(.*)count="997"(.*)1-21,23-(.*)\n.*'), r'count="998"\1count="998"\g<2>1-\3'),
        [
            "- not shown: 997 closed tcp ports",
            "+ not shown: 998 closed tcp ports, among them 22",
            "- 22/tcp open ssh OpenSSH 9.6",
            "+ 22/tcp closed",
            "- ssh-hostkey: aa",
            "- bb",
            "- cc",
        ],
        {"ports": {"tcp/22": {"changed": ["state"]}}, "not_shown": ...},
    ),
    "a version": (
        ('version="9.6"', 'version="9.7"'),
        ["- 22/tcp open ssh OpenSSH 9.6", "+ 22/tcp open ssh OpenSSH 9.7"],
        {"ports": {"tcp/22": {"changed": ["banner"]}}},
    ),
    "what else is known of a service": (
        ('version="9.6"', 'version="9.6" ostype="Linux"'),
        ["- 22/tcp open ssh OpenSSH 9.6", "+ 22/tcp open ssh OpenSSH 9.6 os_type=Linux"],
        {"ports": {"tcp/22": {"changed": ["banner"]}}},
    ),
    "a service": (
        ('name="ssh"', 'name="telnet"'),
        ["- 22/tcp open ssh OpenSSH 9.6", "+ 22/tcp open telnet OpenSSH 9.6"],
        {"ports": {"tcp/22": {"changed": ["service"]}}},
    ),
    "a CPE": (
        ("openssh:9.6<", "openssh:9.6p1<"),
        [
            "- 22/tcp open ssh OpenSSH 9.6 cpe:/a:openbsd:openssh:9.6",
            "+ 22/tcp open ssh OpenSSH 9.6 cpe:/a:openbsd:openssh:9.6p1",
        ],
        {"ports": {"tcp/22": {"changed": ["cpe"]}}},
    ),
    "a tunnel": (
        (' tunnel="ssl"', ""),
        ["- 443/tcp open ssl/http tunnel=ssl", "+ 443/tcp open http"],
        {"ports": {"tcp/443": {"changed": ["tunnel"]}}},
    ),
    "an owner": (
        ('owner name="root"', 'owner name="www"'),
        ["- 443/tcp open ssl/http owner=root", "+ 443/tcp open ssl/http owner=www"],
        {"ports": {"tcp/443": {"changed": ["owner"]}}},
    ),
    "a line of a port's script": (
        ("&#xa;  bb&#xa;", "&#xa;  dd&#xa;  ee&#xa;"),
        ["22/tcp open ssh OpenSSH 9.6", "- ssh-hostkey: bb", "+ ssh-hostkey: dd", "+ ee"],
        {"ports": {"tcp/22": {"changed": ["scripts"]}}},
    ),
    "a table of a port's script": (
        (">rsa<", ">ed25519<"),
        ["22/tcp open ssh OpenSSH 9.6", "- ssh-hostkey: .type=rsa", "+ ssh-hostkey: .type=ed25519"],
        {"ports": {"tcp/22": {"changed": ["scripts"]}}},
    ),
    "a port's script that is new": (
        ('method="table" conf="3"/>', 'method="table" conf="3"/><script id="t" output=""/>'),
        ["443/tcp open ssl/http", "+ t:"],
        {"ports": {"tcp/443": {"changed": ["scripts"]}}},
    ),
    "a host's script": (('output="x"', 'output="y"'), ["- smb: x", "+ smb: y"], {"scripts": {"smb": ...}}),
    "a table of a host's script": (
        (">on<", ">off<"),
        ["- smb: signing=on", "+ smb: signing=off"],
        {"scripts": {"smb": ...}},
    ),
    "an operating system": (("Linux 5", "Linux 6"), ["- OS Linux 5", "+ OS Linux 6"], {"os": ...}),
    "ports that are not shown": (
        ('state="closed" count="997"', 'state="filtered" count="997"'),
        [
            "- not shown: 997 closed tcp ports",
            "- not shown: 1 filtered tcp ports",
            "+ not shown: 998 filtered tcp ports, among them 1-21,23-79,81-442,444-1000",
        ],
        {"not_shown": ...},
    ),
    "a name": (
        ('name="web.example"', 'name="www.example"'),
        ["- name web.example (PTR)", "+ name www.example (PTR)"],
        {"hostnames": ...},
    ),
    "a name's type": (
        ('type="PTR"', 'type="user"'),
        ["- name web.example (PTR)", "+ name web.example (user)"],
        {"hostnames": ...},
    ),
    "an address": (
        ("<hostnames>", '<address addr="2001:db8::10" addrtype="ipv6"/><hostnames>'),
        ["+ address 2001:db8::10"],
        {"addresses": ...},
    ),
    "a MAC address": (
        ("53:10", "53:11"),
        ["- MAC 00-00-5E-00-53-10", "+ MAC 00-00-5E-00-53-11"],
        {"macs": ...},
    ),
    "a state": (
        ('state="up" reason="arp-response"', 'state="down" reason="no-response"'),
        ["- is up", "+ is down"],
        {"state": {"before": "up", "after": "down"}},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen_and_nothing_else(diff, name):
    (old, new), lines, expected = CHANGES[name]
    changed = old.sub(new, BASE) if isinstance(old, re.Pattern) else BASE.replace(old, new, 1)
    assert changed != BASE
    for before, after, sign in ((BASE, changed, "-"), (changed, BASE, "+")):
        code, found, result, _ = diff(before, after)
        assert code == 1
        label = found.pop(0)
        assert re.fullmatch(r" 192\.0\.2\.10 (web|www)\.example", label)
        found = [re.sub(r"^([-+ ])\s+", r"\1 ", line).strip() for line in found]
        (entry,) = result["hosts"]["changed"]
        assert not result["hosts"]["added"] + result["hosts"]["removed"]
        assert entry["address"] == "192.0.2.10"
        assert entry["changes"].keys() == expected.keys()
        for key, port in expected.get("ports", {}).items():
            assert entry["changes"]["ports"][key]["changed"] == port["changed"]
        if sign == "-":
            assert sorted(found) == sorted(lines)
        for key, value in expected.items():
            if sign == "-" and key == "state":
                assert entry["changes"][key] == value


SAME = {
    "reason": ('reason="syn-ack"', 'reason="syn-acked"'),
    "reason_ttl": ('reason_ttl="64"', 'reason_ttl="63"'),
    "reason of a host": ('reason="arp-response"', 'reason="echo-reply"'),
    "reason of ports that are not shown": ('reason="reset"', 'reason="conn-refused"'),
    "times": ('endtime="1700000002"', 'endtime="1700009999"'),
    "round trip": ('srtt="100"', 'srtt="200"'),
    "uptime": ('seconds="100"', 'seconds="200"'),
    "accuracy": ('accuracy="96"', 'accuracy="97"'),
    "confidence": ('conf="10"', 'conf="9"'),
    "fingerprint": ("SF:1", "SF:2"),
    "arguments": ("nmap -A", "nmap -sS -A"),
    "vendor": ('vendor="A"', 'vendor="B"'),
    "case of a name": ("web.example", "Web.Example."),
    "a host that is down and listed": (
        "<runstats>",
        '<host><status state="down"/><address addr="192.0.2.7" addrtype="ipv4"/></host><runstats>',
    ),
    "how not shown ports are written": ("23-79,81-442", "23-70,71-79,81-442"),
    "which ports are not shown, where they follow from what was scanned": (
        ' proto="tcp" ports="1-21,23-79,81-442,444-1000"',
        "",
    ),
    "which ports are not shown, where nothing says so": (
        re.compile(r'<scaninfo.*?>\n(.*) proto="tcp" ports="[^"]*"', re.DOTALL),
        r'<scaninfo type="syn" protocol="tcp"/>\n\1',
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_what_is_no_change_is_not_shown(diff, name):
    old, new = SAME[name]
    changed = old.sub(new, BASE) if isinstance(old, re.Pattern) else BASE.replace(old, new, 1)
    assert changed != BASE
    assert diff(BASE, changed)[0] == diff(changed, BASE)[0] == 0


def test_hosts_that_come_and_go_in_order_of_their_addresses(diff):
    start, end = BASE.split("<host ", 1)[0], "<runstats/></nmaprun>"
    old = start + host(2, 1) + host(1, 1) + end
    new = start + host(11, 1) + host(1, 1).replace("p1-0", "q") + end
    code, lines, result, _ = diff(old, new)
    assert code == 1
    assert [line for line in lines if line[1] != " "] == [" 10.0.0.2", "-10.0.0.3", "+10.0.0.12"]
    assert "-  100/tcp open http p2-0 1.0" in lines
    assert [entry["address"] for entry in result["hosts"]["added"]] == ["10.0.0.12"]
    assert result["hosts"]["removed"][0]["before"]["ports"]["tcp/100"]["service"]["product"] == "p2-0"


def test_order_of_addresses():
    addresses = ["x", "10.0.0.10", "2001:db8::1", "10.0.0.9", "00-00-5E-00-53-10"]
    assert sorted(addresses, key=order) == ["10.0.0.9", "10.0.0.10", "2001:db8::1", "00-00-5E-00-53-10", "x"]


def test_scripts_before_and_after_all_hosts(diff):
    code, lines, result, _ = diff(BASE, BASE.replace('output="one"', 'output="two"'))
    assert (code, lines) == (1, [" scripts before and after all hosts", "-  pre: one", "+  pre: two"])
    assert result["scripts"] == {"pre": {"before": {"output": "one"}, "after": {"output": "two"}}}
    assert result["hosts"] == {"added": [], "removed": [], "changed": []}


def test_texts_that_cancel_each_other_out_in_libnmaps_hash(diff):
    """libnmap's hash of a service is the exclusive or of those of its texts, so its hosts differ in nothing here."""
    old, new = (
        BASE.replace(
            '<state state="open" reason="syn-ack" reason_ttl="64"/><owner name="root"/>', f'<state state="{x}"/>'
        ).replace('name="http" tunnel="ssl"', f'name="{x}" product="p"')
        for x in ("open", "x")
    )
    code, lines, _, _ = diff(old, new)
    assert (code, lines[1:]) == (1, ["-  443/tcp open open p", "+  443/tcp x x p"])
    services = [comparing._service("tcp/1", {"state": x, "service": {"name": x}}) for x in ("open", "x")]
    assert hash(services[0]) == hash(services[1])


def test_a_port_that_was_not_scanned_has_no_state(diff):
    narrow = BASE.replace('services="1-1000"', 'services="1-100"').replace("23-79,81-442,444-1000", "23-79,81-100")
    narrow = re.sub(r'<port protocol="tcp" portid="443">.*?</port>', "", narrow)
    _, lines, result, _ = diff(BASE, narrow)
    assert "-  443/tcp open ssl/http" in lines
    assert not any(line.startswith("+  443") for line in lines)
    assert "after" not in result["hosts"]["changed"][0]["changes"]["ports"]["tcp/443"]


# --- where scans come from --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
@pytest.mark.parametrize("ports", ["open", "all"])
def test_a_sealed_scan_is_the_same_as_its_file(forwarder, run, path, ports):
    forwarder.flags["records_ports"] = ports
    forwarder.forward(path)
    (scan_id,) = {record["nmap"]["scan"]["id"] for record in forwarder.records("scan")}
    for sides in (
        (path, f"scan:{scan_id[:8]}"),
        (f"scan:{scan_id}", path),
        (f"scan:{scan_id}", f"scan:{scan_id[:20]}"),
    ):
        assert run("diff", "--quiet", *sides) == (0, "", "")


def test_a_sealed_scan_of_the_benchmark_is_the_same_as_its_file(forwarder, run, script):
    path = forwarder.directory / "scan.xml"
    script("benchmarks/generate.py").generate(path, 1)
    forwarder.flags["privacy_evidence"] = "hash-only"
    forwarder.forward(path)
    scan_id = forwarder.records("scan")[0]["nmap"]["scan"]["id"]
    assert run("diff", path, f"scan:{scan_id}") == (0, "", "")
    changed = path.read_text().replace("OpenSSH", "Dropbear", 1)
    assert run("diff", f"scan:{scan_id}", forwarder.write("b.xml", changed))[0] == 1


@pytest.mark.integration
def test_real_scans_of_one_more_server(forwarder, run, servers):
    def nmap(name: str) -> Path:
        path = forwarder.write(name, "")
        command = [need("nmap"), "-sT", "-n", "-p", "1-65535", "-oX", str(path), "127.0.0.1"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return path

    servers()
    monday = nmap("monday.xml")
    assert run("diff", monday, monday) == (0, "", "")
    port = servers()
    friday = nmap("friday.xml")
    code, out, _ = run("diff", monday, friday)
    assert code == 1
    assert f"-  {port}/tcp closed\n+  {port}/tcp open" in out
    forwarder.forward(monday, friday)
    for scan, path in zip(forwarder.records("scan"), sorted([monday, friday]), strict=True):
        assert run("diff", path, f"scan:{scan['nmap']['scan']['id']}") == (0, "", "")


def test_a_sealed_scan_that_grew(forwarder, run):
    whole = generated(6, 3)
    scan = forwarder.write("scan.xml", whole[: whole.index('<address addr="10.0.0.4"')])
    forwarder.forward(scan)
    scan_id = forwarder.records("scan")[0]["nmap"]["scan"]["id"]
    code, out, err = run("diff", scan, f"scan:{scan_id}")
    assert (code, out) == (0, "")
    assert f"scan:{scan_id}: incomplete scan\n" in err
    other = forwarder.write("other.xml", generated(2, 2, start=5))
    forwarder.forward(other)
    forwarder.forward(forwarder.write("scan.xml", whole))
    scan_id = forwarder.records("scan")[-1]["nmap"]["scan"]["id"]
    assert len(forwarder.manifests()) == 3
    assert run("diff", scan, f"scan:{scan_id}") == (0, "", "")


def test_tombstones_belong_to_the_scan_before(forwarder, run):
    forwarder.forward(forwarder.write("a.xml", generated(2, 3)))
    later = forwarder.write("b.xml", generated(2, 2, start=1700500000).replace('time="17000', 'time="17005'))
    forwarder.forward(later)
    assert any(record["nmap"]["port"].get("tombstone") for record in forwarder.records("port"))
    scan_id = forwarder.records("scan")[-1]["nmap"]["scan"]["id"]
    assert run("diff", later, f"scan:{scan_id}") == (0, "", "")


def test_archives_elsewhere(forwarder, run, monkeypatch, tmp_path):
    path = forwarder.write("a.xml", BASE)
    forwarder.forward(path)
    scan = f"scan:{forwarder.records('scan')[0]['nmap']['scan']['id']}"
    monkeypatch.setenv("NMAP_FORWARDER_STATE_DIR", str(tmp_path / "none"))
    assert run("diff", "--archive", forwarder.archive, path, scan) == (0, "", "")
    assert run("diff", "--archive", forwarder.log, path, scan) == (0, "", "")
    code, _, err = run("diff", path, scan)
    assert (code, err.count("\n")) == (2, 1)
    assert "none/archive: no such archive" in err
    assert run("diff", "--archive", ROOT / "tests/fixtures/archive-v1/archive", path, scan)[0] == 2


@pytest.mark.parametrize("tamper", ["records", "manifest", "gap"])
def test_an_archive_that_was_changed_is_trouble(forwarder, run, tamper):
    path = forwarder.write("a.xml", BASE)
    forwarder.forward(path)
    forwarder.forward(forwarder.write("b.xml", generated(2)))
    forwarder.forward(forwarder.write("c.xml", generated(3)))
    scan = f"scan:{forwarder.records('scan')[0]['nmap']['scan']['id']}"
    manifests = sorted(forwarder.log.glob("batches/*/manifest.json"))
    if tamper == "records":
        target = forwarder.log / forwarder.manifests()[0].records.name
        target.chmod(0o600)
        target.write_bytes(target.read_bytes()[:-1])
    elif tamper == "gap":
        manifests[1].unlink()
    else:
        manifests[0].chmod(0o600)
        manifests[0].write_bytes(manifests[0].read_bytes().replace(b'"software":"nmap', b'"software":"Nmap'))
    code, out, err = run("diff", path, scan)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "run verify" in err


def test_compressed_odd_and_standard_input(forwarder):
    plain = forwarder.write("a.xml", BASE)
    packed = forwarder.write("a.xml.gz", gzip.compress(BASE.encode()))
    wide = forwarder.write("w.xml", BASE.encode("utf-16"))
    assert forwarder.command("diff", packed, wide).returncode == 0
    result = forwarder.command("diff", plain, "-", input=BASE.replace("9.6", "9.7").encode())
    assert result.returncode == 1
    assert result.stdout.splitlines()[1] == b"+++ standard input  2023-11-14T22:13:20.000Z  nmap -A 192.0.2.0/24"


def test_of_several_scans_the_last(diff):
    code, _, result, err = diff(generated(1, 1), generated(5, 2) + generated(1, 1))
    assert code == 0
    assert "b.xml: 2 scans in one file: the last one is compared" in err
    assert result["after"]["hosts"] == 1


def test_notes_on_scans_that_are_not_whole(diff):
    cut = generated(3, 1)[: generated(3, 1).index("</runstats>")].replace("syn-ack", "a&#x1;b", 1)
    code, _, result, err = diff(generated(3, 1), cut + host(2, 1))
    assert code == 0
    assert "b.xml: incomplete scan: ends at byte" in err
    assert "b.xml: 1 hosts are damaged and were repaired" in err
    assert "b.xml: 1 addresses are listed again; the last of each is compared" in err
    assert (result["before"]["complete"], result["after"]["complete"]) == (True, False)


def test_a_document_that_declares_entities_is_passed_over(diff, run, tmp_path):
    bomb = '<!DOCTYPE nmaprun [<!ENTITY a "b">]><nmaprun><host>&a;</host></nmaprun>'
    code, _, _, err = diff(BASE, bomb + BASE)
    assert (code, "declares entities" in err) == (0, True)
    (tmp_path / "bomb.xml").write_text(bomb)
    code, _, err = run("diff", tmp_path / "bomb.xml", tmp_path / "a.xml")
    assert (code, "bomb.xml: a document in it declares entities" in err) == (2, True)


WRONG = [
    (("none.xml", "a.xml"), "none.xml: No such file or directory"),
    (("a.xml", "f"), "f: Is a directory"),
    (("a.xml", "text"), "text: not XML, or empty: give files written by nmap"),
    (("a.xml", "page"), "page: no nmap scan in it (it begins with <html>)"),
    (("-", "-"), "only one of the two can be standard input"),
    (("a.xml", "scan:1234567"), "scan:1234567: not 8 to 64 digits"),
    (("a.xml", "scan:../../etc"), "not 8 to 64 digits"),
    (("a.xml", "scan:12345678"), "no such archive"),
    (("a.xml",), "required: B"),
    (("--config", "none.toml", "a.xml", "a.xml"), "no such configuration file"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_trouble_is_one_line_and_exit_2(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.xml").write_text(BASE)
    (tmp_path / "text").write_text("Starting Nmap")
    (tmp_path / "page").write_text("<html/>")
    code, out, err = run("diff", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_too_large_and_full_disks_are_trouble_too(run, tmp_path, monkeypatch):
    (tmp_path / "a.xml").write_text(BASE)
    monkeypatch.setenv("NMAP_FORWARDER_INTAKE_MAX_BYTES", "10")
    assert run("diff", tmp_path / "a.xml", tmp_path / "a.xml")[0] == 2
    monkeypatch.delenv("NMAP_FORWARDER_INTAKE_MAX_BYTES")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("forwarder.diff.side.Shelf.put", full)
    code, _, err = run("diff", tmp_path / "a.xml", tmp_path / "a.xml")
    assert (code, err) == (2, "nmap-forwarder: No space left on device\n")


def test_a_prefix_of_several_scans_and_of_none(forwarder, run, monkeypatch):
    path = forwarder.write("a.xml", BASE)
    forwarder.forward(path)
    forwarder.forward(forwarder.write("b.xml", generated(2)))
    code, _, err = run("diff", path, "scan:00000000")
    assert (code, "has an nmap.scan.id that begins with 00000000" in err) == (2, True)
    monkeypatch.setattr("forwarder.cli.diff.PREFIX", re.compile(".*"))
    code, _, err = run("diff", path, "scan:")  # too short to be allowed, but the beginning of both
    assert (code, "is the beginning of" in err, err.count("\n")) == (2, True, 1)


# --- how it is shown --------------------------------------------------------------------------------------

HOSTILE = BASE.replace('product="OpenSSH"', 'product="&#x1b;[2J\u202eevil"').replace('output="x"', 'output="&#x9b;31m"')


def test_control_characters_are_never_printed(diff):
    for data in (HOSTILE, HOSTILE.replace("web.example", "&#x1b;]0;x&#x7;")):
        code, lines, _, _ = diff(BASE, data)
        assert code == 1
        assert all(line.isprintable() for line in lines)
        assert any("\\x1b[2J\\u202eevil" in line for line in lines)


def test_colour_on_a_terminal_only_and_not_with_no_color(forwarder):
    paths = forwarder.write("a.xml", BASE), forwarder.write("b.xml", BASE.replace('"9.6"', '"9.7"'))
    assert b"\x1b" not in forwarder.command("diff", *paths).stdout
    found = {}
    for name, extra in (("colour", {}), ("plain", {"NO_COLOR": "1"}), ("dumb", {"TERM": "dumb"})):
        try:
            master, slave = pty.openpty()
        except OSError:  # a container without /dev/pts
            if os.environ.get("CI") == "true":
                raise
            pytest.skip("no pseudo-terminal can be had here")
        environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"} | extra
        command = [sys.executable, "-m", "forwarder", "diff", "--quiet", *map(str, paths)]
        result = subprocess.run(command, check=False, stdout=slave, stderr=subprocess.PIPE, env=environment, cwd=ROOT)
        os.close(slave)
        assert (result.returncode, result.stderr) == (1, b"")
        found[name] = os.read(master, 1 << 16)
        os.close(master)
    assert b"\x1b[31m-  22/tcp open ssh OpenSSH 9.6\x1b[0m" in found["colour"]
    assert b"\x1b[32m+  22/tcp open ssh OpenSSH 9.7\x1b[0m" in found["colour"]
    assert b"\x1b" not in found["plain"] + found["dumb"]


def test_a_reader_that_has_seen_enough(forwarder):
    a, b = forwarder.write("a.xml", generated(2000, 2)), forwarder.write("b.xml", generated(1, 1))
    command = f"{sys.executable} -m forwarder diff {a} {b} | head -1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], check=False, capture_output=True, cwd=ROOT)
    assert (result.returncode, result.stderr) == (1, b"")


def test_memory_does_not_grow_with_the_scan(forwarder, script):
    generate = script("benchmarks/generate.py").generate
    code = "import resource, sys; from forwarder.cli import main; main(sys.argv[1:]); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    peaks = []
    for megabytes in (1, 8):
        paths = [forwarder.directory / f"{seed}.xml" for seed in (1, 2)]
        forwarder.directory.mkdir(exist_ok=True)
        for seed, path in enumerate(paths):
            generate(path, megabytes, seed)
        command = [sys.executable, "-c", code, "diff", "--json", *map(str, paths)]
        result = subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        *_, peak = result.stdout.splitlines()
        peaks.append(int(peak))
    assert peaks[1] < peaks[0] + 20, peaks


def test_the_exit_code_is_in_the_help(run):
    code, out, _ = run("diff", "--help")
    assert code == 0
    assert "0 no difference, 1 different (here this is no\nintegrity failure), 2 trouble" in out


# --- the documentation ------------------------------------------------------------------------------------

FRIDAY = (
    BASE.replace('version="9.6"', 'version="9.7"')
    .replace(
        '80"><state state="filtered" reason="no-response" reason_ttl="0"/>',
        '80"><state state="open"/><service name="http"/>',
    )
    .replace("&#xa;  bb", "&#xa;  dd")
    .replace("192.0.2.9", "192.0.2.11")
    .replace("Linux 5", "Linux 6")
)


def test_the_commands_in_the_documentation_print_what_it_says(forwarder):
    (session,) = re.findall(r"```console\n(.*?)```", (ROOT / "docs/LIBNMAP.md").read_text(), re.DOTALL)
    forwarder.forward(forwarder.write("monday.xml", BASE))
    forwarder.write("friday.xml", FRIDAY)
    commands = re.findall(r"^\$ nmap-forwarder (.*)\n((?:[^$].*\n)*)", session, re.MULTILINE)
    assert len(commands) == 3
    for command, output in commands:
        arguments, _, query = command.partition(" | ")
        environment = {"PYTHONPATH": str(ROOT)}
        result = forwarder.command(*arguments.split(), cwd=forwarder.directory, env=environment)
        found = result.stdout
        assert (result.returncode, result.stderr) == (int(bool(output)), b"")
        if query:
            shell = ["bash", "-c", query.replace("jq", need("jq"), 1)]
            found = subprocess.run(shell, check=True, capture_output=True, input=found).stdout
        assert found.decode() == output


def test_the_examples_in_the_help_are_valid():
    commands = re.findall(r"nmap-forwarder (diff [^|#\n]*)", EPILOG)
    assert len(commands) == 4
    for command in commands:
        assert parser().parse_args(command.split()).after
