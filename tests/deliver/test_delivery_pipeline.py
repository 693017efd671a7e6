"""Delivery as its users see it: sealed whatever happens to the server, each document there once, problems in one line."""

import base64
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import Forwarder, scan
from scripted import JSON, Says, Scripted, error, failure, self_signed

from forwarder import elastic, ledger, pipeline, state
from forwarder.cli import main
from forwarder.cli.status import gather
from forwarder.config import Settings
from forwarder.errors import Exit, UsageError

SECRET = base64.b64encode(b"id:Very-Secret-Key").decode()
PASSWORD = "correct/horse?battery#staple"
VARIABLE = "NMAP_FORWARDER_ELASTICSEARCH_"


@pytest.fixture
def server():
    with Scripted() as server:
        yield server


def environment(server, **more):
    found = {"URL": server.url, "RETRY_SECONDS": "0.2", "TIMEOUT": "5", "CONNECTIONS": "1"} | more
    return {VARIABLE + name: str(value) for name, value in found.items() if value is not None}


@pytest.fixture
def run(forwarder, server, monkeypatch, capsys):
    """Runs a command in this process: its result, as subprocess gives it."""

    def run(*arguments, **more):
        forwarder.directory.mkdir(parents=True, exist_ok=True)
        (forwarder.directory / "config.toml").touch()
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("NMAP_FORWARDER_")]:
                patch.delenv(name)
            for name, value in (basics(forwarder) | environment(server, **more)).items():
                patch.setenv(name, value)
            capsys.readouterr()
            code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, out, err)

    return run


def basics(forwarder):
    return {
        "NMAP_FORWARDER_STATE_DIR": str(forwarder.directory / "state"),
        "NMAP_FORWARDER_CONFIG": str(forwarder.directory / "config.toml"),
        "NMAP_FORWARDER_INTAKE_SETTLE": "0",
    }


def local(forwarder, server, **more):
    """The same in this process, which is quicker; what was said is in forwarder.said."""
    flags = {"url": server.url, "retry_seconds": 0.1, "timeout": 5, "connections": 1} | more
    forwarder.flags |= {f"elasticsearch_{name}": value for name, value in flags.items()}
    return forwarder


def redeliver(forwarder, *, refused=False):
    forwarder.said.clear()
    with state.opened(forwarder.settings) as opened:
        listener = pipeline.Listener(said=forwarder.said.append)
        return pipeline.redeliver(opened, forwarder.settings, listener, refused=refused)


def states(forwarder):
    book = ledger.Ledger(forwarder.directory / "state" / "ledger.sqlite")
    try:
        return [batch.state for batch in book.batches("intent", "sealed", *ledger.ANCHORED)]
    finally:
        book.close()


def status(forwarder):
    return gather(forwarder.settings)["delivery"]


def assert_all_there(forwarder, server):
    """Each sealed record is a document exactly once, and nothing else is there."""
    lines = forwarder.lines()
    assert sorted(body[: body.index(b',"agent.id":')] + b"}" for body in server.documents.values()) == sorted(lines)
    assert server.ids() == sorted(record["event"]["id"] for record in forwarder.records())
    found = sorted(json.loads(body)["event.sequence"] for body in server.documents.values())
    assert found == list(range(len(lines)))
    assert set(states(forwarder)) == {"delivered"}


def test_forward_delivers(forwarder, server, run):
    result = run("forward", forwarder.write("a.xml", scan(3)))
    assert result.returncode == 0
    assert all(line.startswith("nmap-forwarder: made ") for line in result.stderr.splitlines())
    assert "10 documents delivered" in result.stdout
    assert_all_there(forwarder, server)
    requests = len(server.requests)
    result = run("forward", forwarder.directory / "a.xml")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(server.requests) == requests, "there was nothing to ask the server"


