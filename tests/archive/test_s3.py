"""What a bucket under Object Lock must do for us, on real servers."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ResponseStreamingError

from forwarder.archive.interface import Lock
from forwarder.archive.place import open_archive, origins, place
from forwarder.config import Settings
from forwarder.errors import IntegrityError, TemporaryError, UsageError

ORIGIN = "example.com/nmap/scanner1"


@pytest.fixture
def settings(tmp_path):
    return lambda **flags: Settings(
        {"state_dir": str(tmp_path)} | {"s3_retry_seconds": 0} | flags, environment={"HOME": str(tmp_path)}
    )


@pytest.fixture
def archive(bucket, settings):
    return open_archive(f"s3://{bucket}/some/prefix", ORIGIN, settings())


@pytest.fixture
def file(tmp_path):
    def write(data: bytes):
        (tmp_path / "file").write_bytes(data)
        return tmp_path / "file"

    return write


def test_what_is_put_is_locked_at_once_and_can_be_read(archive, file, bucket, monkeypatch):
    monkeypatch.setattr(type(archive), "_extend", lambda *_: pytest.fail("it was not locked by the put"))
    data = bytes(range(256)) * 20000
    receipt = archive.put("evidence/a.zst", file(data))
    assert (receipt.bucket, receipt.key) == (bucket, f"some/prefix/{ORIGIN}/evidence/a.zst")
    with archive.open("evidence/a.zst") as stream:
        assert stream.read(10) == data[:10]
        assert stream.read() == data[10:]
    assert archive.read("evidence/a.zst", 5) == data[:6]
    (version,) = archive.versions("evidence/")
    assert (version.key, version.version_id, version.size) == ("evidence/a.zst", receipt.version_id, len(data))
    assert version.is_latest
    assert not version.is_delete_marker
    lock = archive.lock(version.key, version.version_id)
    assert lock == Lock("COMPLIANCE", receipt.retain_until, legal_hold=False)
    assert abs(lock.retain_until - datetime.now(UTC) - timedelta(days=400)) < timedelta(minutes=1)


def test_what_is_not_there_is_said_so(archive):
    assert not archive.has("x")
    with pytest.raises(FileNotFoundError):
        archive.open("x")
    assert list(archive.keys()) == []
    assert list(archive.versions()) == []


def test_more_keys_than_one_answer_holds_are_all_listed(archive, s3, bucket):
    client = s3.client()
    names = sorted(f"checkpoints/{n:020d}" for n in range(1100))
    for name in names:
        client.put_object(Bucket=bucket, Key=f"some/prefix/{ORIGIN}/{name}", Body=b"x")
    assert sorted(archive.keys()) == names
    assert [version.key for version in archive.versions()] == names
    assert [version.key for version in archive.versions("checkpoints/", after=names[1097])] == names[1098:]


def test_the_logs_of_a_bucket_are_found_also_hidden_ones(archive, file, s3, bucket, settings):
    archive.put("checkpoints/1", file(b"x"))
    other = open_archive(f"s3://{bucket}/some/prefix", "other", settings())
    other.put("tile/0/000.p/1", file(b"x"))
    s3.client().delete_object(Bucket=bucket, Key="some/prefix/other/tile/0/000.p/1")
    assert list(origins(f"s3://{bucket}/some/prefix", settings())) == [ORIGIN, "other"]
    assert list(origins(f"s3://{bucket}/", settings())) == [f"some/prefix/{ORIGIN}", "some/prefix/other"]
    assert list(origins(f"s3://{bucket}/some/prefix/other", settings())) == ["."]


def test_the_logs_of_a_directory_are_found(tmp_path, settings, file):
    open_archive(tmp_path / "a", ORIGIN, settings()).put("checkpoints/1", file(b"x"))
    assert list(origins(tmp_path / "a", settings())) == [ORIGIN]


def test_the_same_bytes_again_are_no_error_and_other_bytes_are(archive, file):
    first = archive.put("records/a", file(b"one"))
    assert archive.put("records/a", file(b"one")).version_id == first.version_id
    with pytest.raises(IntegrityError, match="holds other bytes"):
        archive.put("records/a", file(b"two"))
    assert len(list(archive.versions())) == 1


def test_a_lock_that_is_too_short_or_weak_is_extended(bucket, settings, file):
    short = open_archive(f"s3://{bucket}", ORIGIN, settings(s3_retention_days=1, s3_mode="governance"))
    assert short.put("evidence/a", file(b"one")).mode == "GOVERNANCE"
    archive = open_archive(f"s3://{bucket}", ORIGIN, settings(s3_legal_hold=True))
    receipt = archive.put("evidence/a", file(b"one"))
    assert archive.lock("evidence/a", receipt.version_id) == Lock("COMPLIANCE", receipt.retain_until, legal_hold=True)
    assert receipt.retain_until > datetime.now(UTC) + timedelta(days=399)
    again = short.put("evidence/a", file(b"one"))
    assert again.retain_until == receipt.retain_until


def test_the_pointer_moves(archive):
    archive.point(b"1")
    archive.point(b"2")
    archive.point(b"2")
    assert archive.read("checkpoint", 9) == b"2"


def test_an_object_without_a_lock_has_none_and_that_is_known(archive, s3, bucket):
    s3.client().put_object(Bucket=bucket, Key=f"some/prefix/{ORIGIN}/records/a", Body=b"x")
    (plain,) = archive.versions("records/a")
    assert archive.lock("records/a", plain.version_id) == Lock()


def test_objects_are_encrypted_with_the_key_that_is_named(own_s3, settings, file, monkeypatch):
    """Only one of the servers has a KMS."""
    with own_s3("minio") as server:
        server.kill()
        server.extra = {"MINIO_KMS_SECRET_KEY": f"ours:{base64.b64encode(bytes(32)).decode()}"}
        server.start()
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        name = server.bucket()
        archive = open_archive(f"s3://{name}", ORIGIN, settings(s3_kms_key="ours"))
        receipt = archive.put("records/a", file(b"one"))
        head = server.client().head_object(Bucket=name, Key=receipt.key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"].rpartition("/")[2]) == ("aws:kms", "arn:aws:kms:ours")
        assert archive.read("records/a", 9) == b"one"


def test_a_connection_that_breaks_while_reading_is_taken_up_where_it_broke(archive, file, monkeypatch):
    """The break is ours: a real server cannot be told to break here."""
    data = bytes(range(256)) * 20000
    archive.put("evidence/a", file(data))
    broken = []

    with archive.open("evidence/a") as stream:
        body = stream.raw._stream

        def read(size, real=body.read):
            if not broken and len(read.got) > 2:
                broken.append(1)
                raise ResponseStreamingError(error="reset")
            read.got.append(size)
            return real(size)

        read.got = []
        monkeypatch.setattr(body, "read", read)
        assert stream.read() == data
    assert broken


def test_a_server_that_is_away_is_a_temporary_failure(own_s3, bucket, settings, file, s3, monkeypatch):
    with own_s3(s3.kind) as own:
        pass
    archive = open_archive(f"s3://{bucket}", ORIGIN, settings(s3_endpoint=own.url))
    with pytest.raises(TemporaryError, match="cannot be reached"):
        archive.put("records/a", file(b"one"))


def test_a_missing_bucket_and_wrong_credentials_are_said(bucket, settings, monkeypatch):
    with pytest.raises(UsageError, match="setup s3 --archive s3://no-such-bucket makes one"):
        list(open_archive("s3://no-such-bucket", ORIGIN, settings()).keys())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UsageError, match="refuses our credentials"):
        list(open_archive(f"s3://{bucket}", ORIGIN, settings()).keys())


@pytest.mark.parametrize("text", ["s3://", "s3://A", "s3://bucket//x", "s3://bucket/../x", "s3://bucket/a b"])
def test_what_is_no_place_is_refused(text):
    with pytest.raises(ValueError, match="s3://bucket/prefix"):
        place(text)
