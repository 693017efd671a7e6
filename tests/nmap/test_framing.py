"""Framing: exact on well-formed XML, one frame lost to one damage, bounded memory, never an exception."""

from __future__ import annotations

import re
from hashlib import sha256
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.nmap import framing
from forwarder.nmap.framing import Framer
from forwarder.nmap.reader import Reader
from forwarder.nmap.survey import Survey

HEAD = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE nmaprun>\n'
    b'<?xml-stylesheet href="file:///nmap.xsl" type="text/xsl"?>\n<!-- Nmap 7.93 scan initiated -->\n'
    b'<nmaprun scanner="nmap" args="nmap -p 1-3 net" start="1700000000" version="7.93">\n'
    b'<scaninfo type="syn" protocol="tcp" numservices="3" services="1-3"/>\n'
)
TAIL = (
    b'<runstats><finished time="1700000100" exit="success"/><hosts up="4" down="0" total="4"/></runstats>\n</nmaprun>\n'
)


def host(n: int, inside: bytes = b"") -> bytes:
    return (
        b'<host starttime="17000000%02d"><status state="up" reason="arp"/>\n' % n
        + b'<address addr="10.0.0.%d" addrtype="ipv4"/>' % n
        + b'<ports><port protocol="tcp" portid="%d"><state state="open"/></port></ports>' % n
        + inside
        + b"</host>\n"
    )


SMALL = HEAD + b"".join(map(host, range(1, 5))) + TAIL
NASTY = (
    HEAD
    + host(1, b"<!-- </host> <host> -->")
    + b"<!-- <host></host> -->\n"
    + host(2, b"<![CDATA[ </host></nmaprun> ]]>")
    + b'<taskprogress task="SYN" percent="3.5"/>\n<a-rather-long-name-that-nmap-may-invent-one-day-x>1'
    b"</a-rather-long-name-that-nmap-may-invent-one-day-x  >"
    + b"<host comment='a > \"b\"'><status state='up'/></host  >"
    + b'<host comment="/> \'"/>'
    + host(4)
    + TAIL
    + HEAD
    + host(5)
    + b'<host starttime="1'
)


def frames(data: bytes) -> list[tuple]:
    return [(f.kind, f.start, f.end, f.data, f.problem, f.lost) for f in Framer(BytesIO(data))]


def kinds(data: bytes) -> list[str]:
    return [f.kind for f in Framer(BytesIO(data))]


def addresses(data: bytes) -> list[list[str]]:
    """Addresses of the hosts of each document."""
    found = []
    reader = Reader(BytesIO(data))
    for document in Survey(BytesIO(data)):
        found.append([])
        for one in reader.hosts(document):
            list(one.ports())
            found[-1] += [entry["addr"] for entry in one.body().get("address", [])] or [""]
    return found


def test_a_whole_file_gives_its_parts_in_order_with_their_offsets():
    found = list(Framer(BytesIO(SMALL)))
    assert [f.kind for f in found] == ["document", "element", *["host"] * 4, "element", "end"]
    assert all(SMALL[f.start : f.end] == f.data and not f.problem for f in found[:-1])


def test_what_is_consumed_is_every_byte_in_order():
    passed = bytearray()
    for frame in Framer(BytesIO(b"x" + NASTY), passed.extend):
        assert len(passed) == frame.end
    assert bytes(passed) == b"x" + NASTY


def test_comments_cdata_quotes_and_greater_signs_do_not_hide_a_hosts_end():
    found = [f for f in Framer(BytesIO(NASTY)) if "host" in f.kind]
    assert [(f.kind, f.problem) for f in found] == [("host", "")] * 6 + [("cut-host", "cut")]
    assert found[2].data.endswith(b"</host  >")
    assert found[3].data == b'<host comment="/> \'"/>'


