"""An auditor who may only read a bucket pulls from it; a real server says what reading is."""

import json
import subprocess

import pytest
from conftest import need, scan
from test_guide import check

pytestmark = pytest.mark.integration
DAY = 86400
READ = ["s3:GetObject", "s3:GetObjectVersion"]
LIST = ["s3:ListBucket", "s3:ListBucketVersions"]


@pytest.fixture(scope="module")
def server(own_s3):
    with own_s3("versitygw") as server:
        yield server


@pytest.fixture
def sealed(server, forwarder, monkeypatch):
    """An archive of three batches in a bucket."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    forwarder.bucket = server.bucket()
    forwarder.flags = {"archive": f"s3://{forwarder.bucket}/audit"}
    for n in range(3):
        forwarder.forward(forwarder.write(f"{n}.xml", scan(2, start=1700000000 + n * DAY)))
    return forwarder


@pytest.fixture
def auditor(server, sealed):
    """The environment of a user who may list and read the bucket, and nothing else."""
    name, secret = "auditor", "auditors-secret"
    command = [need("versitygw"), "admin", "--access", server.key, "--secret", server.secret]
    command += ["--endpoint-url", server.url, "create-user", "--access", name, "--secret", secret, "--role", "user"]
    subprocess.run(command, check=False, capture_output=True, timeout=30)
    arn = f"arn:aws:s3:::{sealed.bucket}"
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": [name]}, "Action": READ, "Resource": [f"{arn}/*"]},
        {"Effect": "Allow", "Principal": {"AWS": [name]}, "Action": LIST, "Resource": [arn]},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    server.client().put_bucket_policy(Bucket=sealed.bucket, Policy=policy)
    own = server.client(aws_access_key_id=name, aws_secret_access_key=secret)
    with pytest.raises(own.exceptions.ClientError, match="AccessDenied"):
        own.put_object(Bucket=sealed.bucket, Key="x", Body=b"")
    return server.login(name, secret)


def pull(sealed, auditor, out, *asked, archive="audit"):
    key = sealed.directory / "state/key.vkey"
    environment = auditor | {"NMAP_FORWARDER_STATE_DIR": str(out / "none"), "NMAP_FORWARDER_S3_RETRY_SECONDS": "0"}
    where = f"s3://{sealed.bucket}/{archive}"
    return sealed.command("pull", where, "--key", key, "--out", out, *asked, env=environment)


def test_a_reader_of_the_bucket_gets_a_period_and_can_check_it(sealed, auditor, tmp_path):
    result = pull(sealed, auditor, tmp_path / "out", "--from", "2023-11-15", "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["logs"][0]["size"], told["logs"][0]["batches"], told["ok"]) == (3, 2, True)
    texts = {path.read_bytes() for path in (tmp_path / "out/evidence").iterdir()}
    assert texts == {(sealed.directory / f"{n}.xml").read_bytes() for n in (1, 2)}
    assert check(tmp_path / "out") == {}


def test_a_log_may_be_named_by_its_own_prefix(sealed, auditor, tmp_path):
    result = pull(sealed, auditor, tmp_path / "out", archive=f"audit/{sealed.key.name}")
    assert result.returncode == 0, result.stderr


def test_what_was_sealed_is_pulled_although_somebody_hides_and_overlays_it(sealed, server, auditor, tmp_path):
    client = server.client()
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=sealed.bucket)["Contents"]]
    hidden, overlaid = [key for key in keys if "/records/" in key and key.endswith(".zst")][:2]
    client.delete_object(Bucket=sealed.bucket, Key=hidden)
    client.put_object(Bucket=sealed.bucket, Key=overlaid, Body=b"forged")
    client.delete_object(Bucket=sealed.bucket, Key=next(key for key in keys if key.endswith("manifest.json")))
    result = pull(sealed, auditor, tmp_path / "out")
    assert (result.returncode, b"3 objects are hidden" in result.stderr) == (0, True), result.stderr
    texts = {path.read_bytes() for path in (tmp_path / "out/evidence").iterdir()}
    assert len(texts) == 3
    assert "3 objects are hidden" in (tmp_path / "out/VERIFY.md").read_text()
    assert check(tmp_path / "out") == {}


def test_a_server_that_is_away_is_a_temporary_failure_and_the_pull_goes_on(sealed, server, auditor, tmp_path):
    server.kill()
    try:
        result = pull(sealed, auditor, tmp_path / "out")
        assert (result.returncode, result.stderr.count(b"\n")) == (75, 1), result.stderr
    finally:
        server.start()
    assert pull(sealed, auditor, tmp_path / "out").returncode == 0


def test_who_may_not_read_is_told_so(sealed, server, tmp_path):
    stranger = server.login("nobody", "nothing")
    result = pull(sealed, stranger, tmp_path / "out")
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1), result.stderr
    assert not (tmp_path / "out").exists()
