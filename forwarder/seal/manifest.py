"""Batch manifests: canonical JSON that names a batch's records, its evidence and the manifest before it.

The format is docs/SEALED_ARCHIVE.md, section "Manifest". A manifest is the commit point of its batch; its hash
is in the log's leaf and in the next manifest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson

from forwarder.seal import canonical
from forwarder.seal.canonical import TIME
from forwarder.seal.keychange import KeyChange
from forwarder.seal.merkle import EMPTY

FORMAT = "nmap-forwarder/manifest/v1"
NO_PREVIOUS = "0" * 64
"""`previous` of the first manifest."""

MAX_RECORDS = 10_000
"""A batch is cut at this many records,"""
MAX_RAW_BYTES = 16 << 20
"""or this many bytes of records (a record that reaches over it is still in),"""
MAX_EVIDENCE = 256
"""or this many references to evidence."""
MAX_RECORD_BYTES = 1 << 20
"""Longest record line, its newline not counted."""
TIMESTAMP = slice(len('{"@timestamp":"'), len('{"@timestamp":"2026-11-23T09:31:38.000Z'))
"""Where a record's time is in its line: canonical JSON puts `@timestamp` first."""
MAX_MANIFEST_BYTES = 1 << 20
"""Longest manifest that a verifier reads."""

ORIGIN = re.compile(r"[a-z0-9._-]+(/[a-z0-9._-]+)*")
HEX64 = re.compile(r"[0-9a-f]{64}")


class ManifestError(ValueError):
    """Bytes are not a manifest of this format."""


