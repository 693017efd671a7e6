"""A key that never leaves its service signs a log; against a stand-in for AWS KMS."""

import json

import kms_stand_in
import pytest
from conftest import scan

from forwarder.errors import TemporaryError, UsageError
from forwarder.keys.choose import open_key
from forwarder.seal.note import Checkpoint, open_checkpoint


@pytest.fixture
def kms(monkeypatch):
    pytest.importorskip("boto3")
    with kms_stand_in.running() as service:
        for name, value in environment(service).items():
            monkeypatch.setenv(name, value)
        yield service


def environment(service):
    return {
        "AWS_ENDPOINT_URL_KMS": service.url,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "secret-of-aws",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CONFIG_FILE": "/dev/null",
    }


def test_it_signs_checkpoints(kms):
    key = open_key("awskms:alias/one", "log")
    assert key.verifier.public == kms.keys["alias/one"].public_key().public_bytes_raw()
    note = Checkpoint("log", 1, b"\0" * 32).sign(key)
    assert open_checkpoint(note, key.verifier).size == 1
    assert kms.asked == ["TrentService.GetPublicKey", "TrentService.Sign"]


@pytest.mark.parametrize(
    ("uri", "refuse", "kind", "why"),
    [
        ("awskms:alias/none", None, UsageError, "NotFoundException"),
        ("awskms:alias/curve", None, UsageError, "no Ed25519 key"),
        ("awskms:alias/one", (400, "AccessDeniedException"), UsageError, "AccessDenied"),
        ("awskms:alias/one", (400, "DisabledException"), UsageError, "Disabled"),
        ("awskms:alias/one", (400, "ThrottlingException"), TemporaryError, "Throttling"),
        ("awskms:alias/one", (500, "KMSInternalException"), TemporaryError, "KMSInternal"),
    ],
)
def test_what_the_service_refuses_is_one_line(kms, uri, refuse, kind, why):
    kms.refuse = refuse
    with pytest.raises(kind, match=why) as caught:
        open_key(uri, "log")
    assert "\n" not in str(caught.value)
    assert "secret-of-aws" not in str(caught.value)


def test_a_service_that_is_away_is_temporary(kms, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    with pytest.raises(TemporaryError, match="awskms:alias/one"):
        open_key("awskms:alias/one", "log")


def test_an_alias_that_was_moved_signs_nothing(kms):
    key = open_key("awskms:alias/one", "log")
    kms.keys["alias/one"] = kms.keys["alias/two"]
    with pytest.raises(UsageError, match="another key than before"):
        key.sign(b"x")


def test_a_log_begins_with_it_and_goes_over_to_another(kms, forwarder):
    forwarder.flags["key_uri"] = "awskms:alias/one"
    forwarder.forward(forwarder.write("a.xml", scan(2)))
    assert not (forwarder.directory / "state" / "key.pem").exists()
    assert not forwarder.verify().findings
    rotated = forwarder.command("keys", "rotate", "--key-uri", "awskms:alias/two", env=environment(kms))
    assert rotated.returncode == 0, rotated.stderr
    assert "not ours to remove" in rotated.stdout.decode()
    forwarder.forward(forwarder.write("b.xml", scan(3, start=1600000000)))
    assert not forwarder.verify().findings
    (one, two) = json.loads(forwarder.command("keys", "show", "--json").stdout)["keys"]
    assert (one["private"], two["private"]) == ("awskms:alias/one", "awskms:alias/two")
    assert (one["last_size"], two["first_size"], two["last_size"]) == (2, 2, None)


def test_a_key_that_is_away_stops_nothing_for_good(kms, forwarder):
    forwarder.flags["key_uri"] = "awskms:alias/one"
    forwarder.init()
    path = forwarder.write("a.xml", scan(2))
    kms.refuse = (500, "KMSInternalException")
    with pytest.raises(TemporaryError):
        forwarder.forward(path)
    kms.refuse = None
    assert forwarder.forward(path).batches == 1
    assert not forwarder.verify().findings
