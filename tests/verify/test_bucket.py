"""Every kind of change is found and named in a bucket, too, on real servers; and what only a bucket can tell."""

import base64
import json
import shutil
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from conftest import Forwarder, need, scan, task
from test_tamper import cut_off, rewrite

from forwarder.archive.place import Bucket
from forwarder.config import Settings
from forwarder.errors import NothingError
from forwarder.keys.file import FileKey
from forwarder.seal.note import Checkpoint
from forwarder.verify.keys import Keys
from forwarder.verify.run import read_checkpoint, verify

pytestmark = pytest.mark.integration
DAYS = 400


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """An archive of five batches, with the key that signed it."""
    return Forwarder(tmp_path_factory.mktemp("sealed")).forward_scans(5)


@pytest.fixture
def copy(sealed, tmp_path):
    """A copy of it to tamper with before it is put into a bucket."""
    shutil.copytree(sealed.directory, tmp_path / "f")
    return Forwarder(tmp_path / "f")


class Stored:
    """An archive in a bucket, put there as a forwarder would."""

    def __init__(self, server, name, forwarder):
        self.client, self.name, self.forwarder, self.kind = server.client(), name, forwarder, server.kind

    def key(self, key):
        return f"audit/{self.forwarder.key.name}/{key}"

    def put(self, key, data, mode="COMPLIANCE", days=DAYS, **more):
        until = datetime.now(UTC) + timedelta(days=days)
        lock = {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": until} if mode else {}
        self.client.put_object(Bucket=self.name, Key=self.key(key), Body=data, **lock, **more)

    def put_all(self, **lock):
        log = self.forwarder.log
        pointer = None
        for path in sorted(path for path in log.rglob("*") if path.is_file()):
            pointer = path.relative_to(log).as_posix()
            self.put(pointer, path.read_bytes(), **lock)
        return self

    def hide(self, key):
        self.client.delete_object(Bucket=self.name, Key=self.key(key))

    def verify(self, pins=(), prefix="audit", key=None, since=None, jobs=1, **policy):
        asked = task([key or self.forwarder.key], pins, mode="COMPLIANCE", retention=timedelta(days=DAYS))
        values = Settings({"s3_retry_seconds": 0}, environment={"HOME": "/nonexistent"})
        asked = replace(
            asked, policy=replace(asked.policy, **policy), settings=values, since=lambda _: since, jobs=jobs
        )
        (verdict,) = verify(Bucket(self.name, prefix), asked)
        return verdict


@pytest.fixture
def stored(s3, bucket, copy):
    """What puts the (tampered) copy into a new bucket."""
    return lambda **lock: Stored(s3, bucket, copy).put_all(**lock)


def codes(verdict):
    return {finding.code for finding in verdict.findings}


def edit(path, change):
    path.write_bytes(change(path.read_bytes()))


def test_an_intact_bucket_verifies(stored):
    verdict = stored().verify()
    assert (verdict.findings, verdict.warnings, verdict.batches, verdict.records) == ([], [], 5, 54)
    assert verdict.locks > 30
    assert any("locks" in line for line in verdict.rests_on)


def test_workers_read_a_bucket(stored, monkeypatch):
    from forwarder.verify import walk

    monkeypatch.setattr(walk, "SPAN_WEIGHT", 1 << 40)  # so that all that comes behind the first span is theirs
    there = stored()
    there.hide("checkpoints/00000000000000000002")
    verdict = there.verify(jobs=2)
    assert (codes(verdict), verdict.locks) == ({"hidden"}, there.verify().locks)


def test_nothing_is_never_success(s3, bucket, copy):
    with pytest.raises(NothingError, match="nothing was verified"):
        Stored(s3, bucket, copy).verify()


def test_one_log_of_the_bucket_can_be_given(stored):
    there = stored()
    verdict = there.verify(prefix=f"audit/{there.forwarder.key.name}")
    assert (verdict.findings, verdict.batches) == ([], 5)


RECORDS = {
    "changed": (lambda lines: [lines[0].replace(b"nmap", b"NMAP", 1), *lines[1:]], "record-changed"),
    "deleted": (lambda lines: lines[1:], "record-changed"),
    "reordered": (lambda lines: [lines[1], lines[0], *lines[2:]], "record-changed"),
    "inserted": (lambda lines: [b'{"@timestamp":"2026-11-23T09:31:38.000Z"}\n', *lines], "record-changed"),
    "duplicated": (lambda lines: [lines[0], *lines], "record-changed"),
}


@pytest.mark.parametrize("how", RECORDS)
def test_records(copy, stored, how):
    manifest = copy.manifests()[3]
    change, code = RECORDS[how]
    rewrite(copy.log / manifest.records.name, change)
    found = [finding for finding in stored().verify().findings if finding.code == code]
    assert (found[0].batch, found[0].object) == (3, manifest.records.name)
    assert found[0].record == 0
    assert found[0].expected != found[0].found


def test_a_changed_manifest(copy, stored):
    edit(copy.log / copy.manifests()[2].name, lambda data: data.replace(b'"created":"2', b'"created":"1'))
    found = stored().verify().findings
    assert {"chain-broken", "checkpoint-differs", "tile-changed"} <= {finding.code for finding in found}
    assert min(finding.batch for finding in found if finding.batch is not None) == 2


def test_two_adjacent_batches_gone(copy, stored):
    for n in (1, 2):
        (copy.log / "batches" / f"{n:020}" / "manifest.json").unlink()
    found = stored().verify()
    assert {"gap", "batches-missing"} <= codes(found)


def test_the_newest_cut_off_is_found_by_a_pin_only(copy, stored, tmp_path):
    pin = read_checkpoint(copy.log / "checkpoints" / f"{5:020}", Keys(copy.key))
    cut_off(copy, 3)
    there = stored()
    unpinned = there.verify()
    assert not unpinned.findings
    assert any("cut off" in line for line in unpinned.cannot_exclude)
    assert codes(there.verify([pin])) == {"cut-off"}


def resealed(copy, directory):
    """Another log with the same key, as its holder would write it anew."""
    other = Forwarder(directory)
    other.init()
    for name in ("key.pem", "key.vkey"):
        shutil.copy(copy.directory / "state" / name, other.directory / "state" / name)
    for n in range(5):
        other.forward(other.write(f"{n}.xml", scan(n + 2, start=1600000000 + n)))
    return other


def test_a_log_rewritten_with_its_key(s3, bucket, copy, tmp_path):
    pin = read_checkpoint(copy.log / "checkpoints" / f"{4:020}", Keys(copy.key))
    there = Stored(s3, bucket, resealed(copy, tmp_path / "other")).put_all()
    assert not there.verify().findings
    assert codes(there.verify([pin])) == {"rewritten"}


def test_a_fork_between_versions(copy, stored, tmp_path):
    there = stored()
    other = resealed(copy, tmp_path / "other")
    name = f"checkpoints/{4:020}"
    there.put(name, (other.log / name).read_bytes())
    verdict = there.verify()
    assert codes(verdict) == {"overwritten", "fork"}
    (fork,) = [finding for finding in verdict.findings if finding.code == "fork"]
    assert (fork.batch, fork.object) == (3, name)


@pytest.mark.parametrize(
    ("which", "code"),
    [
        (lambda log, manifest: log / manifest.records.name, "records-damaged"),
        (lambda log, manifest: log / manifest.evidence[0].name, "evidence-damaged"),
        (lambda log, _: log / "tile/0/000.p/3", "tile-changed"),
        (lambda log, _: log / "tile/entries/000.p/3", "tile-changed"),
        (lambda log, manifest: log / manifest.records.leaves_name, "leaves-changed"),
    ],
    ids=["records", "evidence", "tile", "bundle", "leaves"],
)
def test_appended_bytes(copy, stored, which, code):
    edit(which(copy.log, copy.manifests()[2]), lambda data: data + b"\0")
    found = [finding for finding in stored().verify().findings if finding.code == code]
    assert found[0].batch == 2


def test_another_key_or_origin(copy, stored, key):
    there = stored()
    other = type(key.verifier)(copy.key.name, key.verifier.public)
    assert codes(there.verify(key=other)) == {"checkpoint-invalid", "pointer-changed"}
    assert codes(there.verify(key=key.verifier)) == {"key-unknown"}
    other = FileKey.from_seed(bytes(range(32)), "some.other")
    there.client.copy_object(
        Bucket=there.name,
        Key="moved/some.other/batches/" + f"{0:020}/manifest.json",
        CopySource={"Bucket": there.name, "Key": there.key(f"batches/{0:020}/manifest.json")},
    )
    assert {"chain-broken", "checkpoint-missing"} <= codes(there.verify(prefix="moved", key=other.verifier))


def test_evidence_missing_or_changed(copy, stored):
    one, other = (manifest.evidence[0] for manifest in copy.manifests()[1:3])
    (copy.log / one.name).unlink()
    edit(copy.log / other.name, lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    found = {finding.code: finding for finding in stored().verify().findings}
    assert (found["evidence-missing"].batch, found["evidence-missing"].object) == (1, one.name)
    assert (found["evidence-changed"].batch, found["evidence-changed"].object) == (2, other.name)


def test_what_a_delete_marker_hides_is_verified_all_the_same(copy, stored):
    there = stored()
    newest = copy.manifests()[4]
    hidden = [newest.name, newest.records.name, f"checkpoints/{5:020}", copy.manifests()[1].evidence[0].name]
    for name in hidden:
        there.hide(name)
    verdict = there.verify()
    assert codes(verdict) == {"hidden"}
    assert {finding.object for finding in verdict.findings} == set(hidden)
    assert (verdict.batches, verdict.records, verdict.size) == (5, 54, 5)


def test_of_what_a_second_version_overlays_the_first_is_verified(copy, stored):
    there = stored()
    one, other = copy.manifests()[1:3]
    there.put(one.records.name, b"something else")
    there.put(other.name, b"{}")
    verdict = there.verify()
    assert codes(verdict) == {"overwritten"}
    assert {finding.object for finding in verdict.findings} == {one.records.name, other.name}
    assert (verdict.batches, verdict.records) == (5, 54)
    there.put(one.records.name, (copy.log / one.records.name).read_bytes())
    assert codes(there.verify()) == {"overwritten"}


def test_a_pointer_put_back(copy, stored):
    there = stored()
    pointer = (copy.log / "checkpoints" / f"{3:020}").read_bytes()
    assert not there.verify().findings
    time.sleep(1.1)  # the servers' clocks count seconds
    there.put("checkpoint", pointer)
    assert codes(there.verify()) == {"pointer-put-back"}


@pytest.mark.parametrize(
    ("lock", "code"),
    [
        ({"days": DAYS - 3}, "lock-short"),
        ({"mode": "GOVERNANCE"}, "lock-weak"),
        ({"mode": ""}, "lock-missing"),
    ],
)
def test_locks_that_are_less_than_the_policy(copy, stored, lock, code):
    there = stored(**lock)
    verdict = there.verify()
    assert codes(verdict) == {code}
    assert copy.manifests()[2].records.name in {finding.object for finding in verdict.findings}
    if code == "lock-short":
        assert not there.verify(retention=timedelta(days=DAYS - 3)).findings


def test_locks_that_end_soon_are_a_warning(stored):
    verdict = stored().verify(warn_before=timedelta(days=DAYS + 1))
    assert (verdict.findings, {warning.code for warning in verdict.warnings}) == ([], {"lock-ending"})


def test_locks_that_may_not_be_read_are_unknown(s3, stored, copy):
    if s3.kind != "versitygw":
        pytest.skip("who may read what is set by policies of users there; one server shows it")
    there = stored()
    name, secret = "reader", "readers-secret"
    command = [need("versitygw"), "admin", "--access", s3.key, "--secret", s3.secret, "--endpoint-url", s3.url]
    command += ["create-user", "--access", name, "--secret", secret, "--role", "user"]
    subprocess.run(command, check=False, capture_output=True, timeout=30)
    arn = f"arn:aws:s3:::{there.name}"
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": [name]}, "Action": actions, "Resource": [resource]}
        for actions, resource in (
            (["s3:GetObject", "s3:GetObjectVersion"], f"{arn}/*"),
            (["s3:ListBucket", "s3:ListBucketVersions"], arn),
        )
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    there.client.put_bucket_policy(Bucket=there.name, Policy=policy)
    environment = s3.login(name, secret) | {"NMAP_FORWARDER_S3_RETRY_SECONDS": "0"}
    result = copy.command("verify", f"s3://{there.name}/audit", "--json", env=environment)
    (log,) = json.loads(result.stdout)["logs"]
    assert (result.returncode, log["ok"]) == (0, True), result.stderr
    assert {warning["code"] for warning in log["warnings"]} == {"lock-unknown"}
    assert any("can be deleted" in line for line in log["cannot_exclude"])
    assert copy.command("verify", f"s3://{there.name}/audit", "--strict", env=environment).returncode == 1


def test_silence_and_late_seals(stored):
    there = stored()
    later = datetime.now(UTC) + timedelta(hours=3)
    assert codes(there.verify(now=later, max_age=timedelta(hours=2))) == {"silent"}
    assert not there.verify(now=later, max_age=timedelta(hours=4)).findings
    late = there.verify(max_lag=timedelta(days=30))
    assert {(finding.code, finding.batch) for finding in late.findings} == {("sealed-late", n) for n in range(5)}


def test_what_is_new_in_a_bucket(copy, stored):
    there = stored()
    since = Checkpoint(copy.key.name, 3, read_checkpoint(copy.log / f"checkpoints/{3:020}", Keys(copy.key)).root)
    verdict = there.verify(since=since)
    assert (verdict.findings, verdict.read_from, verdict.batches) == ([], 3, 2)
    there.hide(copy.manifests()[4].name)
    there.hide(copy.manifests()[1].name)
    verdict = there.verify(since=since)
    assert {(finding.code, finding.batch) for finding in verdict.findings} == {("hidden", 4)}
    assert any("not read again" in line for line in verdict.cannot_exclude)


def test_what_cannot_be_decrypted_is_a_finding_of_its_own(own_s3, copy, monkeypatch):
    """Encrypted with a KMS key that is gone. Only one of the servers has a KMS."""
    keys = [f"ours:{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2)]
    with own_s3("minio") as server:
        server.kill()
        server.extra = {"MINIO_KMS_SECRET_KEY": keys[0]}
        server.start()
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        there = Stored(server, server.bucket(), copy)
        manifest = copy.manifests()[2]
        names = [manifest.records.name, manifest.evidence[0].name]
        for path in sorted(path for path in copy.log.rglob("*") if path.is_file()):
            name = path.relative_to(copy.log).as_posix()
            encrypt = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "ours"} if name in names else {}
            there.put(name, path.read_bytes(), **encrypt)
        assert not there.verify().findings
        server.kill()
        server.extra = {"MINIO_KMS_SECRET_KEY": keys[1]}
        server.start()
        verdict = there.verify()
        assert codes(verdict) == {"undecryptable"}
        assert {finding.object for finding in verdict.findings} == set(names)