@dataclass(frozen=True, slots=True)
class Records:
    """The records of a batch: NDJSON, one canonical JSON object a line, compressed as one zstd frame."""

    count: int
    root: str
    """Root over the record leaves, hex."""
    raw_bytes: int = 0
    """Length of the NDJSON, newlines included."""
    raw_sha256: str = EMPTY.hex()
    stored_bytes: int = 0
    stored_sha256: str = ""
    """Hash of the compressed bytes; names the object. Empty when there are no records."""
    leaves_sha256: str = ""
    """Hash of the leaf object: the 32-byte record leaf hashes, one after the other."""
    earliest: str = ""
    """Smallest @timestamp of the records."""
    latest: str = ""
    """Largest @timestamp of the records."""

    @property
    def name(self) -> str:
        """Key of the records object."""
        return f"records/{self.stored_sha256}.ndjson.zst"

    @property
    def leaves_name(self) -> str:
        """Key of the leaf object."""
        return f"records/{self.leaves_sha256}.leaves"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Raw input that records were made from."""

    kind: str
    """What it is: `nmap-xml`."""
    rule: str
    """What is kept of it: `full`, or `hash-only` (then nothing is stored)."""
    raw_bytes: int
    raw_sha256: str
    stored_bytes: int = 0
    stored_sha256: str = ""

    @property
    def name(self) -> str:
        """Key of the stored object."""
        return evidence_name(self.stored_sha256)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One batch."""

    origin: str
    sequence: int
    """Place in the log, from 0."""
    previous: str
    """SHA-256 of the previous manifest's stored bytes, hex."""
    type: str
    """`records`; without records `heartbeat`, which says that the forwarder was alive, or `key`, a change of keys."""
    created: str
    """When it was sealed, by the forwarder's clock."""
    software: str
    first_record: int
    """Records in the log before this batch; event.sequence of its first record."""
    records: Records
    evidence: tuple[Evidence, ...] = ()
    key: KeyChange | None = None

    @property
    def name(self) -> str:
        """Key of the manifest."""
        return manifest_name(self.sequence)

    def encode(self) -> bytes:
        """Return the stored bytes."""
        records = {field: value for field in Records.__slots__ if (value := getattr(self.records, field)) != ""}
        if not self.records.count:
            records = {"count": 0, "root": self.records.root}
        evidence = [
            {field: value for field in Evidence.__slots__ if (value := getattr(item, field)) != ""}
            for item in self.evidence
        ]
        for item in evidence:
            if "stored_sha256" not in item:
                item.pop("stored_bytes")
        return canonical.encode(
            ({"key": self.key.members} if self.key else {})
            | {
                "created": self.created,
                "evidence": evidence,
                "first_record": self.first_record,
                "format": FORMAT,
                "origin": self.origin,
                "previous": self.previous,
                "records": records,
                "sequence": self.sequence,
                "software": self.software,
                "type": self.type,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Read stored bytes, which must be exactly what `encode` makes of their content.

        Raises:
            ManifestError: the bytes are not a manifest of this format, or not in canonical form.
        """
        try:
            fields: dict[str, Any] = orjson.loads(data)
            if fields.pop("format") != FORMAT:
                raise ManifestError(f"its format is not {FORMAT}: made by a newer version?")
            records = Records(**fields.pop("records"))
            evidence = tuple(Evidence(**item) for item in fields.pop("evidence"))
            key = KeyChange(**fields.pop("key")) if "key" in fields else None
            manifest = cls(**fields, records=records, evidence=evidence, key=key)
            _check(manifest)
            same = manifest.encode() == data
        except ManifestError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ManifestError(f"not a manifest ({type(error).__name__}: {error})") from None
        if not same:
            raise ManifestError("not in canonical form")
        return manifest


def _check(manifest: Manifest) -> None:
    """Refuse values of the wrong type or shape; a name made from one must never leave the archive."""
    numbers = [manifest.sequence, manifest.first_record, manifest.records.count, manifest.records.raw_bytes]
    numbers += [manifest.records.stored_bytes]
    hashes = [manifest.previous, manifest.records.root, manifest.records.raw_sha256]
    if manifest.records.count:
        hashes += [manifest.records.stored_sha256, manifest.records.leaves_sha256]
    for item in manifest.evidence:
        numbers += [item.raw_bytes, item.stored_bytes]
        hashes += [item.raw_sha256] + ([item.stored_sha256] if item.rule != "hash-only" else [])
        if item.rule not in {"full", "redacted", "hash-only"} or not isinstance(item.kind, str):
            raise ManifestError("evidence of an unknown kind or rule")
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ManifestError("a count or size is not a whole number")
    if not all(isinstance(value, str) and HEX64.fullmatch(value) for value in hashes):
        raise ManifestError("a hash is not 64 hexadecimal digits")
    if manifest.type not in {"records", "heartbeat", "key"}:
        raise ManifestError(f"unknown batch type {manifest.type!r}: made by a newer version?")
    if manifest.type == "records" and not manifest.records.count:
        raise ManifestError("a batch of records has none")
    if manifest.type != "records" and (manifest.records.count or manifest.evidence):
        raise ManifestError(f"a batch of type {manifest.type} has no records and no evidence")
    if (manifest.type == "key") != (manifest.key is not None):
        raise ManifestError("a change of keys stands in a batch of type key, and only there")
    if not origin_fits(manifest.origin) or not TIME.fullmatch(manifest.created):
        raise ManifestError("origin or time is malformed")
    if manifest.key and (problem := manifest.key.problem(manifest.origin, manifest.sequence)):
        raise ManifestError(problem)


def origin_fits(origin: str) -> bool:
    """Tell whether a text is an origin: a path below the archive that leads nowhere else."""
    return bool(ORIGIN.fullmatch(origin)) and not {".", ".."} & set(origin.split("/"))


def evidence_name(stored_sha256: str) -> str:
    """Return the key of an evidence object."""
    return f"evidence/{stored_sha256}.zst"


def manifest_name(sequence: int) -> str:
    """Return the key of a batch's manifest."""
    return f"batches/{sequence:020d}/manifest.json"


def key_name(sequence: int) -> str:
    """Return the key of the verifier key that a batch of type key brings."""
    return f"keys/{sequence:020d}.vkey"


def checkpoint_name(size: int) -> str:
    """Return the key of the checkpoint for a tree of a size."""
    return f"checkpoints/{size:020d}"


def token_name(size: int, sha256_hex: str) -> str:
    """Return the key of a time-stamp over the checkpoint of a size; the hash is the stored bytes'."""
    return f"timestamps/{size:020d}/{sha256_hex}.tsr"


def cosignatures_name(size: int, sha256_hex: str) -> str:
    """Return the key of cosignatures of the checkpoint of a size; the hash is the stored bytes'."""
    return f"cosignatures/{size:020d}/{sha256_hex}"


def timestamp(moment: datetime | None = None) -> str:
    """Return a UTC time as records and manifests write it: RFC 3339 with milliseconds and a Z."""
    moment = (moment or datetime.now(UTC)).astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes, hex."""
    return sha256(data).hexdigest()