def test_a_scan_that_grows_is_delivered_in_parts_without_a_conflict(forwarder, server):
    local(forwarder, server)
    forwarder.forward(forwarder.write("a.xml", scan(3, end=False)))
    forwarder.forward(forwarder.write("a.xml", scan(5)))
    forwarder.forward(forwarder.write("b.xml", scan(5, start=1700009999)))
    assert not any("refuses" in line for line in forwarder.said)
    assert_all_there(forwarder, server)


@pytest.mark.parametrize(
    "always", [error(503), error(429, headers={"Retry-After": "99"}), Says(cut=True), Says(reset=True)]
)
def test_in_an_outage_everything_is_sealed_and_the_next_run_delivers_it(forwarder, server, always):
    server.always = always
    local(forwarder, server)
    outcome = forwarder.forward(forwarder.write("a.xml", scan(3)))
    assert (outcome.exit_code, outcome.batches, outcome.delivered) == (Exit.TEMPORARY, 1, 0)
    assert len(forwarder.said) == 1
    assert not forwarder.verify().findings
    assert states(forwarder) == ["delivering"]
    assert forwarder.forward(forwarder.write("b.xml", scan(2, start=1700009999))).exit_code == Exit.TEMPORARY
    assert states(forwarder) == ["delivering", "anchored"]
    server.always = None
    forwarder.said.clear()
    assert (forwarder.forward().exit_code, forwarder.said) == (Exit.OK, [])
    assert_all_there(forwarder, server)


def test_an_outage_from_the_beginning(forwarder, server, run):
    server._server.server_close()
    run("init")
    result = run("forward", forwarder.write("a.xml", scan(3)))
    assert result.returncode == 75
    assert re.fullmatch(
        r"nmap-forwarder: http://127.0.0.1:\d+ cannot be reached \(.*refused.*\): run it again.*\n", result.stderr
    )
    assert "sealed as batch 0" in result.stdout
    assert "the rest waits for the next run" in result.stdout
    facts = status(forwarder)
    assert (facts["delivered"], facts["waiting"], facts["waiting_batches"], facts["refused"]) == (0, 10, 1, 0)
    assert json.loads(run("forward", "--json").stdout)["exit_code"] == 75
    assert run("deliver").returncode == 75


def test_an_outage_in_the_middle_doubles_nothing(forwarder, server):
    local(forwarder, server, bulk_documents=3)
    server.bulk += [Says(), Says(take=True, cut=True)]
    server.always = error(503)
    assert forwarder.forward(forwarder.write("a.xml", scan(4))).exit_code == Exit.TEMPORARY
    assert 3 < len(server.documents) < 13
    server.always = None
    assert redeliver(forwarder).exit_code == Exit.OK
    assert_all_there(forwarder, server)


