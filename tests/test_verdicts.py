"""A verification's result is sealed by the next forward."""

import json

import pytest
from conftest import scan

from forwarder.ecs.check import problems


@pytest.fixture
def forwarded(forwarder):
    forwarder.forward(forwarder.write("one.xml", scan(1)))
    return forwarder


def seals(forwarder):
    return [record for record in forwarder.records("seal") if "verification" in record["nmap"]]


def test_a_verification_without_findings_is_sealed_once(forwarded):
    assert forwarded.command("verify").returncode == 0
    forwarded.forward()
    forwarded.forward()
    (record,) = seals(forwarded)
    assert problems(record) == []
    assert (record["event"]["action"], record["event"]["outcome"]) == ("archive-verified", "success")
    assert record["nmap"]["verification"]["batches"] == 1
    assert len(forwarded.manifests()) == 2, "a batch of its own, and no third one for that"
    assert forwarded.verify().findings == []


def test_each_finding_of_a_verification_is_sealed_and_told_what_it_is_about(forwarded):
    (leaves,) = forwarded.log.glob("records/*.leaves")
    content = leaves.read_bytes()
    leaves.write_bytes(content + b"x")
    verdict = json.loads(forwarded.command("verify", "--json").stdout)["logs"][0]
    leaves.write_bytes(content)
    assert forwarded.command("verify").returncode == 0, "a later success does not hide what was found"
    forwarded.forward()
    records = seals(forwarded)
    assert [record["error"]["code"] for record in records] == [one["code"] for one in verdict["findings"]]
    for record in records:
        assert problems(record) == []
        assert record["event"]["action"] == "verification-failed"
        assert record["nmap"]["verification"]["kind"] == "chain"
        assert record["nmap"]["verification"]["findings"] == len(records)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"time": 1}', b"x" * (2 << 20)])
def test_a_file_that_is_no_verdict_is_passed_over(forwarded, content):
    assert forwarded.command("verify").returncode == 0
    (file,) = (forwarded.directory / "state").rglob("verdict.json")
    file.write_bytes(content)
    forwarded.forward()
    assert seals(forwarded) == []


def test_nothing_is_left_where_that_is_not_wanted(forwarded):
    assert forwarded.command("verify", "--no-record").returncode == 0
    forwarded.forward()
    assert seals(forwarded) == []


def test_a_heartbeat_is_a_record_where_documents_are_delivered(forwarded):
    forwarded.flags["seal_heartbeat_hours"] = 1e-9
    forwarded.forward()
    assert forwarded.manifests()[-1].type == "heartbeat"
    assert forwarded.records("seal") == []
    forwarded.flags["elasticsearch_url"] = "http://127.0.0.1:9"
    forwarded.flags["elasticsearch_retry_seconds"] = 0
    forwarded.forward()
    (record,) = forwarded.records("seal")
    assert problems(record) == []
    assert record["event"]["action"] == "heartbeat"
    assert forwarded.verify().findings == []
