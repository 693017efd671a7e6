"""Values have their type or are kept as they were written; nothing is lost and nothing raises."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from xml.etree.ElementTree import XML, Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.nmap import values
from forwarder.nmap.host import host
from forwarder.nmap.port import port
from forwarder.nmap.script import MAX_DEPTH, scripts


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (values.integer, "-12", -12),
        (values.natural, "007", 7),
        (values.port_number, "65535", 65535),
        (values.number, "7.00", 7),
        (values.number, "-0.00001", 0),
        (values.number, "99.123456", 99.1235),
        (values.boolean, "true", True),
        (values.boolean, "0", False),
        (values.address, "FE80:0::1%eth0", "fe80::1"),
        (values.address, "10.0.0.1", "10.0.0.1"),
        (values.moment, "1700000000", "2023-11-14T22:13:20.000Z"),
        (values.moment, str(values.LAST_SECOND), "9999-12-31T23:59:59.000Z"),
        (values.mac, "00:0c:29:aB:cd:ef", "00-0C-29-AB-CD-EF"),
    ],
)
def test_values_are_typed(convert, text, value):
    found = convert(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("convert", "text"),
    [
        (values.integer, ""),
        (values.integer, "--5"),
        (values.integer, "1" * 16),
        (values.integer, "²"),
        (values.integer, "٣"),
        (values.natural, "-1"),
        (values.natural, "²"),
        (values.port_number, "65536"),
        (values.number, "1e5"),
        (values.number, "nan"),
        (values.number, "--"),
        (values.boolean, "yes"),
        (values.address, "10.0.0.256"),
        (values.address, ""),
        (values.moment, "0"),
        (values.moment, str(values.LAST_SECOND + 1)),
        (values.mac, ""),
        (values.mac, "00:0c"),
    ],
)
def test_what_has_not_its_type_is_refused(convert, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$|does not appear"):
        convert(text)


CONVERSIONS = [
    values.integer,
    values.natural,
    values.port_number,
    values.number,
    values.boolean,
    values.address,
]


@given(st.text() | st.from_regex(r"-?[0-9.]{0,20}"), st.sampled_from([*CONVERSIONS, values.moment, values.mac]))
def test_any_text_has_its_type_or_is_refused_in_one_way(text, convert):
    value = None
    with suppress(ValueError):
        value = convert(text)
    json.dumps(value, allow_nan=False)


def test_attributes_that_do_not_fit_are_kept_as_written():
    odd: list[str] = []
    into: dict = {}
    table: values.Table = {
        "a": ("first", values.natural),
        "b": ("second", None),
        "c": ("third", values.natural),
    }
    values.take(Element("x", {"a": "1", "b": "text", "c": "no", "d": "new", "e": ""}), table, into, odd)
    assert into == {"first": 1, "second": "text"}
    assert odd == ["x/@c=no", "x/@d=new"]


def test_oddities_are_bounded_in_number_and_length():
    odd: list[str] = []
    for _ in range(values.MAX_UNPARSED + 5):
        values.note(odd, "x" * 5000)
    assert odd == ["x" * values.MAX_UNPARSED_LENGTH + "… and 4000 characters more"] * values.MAX_UNPARSED + [
        "and more, only in the evidence"
    ]


def test_markup_nested_deeper_than_the_stack_does_not_raise():
    element = XML("<x>" * 50_000 + "</x>" * 50_000)
    assert host(XML("<host/>")) == {}
    whole = Element("host")
    whole.append(element)
    assert host(whole)["unparsed"] == ["<x> is nested too deeply to write"]


RICH = """
<host starttime="1700000000" endtime="1700000010" timedout="true" comment="c">
<status state="up" reason="arp" reason_ttl="0" reason_ip="10.0.0.9"/><smurf responses="3"/>
<address addr="10.0.0.1" addrtype="ipv4"/><address addr="00:11:22:33:44:55" addrtype="mac" vendor="V"/>
<address addr="10.0.0.1" addrtype="ipv4"/><address addr="" addrtype="mac"/><address addr="x"/>
<hostnames><hostname name="a" type="user"/><hostname name="b" type="PTR"/>
<other/></hostnames>
<ports><extraports state="closed" count="5">
<extrareasons reason="reset" count="5" proto="tcp" ports="1-5"/></extraports>
<extraports state="filtered" count="2"/><port protocol="tcp" portid="9"/><odd/></ports>
<os><portused state="open" proto="tcp" portid="22"/><osclass vendor="W" osfamily="F"/>
<osmatch name="L" accuracy="98" line="1">
<osclass vendor="L" osgen="4.X" type="t" accuracy="98">
<cpe>cpe:/o:l</cpe><cpe/></osclass>
</osmatch><osmatch name="M" accuracy="x"/><osfingerprint fingerprint="SCAN()"/><strange/></os>
<uptime seconds="100" lastboot="yesterday"/><distance value="1"/>
<tcpsequence index="200" difficulty="Good luck!" values="1,2"/>
<ipidsequence class="All zeros" values="0"/><tcptssequence class="1000HZ" values="3"/>
<trace port="80" proto="tcp"><hop ttl="1" ipaddr="10.0.0.2" rtt="0.50" host="gw"/><hop ttl="2" rtt="--"/>
<error errorstr="e"/><y/></trace>
<hostscript><script id="s" output="o">
<elem key="k">v</elem><table key="t"><elem>1</elem><elem/></table></script></hostscript>
<times srtt="100" rttvar="-5" to="100000"/>
</host>"""


def test_a_rich_host_has_all_its_facts():
    found = host(XML(RICH))
    assert found["address"] == [
        {"addr": "10.0.0.1", "type": "ipv4"},
        {"addr": "00-11-22-33-44-55", "type": "mac", "vendor": "V"},
        {"addr": "10.0.0.1", "type": "ipv4"},
    ]
    assert [name["name"] for name in found["hostname"]] == ["a", "b"]
    assert [group["count"] for group in found["extra_ports"]] == [5, 2]
    assert found["extra_ports"][0]["reasons"] == [{"reason": "reset", "count": 5, "protocol": "tcp", "ports": "1-5"}]
    assert found["os"]["match"][0]["class"][0]["cpe"] == ["cpe:/o:l"]
    assert found["os"]["match"][1] == {"name": "M"}
    assert found["os"]["class"] == [{"vendor": "W", "family": "F"}]
    assert found["os"]["port_used"] == [{"state": "open", "protocol": "tcp", "port": 22}]
    assert found["os"]["fingerprint"] == ["SCAN()"]
    assert found["trace"]["hop"] == [{"ttl": 1, "ip": "10.0.0.2", "rtt": 0.5, "host": "gw"}, {"ttl": 2}]
    assert found["trace"]["error"] == "e"
    assert found["rtt"] == {"srtt": 100, "rttvar": -5, "timeout": 100000}
    assert (found["distance"], found["timed_out"], found["smurf"]) == (1, True, {"responses": 3})
    assert found["script"]["result"] == [
        {
            "id": "s",
            "table": [{"key": "k", "value": "v"}, {"key": "t", "table": [{"value": "1"}, {"value": ""}]}],
        }
    ]
    assert found["unparsed"] == [
        '<address addr="" addrtype="mac" />',
        '<address addr="x" />',
        "<other />",
        "<odd />",
        "osmatch/@accuracy=x",
        "<strange />",
        "<y />",
    ]


def test_a_port_has_all_its_facts():
    found = port(
        XML(
            '<port protocol="tcp" portid="80"><state state="open" reason="syn-ack" reason_ttl="64"/>'
            '<owner name="root"/>'
            '<service name="http" product="p" conf="10" tunnel="ssl" lowver="x"><cpe>cpe:/a</cpe></service>'
            '<script id="a" output="1"/><script id="b">text </script><new/></port>'
        )
    )
    assert found == {
        "id": "tcp/80",
        "protocol": "tcp",
        "number": 80,
        "state": "open",
        "reason": "syn-ack",
        "reason_ttl": 64,
        "owner": "root",
        "service": {"name": "http", "product": "p", "confidence": 10, "tunnel": "ssl", "cpe": ["cpe:/a"]},
        "script": {"id": ["a", "b"], "output": ["1", "text"]},
        "unparsed": ["service/@lowver=x", "<new />"],
    }
    assert port(XML('<port portid="70000"/>')) == {"id": "/70000", "unparsed": ["port/@portid=70000"]}


def test_deep_tables_are_pruned_and_marked():
    depth = MAX_DEPTH + 3
    found = scripts([XML('<script id="s">' + "<table>" * depth + "</table>" * depth + "</script>")], "pre")
    assert found["phase"] == ["pre"]
    rows, levels = found["result"][0]["table"], 0
    while rows and "table" in rows[0]:
        rows, levels = rows[0]["table"], levels + 1
    assert rows == [{"pruned": True}]
    assert levels == MAX_DEPTH - 1
    assert scripts([]) == {}
