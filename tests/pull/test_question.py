"""What is asked, and which records answer it; jq says the same."""

import json
import subprocess

import pytest
from conftest import need

from forwarder.errors import UsageError
from forwarder.pull.question import Question, host_form
from forwarder.seal.manifest import Records

RECORD = {
    "@timestamp": "2026-03-02T09:14:30.000Z",
    "event": {"id": "one"},
    "file": {"owner": "carol"},
    "host": {"id": "f6d354e7c635de17a22ed587829b3420", "ip": ["192.0.2.10", "2001:db8::10"], "name": "web.example.com"},
    "labels": {"ticket": "SEC-1042"},
    "nmap": {"scan": {"id": "671d5d8b945578cc28b72007f49dd4a22c7ff2aedee8eb2c608aeea2fc2d5d0b"}},
    "related": {"hosts": ["www.example.com", "xn--bcher-kva.example"], "ip": ["192.0.2.99"]},
    "user": {"name": "alice", "effective": {"name": "root"}},
    "message": "mallory 198.51.100.1 SEC-9",
}
YES = [
    {},
    {"earliest": "2026-03-02"},
    {"latest": "2026-03-02"},
    {"earliest": "2026-03-02T09:14:30Z", "latest": "2026-03-02T09:14:30Z"},
    {"earliest": "2026-03-02T11:14:30+02:00"},
    {"scan": "671d5d8b"},
    {"scan": "671D5D8B94"},
    {"host": "web.example.com"},
    {"host": "WEB.Example.com."},
    {"host": "www.example.com"},
    {"host": "bücher.example"},
    {"host": "192.0.2.10"},
    {"host": "::ffff:192.0.2.10"},
    {"host": "192.0.2.99"},
    {"host": "2001:0DB8:0:0::10"},
    {"host": "[2001:db8::10]"},
    {"host": "2001:db8::10%eth0"},
    {"host": "f6d354e7c635de17a22ed587829b3420"},
    {"user": "alice"},
    {"user": "Root"},
    {"user": "carol"},
    {"ticket": "sec-1042"},
    {"ticket": "SEC-1042", "user": "alice", "host": "192.0.2.10", "scan": "671d5d8b", "latest": "2026-03-03"},
]
NO = [
    {"earliest": "2026-03-03"},
    {"latest": "2026-03-01"},
    {"latest": "2026-03-02T09:14:29Z"},
    {"earliest": "2026-03-02T09:14:30.001Z"},
    {"scan": "71d5d8b9"},
    {"host": "192.0.2.1"},
    {"host": "example.com"},
    {"host": "198.51.100.1"},
    {"user": "ali"},
    {"user": "mallory"},
    {"ticket": "SEC-9"},
    {"ticket": "SEC-10"},
    {"ticket": "SEC-1042", "user": "mallory"},
    {"user": "'; touch /tmp/x; '"},
    {"ticket": '\\(now) " @TABLES@'},
]


@pytest.mark.parametrize(("asked", "expected"), [(asked, True) for asked in YES] + [(asked, False) for asked in NO])
def test_records_that_answer(asked, expected):
    question = Question.ask(**asked)
    assert question.matches(RECORD) is expected
    assert not expected or question.overlaps(Records(1, "", earliest=RECORD["@timestamp"], latest=RECORD["@timestamp"]))


@pytest.mark.parametrize(("asked", "expected"), [(asked, True) for asked in YES] + [(asked, False) for asked in NO])
def test_jq_gives_the_same_answer(asked, expected, tmp_path):
    need("jq")
    (tmp_path / "r").write_text(json.dumps(RECORD) + "\n" + json.dumps({"@timestamp": RECORD["@timestamp"]}))
    program = f"jq -c 'select({Question.ask(**asked).jq()}) | .event.id | strings' r"
    result = subprocess.run(["bash", "-c", program], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout == ('"one"\n' if expected else "")
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_user_may_stand_in_a_list():
    assert Question.ask(user="bob").matches(RECORD | {"user": [{"name": "bob"}, {"name": "eve"}]})


@pytest.mark.parametrize(
    ("earliest", "latest", "expected"),
    [
        ("2026-03-01", "2026-03-31", ("2026-03-01T00:00:00.000Z", "2026-03-31T23:59:59.999Z")),
        ("2026-03-01T01:00:00+01:00", "", ("2026-03-01T00:00:00.000Z", "")),
        ("", "2026-03-31 18:00", ("", "2026-03-31T18:00:00.999Z")),
        ("", "2026-03-31t18:00:00.5z", ("", "2026-03-31T18:00:00.500Z")),
    ],
)
def test_a_period_ends_with_the_last_moment_that_is_named(earliest, latest, expected):
    question = Question.ask(earliest, latest)
    assert (question.earliest, question.latest) == expected


@pytest.mark.parametrize(
    "asked",
    [
        {"earliest": "yesterday"},
        {"latest": "2026-02-31"},
        {"earliest": "2026-03-02", "latest": "2026-03-01"},
        {"scan": "671d5d8"},
        {"scan": "../../etc"},
        {"earliest": "0001-01-01T00:00:00+23:00"},
    ],
)
def test_what_cannot_be_asked(asked):
    with pytest.raises(UsageError):
        Question.ask(**asked)


def test_only_batches_of_the_period_are_worth_reading():
    records = Records(2, "", earliest="2026-03-02T00:00:00.000Z", latest="2026-03-04T00:00:00.000Z")
    assert Question.ask("2026-03-03", "2026-03-03").overlaps(records)
    assert not Question.ask("2026-03-05").overlaps(records)
    assert not Question.ask(latest="2026-03-01").overlaps(records)
    assert not Question.ask().overlaps(Records(0, ""))


def test_the_forms_of_a_host():
    assert host_form(" A.B. ") == "a.b"
    assert host_form("::FFFF:1.2.3.4") == "1.2.3.4"
    assert host_form("x" * 300 + "ü") == "x" * 300 + "ü"
