"""What the first pass says of an input's scans: their identity, their extent, nmap's own facts."""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO

import pytest

from forwarder.nmap import framing
from forwarder.nmap.framing import Frame
from forwarder.nmap.scan import MAX_LIST, Run
from forwarder.nmap.survey import Document, Survey

HEAD = b'<?xml version="1.0"?>\n<nmaprun args="nmap x" start="1700000000" startstr="then" version="7.93">\n'
HOSTS = [b'<host><address addr="10.0.0.%d" addrtype="ipv4"/></host>\n' % n for n in range(5)]
TAIL = (
    b'<runstats><finished time="1700000009" timestr="t" elapsed="9.50" exit="success"/>'
    b'<hosts up="1" down="0" total="1"/></runstats></nmaprun>'
)


def survey(data: bytes, known: dict[str, int] | None = None) -> list[Document]:
    return list(Survey(BytesIO(data), (known or {}).get))


def run(*parts: bytes, tag: bytes = b"<nmaprun>") -> Run:
    (document,) = survey(tag + b"".join(parts) + b"</nmaprun>")
    return document.run


def test_a_scan_is_named_by_its_bytes_through_its_first_host():
    data = HEAD + b"".join(HOSTS) + TAIL
    (document,) = survey(data)
    start, end = data.index(b"<nmaprun"), data.index(b"</host>") + 7
    assert document.scan_id == sha256(data[start:end]).hexdigest()
    assert document.sha256 == sha256(data[start:]).hexdigest()
    assert (document.start, document.length, document.hosts) == (start, len(data) - start, 5)
    last = data.rindex(b"</host>") + 7
    assert document.prefix_length == last - start
    assert document.prefix_sha256 == sha256(data[start:last]).hexdigest()
    assert document.cut == ""


@pytest.mark.parametrize("split", [10, 1 << 22])
def test_a_growing_scan_keeps_its_name_and_what_is_known_of_it(monkeypatch, split):
    monkeypatch.setattr(framing, "SPLIT", split)
    known: dict[str, int] = {}
    earlier = None
    for count in range(1, 6):
        (document,) = survey(HEAD + b"".join(HOSTS[:count]) + b"<host><addr", known)
        if earlier:
            assert document.scan_id == earlier.scan_id
            assert document.known_prefix_sha256 == earlier.prefix_sha256
        known[document.scan_id] = document.prefix_length
        earlier = document
        assert "inside the host that begins at byte" in document.cut


def test_a_known_prefix_that_ends_at_no_host_has_no_hash():
    data = HEAD + b"".join(HOSTS) + TAIL
    (document,) = survey(data)
    (again,) = survey(data, {document.scan_id: document.prefix_length - 1})
    assert again.known_prefix_sha256 == ""


def test_a_scan_without_a_host_is_named_by_all_of_it():
    (document,) = survey(HEAD + TAIL)
    assert document.scan_id == document.sha256
    (document,) = survey(HEAD)
    assert document.scan_id == document.sha256
    assert document.cut == f"ends at byte {len(HEAD)} without </nmaprun>"


@pytest.mark.parametrize("split", [10, 1 << 22])
def test_a_host_without_its_end_tag_does_not_name_its_scan(monkeypatch, split):
    monkeypatch.setattr(framing, "SPLIT", split)
    data = HEAD + HOSTS[0][:-8] + HOSTS[1] + TAIL
    (document,) = survey(data)
    assert document.scan_id == sha256(data[data.index(b"<nmaprun") : data.index(b"</host>") + 7]).hexdigest()
    assert document.hosts == 2


def test_a_second_scan_does_not_change_the_name_of_a_cut_first():
    alone = survey(HEAD + HOSTS[0][:-8])
    both = survey(HEAD + HOSTS[0][:-8] + HEAD + TAIL)
    assert alone[0].scan_id == both[0].scan_id
    assert [d.index for d in both] == [0, 1]


def test_nothing_has_no_scan():
    assert survey(b"") == survey(b"garbage") == survey(b"<html/>") == []
    assert Survey(BytesIO(b"")).root == ""