@pytest.mark.parametrize("cut", range(len(SMALL) + 1))
def test_a_file_cut_anywhere_keeps_each_host_before_the_cut_and_no_other(cut):
    data = SMALL[:cut]
    documents = list(Survey(BytesIO(data)))
    expected = [f"10.0.0.{n}" for n in range(1, data.count(b"</host>") + 1)]
    assert addresses(data) == [expected] * (cut > SMALL.index(b"<nmaprun") + 7)
    for document in documents:
        assert document.sha256 == sha256(data[document.start : document.start + document.length]).hexdigest()
        assert document.hosts == len(expected)
        assert bool(document.cut) == (cut < SMALL.index(b"</nmaprun>") + 10)
        first = SMALL.index(b"</host>") + 7
        if expected:
            assert document.scan_id == sha256(SMALL[document.start : first]).hexdigest()


@pytest.mark.parametrize("size", [*range(1, 65), 100, 255, 257])
def test_frames_do_not_depend_on_how_the_input_comes(monkeypatch, size):
    whole = frames(NASTY)
    monkeypatch.setattr(framing, "CHUNK", size)
    assert frames(NASTY) == whole


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize(
    "tail", [b"", b"<", b"</", b"<!", b"<!-", b"<!-- x", b"<?", b"<!DOC", b"</nmaprun", b"<![CDATA[ x"]
)
def test_any_tail_ends_the_document_as_cut(monkeypatch, size, tail):
    monkeypatch.setattr(framing, "CHUNK", size)
    data = HEAD + host(1) + tail
    found = list(Framer(BytesIO(data)))
    assert [f.kind for f in found] == ["document", "element", "host", "end"]
    assert (found[-1].problem, found[-1].end) == ("cut", len(data))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_flipped_bytes_never_raise_and_spoil_no_host_elsewhere(flips):
    data = bytearray(SMALL)
    for place, value in flips:
        data[place] = value
    found = [address for document in addresses(bytes(data)) for address in document]
    if any(place >= SMALL.index(b"</host>\n<runstats") for place, _ in flips):
        return
    for n in range(1, 5):
        begin = SMALL.index(b'<host starttime="17000000%02d' % n)
        end = SMALL.index(b"</host>", begin) + 7
        if not any(begin <= place < end for place, _ in flips):
            assert f"10.0.0.{n}" in found


@pytest.mark.parametrize("place", range(SMALL.index(b"<host")))
@pytest.mark.parametrize("value", b'<>[!-?&\x00\xff"')
def test_no_byte_before_a_scans_hosts_hides_them(place, value):
    data = bytearray(SMALL)
    data[place] = value
    assert [f"10.0.0.{n}" for n in range(1, 5)] in addresses(bytes(data) + SMALL)


TOKENS = (
    b"<host|<host>|</host>| |<!--|-->|<![CDATA[|]]>|<nmaprun>|</nmaprun>"
    b"|<port|>|/>|\"|'|<?xml|<!DOCTYPE|[|]>|<!ENTITY"
    b"|<|a|<a>|</a>|</port>|<ports>|\x00|\xff|&#x1;|&x;"
).split(b"|")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=40), st.integers(1, 70))
def test_garbage_never_raises_and_is_consumed_whole(tokens, split):
    data = b"<nmaprun>" + b"".join(tokens)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in [("SPLIT", split), ("LIMIT", split * 2), ("CHUNK", 5)]:
            patch.setattr(framing, name, value)
        passed = bytearray()
        end = 0
        for frame in Framer(BytesIO(data), passed.extend):
            assert frame.end == len(passed)
            end = frame.end
        assert bytes(passed) == data
        assert end <= len(data)
        addresses(data)
    addresses(data)


@pytest.mark.parametrize("data", [b"", b"\n", b"garbage", b"\x00" * 100, b"<<<>>>", b"<!-- never", b"<![CDATA["])
def test_what_is_no_xml_gives_nothing(data):
    assert frames(data) == []


