"""An archive in S3 under Object Lock: `s3://<bucket>/<prefix>/<origin>/<key>`."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import file_digest, sha256
from pathlib import Path
from typing import IO, Any, Final

from forwarder.archive.interface import POINTER, Archive, Lock, Receipt, Version
from forwarder.archive.place import Bucket
from forwarder.archive.s3_client import Client, PreconditionError, RefusedError, unanswered
from forwarder.errors import IntegrityError, UsageError
from forwarder.seal.manifest import checkpoint_name, manifest_name

CHUNK: Final = 1 << 20
SKEW: Final = timedelta(minutes=5)
"""Largest difference of clocks, beyond which neither is believed."""
UNLOCKED: Final = frozenset({"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"})
"""What servers say when they are asked for the lock of an object that has none."""
STRENGTH: Final = ("", "GOVERNANCE", "COMPLIANCE")


@dataclass(frozen=True, slots=True)
class Locking:
    """How objects are kept."""

    mode: str = "COMPLIANCE"
    days: int = 400
    """From the server's clock at the batch's first put."""
    legal_hold: bool = False
    kms_key: str = ""
    """Encrypt with this KMS key; empty: as the bucket does by default."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Locking:
        """Return what the settings say."""
        values = [settings[f"s3.{name}"] for name in ("retention_days", "legal_hold", "kms_key")]
        return cls(settings["s3.mode"].upper(), *values)

    def arguments(self, until: datetime) -> dict[str, Any]:
        """Return what a put takes for it."""
        found: dict[str, Any] = {"ObjectLockMode": self.mode, "ObjectLockRetainUntilDate": until}
        if self.legal_hold:
            found["ObjectLockLegalHoldStatus"] = "ON"
        if self.kms_key:
            found |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key}
        return found

    def holds(self, lock: Lock, until: datetime) -> bool:
        """Tell whether a lock is at least what we ask for."""
        strong = STRENGTH.index(lock.mode) >= STRENGTH.index(self.mode)
        return strong and lock.retain_until is not None and lock.retain_until >= until


