"""Hosts read as a strict parser reads them, whatever their size; of damaged ones, all that is left."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from xml.etree.ElementTree import XML
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libnmap.parser import NmapParser

from forwarder.nmap import framing, host, port, salvage
from forwarder.nmap.reader import Reader
from forwarder.nmap.survey import Survey

RECORDED = Path(__file__).parent.parent / "fixtures/nmap/demo.xml"


def one(n: int, ports: int = 20, extra: str = "") -> str:
    listed = "".join(
        f'<port protocol="tcp" portid="{i}"><state state="open"/><service name="s{n}-{i}"/>'
        f'<script id="x" output="{i}"/></port>\n'
        for i in range(ports)
    )
    return (
        f'<host endtime="17000000{n:02}"><status state="up"/><address addr="10.0.0.{n}" addrtype="ipv4"/>\n'
        f'<ports><extraports state="closed" count="7"/>{listed}</ports>{extra}<times srtt="1"/></host>\n'
    )


def scan(*hosts: str) -> bytes:
    return f'<?xml version="1.0"?>\n<nmaprun start="1">{"".join(hosts)}<runstats/></nmaprun>\n'.encode()


def read(data: bytes) -> list[list[tuple]]:
    """(head, ports, body, damage) of each host of each document."""
    found = []
    reader = Reader(BytesIO(data))
    for document in Survey(BytesIO(data)):
        hosts = [(h.ordinal, h.head, list(h.ports()), h.body(), h.damage) for h in reader.hosts(document)]
        assert [each[0] for each in hosts] == list(range(document.hosts))
        found.append([each[1:] for each in hosts])
    return found


def test_a_large_host_reads_like_a_small_one(monkeypatch):
    data = scan(one(1), one(2, extra="<hostscript><script id='y' output='z'/></hostscript>"), one(3, 0))
    small = read(data)
    for size in (1 << 20, 100, 13):
        monkeypatch.setattr(framing, "SPLIT", 50)
        monkeypatch.setattr(framing, "CHUNK", size)
        split = read(data)
        assert [each[1:] for each in split[0]] == [each[1:] for each in small[0]]
        for (head, *_), (whole, *_) in zip(split[0], small[0], strict=True):
            assert head["address"] == whole["address"]
            assert head["end"] == whole["end"]


@pytest.mark.parametrize("taken", [0, 3, 100])
@pytest.mark.parametrize("split", [50, 1 << 20])
def test_hosts_stay_apart_however_many_ports_are_taken_of_each(monkeypatch, taken, split):
    monkeypatch.setattr(framing, "SPLIT", split)
    data = scan(*(one(n) for n in range(1, 6))) * 2
    reader = Reader(BytesIO(data))
    for document in Survey(BytesIO(data)):
        found = []
        for each in reader.hosts(document):
            ports = each.ports()
            for _ in range(taken):
                next(ports, None)
            found.append(each.head["address"][0]["addr"])
        assert found == [f"10.0.0.{n}" for n in range(1, 6)]


def test_reading_on_begins_at_any_host_and_passes_over_documents():
    data = scan(*(one(n) for n in range(1, 6))) + scan(one(6)) + scan(one(7), one(8))
    documents = list(Survey(BytesIO(data)))
    assert [h.ordinal for h in Reader(BytesIO(data)).hosts(documents[0], first=3)] == [3, 4]
    third = Reader(BytesIO(data)).hosts(documents[2])
    assert [h.head["address"][0]["addr"] for h in third] == ["10.0.0.7", "10.0.0.8"]
    reader = Reader(BytesIO(data))
    assert next(reader.hosts(documents[0])).ordinal == 0  # the rest of it is not wanted
    assert [h.ordinal for h in reader.hosts(documents[2], first=1)] == [1]
    assert list(Reader(BytesIO(data)).hosts(documents[1], first=9)) == []


@pytest.mark.parametrize("cut", range(1, len(one(3, 4)), 3))
def test_a_large_host_cut_by_the_end_is_none(monkeypatch, cut):
    monkeypatch.setattr(framing, "SPLIT", 50)
    assert len(read(scan(one(1)).split(b"<runstats")[0] + one(3, 4)[:-1].encode()[:-cut])[0]) == 1


@pytest.mark.parametrize("split", [50, 1 << 20])
def test_one_broken_port_spoils_no_other(monkeypatch, split):
    monkeypatch.setattr(framing, "SPLIT", split)
    broken = one(1).replace('portid="5"><state state="open"/>', 'portid="5"><state state="op<n"/>')
    broken = broken.replace('portid="7">', 'portid="7"').replace("s1-9", "s1-9&#x1;")
    ((_, ports, body, damage), (*_, sound)) = read(scan(broken, one(2)))[0]
    numbers = {p["number"] for p in ports if "number" in p}
    assert numbers >= set(range(20)) - {7}
    assert next(p for p in ports if p.get("number") == 9)["service"]["name"] == "s1-9\\x01"
    assert body["rtt"] == {"srtt": 1}
    assert damage
    assert not sound


def test_a_host_without_a_whole_tag_says_what_is_wrong():
    ((head, ports, body, damage),) = read(scan(one(1).replace('endtime="', "endtime=")))[0]
    assert head["unparsed"] == [damage]
    assert len(ports) == 20
    assert "address" not in body


def test_control_characters_in_output_cost_a_mark_and_nothing_else():
    ((head, ports, _, damage),) = read(scan(one(1).replace('output="3"', 'output="a&#x1;b"')))[0]
    assert head["address"][0]["addr"] == "10.0.0.1"
    assert ports[3]["script"]["output"] == ["a\\x01b"]
    assert damage


def test_a_task_inside_a_tag_of_a_host_is_taken_out():
    task = '<taskprogress task="x" time="1" percent="1"/>\n'
    ((_, ports, _, damage),) = read(
        scan(one(1).replace('<port protocol="tcp" portid="3">', f'<port {task}protocol="tcp" portid="3">'))
    )[0]
    assert [p["number"] for p in ports] == list(range(20))
    assert damage


def test_ports_outside_of_their_list_are_found(monkeypatch):
    data = scan(one(1, 2, extra='<port protocol="udp" portid="53"/>'))
    for split in (1 << 20, 50):
        monkeypatch.setattr(framing, "SPLIT", split)
        assert [p["id"] for p in read(data)[0][0][1]] == ["tcp/0", "tcp/1", "udp/53"]


def test_what_is_too_large_is_said_to_be_only_in_the_evidence(monkeypatch):
    monkeypatch.setattr(framing, "LIMIT", 2000)
    monkeypatch.setattr(framing, "SPLIT", 1000)
    lost = one(1).replace('output="3"', f'output="{"x" * 3000}"')
    rest = one(2, extra="<x>y</x>" * 500)
    ((_, ports, body, damage), (_, all_ports, _, partial), (*_, sound)) = read(scan(lost, rest, one(3)))[0]
    assert [p["number"] for p in ports] == [n for n in range(20) if n != 3]
    assert body["rtt"] == {"srtt": 1}
    assert damage == "1 ports are too large to read and only in the evidence"
    assert len(all_ports) == 20
    assert partial == "part of it is too large to read and only in the evidence"
    assert not sound


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("<>&\"'/ é€]-"),
    max_size=12,
).filter(lambda text: salvage.utf8(text) == text)
NUMBER = st.integers(0, 65535).map(str)


def tag(name: str, attributes: dict[str, str], inside: str = "") -> str:
    written = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    return f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>"


PORT = st.builds(
    lambda portid, state, service, output: tag(
        "port",
        {"protocol": "tcp", "portid": portid},
        tag("state", {"state": state}) + tag("service", service) + tag("script", {"id": "x", "output": output}),
    ),
    NUMBER,
    TEXT,
    st.dictionaries(st.sampled_from(["name", "product", "extrainfo", "odd", "conf"]), TEXT),
    TEXT,
)
HOST = st.builds(
    lambda comment, names, ports, opaque: tag(
        "host",
        {"comment": comment},
        tag("status", {"state": "up"})
        + tag("hostnames", {}, "".join(tag("hostname", {"name": name}) for name in names))
        + opaque
        + tag("ports", {}, "".join(ports)),
    ),
    TEXT,
    st.lists(TEXT, max_size=2),
    st.lists(PORT, max_size=4),
    st.sampled_from(["", "<!-- </host><host > -->", "<x><![CDATA[</host> <!-- ]]></x>", "\n", "<!---->"]),
)
BETWEEN = st.sampled_from(["", "\n", "<!-- <host> -->", '<taskprogress percent="1"/>', "<host/>", "<host />"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(HOST, BETWEEN), max_size=4),
    st.sampled_from([1, 7, 1 << 20]),
    st.sampled_from([40, 300, 1 << 22]),
)
def test_a_sound_scan_reads_as_a_strict_parser_reads_it(parts, chunk, split):
    data = scan(*(text for part in parts for text in part))
    strict = XML(data)
    expected = [([port.port(p) for p in h.iterfind("ports/port")], host.host(h), "") for h in strict.iterfind("host")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(framing, "CHUNK", chunk)
        patch.setattr(framing, "SPLIT", split)
        found = read(data)
    assert len(found) == 1
    assert [each[1:] for each in found[0]] == expected


def test_libnmap_agrees_on_a_recorded_scan():
    data = RECORDED.read_bytes()
    oracle = NmapParser.parse_fromstring(data.decode())
    (hosts,) = read(data)
    assert len(hosts) == len(oracle.hosts) > 0
    for (_, ports, body, damage), theirs in zip(hosts, oracle.hosts, strict=True):
        assert not damage
        assert body["address"][0]["addr"] == theirs.address
        assert body["state"] == theirs.status
        assert sorted(name["name"] for name in body.get("hostname", [])) == sorted(theirs.hostnames)
        assert {(p["number"], p["protocol"]) for p in ports if p["state"] == "open"} == set(theirs.get_open_ports())
        services = {(s.port, s.protocol): s for s in theirs.services}
        assert len(services) == len(ports)
        for p in ports:
            service = services[p["number"], p["protocol"]]
            assert p.get("service", {}).get("name", "") == service.service
            assert p.get("script", {}).get("id", []) == [script["id"] for script in service.scripts_results]
        assert body.get("script", {}).get("id", []) == [script["id"] for script in theirs.scripts_results]