def test_the_first_element_tells_what_a_foreign_file_is():
    framer = Framer(BytesIO(b'<?xml version="1.0"?><html><host>x</host></html>'))
    assert list(framer) == []
    assert framer.root == "html"


@pytest.mark.parametrize("cut", range(len(HEAD), len(HEAD) + len(host(1))))
def test_a_scan_appended_to_a_cut_one_is_whole(cut):
    second = SMALL.replace(b"10.0.0.", b"10.0.9.")
    assert addresses((HEAD + host(1))[:cut] + second)[-1] == [f"10.0.9.{n}" for n in range(1, 5)]


@pytest.mark.parametrize(
    "end", [b"", b"<host><ports><po", b"<!-- in a com", b"<host><!-- in", b"<scaninfo type='", b"<![CDATA["]
)
def test_three_scans_in_a_file_are_three_documents(end):
    data = SMALL + HEAD + host(8) + end + SMALL
    documents = list(Survey(BytesIO(data)))
    assert [bool(d.cut) for d in documents] == [False, True, False]
    assert [data[d.start : d.start + 8] for d in documents] == [b"<nmaprun"] * 3
    assert documents[1].start + documents[1].length == len(data) - len(SMALL)
    found = addresses(data)
    assert found[0] == found[2] == [f"10.0.0.{n}" for n in range(1, 5)]
    assert found[1][0] == "10.0.0.8"


def test_a_host_that_begins_inside_another_closes_it():
    data = HEAD + host(1)[:-8] + host(2) + b"<host\tx='1'>" + host(3) + TAIL
    found = [f for f in Framer(BytesIO(data)) if f.kind == "host"]
    assert [f.problem for f in found] == ["cut", "", "cut", ""]
    assert addresses(data) == [["10.0.0.1", "10.0.0.2", "", "10.0.0.3"]]


def test_an_element_without_its_end_takes_no_host_with_it():
    data = HEAD + b"<output type='x'>text" + host(1) + b"<hosthint" + host(2) + b"<output>text"
    found = list(Framer(BytesIO(data)))
    assert [(f.kind, f.problem) for f in found[2:]] == [
        ("element", "cut"),
        ("host", ""),
        ("element", "cut"),
        ("host", ""),
        ("element", "cut"),
        ("end", "cut"),
    ]


def test_a_task_inside_another_tag_costs_that_tag_only():
    task = b'<taskprogress task="x" time="1" percent="1"/>\n'
    data = HEAD + b'<scaninfo type="syn" ' + task + b'protocol="tcp"/>' + host(1) + TAIL
    found = list(Framer(BytesIO(data)))
    assert [(f.kind, f.problem) for f in found[2:5]] == [("element", "cut"), ("element", ""), ("host", "")]


def test_a_comment_that_never_ends_hides_nothing_behind_it():
    assert addresses(HEAD + host(1, b"<!-- ") + b"<!-- " + host(2) + TAIL) == [["10.0.0.1", "10.0.0.2"]]


def test_a_comment_whose_end_is_damaged_does_not_reach_for_the_next_ones():
    broken = SMALL.replace(b"initiated -->", b"initiated -x>")
    assert [len(found) for found in addresses(broken + SMALL)] == [4, 4]


def test_nothing_but_beginnings_takes_no_quadratic_time():
    for token in (b"<!--", b"<![CDATA[", b"<host>", b"<host ", b"<!DOCTYPE a["):
        frames(HEAD + b"<host>" + token * 40_000)
        frames(token * 40_000)


def test_an_end_is_not_looked_for_behind_the_next_beginning():
    looked = []

    class Watched(bytes):
        def find(self, what, start, end):
            looked.append(end - start)
            return super().find(what, start, end)

    for end_tag, token, others in ((b"</host>", b"<host>", framing.HOST), (b"</port>", b"<port ", framing.NOT_IN_PORT)):
        framer = Framer(BytesIO())
        framer._buffer = Watched(token * 1000)
        assert framer._plain(end_tag, framing.SPLIT, others) == 0
    assert looked == [6, 6]


