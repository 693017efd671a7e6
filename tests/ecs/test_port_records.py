"""Records that are spliced from what compiled code wrote are the same bytes as those made of dicts."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.ecs import fit, port_records
from forwarder.ecs.context import Attributed, Context, Options, Origin
from forwarder.ecs.hosts import HostMapper
from forwarder.ecs.tally import Tally
from forwarder.history import Asset
from forwarder.nmap import fast, framing
from forwarder.nmap.reader import Reader
from forwarder.nmap.survey import Survey

FIXTURES = sorted((Path(__file__).parent.parent / "fixtures/nmap").iterdir())
OPTIONS = (
    Options(),
    Options(observer="scanner1", observer_ip="198.51.100.7", networks=("192.0.2.0/25",), all_ports=True),
)
WHO = Attributed(shared={"labels": {"ticket": "CHG-1"}, "user": {"name": "alice"}})

if not fast.COMPILED and os.environ.get("CI") != "true":
    pytest.skip("no Rust compiler built the compiled reader here", allow_module_level=True)

HEAD = (
    '<nmaprun start="1700000000"><scaninfo type="syn" protocol="tcp" numservices="9" services="1-9"/>'
    '<host endtime="1700000321"><status state="up"/><address addr="192.0.2.1" addrtype="ipv4"/>'
    '<hostnames><hostname name="a&quot;b.example" type="PTR"/></hostnames><ports>'
)
TAIL = '</ports></host><runstats><finished time="1700000400"/></runstats></nmaprun>'


def one_port(inner: str, protocol: str = "tcp", number: object = 443) -> str:
    return f'<port protocol="{protocol}" portid="{number}"><state state="open" reason="syn-ack"/>{inner}</port>'


def script(name: str, rows: str, output: str = "x") -> str:
    return f'<script id="{name}" output="{output}">{rows}</script>'


TITLE = script("http-title", '<elem key="title">a &quot;b&quot; \\ &lt;c&gt;</elem>')
LOGIN = script("redis-info", '<elem key="Version">5.0</elem>')
KEYS = script(
    "ssh-hostkey",
    f'<table><elem key="bits">2048</elem><elem key="key">{"0" * 32}</elem><elem key="type">ssh-rsa</elem></table>',
)
CIPHERS = script(
    "ssl-enum-ciphers",
    '<table key="TLSv1.0"><table key="ciphers"><table><elem key="name">TLS_RSA_WITH_RC4_128_SHA</elem>'
    '<elem key="strength">C</elem></table></table></table><elem key="least strength">C</elem>',
)
VULNERS = script(
    "vulners",
    '<table key="cpe:/a:x:y:1"><table><elem key="id">CVE-2020-1</elem><elem key="cvss">7.5</elem>'
    '<elem key="type">cve</elem><elem key="is_exploit">false</elem></table></table>',
)
SERVICE = '<service name="HTTPS" product="a &amp; &quot;b&quot;" version="1" method="probed" conf="10" tunnel="ssl"/>'
SPLICED = {
    "nothing but a state": "",
    "a service": SERVICE,
    "a service that is a guess": '<service name="https" method="table" conf="3"/>',
    "a service without a name": '<service product="p" version="1" method="probed" conf="10"/>',
    "a script that nothing understands": script("x", '<elem key="k">v</elem>'),
    "a title": SERVICE + TITLE,
    "host keys": KEYS,
    "ciphers": SERVICE + CIPHERS,
    "facts in all places": SERVICE
    + CIPHERS
    + KEYS
    + TITLE
    + LOGIN
    + script("ftp-anon", "", "Anonymous FTP login allowed"),
    "an owner": '<owner name="root"/>',
}
GENERAL = {
    "a certificate": SERVICE + TITLE + script("ssl-cert", '<elem key="sha1">' + "0" * 40 + "</elem>"),
    "a finding": SERVICE + VULNERS + TITLE,
    "a long message": f'<service name="{"n" * 300}" product="{"p" * 300}" version="{"v" * 400}"/>',
    "odd XML": "<service name='a'/><new/>",
    "another protocol": one_port("", "dccp", 1),
    "no transport": one_port("", "ip", 6),
}


def forwarded(data: bytes, options: Options, known: dict[str, Asset] | None = None) -> tuple[list[bytes], list[Asset]]:
    """Records of all hosts, and what is known of them."""
    lines, observed = [], []
    reader = Reader(BytesIO(data))
    for document in Survey(BytesIO(data)):
        origin = Origin("x.xml", "0" * 64, len(data), "2024-01-01T00:00:00.000Z")
        context = Context(document, origin, options, document.scan_id, WHO)
        mapper = HostMapper(context, Tally(), (known or {}).get)
        for host in reader.hosts(document):
            lines += mapper.records(host)
            observed += mapper.observed
    return lines, observed


def spliced(data: bytes, monkeypatch: pytest.MonkeyPatch, options: Options = OPTIONS[0]) -> int:
    """Hold both ways against each other; return how many records were spliced."""
    count = 0
    line = port_records.Splice.line

    def counted(*args: object) -> bytes | None:
        nonlocal count
        found = line(*args)
        count += found is not None
        return found

    with monkeypatch.context() as patch:
        patch.setattr(port_records.Splice, "line", counted)
        found = forwarded(data, options)
    with monkeypatch.context() as patch:
        patch.setattr(fast, "host", lambda _: None)
        patch.setattr(fast, "port", lambda _: None)
        assert found == forwarded(data, options)
    return count


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "all"])
@pytest.mark.parametrize("split", [50, framing.SPLIT])
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_every_fixture_has_the_same_records(path, split, options, monkeypatch):
    monkeypatch.setattr(framing, "SPLIT", split)
    spliced(path.read_bytes(), monkeypatch, options)


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "all"])
@pytest.mark.parametrize("name", SPLICED)
def test_usual_ports_are_spliced(name, options, monkeypatch):
    data = (HEAD + one_port(SPLICED[name]) + one_port("", "udp", 53) + TAIL).encode()
    assert spliced(data, monkeypatch, options) == 2


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "all"])
@pytest.mark.parametrize("name", GENERAL)
def test_others_are_made_the_general_way(name, options, monkeypatch):
    inner = GENERAL[name]
    data = HEAD + (inner if inner.startswith("<port") else one_port(inner)) + TAIL
    assert spliced(data.encode(), monkeypatch, options) == 0


def test_a_host_without_an_ip_address_has_the_same_records(monkeypatch):
    data = (HEAD + one_port(SERVICE) + TAIL).replace(
        '"192.0.2.1" addrtype="ipv4"', '"00:00:5E:00:53:01" addrtype="mac"'
    )
    assert spliced(data.encode(), monkeypatch) == 0


def test_what_is_too_long_for_a_record_is_cut_alike(monkeypatch):
    monkeypatch.setattr(port_records, "MAX_RECORD_BYTES", 4000)
    monkeypatch.setattr(fit, "MAX_RECORD_BYTES", 4000)
    data = HEAD + one_port(script("x", "", "y" * 4000)) + one_port("", number=1) + TAIL
    assert spliced(data.encode(), monkeypatch) == 1


def test_closed_ports_and_repeated_ones_are_told_apart_alike(monkeypatch):
    closed = one_port("", number=1).replace('"open"', '"closed"')
    data = (HEAD + closed + one_port("") + one_port("") + closed + TAIL).encode()
    assert spliced(data, monkeypatch) == 2
    assert spliced(data, monkeypatch, OPTIONS[1]) == 4


def test_the_same_is_known_and_the_same_changes_are_told(monkeypatch):
    before = (HEAD + one_port(SERVICE) + one_port("", number=22) + TAIL).encode()
    after = before.replace(b'version="1"', b'version="2"').replace(b'"22"', b'"23"').replace(b"1700", b"1701")
    known = {asset.host_id: asset for asset in forwarded(before, OPTIONS[0])[1]}
    found = forwarded(after, OPTIONS[0], known)
    monkeypatch.setattr(fast, "host", lambda _: None)
    assert {asset.host_id: asset for asset in forwarded(before, OPTIONS[0])[1]} == known
    assert forwarded(after, OPTIONS[0], known) == found
    assert sum(b'"dataset":"nmap.change"' in line for line in found[0]) == 2


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_is_done_to_a_host_it_has_the_same_records(data):
    ports = "".join(one_port(inner, number=n) for n, inner in enumerate({**SPLICED, **GENERAL}.values()))
    source = bytearray((HEAD + ports + TAIL).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(len(HEAD), len(source) - len(TAIL)))
        what = data.draw(st.sampled_from(["cut", "change", "copy", "insert"]))
        if what == "cut":
            del source[at : at + data.draw(st.integers(1, 40))]
        elif what == "change":
            source[at] = data.draw(st.integers(0, 255))
        elif what == "copy":
            source[at:at] = source[data.draw(st.integers(0, len(source))) :][:60]
        else:
            source[at:at] = data.draw(st.sampled_from([b'"', b"<", b"&#10;", b"&amp;", b" ", b"/>", b"0", b"-", b"\0"]))
    with pytest.MonkeyPatch.context() as monkeypatch:
        spliced(bytes(source), monkeypatch)
