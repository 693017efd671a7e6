"""Buckets and policies that `setup s3` makes, on real servers as far as these know policies."""

import json
import secrets

import pytest
from conftest import scan

from forwarder.archive.place import Bucket
from forwarder.archive.s3 import Locking
from forwarder.seal.manifest import manifest_name
from forwarder.setup.s3 import policies

BUCKET = Bucket("scans", "nmap")


def test_a_bucket_is_made_that_takes_a_log(forwarder, s3):
    name = f"test-{secrets.token_hex(8)}"
    environment = s3.environment | {"NMAP_FORWARDER_ARCHIVE": f"s3://{name}/nmap"}
    check = forwarder.command("setup", "s3", "--check", env=environment)
    assert (check.returncode, check.stdout) == (2, b"")
    made = forwarder.command("setup", "s3", env=environment)
    assert made.returncode == 0, made.stderr
    assert b"NobodyDeletes" in made.stdout
    assert b"locked for 400 days (compliance)" in made.stdout
    assert forwarder.command("setup", "s3", "--check", env=environment).returncode == 0
    again = forwarder.command("setup", "s3", env=environment)
    assert (again.returncode, b"has a policy already" in again.stdout) == (0, True)
    assert forwarder.command("forward", forwarder.write("a.xml", scan(1)), env=environment).returncode == 0
    assert s3.client().get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]["ObjectLockEnabled"]


def test_a_bucket_without_object_lock_is_refused(forwarder, s3):
    environment = s3.environment | {"NMAP_FORWARDER_ARCHIVE": f"s3://{s3.bucket(lock=False)}/nmap"}
    for arguments in (("--check",), ()):
        result = forwarder.command("setup", "s3", *arguments, env=environment)
        assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)


def test_a_directory_cannot_be_set_up(forwarder):
    result = forwarder.command("setup", "s3")
    assert (result.returncode, b"give --archive s3://bucket/prefix" in result.stderr) == (2, True)


def test_policies_are_printed_for_this_forwarders_log(forwarder):
    forwarder.init()
    result = forwarder.command("setup", "s3", "--archive", "s3://scans/nmap", "--print")
    found = json.loads(result.stdout)
    assert found == policies(BUCKET, Locking(), forwarder.key.name)
    assert found["forwarder"]["Statement"][1]["Resource"] == f"arn:aws:s3:::scans/nmap/{forwarder.key.name}/*"


def test_the_bucket_policy_denies_to_everybody():
    rules = {rule["Sid"]: rule for rule in policies(BUCKET, Locking(days=30))["bucket"]["Statement"]}
    assert all(rule["Effect"] == "Deny" and rule["Principal"] == "*" for rule in rules.values())
    assert {"s3:DeleteObject", "s3:DeleteObjectVersion"} < set(rules["NobodyDeletes"]["Action"])
    assert rules["PutsAreLocked"]["Condition"] == {"StringNotEquals": {"s3:object-lock-mode": "COMPLIANCE"}}
    assert rules["PutsAreLockedForLong"]["Condition"] == {
        "NumericLessThan": {"s3:object-lock-remaining-retention-days": "29"}
    }
    once = rules["PutsReplaceNothing"]
    assert once["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    assert "arn:aws:s3:::scans/nmap/*/batches/*" in once["Resource"]
    assert not any(resource.endswith(("/checkpoint", "nmap/*")) for resource in once["Resource"])


def test_nobody_who_reads_or_forwards_may_delete_or_bypass():
    found = policies(BUCKET, Locking(legal_hold=True, kms_key="arn:aws:kms:eu-central-1:1:key/2"), "o")
    for who, may_put in (("forwarder", True), ("auditor", False)):
        actions = {action for rule in found[who]["Statement"] for action in rule["Action"]}
        assert not [action for action in actions if "Delete" in action or "Bypass" in action or "*" in action]
        assert ("s3:PutObject" in actions) == may_put
        assert ("s3:PutObjectLegalHold" in actions) == may_put
        assert "kms:Decrypt" in actions
        assert all(rule["Effect"] == "Allow" for rule in found[who]["Statement"])


@pytest.fixture
def assume(s3):
    """Credentials that may do what a policy says and no more; of the servers here, only MinIO gives such."""
    if s3.kind != "minio":
        pytest.skip("versitygw has no security token service")

    def login(policy):
        answer = s3.client("sts").assume_role(
            RoleArn="arn:xxx:xxx:xxx:xxxx", RoleSessionName="test", Policy=json.dumps(policy)
        )["Credentials"]
        return s3.login(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])

    return login


def test_with_the_forwarders_policy_one_can_forward_and_with_the_auditors_only_read(forwarder, s3, bucket, assume):
    forwarder.init()
    place = Bucket(bucket, "nmap")
    found = policies(place, Locking(), forwarder.key.name)
    where = {"NMAP_FORWARDER_ARCHIVE": str(place)}
    mine, auditors = assume(found["forwarder"]) | where, assume(found["auditor"]) | where
    paths = [forwarder.write(f"{n}.xml", scan(1, start=1700000000 + n)) for n in range(3)]
    for path in paths[:2]:
        result = forwarder.command("forward", path, env=mine)
        assert (result.returncode, result.stderr) == (0, b"")
    refused = forwarder.command("forward", paths[2], env=auditors)
    assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1)
    assert b"does not let us put object" in refused.stderr
    assert b"setup s3 --print" in refused.stderr
    assert forwarder.command("forward", env=mine).returncode == 0
    keys = {item["Key"] for item in s3.client().list_objects_v2(Bucket=bucket)["Contents"]}
    assert f"nmap/{forwarder.key.name}/{manifest_name(2)}" in keys
