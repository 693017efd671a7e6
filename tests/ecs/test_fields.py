"""The field table: records keep to it, none of its fields is dead, and the check finds what is wrong."""

import copy
import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from orjson import Fragment

from forwarder import commanding
from forwarder.attribute.model import Answer, known
from forwarder.audit.interface import Execution, Finding, Output, Peer, User
from forwarder.config.policy import DEFAULTS, hours
from forwarder.ecs import attribution, audit, fit, scans
from forwarder.ecs import fields as table
from forwarder.ecs.check import REQUIRED, TEXTS, _wrong, problems
from forwarder.ecs.context import Attributed, Context, Options, Origin
from forwarder.ecs.hosts import HostMapper
from forwarder.ecs.tally import Tally
from forwarder.errors import UsageError
from forwarder.nmap import framing
from forwarder.nmap.reader import Reader
from forwarder.nmap.survey import Survey
from forwarder.seal.manifest import MAX_RECORD_BYTES

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "nmap"
POLICY = DEFAULTS | {"policy.hours": hours("mon-fri 08:00-18:00"), "policy.scopes": ("192.0.2.0/24",)}
OPTIONS = Options(
    observer="scanner-1",
    observer_ip="198.51.100.7",
    networks=("192.0.2.0/25",),
    owners=ROOT / "tests" / "fixtures" / "owners.csv",
    policy=POLICY,
)
MTIME = "2024-01-01T00:00:00.000Z"
SPLICED = {"nmap.backfill", *(f"nmap.seal.{name}" for name in ("anchor", "batch", "index", "manifest", "origin"))}
"""Fields that only delivered documents have."""
LATER = {"nmap.port.tombstone"}
"""Fields that no record has yet."""
NAMES = {"nmap.scan.supersedes": "a" * 64, "nmap.scan.diverges_from": "b" * 64}

ASKED = (
    b'<nmaprun args="nmap -sU -T2 -p53 -D ME,RND --script dns-brute --script-args pass=x -oX x.xml 192.0.2.0/24" start="1772442776">'
    b"</nmaprun>"
)
"""A command line that tells all it can."""
DERIVED = (
    b'<nmaprun><scaninfo type="syn" protocol="tcp" numservices="9" services="1-9"/><host><status state="up"/>'
    b'<ports><extraports state="closed" count="9"/></ports></host></nmaprun>'
)
"""The ports that nmap only counts follow from what was scanned, when that is a single list."""


def records(data: bytes, options: Options = OPTIONS, who: Attributed | None = None) -> list[dict]:
    """All records of an input as parsed JSON, the scan's last."""
    found = []
    reader = Reader(io.BytesIO(data))
    for document in Survey(io.BytesIO(data)):
        context = Context(
            document, Origin("in/rich.xml", "0" * 64, len(data), MTIME), options, document.scan_id, who or Attributed()
        )
        tally = Tally()
        mapper = HostMapper(context, tally)
        for host in reader.hosts(document):
            found += map(json.loads, mapper.records(host))
        found.append(json.loads(scans.record(context, tally, *NAMES.values())[1]))
    return found


def leaves(name: str, value: object) -> set[str]:
    """Names of the leaf fields at and below a value; a type that takes objects is a leaf."""
    if isinstance(value, list):
        return set().union(*(leaves(name, item) for item in value))
    if isinstance(value, dict) and name not in table.fields():
        return set().union(*(leaves(f"{name}.{key}" if name else key, member) for key, member in value.items()))
    return {name}


SEEN = Execution(
    source="shim",
    identity="c" * 32,
    argv=(
        "nmap",
        "-sU",
        "-T2",
        "-p53",
        "-D",
        "ME,RND",
        "--script",
        "dns-brute",
        "--script-args",
        "dns.pass=x",
        "-oX",
        "x.xml",
        "192.0.2.0/24",
    ),
    start="2026-03-02T09:12:56.000Z",
    end="2026-03-02T09:14:31.000Z",
    host="scanner-1",
    cwd="/home/alice",
    executable="/usr/bin/nmap",
    pid=2291,
    ppid=2204,
    login=User("1000", "alice"),
    real=User("1000", "alice"),
    effective=User("0", "root"),
    sudo_user="alice",
    terminal="pts/0",
    session="12",
    remote_ip="198.51.100.9",
    interactive=True,
    parent_executable="/usr/bin/bash",
    parent_command_line="-bash",
    title="nmap -sU",
    exit_code=1,
    signal="SIGINT",
    reason="inventory",
    ticket="SEC-1042",
    sha256="d" * 64,
    version="7.95",
    environment=("NMAPDIR=/opt/nmap",),
    outputs=(Output("/home/alice/x.xml", "xml", "present", "e" * 64, 48213),),
    container_id="f3b1c2d4e5a6",
    container_runtime="docker",
    pod="scanner-7d9c5",
    namespace="security",
    container_marks=("ns:4026532281",),
    policy_action="flagged",
    policy_reasons=("ticket-missing",),
    problems=("arguments cut",),
    peer=Peer(1000, 1000, 2289, MTIME, MTIME, 1000, 1000),
    log_path="/var/log/audit/audit.log",
    log_offset=1,
)
"""An execution of which everything is known."""
ANSWER = Answer("exact", ("output-hash",), ("c2c455d9f99375d2",), 1)


