"""Records of a libnmap report are ours, but for what libnmap loses: the table LOST, which docs/LIBNMAP.md repeats."""

from __future__ import annotations

import copy
import json
import re
from io import BytesIO
from pathlib import Path

import pytest
from conftest import scan as generated
from libnmap.objects import NmapHost, NmapReport, NmapService
from libnmap.parser import NmapParser
from libnmap.reportjson import ReportDecoder, ReportEncoder
from libnmap_oracle import accepted

from forwarder.ecs import scans
from forwarder.ecs.context import Context, Options, Origin
from forwarder.ecs.hosts import HostMapper
from forwarder.ecs.tally import Tally
from forwarder.libnmap import NO_END, records
from forwarder.nmap.reader import Reader
from forwarder.nmap.survey import Survey

ROOT = Path(__file__).parent.parent
FIXTURES = sorted((ROOT / "tests/fixtures/nmap").glob("*.xml"))

LOST = {
    "event.id": "it is made from nmap.scan.id",
    "nmap.scan.id": "it is the hash of the file's beginning",
    "nmap.scan.document": "the place of the scan in its file",
    "file": "there is none",
    "related.hash": "likewise",
    "nmap.host.hostname.type": "libnmap keeps names only; host.name prefers what the DNS says, where it can tell",
    "nmap.host.trace": "libnmap does not read it",
    "nmap.host.timed_out": "likewise",
    "nmap.host.comment": "likewise",
    "nmap.host.smurf": "likewise",
    "nmap.script.phase": "pre- and postscripts of a scan, with all that they say",
    "nmap.scan.task": "libnmap does not read it",
    "nmap.scan.host_hint": "likewise",
    "nmap.scan.target": "likewise",
    "nmap.scan.output": "likewise",
    "nmap.scan.verbose": "likewise",
    "nmap.scan.debugging": "likewise",
    "nmap.scan.info": "all but the last scaninfo, and so nmap.scan.type and nmap.scan.covered",
    "nmap.host.port.scanned": "likewise",
    "nmap.host.port.group": "all but the last extraports; and ports that follow from a scaninfo that is lost",
    "nmap.unparsed": "elements that nobody knows; attributes that nobody knows are kept where libnmap reads the element",
    "nmap.script.result": "the order of rows with one key among others, and all but the last of several at the top",
}
"""Field → why a record of libnmap's report has less there."""


def ours(data: bytes, options: Options | None = None) -> list[dict]:
    """The records that the forwarder makes of a file."""
    (document,) = Survey(BytesIO(data))
    origin = Origin("scan.xml", "0" * 64, len(data), "2026-01-01T00:00:00.000Z")
    context, tally = Context(document, origin, options or Options(), document.scan_id), Tally()
    mapper = HostMapper(context, tally)
    found = [json.loads(line) for host in Reader(BytesIO(data)).hosts(document) for line in mapper.records(host)]
    return [*found, json.loads(scans.record(context, tally)[1])]


def theirs(data: bytes, options: Options | None = None) -> list[dict]:
    return list(records(NmapParser.parse_fromstring(data.decode()), options))


def leave_out(record: dict, name: str) -> None:
    """Take a field out of a record, wherever it is in lists."""
    head, _, rest = name.partition(".")
    for holder in record if isinstance(record, list) else [record]:
        if not rest:
            holder.pop(head, None)
        elif isinstance(holder, dict) and head in holder:
            leave_out(holder[head], rest)
            if not holder[head]:
                del holder[head]


FOUND = ("tls", "vulnerability", "nmap.http", "nmap.login", "nmap.smb", "nmap.ssh", "nmap.tls", "nmap.vulnerability")
"""Fields that are read from scripts' tables, and so are poorer where those are."""
ALSO = {
    "nmap.scan.info": ("nmap.scan.type", "nmap.scan.covered"),
    "nmap.script.phase": ("nmap.script.id", "nmap.script.output", "nmap.script.result"),
    "nmap.script.result": FOUND,
}
"""What goes with a lost field; scripts in scan records only."""


def poorer(record: dict, *kept: str) -> dict:
    """A record without what libnmap loses, but for some fields."""
    record = copy.deepcopy(record)
    for name in LOST:
        if name not in kept:
            leave_out(record, name)
            if name != "nmap.script.phase" or record["event"]["dataset"] == "nmap.scan":
                for other in ALSO.get(name, ()):
                    leave_out(record, other)
    return record


def whole(path: Path) -> bytes:
    """A fixture that libnmap takes; without runstats it could not tell that a scan is complete."""
    data = accepted(path.read_bytes())
    return data if b"<runstats" in data else data.replace(b"</nmaprun>", b"<runstats><finished/></runstats></nmaprun>")


SCALE = pytest.mark.parametrize(
    "data",
    [
        *map(whole, FIXTURES),
        generated(5, 3).encode(),
        generated(5, 0).encode(),
    ],
    ids=[*(path.name for path in FIXTURES), "generated", "no ports"],
)
RICH = whole(next(path for path in FIXTURES if path.name == "rich.xml"))


