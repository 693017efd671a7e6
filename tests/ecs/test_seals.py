"""The record of a batch's anchor."""

import json
from datetime import UTC, datetime

import rfc8785

from forwarder.archive.interface import Receipt
from forwarder.ecs import seals
from forwarder.ecs.check import problems
from forwarder.ecs.context import Options
from forwarder.ecs.fields import fields
from forwarder.ledger import Batch

RECEIPT = Receipt("bucket", "nmap/o/batches/7/manifest.json", "v", "GOVERNANCE", datetime(2027, 1, 2, tzinfo=UTC))
BATCH = Batch(7, "1" * 64, 90, 12, "2026-01-01T00:00:00.000Z", "anchored")


def record(batch=BATCH):
    return seals.record(Options(observer="s"), "o", batch, bytes(32), RECEIPT, "2026-01-01T00:00:01.000Z")


def test_it_keeps_to_the_table_and_is_canonical():
    line = record()
    found = json.loads(line)
    assert problems(found) == []
    assert line == rfc8785.dumps(found)
    assert line.startswith(b'{"@timestamp":"2026-01-01T00:00:01.000Z"')
    listed = {name for name, field in fields().items() if name.startswith("nmap.anchor.")}
    assert listed == {f"nmap.anchor.{name}" for name in found["nmap"]["anchor"]}
    assert all(fields()[name].datasets == {"seal"} for name in listed)


def test_it_says_what_locks_the_batch():
    found = json.loads(record())
    assert found["message"] == "batch 7 of o is locked in bucket bucket until 2027-01-02T00:00:00.000Z"
    assert (found["nmap"]["anchor"]["mode"], found["nmap"]["anchor"]["version"]) == ("GOVERNANCE", "v")


def test_the_same_batch_has_the_same_id_and_another_another():
    other = Batch(7, "2" * 64, 90, 12, "2026-01-01T00:00:00.000Z", "anchored")
    first, second, third = (json.loads(line)["event"]["id"] for line in (record(), record(), record(other)))
    assert first == second != third
