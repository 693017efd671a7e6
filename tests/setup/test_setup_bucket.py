"""Buckets and policies that `setup s3` makes, on real servers as far as these know policies."""

import json
import secrets
import shutil
from pathlib import Path

import pytest
from conftest import Forwarder, scan

from forwarder.archive.place import Bucket
from forwarder.archive.s3 import Locking
from forwarder.config.keys import KEYS
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
    seen = forwarder.command("verify", "--retention-days", "390", env=auditors)
    assert (seen.returncode, seen.stderr) == (0, b""), seen.stdout
    assert b"locks, as the server tells them" in seen.stdout
    keys = {item["Key"] for item in s3.client().list_objects_v2(Bucket=bucket)["Contents"]}
    assert f"nmap/{forwarder.key.name}/{manifest_name(2)}" in keys


def test_the_commands_of_the_page(tmp_path, s3):
    """Each command of docs/S3.md, on one machine until it is lost, and then on another."""
    page = (Path(__file__).parents[2] / "docs" / "S3.md").read_text()
    name = f"test-{secrets.token_hex(8)}"
    blocks = [block.split("```")[0] for block in page.split("```console\n")[1:]]
    commands = [line[2:].replace("s3://scans/", f"s3://{name}/") for block in blocks for line in block.splitlines()]
    old, new = Forwarder(tmp_path / "old"), Forwarder(tmp_path / "new")
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "a.xml").write_text(scan(1))
    environment = s3.environment | {"NMAP_FORWARDER_ARCHIVE": f"s3://{name}/nmap"}
    done = []
    for command in commands:
        program, *arguments = command.partition(" > ")[0].split()
        if program == "install":
            assert old.command("forward", tmp_path / "spool", env=environment).returncode == 0
            (new.directory / "state").mkdir(parents=True)
            for file in ("key.pem", "key.vkey"):
                shutil.copy2(old.directory / "state" / file, new.directory / "state" / file)
            continue
        assert program == "nmap-forwarder"
        arguments = [argument.replace("/var/spool/nmap", str(tmp_path / "spool")) for argument in arguments]
        result = (new if "install" in " ".join(commands[: commands.index(command)]) else old).command(
            *arguments, env=environment
        )
        assert (result.returncode, result.stderr) == (0, b""), command
        done.append(arguments[0])
    assert done == ["setup", "setup", "setup", "adopt", "forward"]
    assert b"1 known already" in result.stdout


def test_the_page_has_every_setting():
    page = (Path(__file__).parents[2] / "docs" / "S3.md").read_text()
    for key in KEYS:
        if key.name.startswith("s3."):
            assert f"`{key.name.removeprefix('s3.')}`" in page, key.name
    assert "`elasticsearch.unanchored = true`" in page


def test_who_may_not_read_locks_back_does_not_call_a_batch_anchored(forwarder, bucket, assume):
    forwarder.init()
    place = Bucket(bucket, "nmap")
    whole = policies(place, Locking(), forwarder.key.name)["forwarder"]
    less = json.loads(json.dumps(whole).replace('"s3:GetObjectRetention", ', ""))
    assert less != whole
    where = {"NMAP_FORWARDER_ARCHIVE": str(place)}
    refused = forwarder.command("forward", forwarder.write("a.xml", scan(1)), env=assume(less) | where)
    assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1)
    assert b"does not let us get object retention" in refused.stderr
    status = forwarder.command("status", "--json", env=where)
    assert json.loads(status.stdout)["queued"] == 1
    assert forwarder.command("forward", env=assume(whole) | where).returncode == 0
