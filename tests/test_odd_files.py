"""Files of every version and writer, in every encoding and state: each host, port and script in the bytes is in the records."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Forwarder

from forwarder import reading

FIXTURES = {path.name: path.read_bytes() for path in sorted((Path(__file__).parent / "fixtures/nmap").glob("*.xml"))}
APPENDED = (
    b'\n<?xml version="1.0"?>\n<!DOCTYPE nmaprun>\n<nmaprun scanner="nmap" args="nmap 192.0.2.200" start="1800000000">\n'
    b'<host><status state="up"/><address addr="192.0.2.200" addrtype="ipv4"/></host>\n'
    b'<runstats><finished exit="success"/></runstats></nmaprun>\n'
)


def encoded(name: str) -> Callable[[bytes], bytes]:
    """Makes a file one in another encoding, and have it say so."""

    def convert(data: bytes) -> bytes:
        body = re.sub(r"^<\?xml.*?\?>", "", data.decode().replace("Example", "Käse"))
        return f'<?xml version="1.0" encoding="{name}"?>{body}'.encode(name)

    return convert


STATES: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda data: data,
    "utf-16": encoded("utf-16"),
    "iso-8859-1": encoded("iso-8859-1"),
    "utf-8 with a mark": lambda data: b"\xef\xbb\xbf" + data,
    "CR LF": lambda data: data.replace(b"\n", b"\r\n"),
    "a licence before the declaration": lambda data: b"<!-- licence: <host> <nmaprun> -->\n" + data,
    "warnings before the declaration": lambda data: b"Warning: 192.0.2.1 giving up on port\n" + data,
    "compressed": gzip.compress,
    "without its nmaprun": lambda data: re.sub(rb"<nmaprun[^>]*>", b"", data),
    "with a damaged nmaprun": lambda data: data.replace(b"<nmaprun", b"<nmap\x00un"),
}


def counted(data: bytes) -> dict[str, int]:
    data = re.sub(rb"<!--.*?-->", b"", data, flags=re.DOTALL)
    return {name: len(re.findall(rb"<%s[\s>]" % name.encode(), data)) for name in ("host", "port", "script")}


def held(records: list[dict]) -> dict[str, int]:
    """What the records hold of each: a port with a record of its own, or in its host's compact ranges."""
    hosts = [record["nmap"]["host"] for record in records if record["event"]["dataset"] == "nmap.host"]
    ports = sum(record["event"]["dataset"] == "nmap.port" for record in records)
    assert ports <= sum(host["port"]["listed"] for host in hosts)
    scripts = [
        record["nmap"]["script"]["id"]
        for record in records
        if "script" in record["nmap"] and record["event"]["dataset"] in {"nmap.scan", "nmap.host", "nmap.port"}
    ]
    return {
        "host": len(hosts),
        "port": sum(host["port"]["listed"] for host in hosts),
        "script": sum(map(len, scripts)),
    }


def ids(records: list[dict]) -> list[str]:
    """Ids of the records of hosts and what is on them."""
    return [
        record["event"]["id"] for record in records if record["event"]["dataset"] not in {"nmap.scan", "nmap.change"}
    ]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", FIXTURES)
def test_all_that_a_file_holds_is_in_the_records(forwarder, name, state):
    data = FIXTURES[name]
    outcome = forwarder.forward(forwarder.write("scan.xml", STATES[state](data)))
    assert (outcome.rejected, outcome.scans) == ([], 1)
    found, expected = held(forwarder.records()), counted(data)
    assert found == expected
    assert len({record["event"]["id"] for record in forwarder.records()}) == len(forwarder.records())
    assert not forwarder.verify().findings


