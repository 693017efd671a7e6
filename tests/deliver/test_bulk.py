"""What becomes of documents, whatever a server does: each row of the table in forwarder/deliver/elasticsearch.py."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from scripted import Says, Scripted, error, failure

from forwarder import elastic
from forwarder.config import Settings
from forwarder.deliver import elasticsearch
from forwarder.deliver.elasticsearch import ElasticsearchOutput
from forwarder.deliver.interface import Document, Outcome
from forwarder.errors import Exit, TemporaryError, UsageError


@pytest.fixture
def server():
    with Scripted() as server:
        yield server


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(elasticsearch, "FIRST_WAIT", 0.01)


@pytest.fixture
def output(server, tmp_path):
    """Makes an output, by default with one connection, ten documents a request, and a second of patience."""
    (tmp_path / "config.toml").touch()

    def make(**settings):
        flags = {"url": server.url, "connections": 1, "bulk_documents": 10, "retry_seconds": 1, "timeout": 5} | settings
        values = Settings(
            {f"elasticsearch_{name}": value for name, value in flags.items()}, str(tmp_path / "config.toml"), {}
        )
        return ElasticsearchOutput(elastic.connect(values), values)

    return make


def documents(count, start=0, size=0):
    for n in range(start, start + count):
        identity = f"{n:064x}"
        yield Document("logs-nmap.port-default", identity, json.dumps({"n": n, "text": "x" * size}).encode(), n)


def deliver(output, found, **more):
    total = Outcome()
    for outcome in output.deliver(found, **more):
        total.created += outcome.created
        total.known += outcome.known
        total.rejected += outcome.rejected
    return total


def refusals(outcome):
    return sorted((item.document.sequence, item.status, item.reason) for item in outcome.rejected)


def test_all_are_taken_in_requests_of_limited_size(server, output):
    outcome = deliver(output(), documents(25))
    assert (outcome.created, outcome.known, outcome.rejected) == (25, 0, [])
    assert [len(request.ids) for request in server.bulks] == [10, 10, 5]
    assert server.ids() == [document.id for document in documents(25)]
    assert server.documents["logs-nmap.port-default", f"{3:064x}"] == next(documents(1, 3)).body
    deliver(output(bulk_bytes=1000), documents(10, 100, size=300))
    assert [len(request.ids) for request in server.bulks[3:]] == [3, 3, 3, 1]
    deliver(output(bulk_bytes=1), documents(2, 200))  # a document that is larger than allowed goes alone
    assert [len(request.ids) for request in server.bulks[7:]] == [1, 1]


def test_no_documents_no_request(server, output):
    assert deliver(output(), []) == Outcome()
    assert server.requests == []


def test_what_went_to_a_failure_store_is_refused(server, output):
    server.item = lambda _, document: {"status": 201, "failure_store": "used"} if document["n"] == 2 else None
    outcome = deliver(output(), documents(4))
    assert (outcome.created, refusals(outcome)) == (3, [(2, 201, "went to the failure store")])


@pytest.mark.parametrize("word", ["not_applicable_or_unknown", "not_enabled", "failed"])
def test_another_word_about_the_failure_store_means_nothing(server, output, word):
    server.item = lambda *_: {"status": 201, "failure_store": word}
    assert deliver(output(), documents(1)).created == 1


def test_what_is_there_already_was_planted(server, output):
    server.documents["logs-nmap.port-default", f"{1:064x}"] = b"{}"
    outcome = deliver(output(), documents(3))
    assert (outcome.created, outcome.known) == (2, 0)
    ((sequence, status, why),) = refusals(outcome)
    assert (sequence, status, "did not bring it" in why) == (1, 409, True)


def test_what_is_there_already_is_known_when_an_earlier_run_may_have_brought_it(server, output):
    deliver(output(), documents(2))
    outcome = deliver(output(), documents(5), resumed=True)
    assert (outcome.created, outcome.known, outcome.rejected) == (3, 2, [])


@pytest.mark.parametrize("largest", [1, 200, 1000])
def test_a_request_that_is_too_large_is_split_down_to_one_document(server, output, largest):
    server.largest = largest
    outcome = deliver(output(bulk_documents=100), documents(9, size=40))
    if largest > 1:
        assert (outcome.created, outcome.rejected) == (9, [])
    else:
        assert [(n, status) for n, status, _ in refusals(outcome)] == [(n, 413) for n in range(9)]
        assert len(server.bulks) == 17  # a binary tree with nine leaves
    assert all(len(request.ids) == len(set(request.ids)) for request in server.bulks)


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/json; charset=utf-8"])
def test_too_large_is_understood_whatever_the_page_is_written_in(server, output, kind):
    server.bulk += [Says(413, b'"too large"', kind, product=False)]
    assert deliver(output(), documents(4)).created == 4
    assert [len(request.ids) for request in server.bulks] == [4, 2, 2]


@pytest.mark.parametrize("bad", [[0], [8], [3, 4], []])
def test_a_refused_request_is_split_until_the_document_is_found(server, output, bad):
    server.refuses = lambda body: any(f"{n:064x}".encode() in body for n in bad)
    outcome = deliver(output(bulk_documents=100), documents(9))
    assert outcome.created == 9 - len(bad)
    assert refusals(outcome) == [(n, 400, "illegal_argument_exception: no") for n in bad]


def test_a_refused_document_does_not_stop_the_others(server, output):
    cause = {"type": "illegal_argument_exception", "reason": "'x' is not an IP string literal.\n"}
    refused = {"type": "document_parsing_exception", "reason": "[1:2] failed to parse field", "caused_by": cause}
    server.item = lambda _, document: {"status": 400, "error": refused} if document["n"] % 10 == 7 else None
    outcome = deliver(output(), documents(20))
    why = "illegal_argument_exception: 'x' is not an IP string literal."
    assert (outcome.created, refusals(outcome)) == (18, [(7, 400, why), (17, 400, why)])
    assert len(server.bulks) == 2  # nothing was sent again for it


@pytest.mark.parametrize("status", [429, 503])
def test_only_what_was_put_off_is_sent_again(server, output, status):
    turns = {}

    def item(identity, document):
        turns[identity] = turns.get(identity, 0) + 1
        return failure(status) if document["n"] in {1, 4} and turns[identity] < 3 else None

    server.item = item
    outcome = deliver(output(), documents(6))
    assert (outcome.created, outcome.known, outcome.rejected) == (6, 0, [])
    assert [[int(identity, 16) for identity in request.ids] for request in server.bulks] == [
        [0, 1, 2, 3, 4, 5],
        [1, 4],
        [1, 4],
    ]


def test_what_a_shard_may_have_taken_before_it_failed_is_ours(server, output):
    """An item's 5xx says that something broke, not that the document is not there."""
    first = {2: failure(503, "unavailable_shards_exception"), 3: failure(500, "translog_exception")}

    def item(identity, document):
        if found := first.pop(document["n"], None):
            server.documents["logs-nmap.port-default", identity] = b"{}"
            return found
        return None

    server.item = item
    outcome = deliver(output(), documents(5))
    assert (outcome.created, outcome.known, outcome.rejected) == (3, 2, [])


