"""Whatever libnmap reads, our reader reads the same; deviations are listed in libnmap_oracle.DEVIATIONS, and shown."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import need
from conftest import scan as generated
from libnmap.parser import NmapParser, NmapParserException
from libnmap_oracle import (
    DEVIATIONS,
    REFUSED,
    accepted,
    ours_of_host,
    ours_of_scan,
    read,
    theirs_of_host,
    theirs_of_scan,
)

FIXTURES = sorted((Path(__file__).parent / "fixtures/nmap").glob("*.xml"))


def compare(data: bytes, read=read) -> int:
    """Hold both readers' views of a scan against each other; return the number of hosts."""
    report = NmapParser.parse_fromstring(data.decode())
    ((document, hosts),) = read(data)
    assert ours_of_scan(document.run.facts) == theirs_of_scan(report)
    assert len(hosts) == len(report.hosts)
    for (body, ports), host in zip(hosts, report.hosts, strict=True):
        assert ours_of_host(body, ports) == theirs_of_host(host)
    return len(hosts)


def of(inside: str, tag: str = "") -> bytes:
    """A scan of one host."""
    host = f'<host {tag}><status state="up"/><address addr="192.0.2.1" addrtype="ipv4"/>{inside}</host>'
    return f'<nmaprun args="nmap" start="1700000000" version="7.95">{host}<runstats/></nmaprun>'.encode()


def port(inside: str) -> bytes:
    return of(f'<ports><port protocol="tcp" portid="22"><state state="open"/>{inside}</port></ports>')


def body(data: bytes) -> dict:
    return read(data)[0][1][0][0]


def first(data: bytes):
    return NmapParser.parse_fromstring(data.decode()).hosts[0]


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_fixtures(path):
    assert compare(accepted(path.read_bytes())) > 0


@pytest.mark.parametrize("name", REFUSED)
def test_libnmap_refuses_what_our_reader_takes(name):
    refused, _ = REFUSED[name]
    (data,) = (data for path in FIXTURES if refused in (data := path.read_bytes()))
    with pytest.raises((NmapParserException, ValueError)):
        compare(data)
    assert all(hosts for _, hosts in read(data))


@pytest.mark.parametrize("ports", [0, 1, 30])
def test_generated_scans(ports):
    assert compare(generated(20, ports).encode()) == 20


def test_the_benchmarks_scan(tmp_path, script):
    hosts, _ = script("benchmarks/generate.py").generate(tmp_path / "scan.xml", 1)
    assert compare((tmp_path / "scan.xml").read_bytes()) == hosts > 100