def made() -> Attributed:
    """What records say when all is known of who made their scan."""
    run = known(SEEN)
    policy = commanding.understood(run.whole, OPTIONS).policy
    return attribution.attributed(audit.Link("final", "met", ANSWER, supersedes="a" * 64), [run], policy)


def executions() -> list[dict]:
    """Audit records: of an execution and its scan, of one with a command line that is too long, of a finding."""
    run = known(SEEN)
    links = (audit.Link(), audit.Link("final", "met", ANSWER, "b" * 64, "a" * 64))
    args = [(run, link) for link in links]
    for more in (("x" * 100_000,), ("192.0.2.0/24", "-iL", "list", "\udcff\n\x1b[0m", *map(str, range(50_000)))):
        args.append((known(replace(SEEN, argv=(*SEEN.argv, *more))), audit.Link()))
    lines = [
        audit.record(OPTIONS, item, commanding.understood(item.whole, OPTIONS), link, "9" * 64) for item, link in args
    ]
    found = Finding("audit-log-truncated", "it shrank", MTIME, "/var/log/audit/audit.log", 7, "x")
    lines.append(audit.finding(OPTIONS, found, audit.finding_id(found), ["8" * 64]))
    assert all(len(line) < MAX_RECORD_BYTES for line in lines)
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def rich() -> list[dict]:
    data = (FIXTURES / "rich.xml").read_bytes()
    many = b"".join(b'<script id="s%d" output="%s"/>' % (n, b"x" * 60000) for n in range(40))
    large = data.replace(b"<hostscript>", b"<hostscript>" + many)
    cut = data[: data.index(b"<output")].replace(b'profile_name="Intense scan"', b'profile_name="&#x1;"')
    masscan = (FIXTURES / "masscan.xml").read_bytes()
    return [
        *records(data),
        *records(large),
        *records(cut),
        *records(DERIVED),
        *records(ASKED),
        *records(masscan),
        *records(data, who=made()),
        *executions(),
    ]


@pytest.fixture
def port(rich) -> dict:
    return copy.deepcopy(next(record for record in rich if record["event"]["dataset"] == "nmap.port"))


def rows(name: str) -> list[dict[str, str]]:
    with (ROOT / "ecs_mappings" / name).open(newline="") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.iterdir()))
@pytest.mark.parametrize("options", [OPTIONS, Options(), Options(all_ports=True, os_accuracy=0)])
def test_records_keep_to_the_table(name, options):
    found = records((FIXTURES / name).read_bytes(), options)
    made = {"nmap.port", "nmap.host", "nmap.scan"}
    assert {record["event"]["dataset"] for record in found} - {"nmap.vulnerability"} == made
    assert [problem for record in found for problem in problems(record)] == []


def test_cut_large_and_bare_records_keep_to_the_table(rich):
    bare = records(b"<nmaprun><host/><host><ports><port/></ports></host></nmaprun>") + records(b"<nmaprun>")
    assert [problem for record in rich + bare for problem in problems(record)] == []


@pytest.mark.parametrize("dataset", ["scan", "host", "port", "vulnerability", "audit"])
def test_the_table_says_which_records_have_a_field(rich, dataset):
    had = set()
    for record in rich:
        if record["event"]["dataset"] == f"nmap.{dataset}":
            had |= leaves("", record)
    listed = {name for name, field in table.fields().items() if dataset in field.datasets}
    never = {"nmap.truncated"} if dataset != "host" else set()  # only the host of `rich` is too large
    assert had - listed == set()
    assert {name for name in listed - had - SPLICED - LATER - never if name.startswith("nmap.")} == set()


@pytest.mark.parametrize("name", ["ecs.csv", "nmap.csv"])
def test_tables_are_sorted_and_whole(name):
    found = rows(name)
    names = [row["field"] for row in found]
    assert names == sorted(set(names))
    assert {row[column] for row in found for column in ("array", "index")} == {"true", "false"}
    assert all(row["type"] and None not in row for row in found)
    assert not set(names) & table.objects()
    assert {name.startswith("nmap.") for name in names} == {name != "ecs.csv"}