def test_what_was_put_off_by_a_full_queue_was_not_taken(server, output):
    """After an item's 429 a document that is there was brought by somebody else."""
    first = {2: failure(429, "es_rejected_execution_exception")}

    def item(identity, document):
        if found := first.pop(document["n"], None):
            server.documents["logs-nmap.port-default", identity] = b"{}"
            return found
        return None

    server.item = item
    outcome = deliver(output(), documents(5))
    assert (outcome.created, [(n, status) for n, status, _ in refusals(outcome)]) == (4, [(2, 409)])


def test_documents_that_are_put_off_for_too_long_wait_for_the_next_run(server, output):
    server.item = lambda _, document: failure(429, "es_rejected", "queue full") if document["n"] == 1 else None
    with pytest.raises(TemporaryError, match=r"puts documents off \(429: es_rejected: queue full\)") as caught:
        deliver(output(retry_seconds=0.1), documents(3))
    assert caught.value.exit_code == Exit.TEMPORARY
    assert 2 <= len(server.bulks) <= 12


def test_retry_after_in_seconds_is_waited_for(server, output):
    server.bulk += [error(429, headers={"Retry-After": "1"})]
    assert deliver(output(retry_seconds=3), documents(1)).created == 1
    first, second = server.bulks
    assert 1 <= second.time - first.time < 3


def test_retry_after_as_a_date_is_waited_for(server, output):
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    server.bulk += [error(503, headers={"Retry-After": format_datetime(until, usegmt=True)})]
    assert deliver(output(retry_seconds=3), documents(1)).created == 1
    assert time.time() >= until.timestamp()


@pytest.mark.parametrize(
    "value", ["3600", format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)], ids=["seconds", "date"]
)
def test_a_server_that_wants_more_patience_than_there_is_is_left_at_once(server, output, value):
    server.bulk += [error(429, headers={"Retry-After": value})]
    begun = time.monotonic()
    with pytest.raises(TemporaryError, match="answered 429"):
        deliver(output(retry_seconds=60), documents(1))
    assert time.monotonic() - begun < 30
    assert len(server.bulks) == 1


