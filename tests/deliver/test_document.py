"""From a sealed record to a document: the sealed bytes are in it as they are, whatever a scanned host wrote there."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.deliver.document import Splicer
from forwarder.errors import IntegrityError
from forwarder.seal import canonical
from forwarder.seal.manifest import Manifest, Records

ID = "ab" * 32
MANIFEST = Manifest(
    origin="example.com/nmap/scanner1",
    sequence=7,
    previous="0" * 64,
    type="records",
    created="2026-03-02T09:15:00.000Z",
    software="nmap-forwarder/0.1.0",
    first_record=1000,
    records=Records(count=3, root="1" * 64, stored_sha256="2" * 64, leaves_sha256="3" * 64),
)
HEAD = (
    b',"agent.id":"a1","agent.name":"sc\\"anner","agent.type":"nmap-forwarder","agent.version":"0.1.0"'
    b',"event.created":"2026-03-02T09:15:00.000Z","nmap.seal.anchor":"directory","nmap.seal.batch":7'
    b',"nmap.seal.manifest":"' + b"c" * 64 + b'","nmap.seal.origin":"example.com/nmap/scanner1"'
)


@pytest.fixture
def splicer():
    return make()


def make():
    return Splicer(MANIFEST, "c" * 64, "directory", ("a1", 'sc"anner'))


def record(time="2026-03-02T09:00:00.000Z", **more):
    """A record with the members that every one has, and more; as it is sealed."""
    return canonical.encode(
        {
            "@timestamp": time,
            "data_stream": {"dataset": "nmap.port", "namespace": "default", "type": "logs"},
            "ecs": {"version": "8.17.0"},
            "event": {"category": ["network"], "dataset": "nmap.port", "id": ID, "kind": "state"},
            "host": {"id": "cd" * 32},
        }
        | more
    )


def test_a_document_is_the_sealed_bytes_and_behind_them_what_sealing_made_known(splicer):
    line = record(message="80/tcp open")
    document = splicer.document(line, 2)
    hashed = sha256(line).hexdigest().encode()
    assert document.body == (
        line[:-1] + HEAD + b',"event.hash":"' + hashed + b'","event.sequence":1002,"nmap.seal.index":2}'
    )
    assert (document.stream, document.id, document.sequence) == ("logs-nmap.port-default", ID, 1002)


def test_without_what_was_added_it_is_the_line_whose_hash_it_names(splicer):
    document = splicer.document(record(), 0).body
    line = document[: document.index(b',"agent.id":')] + b"}"
    assert sha256(line).hexdigest() == json.loads(document)["event.hash"]


@pytest.mark.parametrize(
    ("time", "late"),
    [
        ("2026-03-01T09:14:59.999Z", True),
        ("2026-03-01T09:15:00.000Z", False),
        ("2026-03-02T09:15:00.000Z", False),
        ("2027-01-01T00:00:00.000Z", False),
        ("1970-01-01T00:00:00.000Z", True),
    ],
)
def test_what_was_read_more_than_a_day_late_is_marked(splicer, time, late):
    body = splicer.document(record(time), 0).body
    assert json.loads(body).get("nmap.backfill", False) is late
    assert body.endswith(b',"nmap.backfill":true}') is late


HOSTILE = [
    '"data_stream":{"dataset":"evil","namespace":"evil","type":"logs"}',
    ',"event":{"id":"' + "66" * 32 + '"}',
    '{"id":"' + "66" * 32 + '"',
    ',"id":"' + "66" * 32 + '"',
    '\\",\\"event\\":{\\"id\\":\\"' + "66" * 32 + '\\"',
    '\\"},"event":{"id":"' + "66" * 32 + '"},"x":"',
    "\\",
    '","event.hash":"',
    "\n{}\n",
    '{"create":{"_index":"other"}}',
    "\u2028\x00\x1b[2J}",
]


def check(splicer, line):
    document = splicer.document(line, 0)
    assert (document.stream, document.id) == ("logs-nmap.port-default", ID)
    assert b"\n" not in document.body
    whole = json.loads(document.body, object_pairs_hook=unique)
    assert {name: value for name, value in whole.items() if name in json.loads(line)} == json.loads(line)
    assert whole["event.hash"] == sha256(line).hexdigest()


def unique(pairs):
    assert len(dict(pairs)) == len(pairs), "a member is there twice"
    return dict(pairs)


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_that_look_like_members_are_none(splicer, text):
    # in every place that text from outside can be: before the event, in it and behind it, as value and as key
    event = {"action": text, "category": [text], "id": ID, "reason": text}
    nmap = {"scan": {"args": text, "id": "99" * 32}, text: {"id": "77" * 32}}
    check(splicer, record(destination={"address": text}, error={"message": text}, event=event, message=text))
    check(splicer, record(nmap=nmap, message=text))


TEXTS = st.lists(st.one_of(st.text(), st.sampled_from(HOSTILE)), max_size=4).map("".join)


@given(TEXTS, TEXTS, TEXTS)
def test_no_text_at_all_confuses_it(message, reason, command):
    check(
        make(),
        record(
            destination={"address": command},
            event={"action": reason, "id": ID, "reason": message},
            message=message,
            nmap={"scan": {"args": command, "id": "99" * 32}},
        ),
    )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        record()[:-2],
        record() + b"\n",
        record() + b" ",
        record().replace(b'"data_stream"', b'"data-stream"'),
        record().replace(b'"event"', b'"incident"'),
        record().replace(ID.encode(), b"g" * 64).replace(b"cd" * 32, b""),
        record().replace(b'"namespace":"default"', b'"namespace":"de\\"fault"'),
        record().replace(b'"dataset":"nmap.port","namespace"', b'"dataset":"","namespace"'),
    ],
)
def test_a_line_that_is_no_record_is_refused(splicer, line):
    with pytest.raises(IntegrityError, match="record 1 of batch 7 is none that can be delivered"):
        splicer.document(line, 1)
