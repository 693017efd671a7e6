"""Compiled code reads a host as Python does, or leaves it to Python."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.nmap import fast, framing
from forwarder.nmap.framing import Frame, Framer
from forwarder.nmap.reader import Host

FIXTURES = sorted((Path(__file__).parent.parent / "fixtures/nmap").iterdir())

if not fast.COMPILED and os.environ.get("CI") != "true":
    pytest.skip("no Rust compiler built the compiled reader here", allow_module_level=True)

RICH = rb"""<host starttime="1700000000" endtime="1700000321" timedout="true" comment="a &amp; b">
<status state="up" reason="user-set" reason_ttl="0"/>
<address addr="10.0.0.1" addrtype="ipv4"/><address addr="FE80:0:0::1%eth0" addrtype="ipv6"/>
<address addr="aa:bb:cc:dd:ee:0f" addrtype="mac" vendor="A &quot;V&quot;"/>
<hostnames><hostname name="a.example" type="user"/><hostname name="b.example" type='PTR'/></hostnames>
<ports><extraports state="closed" count="3"><extrareasons reason="reset" count="3" proto="tcp" ports="1-3"/></extraports>
<extraports state="filtered" count="4"/>
<port protocol="tcp" portid="22"><state state="open" reason="syn-ack" reason_ttl="64" reason_ip="10.0.0.9"/>
<service name="ssh" product="OpenSSH" version="9 &lt;x&gt;" extrainfo="e" tunnel="ssl" method="probed" conf="10"
 hostname="h" ostype="Linux" devicetype="d" proto="rpc" rpcnum="-1" lowver="1" highver="2" servicefp="SF&#xa;x\y">