@pytest.mark.parametrize("field", table.fields().values(), ids=lambda field: field.name)
def test_each_field_is_explained_and_has_a_sound_example(field):
    assert field.meaning
    assert field.datasets
    assert field.datasets <= set(table.DATASETS)
    text = field.type in {"ip", "date"} | TEXTS
    value = field.example if text else json.loads(field.example)
    assert field.example
    assert _wrong(field, value, listed=field.array) == []


def test_only_long_texts_and_what_ecs_does_not_index_are_not_indexed():
    assert {name for name, field in table.fields().items() if not field.index} == {
        "nmap.host.os.fingerprint",
        "nmap.host.port.group.ports",
        "nmap.host.port.scanned.ports",
        "nmap.port.service.banner",
        "nmap.port.service.fingerprint",
        "nmap.scan.info.ports",
        "tls.server.certificate",
        "tls.server.x509.public_key_exponent",
    }


def test_what_every_document_has_is_in_all_datasets():
    assert all(table.fields()[name].datasets == set(table.DATASETS) for name in (*REQUIRED, *SPLICED))


def test_what_is_ours_stays_when_the_table_is_made_anew(script):
    tool = script("ecs_mappings/make_ecs.py")
    old = {row["field"]: row for row in rows("ecs.csv")}
    official = {
        name: {
            "type": row["type"],
            "normalize": ["array"] if row["array"] == "true" else [],
            "expected_values": [value for value in row["allowed"].split("|") if value],
        }
        for name, row in old.items()
    }
    assert tool.rows(official, old) == list(old.values())
    assert {row["meaning"] for row in tool.rows(official, {})} == {""}


@pytest.mark.parametrize(
    ("name", "kind", "array"),
    [
        ("@timestamp", "date", False),
        ("data_stream.dataset", "constant_keyword", False),
        ("destination.port", "long", False),
        ("error.message", "match_only_text", False),
        ("event.category", "keyword", True),
        ("event.duration", "long", False),
        ("event.sequence", "long", False),
        ("host.ip", "ip", True),
        ("host.mac", "keyword", True),
        ("labels.ticket", "keyword", False),
        ("message", "match_only_text", False),
        ("observer.ip", "ip", True),
        ("process.args", "keyword", True),
        ("process.command_line", "wildcard", False),
        ("related.hash", "keyword", True),
        ("source.ip", "ip", False),
        ("tls.server.x509.not_after", "date", False),
        ("user.effective.name", "keyword", False),
        ("vulnerability.score.base", "float", False),
    ],
)
def test_types_are_those_of_ecs(name, kind, array):
    field = table.fields()[name]
    assert (field.type, field.array) == (kind, array)