CASES = {
    "no rights": (
        error(403, "security_exception", "not you"),
        {},
        2,
        "does not let us (403: security_exception: not you)",
    ),
    "no such thing": (error(404, "x", "y"), {}, 2, "has no such thing"),
    "overloaded": (error(429), {}, 75, "answered 429"),
    "broken": (error(500), {}, 75, "answered 500"),
    "a web page": (Says(200, b"<html>hi</html>", product=False), {}, 2, "is not Elasticsearch"),
    "other JSON": (Says(200, b'{"hello": 1}'), {}, 2, "does not answer like Elasticsearch"),
    "no nodes": (Says(200, b'{"nodes": {}}'), {}, 2, "does not answer like Elasticsearch"),
    "no JSON": (Says(200, b"{"), {}, 2, "does not answer like Elasticsearch"),
    "no version": (Says(200, b'{"nodes":{"a":{"version":"new"}}}'), {}, 2, "does not answer like Elasticsearch"),
    "unproven": (Says(200, b'{"nodes":{"a":{"version":"8.19.0"}}}', product=False), {}, 2, "is not Elasticsearch"),
    "old": (
        Says(200, b'{"nodes":{"a":{"version":"8.11.4"}}}'),
        {},
        2,
        "is Elasticsearch 8.11.4: nmap-forwarder needs 8.12",
    ),
    "very old": (
        Says(200, b'{"nodes":{"a":{"version":"7.17.1-SNAPSHOT"}}}'),
        {},
        2,
        "is Elasticsearch 7.17.1-SNAPSHOT",
    ),
    "slow": (Says(hold=threading.Event()), {"TIMEOUT": "0.2"}, 75, "did not answer in time"),
    "wrong place": (Says(), {"URL": "http://127.0.0.1:1"}, 75, "cannot be reached"),
    "no such host": (Says(), {"URL": "http://es.invalid"}, 75, "cannot be reached"),
    "no URL": (Says(), {"URL": "es.example:9200"}, 2, "must be a URL such as"),
    "no TLS there": (Says(), {"URL": "https://127.0.0.1:PORT"}, 2, "certificate is not trusted"),
    "CA without TLS": (Says(), {"CA_FILE": "/dev/null"}, 2, "need a URL with https"),
    "no key file": (Says(), {"API_KEY": None, "API_KEY_FILE": "/nonexistent"}, 2, "/nonexistent: No such file"),
    "strange key": (Says(), {"API_KEY": "schlüssel"}, 2, "holds a space, or what is no ASCII"),
    "half a user": (Says(), {"API_KEY": None, "USER": "me"}, 2, "need each other"),
    "two identities": (Says(), {"USER": "me", "PASSWORD": PASSWORD}, 2, "keep one of them"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_in_one_line(forwarder, server, run, case):
    says, more, code, words = CASES[case]
    server.others["/_nodes"] = says
    forwarder.init()
    more = {name: value and value.replace("PORT", server.url.rpartition(":")[2]) for name, value in more.items()}
    result = run("forward", forwarder.write("a.xml", scan(1)), **({"API_KEY": SECRET} | more))
    if says.hold:
        says.hold.set()
    assert result.returncode == code, result.stderr
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    for secret in (SECRET, "Very-Secret-Key", PASSWORD, "schl"):
        assert secret not in result.stderr + result.stdout
    assert server.bulks == []


def test_a_wrong_key_and_the_right_one(forwarder, server, run):
    server.key = f"ApiKey {SECRET}"
    forwarder.init()
    result = run("forward", forwarder.write("a.xml", scan(1)), API_KEY="d3Jvbmc6a2V5")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "refuses our credentials (401)" in result.stderr
    assert "d3Jvbmc6a2V5" not in result.stderr
    forwarder.write("key", SECRET + "\n")
    assert run("deliver", "--api-key-file", forwarder.directory / "key").returncode == 0
    assert_all_there(forwarder, server)


def test_a_user_and_a_password(forwarder, server, run):
    server.key = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    result = run("forward", forwarder.write("a.xml", scan(1)), USER="me", PASSWORD=PASSWORD)
    assert result.returncode == 0
    assert_all_there(forwarder, server)


def test_a_certificate_is_trusted_by_its_ca_or_its_fingerprint_only(forwarder, tmp_path, run):
    run_there = run
    context, fingerprint = self_signed(tmp_path)
    forwarder.init()
    with Scripted(context) as server:

        def run(*arguments, **more):
            return run_there(*arguments, **({"URL": server.url} | more))

        first = run("forward", forwarder.write("a.xml", scan(1)))
        wrong = run("deliver", FINGERPRINT="00" * 32)
        for result in (first, wrong):
            assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
            assert "certificate is not trusted" in result.stderr
            assert "elasticsearch.ca_file" in result.stderr
        assert server.requests == []
        right = run("deliver", FINGERPRINT=":".join(re.findall("..", fingerprint.upper())))
        assert (right.returncode, right.stderr) == (0, "")
        assert_all_there(forwarder, server)
        forwarder.write("b.xml", scan(1, start=1700009999))
        by_ca = run("forward", forwarder.directory / "b.xml", CA_FILE=tmp_path / "cert.pem")
        assert (by_ca.returncode, by_ca.stderr) == (0, "")
        assert_all_there(forwarder, server)
        forwarder.write("c.xml", scan(1, start=1700019999))
        no_pem = run("forward", forwarder.directory / "c.xml", CA_FILE=forwarder.directory / "c.xml")
        assert (no_pem.returncode, no_pem.stderr.count("\n")) == (2, 1), no_pem.stderr


def test_warnings_of_the_server_are_its_administrators_business(forwarder, server):
    forwarder.init()
    server.always = Says(headers={"Warning": '299 Elasticsearch-8.19.21-abc "built-in security is not enabled"'})
    path = forwarder.write("a.xml", scan(1))
    result = forwarder.command("forward", path, env=environment(server), text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "url",
    [
        "https://me:s3cret@es.example:9200",
        "https://me:s3cret/x@es.example:9200",
        "https://me:s3cret?x@es.example:9200",
        "https://me:s3cret#x@es.example:9200",
        "https://me:[s3cret@es.example:9200",
        "me:s3cret@es.example:9200",
        "ftp://me:s3cret@es.example",
        "https://es.example,https://me:s3cret@es.example",
    ],
)
def test_a_url_with_credentials_is_refused_without_showing_them(tmp_path, url):
    (tmp_path / "c.toml").write_text(f'[elasticsearch]\nurl = ["{url}"]')
    for arguments in (
        ({"elasticsearch_url": url}, None, {}),
        ({}, None, {VARIABLE + "URL": url}),
        ({}, str(tmp_path / "c.toml"), {}),
    ):
        with pytest.raises(UsageError, match=r"elasticsearch\.url") as caught:
            Settings(*arguments)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://es.example", "https://es.example:9200"),
        ("https://es.example:", "https://es.example:9200"),
        ("http://es.example:9201/path", "http://es.example:9201/path"),
        ("http://[::1]", "http://[::1]:9200"),
    ],
)
def test_a_url_without_a_port(url, expected):
    assert Settings({"elasticsearch_url": url}, None, {})["elasticsearch.url"] == (expected,)


