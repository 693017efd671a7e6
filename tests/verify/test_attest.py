"""Time-stamps and cosignatures beside the checkpoints: what they prove, and what is done to them."""

import hashlib
import json
import shutil

import pytest
import tsa
from conftest import Forwarder, need, scan
from witness import WITNESS, cosign

from forwarder.errors import UsageError
from forwarder.seal.manifest import token_name
from forwarder.seal.note import split_note
from forwarder.verify.attest import third_parties
from forwarder.verify.keys import Keys
from forwarder.verify.policy import Policy
from forwarder.verify.run import Task, read_checkpoint, verify


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A log of three batches, the second and third of them time-stamped; and the authority."""
    need("openssl")
    directory = tmp_path_factory.mktemp("sealed")
    forwarder = Forwarder(directory / "f")
    with tsa.running(directory / "tsa") as authority:
        for n in range(3):
            forwarder.flags["timestamps_url"] = authority.url if n else ""
            forwarder.forward(forwarder.write(f"{n}.xml", scan(1, start=1700000000 + n)))
    return forwarder, authority


@pytest.fixture
def copy(sealed, tmp_path):
    shutil.copytree(sealed[0].directory, tmp_path / "f")
    return Forwarder(tmp_path / "f")


@pytest.fixture
def trust(sealed, tmp_path):
    file = tmp_path / "witnesses"
    file.write_text(f"{WITNESS}\n\n")
    return third_parties([sealed[1].ca], [file])


def judged(forwarder, **options):
    (verdict,) = verify(forwarder.archive, Task([forwarder.key], lambda _: [], Policy(patience=0), **options))
    return verdict


def codes(forwarder, **options):
    return {finding.code for finding in judged(forwarder, **options).findings}


def put(forwarder, kind, size, data):
    suffix = ".tsr" if kind == "timestamps" else ""
    path = forwarder.log / kind / f"{size:020}" / (hashlib.sha256(data).hexdigest() + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def text_of(forwarder, size):
    return split_note((forwarder.log / "checkpoints" / f"{size:020}").read_bytes())[0]


def test_a_verdict_rests_on_an_authority_that_was_given(copy, trust):
    verdict = judged(copy, trust=trust)
    assert not verdict.findings
    (line,) = [line for line in verdict.rests_on if "authority" in line]
    assert line.startswith("the time-stamp authority CN=Local TSA: it has seen the checkpoint of size 3 at 20")
    unknown = judged(copy)
    assert not unknown.findings
    assert "2 time-stamps count for nothing" in unknown.notes[0]


def test_every_change_of_a_time_stamp_is_found_without_the_authoritys_certificate(copy):
    for path in copy.log.rglob("*.tsr"):
        data = path.read_bytes()
        for place in range(0, len(data), 31):
            path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
            assert codes(copy) == {"attestation-changed"}
        for changed in (data[:-1], data + b"\0", b""):
            path.write_bytes(changed)
            assert codes(copy) == {"attestation-changed"}
        path.write_bytes(data)


def test_a_time_stamp_of_another_checkpoint_proves_nothing(copy):
    (token,) = copy.log.glob(f"timestamps/{2:020}/*")
    put(copy, "timestamps", 1, token.read_bytes())
    assert codes(copy) == {"attestation-invalid"}


def test_a_time_stamp_of_a_size_that_is_gone_tells_that_the_log_was_longer(copy):
    (token,) = copy.log.glob(f"timestamps/{3:020}/*")
    put(copy, "timestamps", 4, token.read_bytes())
    assert codes(copy) == {"batches-missing"}


@pytest.mark.parametrize(
    "name",
    [
        token_name(0, "0" * 64),
        "timestamps/1/" + "0" * 64 + ".tsr",
        f"timestamps/{1:020}/" + "0" * 64,
        f"cosignatures/{1:020}/" + "0" * 64 + ".tsr",
        f"cosignatures/{1:020}/" + "G" * 64,
        f"other/{1:020}/" + "0" * 64,
    ],
)
def test_other_names_are_stray(copy, name):
    path = copy.log / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert codes(copy) == {"stray"}


def test_cosignatures_count_for_a_witness_that_was_given(copy, trust):
    put(copy, "cosignatures", 1, cosign(text_of(copy, 1), 1700000000))
    put(copy, "cosignatures", 2, cosign(text_of(copy, 2), 1700000100) + cosign(text_of(copy, 2), 1700000200))
    verdict = judged(copy, trust=trust)
    assert not verdict.findings
    (line,) = [line for line in verdict.rests_on if "witness" in line]
    assert line == f"the witness {WITNESS}: it has seen the checkpoint of size 2 at 2023-11-14T22:16:40.000Z"
    assert not judged(copy).findings


def test_cosignatures_that_do_not_hold_are_found(copy, trust):
    put(copy, "cosignatures", 1, cosign(text_of(copy, 2), 1700000000))  # of another checkpoint
    assert codes(copy, trust=trust) == {"attestation-invalid"}
    assert codes(copy) == set()  # an unknown key's signature is passed over
    put(copy, "cosignatures", 2, b"no signature\n")
    assert codes(copy) == {"attestation-invalid"}


def test_a_cosignature_on_the_checkpoint_itself_counts(copy, trust):
    path = copy.log / "checkpoints" / f"{3:020}"
    note = path.read_bytes() + cosign(text_of(copy, 3), 1700000000)
    for file in (path, copy.log / "checkpoint"):
        file.write_bytes(note)
    for token in copy.log.glob(f"timestamps/{3:020}/*"):
        token.unlink()  # it is over the note as it was
    verdict = judged(copy, trust=trust)
    assert not verdict.findings
    assert any(f"the witness {WITNESS}" in line for line in verdict.rests_on)
    other = b"A" if note[-10:-9] != b"A" else b"B"
    for file in (path, copy.log / "checkpoint"):
        file.write_bytes(note[:-10] + other + note[-9:])
    assert codes(copy, trust=trust) == {"attestation-invalid"}


def test_verification_of_what_is_new_reads_the_new_time_stamps(copy, trust):
    since = read_checkpoint(copy.log / "checkpoints" / f"{2:020}", Keys(copy.key))
    verdict = judged(copy, trust=trust, since=lambda _: since)
    assert not verdict.findings
    assert any("size 3" in line and "authority" in line for line in verdict.rests_on)
    for path in copy.log.glob(f"timestamps/{3:020}/*"):
        path.write_bytes(b"")
    assert codes(copy, since=lambda _: since) == {"attestation-changed"}


def test_without_the_library_time_stamps_are_left_aside_and_that_is_said(copy, monkeypatch):
    from forwarder.seal import token

    def missing():
        raise UsageError("time-stamps need rfc3161-client")

    monkeypatch.setattr(token, "library", missing)
    verdict = judged(copy)
    assert not verdict.findings
    assert "rfc3161-client is not installed" in verdict.notes[0]


def test_files_that_hold_no_keys(tmp_path, sealed):
    file = tmp_path / "x"
    with pytest.raises(UsageError, match="No such file"):
        third_parties([file], [])
    file.write_text(f"{sealed[0].key}\n")
    with pytest.raises(UsageError, match="holds no certificates"):
        third_parties([file], [])
    with pytest.raises(UsageError, match="type 04"):
        third_parties([], [file])


def test_the_command(copy, sealed, tmp_path):
    witness = tmp_path / "w.vkey"
    witness.write_text(f"{WITNESS}\n")
    put(copy, "cosignatures", 2, cosign(text_of(copy, 2), 1700000000))
    done = copy.command("verify", "--json", "--tsa", sealed[1].ca, "--witness", witness)
    assert done.returncode == 0, done.stderr
    rests_on = json.loads(done.stdout)["logs"][0]["rests_on"]
    assert sum("it has seen the checkpoint" in line for line in rests_on) == 2
    assert copy.command("verify", "--tsa", witness).returncode == 2
