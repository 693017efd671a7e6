"""Time-stamps over checkpoints, from a local authority of openssl; openssl says whether they are good."""

import hashlib

import pytest
import tsa
from conftest import need, scan

from forwarder.errors import Exit


@pytest.fixture
def authority(tmp_path):
    need("openssl")
    with tsa.running(tmp_path / "tsa") as running:
        yield running


@pytest.fixture
def stamped(forwarder, authority):
    """A forwarder with an authority."""
    forwarder.flags |= {
        "timestamps_url": authority.url,
        "timestamps_ca_file": str(authority.ca),
        "timestamps_retry_seconds": 0,
    }
    return forwarder


def tokens(forwarder):
    return sorted(forwarder.log.glob("timestamps/*/*"))


def add(forwarder, n):
    return forwarder.forward(forwarder.write(f"{n}.xml", scan(1, start=1700000000 + n)))


def test_the_newest_checkpoint_is_stamped_after_each_run(stamped, authority):
    assert add(stamped, 0).exit_code == Exit.OK
    assert add(stamped, 1).exit_code == Exit.OK
    one, two = tokens(stamped)
    assert (one.parent.name, two.parent.name) == (f"{1:020}", f"{2:020}")
    for token, size in ((one, 1), (two, 2)):
        assert token.name == hashlib.sha256(token.read_bytes()).hexdigest() + ".tsr"
        assert authority.verifies(token, stamped.log / "checkpoints" / f"{size:020}")
        assert not authority.verifies(token, stamped.log / "checkpoints" / f"{3 - size:020}")
    assert stamped.forward().exit_code == Exit.OK  # nothing new: nothing is asked
    assert authority.asked == 2
    assert not list((stamped.directory / "state" / "stamps").rglob("*.tsr"))


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (503, "HTTP 503"),
        (404, "HTTP 404"),
        (b"", "not a time-stamp"),
        (b"<html>", "not a time-stamp"),
        (b"\x30\x03\x02\x01\x02", "not a time-stamp"),
        (b"0" * (1 << 20), "more than 65536 bytes"),
    ],
)
def test_an_authority_that_fails_stops_nothing_and_is_asked_again(stamped, authority, fault, why):
    authority.fault = fault
    outcome = add(stamped, 0)
    assert (outcome.batches, outcome.exit_code) == (1, Exit.TEMPORARY)
    assert authority.url in outcome.unstamped
    assert why in outcome.unstamped
    assert outcome.unstamped in stamped.said
    assert not tokens(stamped)
    assert add(stamped, 1).exit_code == Exit.TEMPORARY
    authority.fault = None
    assert stamped.forward().exit_code == Exit.OK
    (token,) = tokens(stamped)
    assert authority.verifies(token, stamped.log / "checkpoints" / f"{2:020}")


def test_an_authority_that_is_away_stops_nothing(stamped):
    stamped.flags["timestamps_url"] = "http://127.0.0.1:1/tsr"
    outcome = add(stamped, 0)
    assert (outcome.batches, outcome.exit_code) == (1, Exit.TEMPORARY)
    assert "cannot be reached" in outcome.unstamped
    assert not stamped.verify().findings


def test_what_the_authority_gives_is_checked(stamped, authority, tmp_path):
    authority.fault = authority.of(b"something else")
    assert "other bytes" in add(stamped, 0).unstamped
    note = (stamped.log / "checkpoints" / f"{1:020}").read_bytes()
    authority.fault = authority.of(note)  # the right bytes, but an answer to somebody else's question
    assert "nonce" in stamped.forward().unstamped
    authority.fault = None
    with tsa.running(tmp_path / "other") as other:
        stamped.flags["timestamps_ca_file"] = str(other.ca)
        assert "does not lead to one that is trusted" in stamped.forward().unstamped
    assert not tokens(stamped)
    del stamped.flags["timestamps_ca_file"]
    assert stamped.forward().exit_code == Exit.OK
    assert len(tokens(stamped)) == 1


def test_several_authorities_stamp_each(stamped, authority, tmp_path):
    with tsa.running(tmp_path / "other") as other:
        del stamped.flags["timestamps_ca_file"]
        stamped.flags["timestamps_url"] = f"http://127.0.0.1:1/,{authority.url},{other.url}"
        outcome = add(stamped, 0)
        assert outcome.exit_code == Exit.TEMPORARY
        assert len(tokens(stamped)) == 2
        assert (authority.asked, other.asked) == (1, 1)


def test_a_token_that_could_not_be_put_is_put_later(stamped, monkeypatch):
    from forwarder.archive.directory import DirectoryArchive

    put = DirectoryArchive.put

    def full(self, key, source):
        if key.startswith("timestamps/"):
            raise OSError(28, "No space left on device")
        return put(self, key, source)

    monkeypatch.setattr(DirectoryArchive, "put", full)
    with pytest.raises(OSError, match="No space"):
        add(stamped, 0)
    monkeypatch.undo()
    (kept,) = (stamped.directory / "state" / "stamps").rglob("*.tsr")
    stamped.forward()
    assert kept.name in {token.name for token in tokens(stamped)}
    assert not stamped.verify().findings


def test_settings_that_do_not_work_are_said_after_the_work_is_done(stamped):
    stamped.flags["timestamps_ca_file"] = str(stamped.directory / "none.pem")
    outcome = add(stamped, 0)
    assert (outcome.batches, outcome.exit_code) == (1, Exit.USAGE)
    assert "none.pem" in outcome.unstamped


def test_without_an_authority_nothing_is_asked(forwarder):
    assert add(forwarder, 0).exit_code == Exit.OK
    assert not (forwarder.log / "timestamps").exists()