@pytest.mark.parametrize(
    "subset", [b'<!ENTITY a "b">', b'<!ENTITY a "<nmaprun>">', b'<!ENTITY a "]>">', b'\n<!ENTITY % p "x">\n']
)
def test_a_scan_that_declares_entities_is_refused_and_its_neighbours_are_kept(subset):
    bomb = SMALL.replace(b"<!DOCTYPE nmaprun>", b"<!DOCTYPE nmaprun [" + subset + b"] >")
    data = SMALL + bomb + SMALL
    survey = Survey(BytesIO(data))
    assert [d.hosts for d in survey] == [4, 4]
    assert survey.refused == 1
    assert data[survey.refused_at :].startswith(b"<nmaprun")
    assert survey.root == "nmaprun"


def test_declared_entities_without_their_scan_do_not_refuse_the_next_one():
    for cut in (
        b'<!DOCTYPE nmaprun [<!ENTITY a "b">]>',
        b"<!DOCTYPE nmaprun [<!ENTITY a",
        b"<!DOCTYPE nmaprun",
    ):
        assert [len(found) for found in addresses(cut + SMALL)] == [4]


def test_a_large_refused_scan_is_passed_over_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(framing, "LIMIT", 200)
    monkeypatch.setattr(framing, "CHUNK", 50)
    bomb = SMALL.replace(b"<!DOCTYPE nmaprun>", b'<!DOCTYPE nmaprun [<!ENTITY a "b">]>')
    assert kinds(bomb + SMALL)[:2] == ["refused", "document"]


@pytest.mark.parametrize(
    ("declaration", "external"),
    [
        (b"<!DOCTYPE nmaprun>", ""),
        (b'<!DOCTYPE nmaprun SYSTEM "nmap.dtd">', ""),
        (
            b'<!DOCTYPE nmaprun PUBLIC "-//IDN nmap.org//DTD Nmap XML 1.04//EN" "https://svn.nmap.org/nmap/docs/nmap.dtd">',
            "",
        ),
        (b'<!DOCTYPE nmaprun SYSTEM "http://evil/x.dtd">', "http://evil/x.dtd"),
        (b"<!DOCTYPE x PUBLIC 'a' 'file:///etc/passwd'>", "file:///etc/passwd"),
    ],
)
def test_a_foreign_document_type_is_named(declaration, external):
    survey = Survey(BytesIO(SMALL.replace(b"<!DOCTYPE nmaprun>", declaration)))
    assert [d.hosts for d in survey] == [4]
    assert survey.external == external


def test_a_fatal_error_gives_a_scan_without_hosts():
    assert kinds(b"<nmaprun/>") == ["document", "end"]
    document = next(iter(Survey(BytesIO(b'<nmaprun exit="error" errormsg="no"/>'))))
    assert (document.hosts, document.cut, document.scan_id) == (0, "", document.sha256)


def test_a_licence_comment_before_the_declaration_is_passed():
    assert len(addresses(b"<!-- licence: <nmaprun> -->\n" + SMALL)[0]) == 4


# --- large -------------------------------------------------------------------------------------------------


@pytest.fixture
def small_split(monkeypatch):
    monkeypatch.setattr(framing, "SPLIT", 100)


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setattr(framing, "LIMIT", 1000)
    monkeypatch.setattr(framing, "SPLIT", 500)


def large(n: int, inside: bytes = b"", ports: bytes = b"") -> bytes:
    many = b"".join(b'<port protocol="tcp" portid="%d"><state state="open"/></port>\n' % i for i in range(10))
    return host(n, inside).replace(b"<ports>", b"<ports>" + many + ports)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 63, 64, 999, 1 << 20])