class S3Archive(Archive):
    """One log in a bucket.

    Args:
        client: requests to the bucket.
        bucket: where to.
        origin: the log's origin.
        locking: how objects are kept.
    """

    ahead = 10  # as many connections as boto keeps

    def __init__(self, client: Client, bucket: Bucket, origin: str, locking: Locking) -> None:
        self._client = client
        self._bucket = bucket
        self._origin = origin
        self._locking = locking
        self._until: datetime | None = None

    @property
    def kind(self) -> str:
        """Scheme and bucket."""
        return f"s3:{self._bucket.name}"

    @property
    def place(self) -> str:
        """The log's URL."""
        return f"s3://{self._bucket.name}/{self._key('')}".rstrip("/")

    def _key(self, key: str) -> str:
        return self._bucket.key(self._origin) + f"/{key}"

    # --- writing ------------------------------------------------------------------------------------------

    def put(self, key: str, source: Path) -> Receipt:
        """Put a file under a key that has none, or see that it has just this; see `Archive.put`."""
        until = self._until or self._set_until()
        with source.open("rb") as file:
            checksum = file_digest(file, "sha256")
            try:
                answer = self._client.call(
                    "put_object",
                    Key=self._key(key),
                    Body=file,
                    ChecksumSHA256=b64encode(checksum.digest()).decode(),
                    IfNoneMatch="*",
                    **self._locking.arguments(until),
                )
                version_id = answer.get("VersionId", "")
            except PreconditionError:  # an earlier attempt of ours, or somebody else's object
                version_id = self._ours(key, checksum.hexdigest())
        return self._receipt(key, version_id, until)

    def prepare(self) -> None:
        """See that the bucket can lock, and until when objects are to be kept; see `Archive.prepare`."""
        right = f"nmap-forwarder setup s3 --archive {self._bucket} makes a right one"
        if self._client.call("get_bucket_versioning").get("Status") != "Enabled":
            raise UsageError(f"{self.place}: the bucket keeps no versions", right)
        try:
            answer = self._client.call("get_object_lock_configuration")
        except RefusedError as error:
            if error.code not in UNLOCKED:
                raise
            answer = {}
        if answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise UsageError(f"{self.place}: the bucket has no Object Lock", right)
        self._set_until()

    def _set_until(self) -> datetime:
        """Set until when objects are to be kept, by the server's clock.

        Raises:
            UsageError: the server's clock is not ours: one of them would lock too long, or not long enough.
        """
        self._client.call("head_bucket")
        now = datetime.now(UTC)
        if self._client.date is None or abs(self._client.date - now) > SKEW:
            raise UsageError(
                f"{self.place}: the server's clock says {self._client.date}, this machine's {now:%Y-%m-%d %H:%M:%S%z}",
                "set the clock that is wrong (NTP), else objects would be locked until a wrong date",
            )
        self._until = self._client.date + timedelta(days=self._locking.days)
        return self._until

    def beyond(self, size: int) -> str:
        """Return the key of an object behind the log's end; see `Archive.beyond`.

        Objects count that are hidden: on some servers a delete marker makes room for a second one of the same key.
        """
        self._set_until()
        ends = [manifest_name(size - 1), checkpoint_name(size)] if size else []
        for version in (version for key in ends for version in self.versions(key)):
            if version.is_delete_marker:
                raise IntegrityError(
                    f"{self.place}/{version.key} is hidden by a delete marker",
                    "find out who deletes, remove the marker, and run verify",
                )
        for version in self.versions(f"batches/{size:020d}/"):
            return version.key
        return next((version.key for version in self.versions("checkpoints/", after=checkpoint_name(size))), "")

    def _ours(self, key: str, sha256: str) -> str:
        """Return the version of a key, all of whose versions have the same, given bytes.

        Raises:
            IntegrityError: one has others, or a delete marker hides it.
        """
        found = ""
        for version in self.versions(key):
            if version.key != key:
                break  # another key that begins with this one
            if version.is_delete_marker:
                raise IntegrityError(
                    f"{self.place}/{key} is hidden by a delete marker", "find out who deletes, and run verify"
                )
            with self.open(key, version.version_id) as file:
                if file_digest(file, "sha256").hexdigest() != sha256:  # type: ignore[arg-type]
                    raise IntegrityError(
                        f"{self.place}/{key} exists and holds other bytes",
                        "something else writes to this log; run verify, then adopt it, or begin a log of its own",
                    )
            found = found or version.version_id
        return found

    def _receipt(self, key: str, version_id: str, until: datetime) -> Receipt:
        """Read back what keeps a version, and extend it where it is less than what we ask for."""
        lock = self.lock(key, version_id)
        if not lock.unknown and not self._locking.holds(lock, until):
            self._extend(key, version_id, lock, until)
            lock = self.lock(key, version_id)
        if self._locking.legal_hold and not lock.legal_hold:
            hold = {"Status": "ON"}
            self._client.call("put_object_legal_hold", Key=self._key(key), VersionId=version_id, LegalHold=hold)
        if lock.unknown or lock.retain_until is None or not self._locking.holds(lock, until):
            raise UsageError(
                f"{self.place}/{key}: its lock is {lock.unknown or lock.mode or 'none'}, not "
                f"{self._locking.mode} until {until:%Y-%m-%d}",
                "the bucket must keep Object Lock, and we must be able to read it",
            )
        return Receipt(self._bucket.name, self._key(key), version_id, lock.mode, lock.retain_until)

    def keep(self, key: str) -> Receipt:
        """Extend what keeps an object; see `Archive.keep`."""
        until = self._until or self._set_until()
        version_id = self._client.call("head_object", Key=self._key(key)).get("VersionId", "")
        return self._receipt(key, version_id, until)

    def _extend(self, key: str, version_id: str, lock: Lock, until: datetime) -> None:
        """Make a lock as strong and as long as we ask for, and never less than it is."""
        retention = {
            "Mode": max(self._locking.mode, lock.mode, key=STRENGTH.index),
            "RetainUntilDate": max(until, lock.retain_until or until),
        }
        weak = {"BypassGovernanceRetention": True} if lock.mode not in {"", retention["Mode"]} else {}
        self._client.call("put_object_retention", Key=self._key(key), VersionId=version_id, Retention=retention, **weak)

    def point(self, data: bytes) -> None:
        """Replace the pointer, if nobody else does at the same time."""
        until = self._until or self._set_until()
        arguments = {"Key": self._key(POINTER), "Body": data, **self._locking.arguments(until)}
        arguments["ChecksumSHA256"] = b64encode(sha256(data).digest()).decode()
        try:
            state = {"IfMatch": self._client.call("head_object", Key=self._key(POINTER))["ETag"]}
        except FileNotFoundError:
            state = {"IfNoneMatch": "*"}
        try:
            self._client.call("put_object", **arguments, **state)
        except PreconditionError:
            if self.read(POINTER, len(data)) != data:  # our own attempt may have arrived although its answer did not
                raise IntegrityError(
                    f"{self.place}/{POINTER} was changed by somebody else at the same time", "run verify"
                ) from None

    # --- reading ------------------------------------------------------------------------------------------

    def open(self, key: str, version_id: str = "") -> IO[bytes]:
        """Open an object, or one version of it, for reading; see `Archive.open`."""
        return io.BufferedReader(_Body(self._client, self._key(key), version_id), CHUNK)

    def keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Yield the keys that are not hidden; see `Archive.keys`."""
        root = self._key("")
        marker = {"StartAfter": root + after} if after else {}
        for page in self._client.pages("list_objects_v2", Prefix=root + prefix, **marker):
            for item in page.get("Contents", ()):
                yield item["Key"][len(root) :]

    def versions(self, prefix: str = "", after: str = "") -> Iterator[Version]:
        """Yield all versions and delete markers, by key, of each key the newest first.

        Args:
            prefix: of keys.
            after: a key; only those behind it.

        Raises:
            ForwarderError: the server cannot be asked, or does not let us.
        """
        root = self._key("")
        marker = {"KeyMarker": root + after} if after else {}
        last = None
        for page in self._client.pages("list_object_versions", Prefix=root + prefix, **marker):
            found = [
                Version(
                    item["Key"][len(root) :],
                    item["VersionId"],
                    item.get("Size", 0),
                    item["LastModified"].astimezone(UTC),
                    item["IsLatest"],
                    is_delete_marker,
                )
                for name, is_delete_marker in (("Versions", False), ("DeleteMarkers", True))
                for item in page.get(name, ())
            ]
            found.sort(key=lambda version: (version.key, not version.is_latest, -version.modified.timestamp()))
            for version in found:
                if version != last and version.key > after:  # versitygw begins a page with the marker itself
                    yield version
                last = version

    def lock(self, key: str, version_id: str) -> Lock:
        """Return what keeps a version.

        Asked for by its id: a GET may leave it out, to those who may not see it and on some servers always.

        Raises:
            FileNotFoundError: there is no such version.
            TemporaryError: the server cannot be asked.
        """
        arguments = {"Key": self._key(key), "VersionId": version_id}
        mode, until, unknown = "", None, ""
        try:
            retention = self._client.call("get_object_retention", **arguments).get("Retention", {})
            mode, until = retention.get("Mode", ""), retention.get("RetainUntilDate")
        except RefusedError as error:
            unknown = "" if error.code in UNLOCKED else str(error)
        try:
            hold = self._client.call("get_object_legal_hold", **arguments).get("LegalHold", {}).get("Status") == "ON"
        except RefusedError as error:
            return Lock(mode, until, False if error.code in UNLOCKED else None, unknown)
        return Lock(mode, until and until.astimezone(UTC), hold, unknown)


class _Body(io.RawIOBase):
    """An object's bytes as they come; where the connection breaks, they are asked for from there on."""

    def __init__(self, client: Client, key: str, version_id: str) -> None:
        self._client = client
        self._arguments = {"Key": key} | ({"VersionId": version_id} if version_id else {})
        self._place = 0
        answer = client.call("get_object", **self._arguments)
        self._stream = answer["Body"]
        self._arguments["IfMatch"] = answer["ETag"]

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes; 0 at the end."""
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        try:
            data = self._stream.read(len(buffer))
        except BotoCoreError:
            try:
                self._stream = self._client.call("get_object", Range=f"bytes={self._place}-", **self._arguments)["Body"]
                data = self._stream.read(len(buffer))
            except BotoCoreError as error:
                raise unanswered(error, self._arguments["Key"]) from None
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        """Give the connection up."""
        if not self.closed and hasattr(self, "_stream"):
            self._stream.close()
        super().close()