@pytest.mark.parametrize(
    "value", ["soon", "-5", "²", "", "Mon, 99 Foo 2026", "Mon, 01 Jan 2001 00:00:00 GMT", "9" * 400]
)
def test_a_retry_after_that_makes_no_sense_is_passed_over(value):
    expected = float("inf") if value.startswith("9") else 0
    assert max(0, elasticsearch._retry_after(value)) == expected


def test_waits_grow_and_differ(monkeypatch):
    monkeypatch.setattr(elasticsearch, "FIRST_WAIT", 0.5)

    class State:
        outcome = None
        attempt_number = 1

    waits = []
    for State.attempt_number in range(1, 12):
        found = {elasticsearch._wait(State) for _ in range(50)}
        assert len(found) > 40, "many forwarders would come at once"
        waits.append(max(found))
        assert min(found) >= min(0.25 * 2 ** (State.attempt_number - 1), 15)
    assert waits == sorted(waits[:6]) + waits[6:]
    assert max(waits) <= 30


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_storm_that_ends(server, output, status):
    page = Says(status, b"<html>Bad Gateway</html>", "text/html", product=False)
    server.bulk += [error(status), page, error(status, headers={"Retry-After": "0"})]
    outcome = deliver(output(), documents(3))
    assert (outcome.created, len(server.bulks)) == (3, 4)


def test_a_storm_that_outlasts_our_patience(server, output):
    server.always = error(503, "cluster_block_exception", "no master")
    begun = time.monotonic()
    with pytest.raises(TemporaryError, match=r"answered 503 \(cluster_block_exception: no master\)") as caught:
        deliver(output(retry_seconds=0.3), documents(3))
    assert caught.value.exit_code == Exit.TEMPORARY
    assert time.monotonic() - begun < 10
    assert len(server.bulks) >= 3


LOST = [
    Says(cut=True),
    Says(cut=True, take=True),
    Says(body=b'{"items":[{"create":{"sta', take=True),
    Says(body=b'{"items":[{"create":{"status":201}}]}', take=True),
    Says(body=b'{"items":[{"create":{}},{"create":{}},{"create":{}},{"create":{}}]}', take=True),
    Says(body=b'{"items":[{"index":{"status":201}}]}', take=True),
    Says(body=b'{"items":[1,2,3,4]}', take=True),
    Says(body=b'{"items":{}}', take=True),
    Says(body=b'{"items":null}', take=True),
    Says(body=b"{}", take=True),
    Says(body=b"[]", take=True),
    Says(body=b"", take=True),
    Says(reset=True),
    Says(reset=True, take=True),
    error(500, take=True),
    error(504, take=True),
]


@pytest.mark.parametrize("says", LOST, ids=range(len(LOST)))
def test_without_a_whole_answer_the_same_is_sent_again_and_nothing_is_doubled(server, output, says):
    server.bulk += [says]
    outcome = deliver(output(), documents(4))
    assert outcome.created + outcome.known == 4
    assert outcome.rejected == []
    assert len(server.bulks) == 2
    assert server.ids() == [document.id for document in documents(4)]


def test_half_an_answer_over_and_over_is_temporary(server, output):
    server.always = Says(body=b'{"items":[', take=True)
    with pytest.raises(TemporaryError, match="half an answer"):
        deliver(output(retry_seconds=0.1), documents(2))


def test_a_server_that_does_not_answer_in_time(server, output):
    hold = threading.Event()
    server.bulk += [Says(hold=hold)]
    try:
        outcome = deliver(output(timeout=0.2), documents(2))
    finally:
        hold.set()
    assert (outcome.created, outcome.known) == (0, 2)


def test_a_server_that_is_gone(server, output):
    there = output(retry_seconds=0.1)
    server._server.server_close()
    with pytest.raises(TemporaryError, match="cannot be reached"):
        deliver(there, documents(2))


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (error(401, "security_exception", "unable to authenticate"), "refuses our credentials"),
        (error(403, "security_exception", "not you"), "does not let us (403: security_exception: not you)"),
        (error(404, "index_not_found_exception", "no such index"), "has no such thing"),
        (Says(301, b"", headers={"Location": "https://elsewhere/"}), "answered 301"),
        (Says(405, b"Method Not Allowed", "text/plain", product=False), "answered 405 (Method Not Allowed)"),
    ],
)
def test_what_only_people_can_set_right_stops_it_at_once(server, output, says, words):
    server.always = says
    with pytest.raises(UsageError) as caught:
        deliver(output(), documents(30))
    assert words in str(caught.value)
    assert len(server.bulks) <= 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_item_that_only_people_can_set_right_stops_it_too(server, output, status):
    server.item = lambda _, document: failure(status, "a_exception", "why") if document["n"] == 15 else None
    with pytest.raises(UsageError, match=r"logs-nmap\.port-default"):
        deliver(output(), documents(40))
    assert len(server.bulks) <= 4