def test_allowed_values_are_those_of_ecs():
    assert table.fields()["event.outcome"].allowed == {"failure", "success", "unknown"}
    assert {"host", "network", "vulnerability"} <= table.fields()["event.category"].allowed
    assert not table.fields()["event.action"].allowed


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("nmap.novelty", 1, "nmap.novelty: is no known field"),
        ("nmap.novelty", [1], "nmap.novelty: is no known field"),
        ("nmap.novelty", {"a": 1}, "nmap.novelty: is no known field"),
        ("resource", {"name": "x"}, "resource: is no known field"),
        ("host", "web", "host: 'web' is no object"),
        ("host.ip", "192.0.2.1", "host.ip: is no list"),
        ("host.ip", ["192.0.2.256"], "host.ip: '192.0.2.256' is no ip"),
        ("host.ip", [1], "host.ip: 1 is no ip"),
        ("host.ip", [["192.0.2.1", None]], "host.ip: None is no ip"),
        ("source.ip", ["192.0.2.1"], "source.ip: is a list"),
        ("event.start", "2024-01-01", "event.start: '2024-01-01' is no date"),
        ("event.start", "2024-02-30T00:00:00Z", "event.start: '2024-02-30T00:00:00Z' is no date"),
        ("event.start", 1700000000, "event.start: 1700000000 is no date"),
        ("event.kind", "fact", "event.kind: 'fact' is none of"),
        ("event.type", ["info", "odd"], "event.type: 'odd' is none of"),
        ("event.reason", None, "event.reason: None is no keyword"),
        ("event.reason", {"a": "b"}, "event.reason: {'a': 'b'} is no keyword"),
        ("event.duration", "1", "event.duration: '1' is no long"),
        ("event.duration", True, "event.duration: True is no long"),
        ("event.duration", 1 << 63, "event.duration: 9223372036854775808 is no long"),
        ("event.duration", 1.5, "event.duration: 1.5 is no long"),
        ("event.risk_score", "7", "event.risk_score: '7' is no float"),
        ("event.risk_score", float("nan"), "event.risk_score: nan is no float"),
        ("nmap.port.number", 1 << 31, "nmap.port.number: 2147483648 is no integer"),
        ("nmap.port.number", [22], "nmap.port.number: is a list"),
        ("nmap.host.timed_out", "true", "nmap.host.timed_out: 'true' is no boolean"),
        ("nmap.script.result", ["x"], "nmap.script.result: 'x' is no flattened"),
        ("nmap.scan.info", {"type": "syn"}, "nmap.scan.info.type: is no list"),
        ("nmap.scan.info", [{"odd": 1}], "nmap.scan.info.odd: is no known field"),
        (
            "nmap.scan.covered.tcp",
            [{"gte": 2, "lte": 1}],
            "nmap.scan.covered.tcp: {'gte': 2, 'lte': 1} is no",
        ),
        ("nmap.scan.covered.tcp", [{"gte": 2}], "nmap.scan.covered.tcp: {'gte': 2} is no integer_range"),
        (
            "nmap.scan.covered.tcp",
            [{"gte": 2, "lte": "3"}],
            "nmap.scan.covered.tcp: {'gte': 2, 'lte': '3'} is no",
        ),
        ("nmap.scan.covered.tcp", ["1-2"], "nmap.scan.covered.tcp: '1-2' is no integer_range"),
    ],
)
def test_each_kind_of_problem_is_found(port, name, value, problem):
    holder = port
    *path, last = name.split(".")
    for key in path:
        holder = holder.setdefault(key, {})
    holder[last] = value
    found = [line for line in problems(port) if "is missing" not in line]
    assert len(found) == 1
    assert found[0].startswith(problem)


@pytest.mark.parametrize("name", ["@timestamp", "message", "ecs.version", "event.id", "event.type", "data_stream.type"])
def test_what_every_record_has_may_not_be_missing(port, name):
    *path, last = name.split(".")
    holder = port
    for key in path:
        holder = holder[key]
    del holder[last]
    assert problems(port) == [f"{name}: is missing"]


def test_an_empty_list_is_no_value(port):
    port["event"]["type"] = []
    assert problems(port) == ["event.type: is missing"]


def test_delivered_documents_are_sound_and_their_dotted_keys_are_checked(port):
    spliced = {"event.hash": "0" * 64, "event.sequence": 7, "event.created": MTIME, "nmap.backfill": True}
    assert problems(port | spliced) == []
    assert problems(port | {"event.sequence": "7"}) == ["event.sequence: '7' is no long"]


def test_a_wrong_value_is_shown_in_part(port):
    port["event"]["duration"] = "x" * 5000
    assert len(problems(port)[0]) < 150


def test_tables_are_found_in_an_installed_wheel_too(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "PLACES", (tmp_path, *table.PLACES))
    assert table.source("ecs.csv") == ROOT / "ecs_mappings" / "ecs.csv"
    (tmp_path / "ecs.csv").write_text("")
    assert table.source("ecs.csv") == tmp_path / "ecs.csv"


def test_missing_tables_are_said_to_be_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "PLACES", (tmp_path,))
    with pytest.raises(UsageError, match=r"ecs\.csv is missing"):
        table.source("ecs.csv")


def test_an_ip_protocol_without_a_number_has_none():
    port = b'<port protocol="ip" portid="x"><state state="open"/></port>'
    found = records(b"<nmaprun><host><ports>" + port + b"</ports></host></nmaprun>")
    assert "iana_number" not in found[0]["network"]


def test_truncated_names_fields_that_there_are():
    many = b"".join(b'<prescript><script id="s%d"/></prescript>' % n for n in range(1001))
    found = records(b"<nmaprun>" + many + b"</nmaprun>")
    assert found[-1]["nmap"]["truncated"] == ["nmap.script"]


def test_a_large_host_gives_the_same_records(monkeypatch):
    data = (FIXTURES / "rich.xml").read_bytes()
    expected = records(data)
    monkeypatch.setattr(framing, "SPLIT", 50)  # a large host comes port by port, whatever it holds
    assert [record["event"]["id"] for record in records(data)] == [record["event"]["id"] for record in expected]


def test_only_what_is_too_short_to_be_cut_is_written_once():
    assert isinstance(fit.shared({"ip": ["192.0.2.1"]}), Fragment)
    large = {"hosts": ["x" * 200] * 10}
    assert fit.shared(large) is large