@pytest.mark.parametrize("name", FIXTURES)
def test_a_file_read_twice_cut_and_grown_has_the_same_ids(forwarder, tmp_path, name):
    data = FIXTURES[name] + APPENDED
    forwarder.forward(forwarder.write("scan.xml", data))
    whole = ids(forwarder.records())
    assert forwarder.forward(forwarder.write("again.xml", data)).records == 0
    other = Forwarder(tmp_path / "other")
    for part in (1, 2, 3, 4):
        other.forward(other.write("scan.xml", data[: len(data) * part // 4]))
        assert set(ids(other.records())) <= set(whole)
    assert sorted(ids(other.records())) == sorted(whole)
    assert not other.verify().findings


ANCIENT = b"""<?xml version="1.0" ?>
<!-- nmap (V. 2.54BETA3) scan initiated Tue Nov 14 22:13:20 2023 as: nmap -sT -I -O -oM x 192.0.2.24 -->
<nmaprun args="-sT -I -O -oM x 192.0.2.24" start="1700000000" version="2.54BETA3">
</scaninfo type="connect" protocol="tcp" services="1-1024,1100,1400">
</verbose level="1">
<host status="up">
</address addr="192.0.2.24" addrtype="ipv4">
</address addr="02:00:5E:00:53:18" addrtype="mac">
</hostname name="amy.example.com" type="A">
<os></osmatch name="Linux 2.1.122 - 2.2.16" accuracy="100%">
    </portused state="open" proto="tcp" id="22"> <!-- what was probed -->
</os>
</tcpsequence index="2796433" class="random positive increments" difficulty="Worthy Challenge">
<port protocol="TCP" id="22" owner="root">
   </state state="open" conf="5">
   </service name="ssh" conf="3" method="table">
   </service name="xlm4" conf="3" method="table">
   <banner>SSH-1.99-2.0.13 (non-commercial)</banner>
</port>
<port protocol="UDP" id="31337">
   </state state="open|filtered" conf="5"><filteredby></packet proto="ICMP" type="3" srcipaddr="192.0.2.4"></filteredby>
</port>
</host>
</nmaprun>
"""


def test_what_nmap_2_54_wrote_is_read(forwarder):
    """It wrote empty elements as end tags with attributes, which is no XML, and had other names for some."""
    forwarder.forward(forwarder.write("scan.xml", ANCIENT))
    (host,), (ssh, elite), (scan,) = (forwarder.records(dataset) for dataset in ("host", "port", "scan"))
    assert (host["host"]["ip"], host["host"]["mac"]) == (["192.0.2.24"], ["02-00-5E-00-53-18"])
    assert (host["nmap"]["host"]["state"], host["nmap"]["host"]["damaged"]) == ("up", True)
    assert host["nmap"]["host"]["os"]["port_used"] == [{"state": "open", "protocol": "tcp", "port": 22}]
    assert (ssh["network"]["transport"], ssh["destination"]["port"], ssh["nmap"]["port"]["owner"]) == (
        "tcp",
        22,
        "root",
    )
    assert ssh["nmap"]["port"]["service"]["name"] == "ssh"
    assert [odd for odd in ssh["nmap"]["unparsed"] if "xlm4" in odd or "SSH-1.99" in odd] == [
        '<service name="xlm4" conf="3" method="table" />',
        "<banner>SSH-1.99-2.0.13 (non-commercial)</banner>",
    ]
    assert "192.0.2.4" in str(elite["nmap"]["unparsed"])
    assert scan["nmap"]["scan"]["info"] == [{"type": "connect", "protocol": "tcp", "ports": "1-1024,1100,1400"}]
    assert scan["nmap"]["scan"]["hosts"]["recorded_up"] == 1


def test_what_masscan_says_of_services_is_kept_and_its_hosts_are_up(forwarder):
    forwarder.forward(forwarder.write("scan.xml", FIXTURES["masscan.xml"]))
    banners = [record["nmap"]["port"].get("service", {}).get("banner") for record in forwarder.records("port")]
    assert [banner[:12] for banner in banners if banner] == ["example/1.0", "HTTP/1.0 404"]
    (scan,) = forwarder.records("scan")
    assert (scan["observer"]["product"], scan["nmap"]["scan"]["hosts"]["recorded_up"]) == (
        "masscan",
        5,
    )  # not the one that only answered a ping
    assert not forwarder.records(
        "change"
    )  # which ports it asked for, and that they are of one host, its file does not say


def test_what_a_script_says_of_a_closed_port_is_kept(forwarder):
    forwarder.forward(forwarder.write("scan.xml", FIXTURES["resumed.xml"]))
    closed = [record for record in forwarder.records("port") if record["nmap"]["port"]["state"] == "closed"]
    assert [record["nmap"]["script"]["output"] for record in closed] == [["forced on a closed port"]]
    groups = forwarder.records("host")[0]["nmap"]["host"]["port"]["group"]
    assert {"state": "closed", "protocol": "tcp", "reason": "reset", "count": 1, "ports": "80"} in groups


def test_a_group_of_ports_keeps_its_count_where_its_reason_has_another(forwarder):
    forwarder.forward(forwarder.write("scan.xml", FIXTURES["resumed.xml"]))
    groups = forwarder.records("host")[0]["nmap"]["host"]["port"]["group"]
    assert [group["count"] for group in groups if group["state"] == "filtered" and "derived" not in group] == [1, 2]


def test_a_resumed_scan_is_complete_whatever_its_totals_say(forwarder):
    outcome = forwarder.forward(forwarder.write("scan.xml", FIXTURES["resumed.xml"]))
    (scan,) = forwarder.records("scan")
    assert (outcome.hosts, scan["nmap"]["scan"]["complete"], scan["nmap"]["scan"]["hosts"]["total"]) == (3, True, 1)
    assert len({record["event"]["id"] for record in forwarder.records("host")}) == 3  # one address comes twice


def test_two_lists_of_host_scripts_are_both_kept(forwarder):
    data = FIXTURES["resumed.xml"].replace(
        b"<hostscript>", b'<hostscript><script id="zero" output="0"/></hostscript><hostscript>'
    )
    forwarder.forward(forwarder.write("scan.xml", data))
    assert forwarder.records("host")[0]["nmap"]["script"]["id"] == ["zero", "first"]


def test_a_fatal_error_is_a_failed_scan(forwarder):
    data = b'<nmaprun><runstats><finished time="1700000000" exit="error" errormsg="no route"/></runstats></nmaprun>'
    forwarder.forward(forwarder.write("scan.xml", data))
    (scan,) = forwarder.records("scan")
    assert (scan["event"]["outcome"], scan["error"]["message"]) == ("failure", "no route")


def test_a_scan_without_its_start_tag_is_read_and_said_to_be_damaged(forwarder):
    sound = FIXTURES["old.xml"]
    damaged = FIXTURES["resumed.xml"].replace(b"<nmaprun", b"<mnaprun")
    nameless = FIXTURES["wrapper.xml"].replace(b"<nmaprun", b"< nmaprun")
    outcome = forwarder.forward(forwarder.write("scan.xml", sound + damaged + sound[:-500] + nameless))
    assert (outcome.scans, outcome.hosts) == (4, 3 + 3 + 1 + 2)
    scans = [record["nmap"]["scan"] for record in forwarder.records("scan")]
    assert [scan.get("damage") for scan in scans] == [
        None,
        "its start tag is named mnaprun",
        None,
        "its start tag, <nmaprun …>, is missing or damaged",
    ]
    assert scans[1]["args"].startswith("nmap -sV")
    assert [line for line in forwarder.said if "start tag" in line]


def test_a_host_that_was_cut_when_another_scan_is_appended_right_there_is_added(forwarder):
    cut = FIXTURES["resumed.xml"].partition(b"<times")[0]
    first = forwarder.forward(forwarder.write("scan.xml", cut))
    second = forwarder.forward(forwarder.write("scan.xml", cut + APPENDED.lstrip()))
    assert (first.hosts, second.hosts, second.scans) == (0, 2, 2)
    grown = ids(forwarder.records())
    assert len({record["event"]["id"] for record in forwarder.records()}) == len(forwarder.records())
    other = Forwarder(forwarder.directory / "other")
    other.forward(other.write("scan.xml", cut + APPENDED.lstrip()))
    assert ids(other.records()) == grown


def test_a_scan_longer_than_a_number_of_nanoseconds_has_no_duration(forwarder):
    forwarder.forward(forwarder.write("scan.xml", FIXTURES["old.xml"].replace(b'"1700000017"', b'"1800000017"')))
    (record,) = forwarder.records("scan")
    assert (record["event"]["start"][:4], record["event"]["end"][:4]) == ("2023", "2027")
    assert "duration" not in record["event"]


def test_a_text_in_a_directory_that_quotes_a_scan_is_none(forwarder):
    forwarder.write("in/README", b"An example:\n\n" + FIXTURES["old.xml"])
    assert forwarder.forward(forwarder.directory / "in").scans == 0


def test_hosts_of_other_formats_are_none_of_nmaps(forwarder):
    data = b"<zabbix_export><hosts><host><host>a</host><address>192.0.2.1</address></host></hosts></zabbix_export>"
    outcome = forwarder.forward(forwarder.write("other.xml", data))
    assert "its first element is <zabbix_export>" in outcome.rejected[0]


def test_notes_on_a_million_damaged_hosts_are_bounded():
    result = reading.Result()
    for n in range(reading.MAX_NOTES + 5):
        result.notes.add(str(n))
    assert [*result.notes.of("x.xml")] == [
        *(f"x.xml: {n}" for n in range(reading.MAX_NOTES)),
        "x.xml: and 5 more notes",
    ]
    assert len(result.notes.lines) == reading.MAX_NOTES


MEGABYTES = 15
CONTENT = {
    "one text": b'<script id="s" output="' + b"abcdefghij" * (MEGABYTES * 100_000) + b'"/>',
    "many parts": b'<script id="s" output="">' + b'<elem key="k">abcde</elem>' * (MEGABYTES * 38_000) + b"</script>",
    "control characters": b'<script id="s" output="&#x1;' + b"abcdefghi\xff" * (MEGABYTES * 100_000) + b'"/>',
}
PEAK = (
    "import re, sys; from forwarder.cli import main; main(sys.argv[1:]);"
    "print(re.search(r'VmHWM:\\s*([0-9]+)', open('/proc/self/status').read())[1])"
)
"""Forwards, and prints the peak of its memory in KB; unlike ru_maxrss, that has nothing of the process it is forked from."""


@pytest.mark.parametrize("what", CONTENT)
def test_ports_of_15_mb_are_read_in_less_than_150(forwarder, what):
    forwarder.init()
    path = forwarder.directory / "scan.xml"
    with path.open("wb") as file:
        file.write(b'<nmaprun><host><status state="up"/><address addr="192.0.2.1" addrtype="ipv4"/><ports>')
        for number in (1, 2, 3):
            file.write(b'<port protocol="tcp" portid="%d"><state state="open"/>%s</port>' % (number, CONTENT[what]))
        file.write(b"</ports></host></nmaprun>")
    found = forwarder.command("forward", path, program=["-c", PEAK])
    assert int(found.stdout.splitlines()[-1]) < 150 * 1024
    assert [port["nmap"]["port"]["number"] for port in forwarder.records("port")] == [1, 2, 3]
    assert "only in the evidence" in forwarder.records("host")[0]["nmap"]["host"]["damage"]