def test_something_that_is_not_elasticsearch_is_left(server, output):
    server.always = Says(body=b"<html>Welcome</html>", type="text/html", product=False)
    with pytest.raises(UsageError, match="is not Elasticsearch"):
        deliver(output(), documents(1))


def test_several_connections_are_used_at_the_same_time(server, output):
    hold = threading.Event()
    server.bulk += [Says(hold=hold) for _ in range(3)]
    last = server.bulk[-1].reached
    threading.Thread(target=lambda: (last.wait(5), hold.set())).start()
    outcome = deliver(output(connections=3), documents(80))
    assert outcome.created == 80
    assert server.most == 3


@pytest.mark.parametrize("connections", [1, 2])
def test_documents_are_read_only_as_far_ahead_as_needed(server, output, connections):
    hold = threading.Event()
    server.bulk += [Says(hold=hold) for _ in range(connections)]
    read = []

    def source():
        for document in documents(200):
            read.append(document)
            yield document

    results = output(connections=connections).deliver(source())
    worker = threading.Thread(target=next, args=(results,))
    worker.start()
    assert server.bulk[-1].reached.wait(5) if server.bulk else True
    time.sleep(0.2)
    # what is being sent, one request that waits for its turn, and one document that shows that it is full
    assert len(read) <= (connections + 1) * 10 + 1
    hold.set()
    worker.join()
    time.sleep(0.1)
    assert len(read) <= (connections + 2) * 10 + 1
    results.close()


def test_whoever_stops_listening_stops_it(server, output):
    results = output().deliver(documents(1000))
    next(results)
    results.close()
    assert len(server.bulks) <= 4


def test_a_failure_for_good_stops_those_that_wait_for_better_times(server, output):
    """Also when it comes behind a request that is patiently tried again."""

    def later_then_never():
        yield from documents(11)
        reached.wait(5)
        yield from documents(50, 11)

    reached = threading.Event()
    server.bulk += [error(503, headers={"Retry-After": "15"}), error(403, "security_exception", "not you")]
    server.bulk[0].reached = reached
    begun = time.monotonic()
    with pytest.raises(UsageError, match="does not let us"):
        deliver(output(connections=2, retry_seconds=60), later_then_never())
    assert time.monotonic() - begun < 12  # and not the server's 15
    assert len(server.bulks) <= 5


def test_a_source_that_fails_stops_it(server, output):
    def source():
        yield from documents(15)
        raise ValueError("the archive is broken")

    server.bulk += [error(503, headers={"Retry-After": "15"})]
    begun = time.monotonic()
    with pytest.raises(ValueError, match="broken"):
        deliver(output(retry_seconds=60), source())
    assert time.monotonic() - begun < 12  # and not the server's 15


def test_it_can_be_used_again_after_a_failure(server, output):
    there = output()
    server.bulk += [error(403)]
    with pytest.raises(UsageError):
        deliver(there, documents(3))
    server.bulk += [error(503)]
    assert deliver(there, documents(3)).created == 3


@pytest.mark.parametrize(("compression", "zipped"), [("gzip", True), ("none", False), ("auto", False)])
def test_requests_are_compressed_unless_the_server_is_here(server, output, compression, zipped):
    deliver(output(compression=compression), documents(3))
    assert server.bulks[0].headers.get("content-encoding") == ("gzip" if zipped else None)
    assert server.ids() == [document.id for document in documents(3)]


@pytest.mark.parametrize(
    ("url", "zipped"),
    [
        ("https://es.example:9200", True),
        ("http://localhost", False),
        ("http://[::1]:9200", False),
        ("http://127.0.0.1:9200,https://es.example", True),
        ("https://localhost.example.com", True),
    ],
)
def test_automatic_compression_goes_by_the_url(output, url, zipped):
    assert output(url=url)._gzip is zipped


def test_nothing_else_tries_again(server, output):
    """One request is one request: the client's own retries would send it four times at once."""
    for says in (error(503), error(429), error(502), Says(reset=True)):
        server.bulk += [says]
        with pytest.raises(TemporaryError):
            deliver(output(retry_seconds=0), documents(1))
    assert len(server.bulks) == 4