@pytest.mark.parametrize("url", ["https://es.example:port", "https://[es.example", "https://es.example:99999"])
def test_a_url_that_is_none_says_what_one_is(url):
    with pytest.raises(UsageError, match="must be a URL such as"):
        Settings({"elasticsearch_url": url}, None, {})


@pytest.mark.parametrize("name", ["api_key", "password"])
def test_a_secret_in_the_configuration_is_refused(forwarder, run, name):
    forwarder.write("config.toml", f'[elasticsearch]\n{name} = "{SECRET}"\n')
    result = run("forward")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert f"elasticsearch.{name} is a secret" in result.stderr
    assert SECRET not in result.stderr


@pytest.fixture
def refusing(forwarder, server):
    """A forwarder of whose ten records the server has refused three."""
    local(forwarder, server)

    def item(_, document):
        if document["event"]["dataset"] == "nmap.host":
            why = f"'{document['host']['ip'][0]}' is wrong"
            return failure(400, "document_parsing_exception", why)
        return None

    server.item = item
    outcome = forwarder.forward(forwarder.write("a.xml", scan(3)))
    assert (outcome.exit_code, outcome.delivered) == (Exit.REJECTED, 7)
    return forwarder


def test_refused_records_are_said_in_one_line_and_listed_by_status(refusing, server, run):
    (line,) = refusing.said
    assert "refuses 3 records of batch 0 (400: document_parsing_exception: '10.0.0.1' is wrong)" in line
    facts = status(refusing)
    assert (facts["delivered"], facts["waiting"], facts["refused"]) == (7, 0, 3)
    assert [letter["reason"][-19:] for letter in facts["letters"]] == [f"'10.0.0.{n}' is wrong" for n in (3, 2, 1)]
    sealed = {record["event"]["id"] for record in refusing.records("host")}
    assert {letter["event_id"] for letter in facts["letters"]} == sealed
    text = run("status").stdout
    assert "refused   3 records" in text
    assert "record 2 of batch 0: 400 document_parsing_exception: '10.0.0.1' is wrong" in text
    bulks = len(server.bulks)
    assert run("deliver").returncode == 0  # nothing is sent again by itself
    assert len(server.bulks) == bulks


