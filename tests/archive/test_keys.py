"""Changes of keys and time-stamps in a bucket under Object Lock, on real servers."""

import json

import tsa
from conftest import need, scan

from forwarder import pipeline, state
from forwarder.archive import records
from forwarder.archive.place import open_archive, place
from forwarder.outcome import Listener, Outcome
from forwarder.prove import prove
from forwarder.seal.manifest import key_name
from forwarder.verify.policy import Policy
from forwarder.verify.proof import check_proof
from forwarder.verify.run import Task, verify


def add(forwarder, n):
    return forwarder.forward(forwarder.write(f"{n}.xml", scan(1, start=1700000000 + n)))


def test_a_log_in_a_bucket_changes_its_key(forwarder, bucket, tmp_path):
    need("openssl")
    forwarder.flags |= {"archive": f"s3://{bucket}/nmap", "s3_retry_seconds": 0}

    def change(*revocation):
        outcome = Outcome()
        with state.opened(forwarder.settings) as opened:
            key = pipeline.change_key(opened, forwarder.settings, outcome, Listener(), *revocation)
        assert not outcome.unanchored
        return key

    with tsa.running(tmp_path / "tsa") as authority:
        forwarder.flags["timestamps_url"] = authority.url
        assert add(forwarder, 0).exit_code == 0
        forwarder.flags["timestamps_url"] = ""
    change()
    add(forwarder, 2)
    newest = change(0, "2999-01-01T00:00:00.000Z")
    add(forwarder, 4)

    settings = forwarder.settings
    archive = open_archive(place(f"s3://{bucket}/nmap"), forwarder.key.name, settings)
    (token,) = archive.keys("timestamps/")
    for key in (token, key_name(1), key_name(3)):
        (version,) = archive.versions(key)
        assert archive.lock(key, version.version_id).mode == "COMPLIANCE", key
    for key in (forwarder.key, newest):
        task = Task([key], lambda _: [], Policy(patience=0), settings)
        (verdict,) = verify(place(f"s3://{bucket}/nmap"), task)
        assert (verdict.findings, verdict.batches) == ([], 5)
        # the revoked key's checkpoints are no doubt: the bucket has had them since before the key may have been stolen
        assert any(line.startswith("the bucket of s3://") for line in verdict.rests_on), verdict.rests_on
        assert not [line for line in verdict.cannot_exclude if "revoked" in line]
    (line, *_) = records.lines(archive, next(records.batches(archive)))
    assert check_proof(prove(archive, json.loads(line)["event"]["id"]), [newest]).record == line


def test_what_proves_a_change_of_keys_is_kept_as_long_as_what_the_new_key_signs(forwarder, bucket):
    forwarder.flags |= {"archive": f"s3://{bucket}/nmap", "s3_retry_seconds": 0, "s3_retention_days": 2}
    add(forwarder, 0)
    with state.opened(forwarder.settings) as opened:
        pipeline.change_key(opened, forwarder.settings, Outcome(), Listener())
    add(forwarder, 2)
    forwarder.flags["s3_retention_days"] = 9
    add(forwarder, 3)
    archive = open_archive(place(f"s3://{bucket}/nmap"), forwarder.key.name, forwarder.settings)

    def until(key):
        (version,) = archive.versions(key)
        return archive.lock(key, version.version_id).retain_until

    newest = until(f"checkpoints/{4:020}")
    for key in (key_name(1), f"batches/{1:020}/manifest.json", f"checkpoints/{2:020}", "tile/0/000.p/2"):
        assert until(key) >= newest, key
    assert until(f"checkpoints/{3:020}") < newest