@SCALE
def test_records_are_ours_but_for_what_libnmap_loses(data):
    options = Options(vantage="dmz", observer="scanner1", observer_ip="192.0.2.1", networks=("192.0.2.0/24",))
    mine, found = ours(data, options), theirs(data, options)
    assert len(mine) == len(found)
    for record, other in zip(mine, found, strict=True):
        assert poorer(record) == poorer(other)


def test_the_benchmarks_scan_loses_nothing_but_what_bytes_give(tmp_path, script):
    script("benchmarks/generate.py").generate(tmp_path / "scan.xml", 1)
    data = (tmp_path / "scan.xml").read_bytes()
    names = ("event.id", "nmap.scan.id", "nmap.scan.document", "file", "related.hash", "nmap.host.hostname.type")
    mine, found = ours(data), theirs(data)
    assert len(mine) == len(found) > 100
    for record, other in zip(mine, found, strict=True):
        for name in names:
            leave_out(record, name)
        assert record == other


EXTRA = RICH.replace(
    b'<script id="banner" output="SSH-2.0"/>',
    b'<script id="banner" output="SSH-2.0"><elem>1</elem><elem>2</elem></script>',
)


@pytest.mark.parametrize("name", LOST)
def test_each_loss_is_real(name):
    """Whatever is in the table makes a difference; a line that does not has no place there."""
    mine, found = ours(EXTRA), theirs(EXTRA)
    assert any(poorer(a, name) != poorer(b, name) for a, b in zip(mine, found, strict=True))


def test_the_documentation_has_the_table():
    text = (ROOT / "docs/LIBNMAP.md").read_text()
    assert all(f"`{name}`" in text for name in LOST)


def test_tables_that_libnmap_keeps_are_as_they_were():
    row = '<table key="k"><elem>1</elem><elem>2&#13;</elem><table><elem key="x"/></table></table><elem key="a">3</elem>'
    data = generated(1, 1).replace("</port>", f'<script id="s" output="a&#13;&#10;b">{row}</script></port>').encode()
    assert poorer(ours(data)[0], "nmap.script.result") == poorer(theirs(data)[0], "nmap.script.result")
    assert theirs(data)[0]["nmap"]["script"]["result"][0]["table"][0]["table"][1] == {"value": "2\r"}
    assert theirs(data)[0]["nmap"]["script"]["output"] == ["a\r\nb"]


def test_ports_that_do_not_follow_are_not_said_to():
    """Of two protocols only the last scaninfo is left, and what is closed is of the first."""
    data = generated(1, 1).replace(
        "<host ", '<scaninfo type="udp" protocol="udp" numservices="2" services="53,161"/><host '
    )
    (group,) = theirs(data.encode())[1]["nmap"]["host"]["port"]["group"]
    assert group == {"state": "closed", "count": 999}
    (group,) = theirs(generated(1, 1).encode())[1]["nmap"]["host"]["port"]["group"]
    assert group == {"state": "closed", "count": 999, "ports": "1-99,101-1000", "protocol": "tcp", "derived": True}


def test_a_cut_scan_is_incomplete():
    report = NmapParser.parse_fromstring(generated(2, 1, end=False), incomplete=True)
    scan = list(records(report))[-1]
    assert scan["event"]["outcome"] == "unknown"
    assert scan["nmap"]["scan"]["incomplete_reason"] == NO_END


def assets(report) -> list[dict]:
    """The records of a report, without what scripts found."""
    return [record for record in records(report) if record["event"]["dataset"] != "nmap.vulnerability"]


def test_a_report_that_went_through_json_is_the_same():
    data = RICH.decode()
    report = NmapParser.parse_fromstring(data)
    again = json.loads(json.dumps(report, cls=ReportEncoder), cls=ReportDecoder)
    lost = {"nmap.port.owner", "nmap.script", *FOUND}  # libnmap's JSON has no script of a port, its reader no owner
    for record, other in zip(assets(report), assets(again), strict=True):
        for name in lost:
            leave_out(record, name)
            leave_out(other, name)
        assert record == other


def test_reports_made_by_hand():
    service = NmapService("22", "tcp", {"state": "open"}, {"name": "ssh"})
    host = NmapHost("", "", [{"addr": "192.0.2.1", "addrtype": "ipv4"}], {"state": "up"}, ["a.example"], [service])
    host.address = {"addr": "192.0.2.2", "addrtype": "ipv4"}
    report = NmapReport({"_nmaprun": {}, "_scaninfo": {}, "_hosts": [host], "_runstats": {}})
    port, asset, scan = records(report)
    assert port["message"] == "tcp/22 open ssh on a.example (192.0.2.2)"
    assert asset["host"]["ip"] == ["192.0.2.2"]
    assert "@timestamp" not in port | asset | scan
    assert scan["nmap"]["scan"]["hosts"]["recorded"] == 1


def test_a_part_of_a_scan_is_no_report():
    part = NmapParser.parse_fromstring('<port protocol="tcp" portid="1"><state state="open"/></port>')
    with pytest.raises(TypeError, match="NmapService is no NmapReport"):
        next(records(part))


def test_the_example_in_the_documentation_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/LIBNMAP.md").read_text(), re.DOTALL)
    (tmp_path / "scan.xml").write_text(generated(2, 1))
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert "nmap.port tcp/100 open http p0-0 1.0 on 10.0.0.1\n" in capsys.readouterr().out