def test_refused_records_and_only_these_are_sent_again_when_asked(refusing, server):
    result = redeliver(refusing, refused=True)
    assert (result.exit_code, result.delivered) == (Exit.REJECTED, 0)
    server.item = lambda *_: None
    before = dict(server.documents)
    server.documents.clear()  # as when the data stream has begun another index
    result = redeliver(refusing, refused=True)
    assert (result.exit_code, result.delivered, refusing.said) == (Exit.OK, 3, [])
    assert not before.keys() & server.documents.keys()
    server.documents |= before
    assert_all_there(refusing, server)
    facts = status(refusing)
    assert (facts["delivered"], facts["refused"], facts["letters"]) == (10, 0, [])


def test_an_outage_while_refused_records_are_sent_again(refusing, server):
    server.item = lambda *_: None
    server.bulk += [Says(take=True, cut=True)]
    server.always = error(503)
    assert redeliver(refusing, refused=True).exit_code == Exit.TEMPORARY
    facts = status(refusing)
    assert (facts["delivered"], facts["waiting"], facts["refused"]) == (7, 0, 3)
    server.always = None
    assert redeliver(refusing).exit_code == Exit.OK
    assert_all_there(refusing, server)
    assert status(refusing)["delivered"] == 10


def test_a_planted_document_is_reported_again_and_again(forwarder, server, tmp_path):
    other = Forwarder(tmp_path / "same")
    (tmp_path / "f").mkdir()
    other.forward(forwarder.write("a.xml", scan(2)))
    planted = other.records("port")[0]["event"]["id"]
    server.documents["logs-nmap.port-default", planted] = b"{}"
    local(forwarder, server)
    outcome = forwarder.forward(forwarder.directory / "a.xml")
    for attempt in (outcome, redeliver(forwarder, refused=True), redeliver(forwarder, refused=True)):
        assert attempt.exit_code == Exit.REJECTED
        assert len(attempt.rejected) == 1
        assert "did not bring it" in attempt.rejected[0]
    (letter,) = status(forwarder)["letters"]
    assert (letter["status"], letter["event_id"]) == (409, planted)


def test_a_planted_document_is_reported_also_when_the_rest_has_to_wait(forwarder, server, tmp_path):
    other = Forwarder(tmp_path / "same")
    (tmp_path / "f").mkdir()
    other.forward(forwarder.write("a.xml", scan(2)))
    server.documents["logs-nmap.port-default", other.records("port")[0]["event"]["id"]] = b"{}"
    server.bulk += [Says()]
    server.always = error(503)
    local(forwarder, server, bulk_documents=3)
    outcome = forwarder.forward(forwarder.directory / "a.xml")
    assert outcome.exit_code == Exit.TEMPORARY
    assert any("did not bring it" in line for line in forwarder.said)