@pytest.mark.integration
@pytest.mark.parametrize("options", [[], ["-sV", "--version-light", "--script", "http-title,http-headers"]])
def test_real_scans(servers, tmp_path, options):
    path = tmp_path / "scan.xml"
    ports = ",".join(map(str, [1, servers(), servers()]))
    command = [need("nmap"), "-sT", "-n", "-p", ports, *options, "-oX", str(path), "127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert compare(path.read_bytes()) == 1
    ((_, ports),) = read(path.read_bytes())[0][1]
    assert sum(each["state"] == "open" for each in ports) == 2


def test_every_deviation_is_shown():
    shown = {name.replace("_", " ") for name in SHOWN}
    assert shown == DEVIATIONS.keys()


RICH = accepted((Path(__file__).parent / "fixtures/nmap/rich.xml").read_bytes())


def without(value, name: str):
    """A value that has lost what our reader calls `name`, wherever it is."""
    if isinstance(value, dict):
        return {key: without(each, name) for key, each in value.items() if key != name}
    return [without(each, name) for each in value] if isinstance(value, list) else value


FACTS = ("reason_ttl", "match", "result", "start", "extra_ports", "cpe", "owner", "uptime", "hostname", "elapsed")


@pytest.mark.parametrize("name", FACTS)
def test_a_reader_that_loses_a_fact_is_noticed(name):
    def poorer(data):
        ((document, hosts),) = read(data)
        document.run.facts = without(document.run.facts, name)
        return [(document, [(without(body, name), without(ports, name)) for body, ports in hosts])]

    with pytest.raises(AssertionError):
        compare(RICH, poorer)


# --- each deviation, as it is ---------------------------------------------------------------------------


def mac():
    data = of('<address addr="66:77:88:ab:11:22" addrtype="mac"/>')
    return first(data).mac, body(data)["address"][1]["addr"]


def ipv4():
    data = of('<address addr="192.0.2.2" addrtype="ipv4"/>')
    return first(data).ipv4, body(data)["address"][0]["addr"]


def ipv6():
    data = of('<address addr="fe80::1%eth0" addrtype="ipv6"/>')
    return first(data).ipv6, body(data)["address"][1]["addr"]


def vendor():
    data = of('<address addr="02:00:00:00:00:01" addrtype="mac" vendor="A"/>')
    data = data.replace(b"</host>", b'<address addr="02:00:00:00:00:02" addrtype="mac" vendor="B"/></host>')
    return first(data).vendor, [each.get("vendor") for each in body(data)["address"]]


def times():
    data = of("", 'starttime="1700000000" endtime="0"')
    return (first(data).starttime, first(data).endtime), (body(data)["start"], body(data).get("end", ""))


def text():
    data = of('<hostnames><hostname name="caf&#xc3;&#xa9;"/></hostnames>')
    return first(data).hostnames[0], body(data)["hostname"][0]["name"]


def output():
    data = port('<script id="x">old</script>')
    return first(data).services[0].scripts_results[0].get("output"), read(data)[0][1][0][1][0]["script"]["output"][0]


def single_value():
    data = port('<script id="sshv1" output="Server supports SSHv1">true</script>')
    (result,) = read(data)[0][1][0][1][0]["script"]["result"]
    return first(data).services[0].scripts_results[0]["elements"], result["table"]


def elements():
    rows = '<elem key="k">1</elem><elem key="k">2</elem><elem>3</elem><elem>4</elem>'
    data = port(f'<script id="x" output="">{rows}</script>')
    (result,) = read(data)[0][1][0][1][0]["script"]["result"]
    return first(data).services[0].scripts_results[0]["elements"], [row["value"] for row in result["table"]]


def extraports():
    data = of('<ports><extraports state="closed" count="9"/><extraports state="filtered" count="1"/></ports>')
    state = first(data).extraports_state["state"]["state"]
    return [state], [group["state"] for group in body(data)["extra_ports"]]


def scaninfo():
    report = NmapParser.parse_fromstring(RICH.decode())
    return [report.scan_type], [info["type"] for info in read(RICH)[0][0].run.facts["info"]]


def os_classes():
    data = of('<os><osclass type="router" vendor="Old" osfamily="embedded" accuracy="80"/></os>')
    return [match.name for match in first(data).os.osmatches], [m["name"] for m in body(data)["os"].get("match", [])]


def bad_value():
    data = port("").replace(b'state="open"', b'state="open" reason_ttl="none"')
    return first(data).services[0].reason_ttl, read(data)[0][1][0][1][0].get("reason_ttl")


def empty():
    data = port('<service name="x" product=""/>')
    return first(data).services[0].service_dict.get("product"), read(data)[0][1][0][1][0]["service"].get("product")


def repeated_element():
    data = port('<state reason="reset"/>')
    found = read(data)[0][1][0][1][0]
    return vars(first(data).services[0])["_state"], {"state": found["state"], "reason": found["reason"]}


def odd_children():
    data = port('<script id="x" output=""><novelty key="k">1</novelty></script>')
    (result,) = read(data)[0][1][0][1][0]["script"]["result"]
    return first(data).services[0].scripts_results[0]["elements"], result["table"]


def absent_number():
    return first(of("")).distance, body(of("")).get("distance")


SHOWN = {
    "mac": (mac, "66:77:88:ab:11:22", "66-77-88-AB-11-22"),
    "ipv4": (ipv4, "192.0.2.2", "192.0.2.1"),
    "ipv6": (ipv6, "fe80::1%eth0", "fe80::1"),
    "vendor": (vendor, "B", [None, "A", "B"]),
    "times": (times, ("1700000000", "0"), ("2023-11-14T22:13:20.000Z", "")),
    "text": (text, "cafÃ©", "café"),
    "output": (output, None, "old"),
    "single_value": (single_value, {}, [{"value": "true"}]),
    "elements": (elements, {"k": "2", None: "4"}, ["1", "2", "3", "4"]),
    "extraports": (extraports, ["filtered"], ["closed", "filtered"]),
    "scaninfo": (scaninfo, ["ipproto"], ["syn", "udp", "sctpinit", "ipproto"]),
    "os_classes": (os_classes, ["router:Old:embedded"], []),
    "bad_value": (bad_value, "none", None),
    "empty": (empty, "", None),
    "repeated_element": (repeated_element, {"reason": "reset"}, {"state": "open", "reason": "reset"}),
    "odd_children": (odd_children, {}, [{"key": "k", "table": []}]),
    "absent_number": (absent_number, 0, None),
}
"""Deviation → (how to see it, what libnmap says, what our reader says)."""


@pytest.mark.parametrize("name", SHOWN)
def test_the_deviation_is_as_described(name):
    see, theirs, ours = SHOWN[name]
    assert see() == (theirs, ours)
    assert theirs != ours