<cpe>cpe:/a:b</cpe><cpe>cpe:/o:c</cpe></service><owner name="root"/>
<script id="x" output="line&#xa;tab&#9;cr&#13;end"><elem key="k">v</elem><elem>a
b</elem><table key="t"><elem key=""/><table><elem>z</elem></table><table/></table></script><script id="y" output=""/></port>
<port protocol="udp" portid="53"><state state="open|filtered" reason="no-response"/></port>
<port protocol="ip" portid="1"><state state=""/><service/></port>
</ports>
<os><portused state="open" proto="tcp" portid="22"/><osclass type="t" vendor="v" osfamily="Linux" accuracy="99"/>
<osmatch name="Linux 5" accuracy="98" line="12"><osclass vendor="Linux" osfamily="Linux" osgen="5.X" accuracy="98">
<cpe>cpe:/o:linux</cpe></osclass></osmatch><osmatch name="x" accuracy="90"/><osfingerprint fingerprint="SCAN(x)"/></os>
<uptime seconds="12" lastboot="Tue"/><distance value="3"/><tcpsequence index="1" difficulty="d" values="1,2"/>
<ipidsequence class="c" values="v"/><tcptssequence class="c" values="v"/><smurf responses="2"/>
<trace port="80" proto="tcp"><hop ttl="1" ipaddr="10.0.0.2" rtt="0.45"/><hop ttl="2" ipaddr="2001:db8::1" rtt="--" host="h"/>
<hop ttl="3" ipaddr="10.0.0.3" rtt="12.00"/><error errorstr="e"/></trace>
<hostscript><script id="z" output="o"/></hostscript><times srtt="1" rttvar="-2" to="3"/>
</host>"""


def in_python(data: bytes, monkeypatch) -> tuple[dict, list[dict], str]:
    monkeypatch.setattr(fast, "host", lambda _: None)
    monkeypatch.setattr(fast, "port", lambda _: None)
    host = Host(0, Frame("host", 0, len(data), data), iter(()))
    ports = list(host.ports())
    monkeypatch.undo()
    return host.body(), ports, host.damage


def same(data: bytes, monkeypatch) -> bool:
    """Tell whether compiled code read it; then it must be what Python reads, and sound."""
    found = fast.host(data)
    assert found is None or (*found, "") == in_python(data, monkeypatch)
    if found:
        framer = Framer(BytesIO(data))
        assert [fast.port(frame.data) for frame in framer.parts_of_host() if frame.kind == "port"] == found[1]
    return found is not None


def test_all_that_a_host_may_say_is_read_alike(monkeypatch):
    assert same(RICH.replace(b"FE80:0:0::1%eth0", b"FE80:0:0::1"), monkeypatch)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_every_host_of_the_fixtures_is_read_alike(path, monkeypatch):
    for frame in Framer(BytesIO(path.read_bytes())):
        if frame.kind == "host":
            same(frame.data, monkeypatch)


def test_a_host_as_nmap_writes_it_is_not_left_to_python(monkeypatch):
    demo = next(path for path in FIXTURES if path.name == "demo.xml").read_bytes()
    hosts = [frame.data for frame in Framer(BytesIO(demo)) if frame.kind == "host"]
    assert hosts
    assert all(same(data, monkeypatch) for data in hosts)


def test_it_can_be_turned_off():
    program = "from forwarder.nmap import fast; print(fast.COMPILED, fast.host(b'<host/>'), fast.port(b'<port/>'))"
    environment = os.environ | {"NMAP_FORWARDER_PURE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False None None\n"


def test_threads_read_hosts_at_the_same_time():
    hosts = [RICH.replace(b"FE80:0:0::1%eth0", b"fe80::1").replace(b"a &amp; b", b"x" * 100 * n) for n in range(4)]
    expected = [fast.host(data) for data in hosts]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(hosts)) as pool:
            found = list(pool.map(lambda n: fast.host(hosts[n % 4]) == expected[n % 4], range(8000)))
    finally:
        sys.setswitchinterval(interval)
    assert all(found)


@pytest.mark.parametrize(
    "text", ["ä", "\u4e2d\u6587 &amp; x", "\U0001f600\\", "\x80\x85\xa0", "\u2028\u3000", "\ufeff", "\ufffd\ufffc"]
)
@pytest.mark.parametrize(
    "place", ["a &amp; b", "A &quot;V&quot;", "a.example", "9 &lt;x&gt;", "line&#xa;", "a\nb", "Linux 5"]
)
def test_characters_beyond_ascii_are_read_alike(place, text, monkeypatch):
    data = RICH.replace(b"FE80:0:0::1%eth0", b"FE80:0:0::1").decode()
    assert place in data
    assert same(data.replace(place, text, 1).encode(), monkeypatch)


@pytest.mark.parametrize("text", [b"\xe4", b"\xc3", b"\xed\xa0\x80", b"\xc0\xbc", b"\xf5\x80\x80\x80"])
def test_what_is_not_utf_8_is_left_to_python(text):
    assert fast.host(RICH.replace(b"FE80:0:0::1%eth0", b"FE80:0:0::1").replace(b"<elem>z", b"<elem>" + text)) is None
    assert fast.port(b'<port protocol="tcp" portid="1"><owner name="' + text + b'"/></port>') is None


ODD = {
    "a character that XML has not": ("a.example", "a\ufffe.example"),
    "the other that it has not": ("<elem>z", "<elem>\uffff"),
    "bytes of UTF-8": ("a.example", "&#xc3;&#xa4;.example"),
    "a control character": ("a.example", "a&#x1;b"),
    "an entity of its own": ("a.example", "&own;"),
    "a bare ampersand": ("a.example", "a & b"),
    "an address with a zone": ("10.0.0.1", "fe80::1%eth0"),
    "an address with another one in it": ("10.0.0.1", "::ffff:10.0.0.1"),
    "no address": ("10.0.0.1", "ten"),
    "leading zeros": ("10.0.0.1", "010.0.0.1"),
    "a protocol in capitals": ('protocol="udp"', 'protocol="UDP"'),
    "a protocol with a reference": ('protocol="udp"', 'protocol="ud&#x50;"'),
    "a second service": ("<owner", "<service/><owner"),
    "a second list of scripts": ("<hostscript>", "<hostscript/><hostscript>"),
    "a value beside a script's output": ('<elem key="k">', 'value<elem key="k">'),
    "no number": ('portid="22"', 'portid="x"'),
    "a large number": ('portid="22"', 'portid="65536"'),
    "no time": ('endtime="1700000321"', 'endtime="0"'),
    "a late time": ('endtime="1700000321"', 'endtime="253402300800"'),
    "no fraction": ('rtt="0.45"', 'rtt="1e3"'),
    "neither true nor false": ('timedout="true"', 'timedout="yes"'),
    "no MAC address": ("aa:bb:cc:dd:ee:0f", "aa:bb:cc:dd:ee"),
    "another kind of address": ('addrtype="mac"', 'addrtype="eui"'),
    "an unknown attribute": ('<distance value="3"', '<distance value="3" new="1"'),
    "an attribute twice": ('<distance value="3"', '<distance value="3" value="4"'),
    "attributes that touch": ('<distance value="3"/>', '<smurf responses="1"responses="1"/>'),
    "an unknown element": ("<hostscript>", "<new/><hostscript>"),
    "an element twice": ("<hostscript>", '<uptime seconds="1"/><hostscript>'),
    "a comment": ("<hostscript>", "<!-- x --><hostscript>"),
    "CDATA": ("<elem>z", "<elem><![CDATA[z]]>"),
    "an end of CDATA": ("<elem>z", "<elem>]]>z"),
    "text where none belongs": ("<hostscript>", "text<hostscript>"),
    "a port outside of ports": ("<hostscript>", '<port protocol="tcp" portid="9"/><hostscript>'),
    "markup in a value": ("<elem>z", "<elem><b/>z"),
    "a line feed in an attribute": ("a.example", "a\nexample"),
    "no end tag": ("</trace>", ""),
    "another end tag": ("</trace>", "</os>"),
    "nothing in a cpe": ("cpe:/a:b", ""),
    "text of a script": ('output=""/>', ">text</script>"),
    "more behind it": ("\n</host>", "\n</host>x"),
    "two hosts": ("\n</host>", "\n</host><host></host>"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_left_to_python(name, monkeypatch):
    before, after = ODD[name]
    data = RICH.replace(b"FE80:0:0::1%eth0", b"FE80:0:0::1").decode()
    assert before in data
    assert fast.host(data.replace(before, after, 1).encode()) is None


def test_a_port_is_a_port_and_nothing_else():
    assert fast.port(b'<port protocol="tcp" portid="1"/>') == {"id": "tcp/1", "protocol": "tcp", "number": 1}
    for odd in (b"", b"<host/>", b'<port portid="1"/>x', b'<port portid="1"', b'<port portid="1"><new/></port>'):
        assert fast.port(odd) is None


def test_tables_nested_too_deeply_are_left_to_python():
    deep = b"<table>" * 16 + b"</table>" * 16
    head = b'<host><ports><port protocol="tcp" portid="1"><script id="x" output="">'
    tail = b"</script></port></ports></host>"
    assert fast.host(head + deep + tail) is None
    assert fast.host(head + deep[7:-8] + tail)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_is_done_to_a_host_it_is_read_alike_or_left(data):
    source = bytearray(RICH)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(source) - 1))
        what = data.draw(st.sampled_from(["cut", "change", "copy", "insert"]))
        if what == "cut":
            del source[at : at + data.draw(st.integers(1, 40))]
        elif what == "change" and at < len(source):
            source[at] = data.draw(st.integers(0, 255))
        elif what == "copy":
            source[at:at] = source[data.draw(st.integers(0, len(source))) :][:60]
        else:
            source[at:at] = data.draw(st.sampled_from([b'"', b"<", b"&#10;", b"&amp;", b" ", b"/>", b"0", b"-", b"\n"]))
        if not source:
            return
    with pytest.MonkeyPatch.context() as monkeypatch:
        same(bytes(source), monkeypatch)


@settings(max_examples=200, deadline=None)
@given(
    name=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=30),
    number=st.integers(-1, 70000),
    time=st.integers(0, 1 << 40),
    rtt=st.from_regex(r"-?[0-9]{1,11}(\.[0-9]{1,10})?", fullmatch=True),
    ip=st.ip_addresses().map(str),
)
def test_whatever_the_values_are_they_are_read_alike_or_left(name, number, time, rtt, ip):
    data = (
        f'<host endtime="{time}"><address addr="{ip}" addrtype="ipv{6 if ":" in ip else 4}"/>'
        f'<ports><port protocol="tcp" portid="{number}"><service name={quoteattr(name)} conf="{number}"/></port></ports>'
        f'<trace><hop ttl="1" rtt="{rtt}"/></trace></host>'
    ).encode()
    with pytest.MonkeyPatch.context() as monkeypatch:
        same(data, monkeypatch)


PIECES = (
    b"<host>|<host |</host>|</host |</hostnames>|<hostnames>|<host|</host|<hosthint>|\n| |\x0b|x|<!--|-->|<![CDATA[|]]>|<?x"
    b"|<nmaprun|</nmaprun|<nmapruns>|nmaprun|<port>|</port>|<h|<n|</|<"
).split(b"|")


def cut(data: bytes, sizes: dict[str, int]) -> list[Frame]:
    with pytest.MonkeyPatch.context() as patch:
        for name, size in sizes.items():
            patch.setattr(framing, name, size)
        return list(Framer(BytesIO(data)))


def cut_alike(data: bytes, sizes: dict[str, int]) -> None:
    compiled = cut(data, sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "plain_hosts", lambda *_: ())
        assert cut(data, sizes) == compiled


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=30), st.sampled_from([3, 20, 1 << 20]), st.sampled_from([9, 40, 3 << 19])
)
def test_hosts_are_cut_out_as_in_python(pieces, chunk, split):
    data = b"<nmaprun><host>a</host>\n<host>b</host> " + b"".join(pieces) + b"<host>c</host></nmaprun>"
    cut_alike(data, {"CHUNK": chunk, "SPLIT": split})


@pytest.mark.parametrize(
    "hiding",
    [
        b"<!-- </host> -->",
        b"<![CDATA[</host>]]>",
        b"<?xml </host>",
        b"<nmaprun>",
        b"</nmaprun>",
        b"</host >",
        b"<host>",
    ],
)
def test_what_could_hide_the_end_of_a_host_is_left_to_python(hiding):
    data = b"<host>a" + hiding + b"b</host><host>c</host>"
    assert not fast.plain_hosts(data, 0, 1000)
    cut_alike(b"<nmaprun>" + data + b"</nmaprun>", {})


def test_plain_hosts_are_found_by_compiled_code():
    """Which is all that it is for."""
    hosts = [
        b"<host>a</host>",
        b"<host starttime='1'><hostnames></hostnames> \n</host>",
        b"<host\n>" + b"b" * 99 + b"</host>",
    ]
    data = b" \r\n\t\f\v".join([*hosts, b"<host>c"])
    places = list(fast.plain_hosts(b"<!-- -->" + data, 8, 1000))
    assert [data[start - 8 : end - 8] for start, end in zip(places[::2], places[1::2], strict=True)] == hosts
    assert not fast.plain_hosts(data, 1, 1000)
    assert list(fast.plain_hosts(data, 0, 14)) == [0, 14]
    assert not fast.plain_hosts(data, 0, 13)