@pytest.mark.parametrize("what", ["records/*.ndjson.zst", "batches/*/manifest.json"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_what_was_changed_in_the_archive_is_never_sent(forwarder, server, run, what, how):
    forwarder.forward(forwarder.write("a.xml", scan(2)))
    (path,) = forwarder.log.glob(what)
    before = path.read_bytes()
    path.chmod(0o600)
    path.unlink()
    if how == "changed":
        path.write_bytes(before[:-5] + bytes([before[-5] ^ 1]) + before[-4:])
    result = run("deliver")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1), result.stderr
    assert server.bulks == []
    path.unlink(missing_ok=True)
    path.write_bytes(before)
    assert run("deliver").returncode == 0
    assert_all_there(forwarder, server)


@pytest.mark.parametrize(
    ("script", "at"),
    [
        ([Says(take=True)], 0),
        ([Says(), Says(take=True)], 1),
        ([Says(), error(503, take=True), Says()], 2),
        ([Says(body=b"", take=False)], 0),
        ([Says()] * 4 + [Says(take=True)], 4),
    ],
    ids=["first", "second", "after a failure", "before it is taken", "last"],
)
def test_kill_at_any_moment_of_delivery(forwarder, server, run, script, at):
    hold = threading.Event()
    script = [Says(**{name: getattr(says, name) for name in ("status", "body", "take")}) for says in script]
    script[at].hold = hold
    server.bulk += script
    forwarder.init()
    path = forwarder.write("a.xml", scan(4, ports=2))
    process = subprocess.Popen(
        [sys.executable, "-m", "forwarder", "forward", str(path)],
        env={name: value for name, value in os.environ.items() if not name.startswith("NMAP_FORWARDER_")}
        | basics(forwarder)
        | environment(server, BULK_DOCUMENTS=3, RETRY_SECONDS=5),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert script[at].reached.wait(10)
    process.send_signal(signal.SIGKILL)
    process.wait()
    hold.set()
    assert states(forwarder) == ["delivering"]
    result = run("forward", BULK_DOCUMENTS=3)
    assert (result.returncode, result.stderr) == (0, "")
    assert_all_there(forwarder, server)
    assert len(server.documents) == 13


V1 = Path(__file__).parents[1] / "fixtures" / "ledger-v1.sql"


def test_a_ledger_of_the_first_version_goes_on(forwarder, server):
    forwarder.forward(forwarder.write("a.xml", scan(2)))
    path = forwarder.directory / "state" / "ledger.sqlite"
    new = sqlite3.connect(path)
    rows = {
        table: new.execute(f"SELECT * FROM {table}").fetchall() for table in ("input", "file", "scan", "batch", "node")
    }
    new.close()
    for file in path.parent.glob("ledger.sqlite*"):
        file.unlink()
    old = sqlite3.connect(path)
    old.executescript(V1.read_text())
    for table, found in rows.items():
        old.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(found[0]))})", found)
    old.commit()
    old.close()
    local(forwarder, server)
    changed = scan(2, start=1700009999).replace(
        '<port protocol="tcp" portid="101">', '<port protocol="tcp" portid="999">'
    )
    assert forwarder.forward(forwarder.write("b.xml", changed)).exit_code == Exit.OK
    assert_all_there(forwarder, server)
    assert {record["event"]["action"] for record in forwarder.records("change")} >= {"port-opened"}


def test_with_no_elasticsearch_batches_wait_for_one(forwarder, server):
    assert forwarder.forward(forwarder.write("a.xml", scan(2))).exit_code == Exit.OK
    assert states(forwarder) == ["anchored"]
    assert redeliver(local(forwarder, server)).delivered == 7
    assert_all_there(forwarder, server)


def test_deliver_without_anything(forwarder, run):
    result = run("deliver")
    assert (result.returncode, result.stderr.count("\n")) == (3, 1)
    result = run("deliver", URL=None)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    forwarder.init()
    assert run("deliver").returncode == 0


def test_a_node_that_is_down_does_not_matter_while_another_is_up(forwarder, server):
    forwarder.init()
    local(forwarder, server, url=f"http://127.0.0.1:1,{server.url}", retry_seconds=5)
    for _ in range(8):  # either may be asked first
        elastic.check(elastic.connect(forwarder.settings), "there")
    forwarder.forward(forwarder.write("a.xml", scan(1)))
    assert_all_there(forwarder, server)


def test_documents_of_a_namespace_go_to_its_data_streams(forwarder, server):
    local(forwarder, server)
    forwarder.flags["namespace"] = "dmz"
    forwarder.forward(forwarder.write("a.xml", scan(1, 1)))
    assert {stream for stream, _ in server.documents} == {f"logs-nmap.{kind}-dmz" for kind in ("scan", "host", "port")}


def test_what_a_reply_says_is_never_printed_raw(forwarder, server, run):
    forwarder.init()
    server.always = Says(403, json.dumps({"error": {"type": "a", "reason": "\x1b[2J\n\u202eb"}}).encode(), JSON)
    result = run("forward", forwarder.write("a.xml", scan(1)))
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "\x1b" not in result.stderr
