"""Whatever a script writes, its record is made, and keeps to the field table."""

import json
from hashlib import sha256
from io import BytesIO
from xml.sax.saxutils import quoteattr

from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.ecs.check import problems
from forwarder.ecs.context import Context, Options, Origin
from forwarder.ecs.hosts import HostMapper
from forwarder.ecs.tally import Tally
from forwarder.nmap.reader import Reader
from forwarder.nmap.survey import Survey
from forwarder.nse import registry

SCRIPTS = sorted(
    name for table in vars(registry).values() if isinstance(table, dict) for name in table if isinstance(name, str)
)
KEYS = ("title", "state", "ids", "refs", "cvss", "id", "type", "pem", "subject", "validity", "notAfter", "ciphers")
text = st.one_of(
    st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Co", "Cn")), max_size=30),
    st.sampled_from(("VULNERABLE", "CVE-2014-0160", "CVE:CVE-2014-0160", "1e999", "-1", "nan", "2026-99-99T00:00:00")),
)
row = st.recursive(
    st.builds(lambda key, value: f"<elem{key}>{_escaped(value)}</elem>", st.sampled_from(KEYS).map(
        lambda key: f' key="{key}"') | st.just(""), text),
    lambda rows: st.builds(
        lambda key, inner: f"<table{key}>{''.join(inner)}</table>",
        (st.sampled_from(KEYS) | text).map(lambda key: f" key={quoteattr(key)}") | st.just(""),
        st.lists(rows, max_size=4),
    ),
    max_leaves=12,
)  # fmt: skip


def _escaped(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def made(data: bytes) -> list[dict]:
    document = next(iter(Survey(BytesIO(data))))
    origin = Origin("x.xml", sha256(data).hexdigest(), len(data), "2026-01-01T00:00:00.000Z")
    mapper = HostMapper(Context(document, origin, Options(), document.scan_id), Tally())
    return [json.loads(line) for host in Reader(BytesIO(data)).hosts(document) for line in mapper.records(host)]


def test_there_are_scripts_to_try():
    assert {"ssl-cert", "http-title", "vulners", "ssh-hostkey"} <= set(SCRIPTS)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SCRIPTS), text, st.lists(row, max_size=4)), min_size=1, max_size=3))
def test_records_keep_to_the_table(scripts):
    inner = "".join(
        f"<script id={quoteattr(name)} output={quoteattr(output)}>{''.join(rows)}</script>"
        for name, output, rows in scripts
    )
    data = (
        '<nmaprun scanner="nmap" start="1700000000"><host endtime="1700000001"><status state="up"/>'
        '<address addr="192.0.2.1" addrtype="ipv4"/><ports><port protocol="tcp" portid="443"><state state="open"/>'
        f"{inner}</port></ports><hostscript>{inner}</hostscript></host></nmaprun>"
    ).encode()
    found = made(data)
    assert [record["event"]["dataset"] for record in found].count("nmap.host") == 1
    assert [problem for record in found for problem in problems(record)] == []
    assert len({record["event"]["id"] for record in found}) == len(found)