def test_nmaps_own_facts_are_kept_under_our_names():
    (document,) = survey(HEAD + HOSTS[0] + TAIL)
    assert document.run.facts == {
        "args": "nmap x",
        "start": "2023-11-14T22:13:20.000Z",
        "version": "7.93",
        "finish": "2023-11-14T22:13:29.000Z",
        "elapsed": 9.5,
        "exit": "success",
        "hosts": {"up": 1, "down": 0, "total": 1},
    }
    assert (document.run.odd, document.run.damage, document.run.scripts()) == ([], "", {})


def test_elements_between_hosts_are_kept_all_of_them():
    found = run(
        b'<scaninfo type="syn" protocol="tcp" numservices="2" services="1-2"/>',
        b'<scaninfo type="udp" numservices="x"/>',
        b'<verbose level="1"/><debugging level="2"/>',
        b'<taskbegin task="a" time="1"/><taskend task="a" time="2"/>',
        b'<target specification="h" status="skipped" reason="invalid"/>',
        b'<output type="i"> text </output><output/>',
        b'<hosthint><status state="up"/></hosthint><prescript><script id="p" output="1"/></prescript>',
        b'<postscript><script id="q" output="2"><elem>x</elem></script></postscript>',
        b'<new a="1">y</new><runstats><odd/></runstats>',
    )
    assert found.facts["info"] == [
        {"type": "syn", "protocol": "tcp", "count": 2, "ports": "1-2"},
        {"type": "udp"},
    ]
    assert (found.facts["verbose"], found.facts["debugging"]) == (1, 2)
    assert [task["event"] for task in found.facts["task"]] == ["begin", "end"]
    assert found.facts["target"] == [{"specification": "h", "status": "skipped", "reason": "invalid"}]
    assert found.facts["output"] == [{"text": "text", "type": "i"}, {"text": ""}]
    assert found.facts["host_hint"] == [{"state": "up"}]
    assert found.scripts() == {
        "id": ["p", "q"],
        "output": ["1", "2"],
        "phase": ["pre", "post"],
        "result": [{"id": "q", "table": [{"value": "x"}]}],
    }
    assert found.odd == ["scaninfo/@numservices=x", '<new a="1">y</new>', "<odd />"]


def test_lists_are_bounded_and_the_rest_is_counted():
    found = run(
        b'<taskbegin task="a"/>' * (MAX_LIST + 3),
        b"<prescript>" + b'<script id="p" output=""/>' * (MAX_LIST + 2) + b"</prescript>",
    )
    assert len(found.facts["task"]) == len(found.scripts()["id"]) == MAX_LIST
    assert found.dropped == {"task": 3, "script": 2}


def test_a_control_character_in_the_arguments_costs_a_mark_and_nothing_else():
    found = run(tag=b'<nmaprun args="nmap &#x1;&#xc3;&#xa9;" version="7">')
    assert found.facts == {"args": "nmap \\x01é", "version": "7"}
    assert found.damage


def test_a_fatal_error_is_kept():
    (document,) = survey(b'<nmaprun exit="error" errormsg="no"/>')
    assert document.run.facts == {"exit": "error", "error": "no"}
    stats = b'<runstats><finished exit="error" errormsg="no"/></runstats>'  # so that nmap's own writing of it
    assert run(stats).facts == {"exit": "error", "error": "no"}
    assert survey(b"<nmaprun/>")[0].run.facts == {}


def test_a_cut_start_tag_gives_the_attributes_that_are_there():
    (document,) = survey(b'<nmaprun args=\'nmap -p\' version="7.93" scanner="nm')
    assert document.run.facts == {"args": "nmap -p", "version": "7.93", "scanner": "nm"}
    assert document.run.damage
    assert document.cut


def test_damaged_elements_are_noted(monkeypatch):
    found = run(b"<scaninfo type='x", b"<output>text", b"<verbose level='1&#x1;'/>", b"<host></host>")
    assert found.odd == ["<scaninfo type='x"]
    assert found.facts["output"] == [{"text": "text<"}] or found.damage
    monkeypatch.setattr(framing, "LIMIT", 300)
    found = run(b"<output>" + b"x" * 400 + b"</output>")
    assert found.odd == ["an element of 417 bytes at byte 9 is only in the evidence"]
    damaged = Run(Frame("document", 0, 9, b"<nmaprun>"))
    damaged.add(Frame("element", 9, 10, b"\xff<"))
    assert damaged.odd == ["\ufffd<"]