@pytest.mark.usefixtures("small_split")
def test_a_large_host_comes_port_by_port(monkeypatch, size):
    monkeypatch.setattr(framing, "CHUNK", size)
    data = HEAD + large(1, b"<!-- <port> </host> -->") + large(2, b"<x/>", b"<port/><port >") + TAIL
    found = list(Framer(BytesIO(data)))
    parts = ["host-start", *["port"] * 11, "host-end"]
    assert [f.kind for f in found[2:-2]] == [*parts, *parts[:-1], "port", "port", "host-end"]
    assert all(not f.problem for f in found[2:15])
    assert found[14].data.endswith(b"</host>")
    assert [f.data for f in found if f.kind == "port"][:10] == re.findall(b"<port p.*</port>", large(0))[:10]


@pytest.mark.usefixtures("small_split")
def test_a_large_host_cut_by_the_end_or_by_another_says_so():
    cut = large(1)[:-20]
    assert kinds(HEAD + cut)[-2:] == ["cut-host", "end"]
    assert [f.problem for f in Framer(BytesIO(HEAD + cut + large(2))) if f.kind == "host-end"] == ["cut", ""]


@pytest.mark.parametrize("size", [1, 7, 100, 300, 1 << 20])
@pytest.mark.usefixtures("small_limit")
def test_a_port_too_large_is_counted_and_the_others_stay(monkeypatch, size):
    monkeypatch.setattr(framing, "CHUNK", size)
    huge = b'<port portid="77"><script id="x" output="' + b"y" * 5000 + b'"/></port>'
    more = b'<port portid="78"><script>' + b"<elem>y</elem>" * 500 + b"</script></port>"
    data = HEAD + large(1, ports=huge + more) + host(2) + TAIL
    found = list(Framer(BytesIO(data)))
    assert [f.problem for f in found if f.kind == "port"] == [""] * 10 + ["too large"] * 2 + [""]
    assert [f.lost for f in found if f.kind == "host-end"] == [2]
    assert [f.kind for f in found[-3:]] == ["host", "element", "end"]


@pytest.mark.parametrize("size", [1, 7, 100, 300, 1 << 20])
@pytest.mark.parametrize(
    "huge",
    [
        b"<hosthint>" + b"<a>text</a>" * 500 + b"</hosthint>",
        b'<output type="' + b"x>" * 3000 + b'"/>',
        b"<verbose " + b"x" * 6000 + b"/>",
    ],
)
@pytest.mark.usefixtures("small_limit")
def test_an_element_too_large_is_passed_over_and_named(monkeypatch, size, huge):
    monkeypatch.setattr(framing, "CHUNK", size)
    found = list(Framer(BytesIO(HEAD + huge + host(1) + TAIL)))
    assert [(f.kind, f.problem) for f in found[2:4]] == [("element", "too large"), ("host", "")]
    assert found[2].data == b""
    assert found[3].start == len(HEAD + huge)


@pytest.mark.parametrize("size", [1, 7, 100, 300, 1 << 20])
@pytest.mark.parametrize("inside", [b"<a>text</a>" * 500, b"<a>text</a>" * 80 + b"<port/>" + b"<a>text</a>" * 80])
@pytest.mark.usefixtures("small_limit")
def test_the_rest_of_a_host_too_large_is_named_and_the_next_host_is_whole(monkeypatch, size, inside):
    monkeypatch.setattr(framing, "CHUNK", size)
    found = list(Framer(BytesIO(HEAD + host(1, inside) + host(2) + TAIL)))
    assert [f.problem for f in found if f.kind == "host-end"] == ["too large"]
    assert [f.problem for f in found if f.kind == "host"] == [""]


@pytest.mark.usefixtures("small_limit")
def test_a_comment_or_declaration_too_large_is_none():
    assert len(addresses(b"<!DOCTYPE x [" + b"y" * 5000 + b"<!-- " + b"y" * 5000 + SMALL)[0]) == 4
    assert len(addresses(HEAD + host(1, b"<!--" + b"y" * 5000) + host(2))[0]) == 2
