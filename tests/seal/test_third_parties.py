"""What third parties say of a checkpoint: time-stamps of RFC 3161, cosignatures of C2SP witnesses."""

import random
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
import tsa
from conftest import need
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forwarder.seal import merkle, token
from forwarder.seal.cosignature import Witness
from forwarder.seal.note import Checkpoint, NoteError, Verifier, signatures, split_note
from forwarder.seal.token import TokenError

NOTE = b"a checkpoint's bytes"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    need("openssl")
    return tsa.Authority(tmp_path_factory.mktemp("tsa") / "a")


@pytest.fixture(scope="module")
def roots(authority):
    return token.certificates(authority.ca.read_bytes())


@pytest.fixture(scope="module")
def answer(authority):
    return authority.of(NOTE)


def test_a_token_says_when_and_who(answer, roots):
    found = token.check(answer, NOTE, roots)
    assert (found.trusted, found.authority) == (True, "CN=Local TSA")
    assert timedelta(seconds=-2) < datetime.now(UTC) - found.time < timedelta(minutes=10)
    untrusted = token.check(answer, NOTE, [])
    assert (untrusted.trusted, untrusted.time) == (False, found.time)


def test_a_token_over_other_bytes_is_refused(answer, roots):
    with pytest.raises(TokenError, match="other bytes"):
        token.check(answer, NOTE + b"!", roots)


def test_what_a_token_says_cannot_be_changed(answer, roots):
    """Some bytes of CMS are not signed (names of algorithms, for instance): a change there changes nothing that is said."""
    rng = random.Random(1)
    says = token.check(answer, NOTE, roots)
    kept = 0
    for place in range(len(answer)):
        damaged = bytearray(answer)
        damaged[place] ^= 1 << rng.randrange(8)
        try:
            found = token.check(bytes(damaged), NOTE, roots)
        except TokenError:
            continue
        if found.trusted:
            assert found == says, f"byte {place}"
            kept += 1
    assert kept < 20


@pytest.mark.parametrize("cut", [0, 1, 9, 100, -1])
def test_a_token_that_is_cut_or_longer_is_refused(answer, roots, cut):
    with pytest.raises(TokenError):
        token.check(answer[:cut], NOTE, roots)
    with pytest.raises(TokenError):
        token.check(answer + bytes(abs(cut) + 1), NOTE, roots)


def test_an_authority_with_another_purpose_is_not_trusted(tmp_path):
    need("openssl")
    other = tsa.Authority(tmp_path / "b")
    mine = token.certificates(other.ca.read_bytes())
    stamp = other.of(NOTE)
    assert token.check(stamp, NOTE, mine).trusted
    stranger = tsa.Authority(tmp_path / "c")
    assert not token.check(stamp, NOTE, token.certificates(stranger.ca.read_bytes())).trusted
    assert token.check(stamp, NOTE, [*token.certificates(stranger.ca.read_bytes()), *mine]).trusted


def test_a_refusal_is_said(authority):
    query = tsa.openssl(
        "ts", "-query", "-data", "data", "-md5", cwd=authority.directory
    )  # a digest that it does not take
    with pytest.raises(TokenError, match="refuses: REJECTION"):
        token.check(authority.stamp(query), NOTE, [])


def test_what_holds_no_certificate():
    with pytest.raises(ValueError, match="PEM"):
        token.certificates(b"-----BEGIN CERTIFICATE-----\n")


# --- cosignatures -------------------------------------------------------------------------------------------

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
WITNESS = Witness("witness.example/w1", PRIVATE.public_key().public_bytes_raw())


def cosign(text, seconds, private=PRIVATE, witness=WITNESS):
    signature = private.sign(f"cosignature/v1\ntime {seconds}\n".encode() + text)
    blob = witness.key_id + seconds.to_bytes(8) + signature
    return f"\N{EM DASH} {witness.name} {b64encode(blob).decode()}\n".encode()


@pytest.fixture
def note(key):
    return Checkpoint(key.verifier.name, 3, merkle.EMPTY).sign(key)


def test_a_published_witness_key():
    """A key in the tests of github.com/transparency-dev/formats: its id is the hash with type 0x04."""
    text = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
    assert str(Witness.parse(text)) == text
    with pytest.raises(NoteError, match="type 01"):
        Verifier.parse(text)
    with pytest.raises(NoteError, match="type 04"):
        Witness.parse("example.com/nmap/scanner1+29f45946+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4")


def test_a_cosignature_beside_the_logs_own_signature_says_when(note):
    text, block = split_note(note + cosign(split_note(note)[0], 1700000000))
    assert WITNESS.cosigned(text, signatures(block)) == datetime.fromtimestamp(1700000000, UTC)
    assert WITNESS.cosigned(text, signatures(split_note(note)[1])) is None


def test_the_newest_of_several_counts(note):
    text, _ = split_note(note)
    lines = signatures(cosign(text, 5) + cosign(text, 9) + cosign(text, 7))
    assert WITNESS.cosigned(text, lines) == datetime.fromtimestamp(9, UTC)


def test_another_witness_is_passed_over(note):
    text, _ = split_note(note)
    other = Witness("witness.example/w2", WITNESS.public)
    assert WITNESS.cosigned(text, signatures(cosign(text, 5, witness=other))) is None


@pytest.mark.parametrize("place", range(4, 4 + 8 + 64))
def test_a_changed_cosignature_does_not_hold(note, place):
    text, _ = split_note(note)
    ((name, blob),) = signatures(cosign(text, 1700000000))
    damaged = bytearray(blob)
    damaged[place] ^= 1
    with pytest.raises(NoteError, match="does not hold"):
        WITNESS.cosigned(text, [(name, bytes(damaged))])


def test_cosignatures_of_other_bytes_shorter_ones_and_ones_without_a_time_do_not_hold(note):
    text, _ = split_note(note)
    ((name, blob),) = signatures(cosign(text, 5))
    for bad in (blob[:-1], blob + b"\0", blob[:4]):
        with pytest.raises(NoteError):
            WITNESS.cosigned(text, [(name, bad)])
    with pytest.raises(NoteError):
        WITNESS.cosigned(text + b"extension\n", [(name, blob)])
    with pytest.raises(NoteError):
        WITNESS.cosigned(text, signatures(cosign(text, 2**63)))
    ordinary = WITNESS.key_id + PRIVATE.sign(text)  # a signature without a time is none of this type
    with pytest.raises(NoteError):
        WITNESS.cosigned(text, [(name, ordinary)])
