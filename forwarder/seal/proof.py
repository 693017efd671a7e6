"""Proofs that a record is in a log: C2SP tlog proofs (c2sp.org/tlog-proof) of its batch, which carry the record.

A tlog proof is lines: `c2sp.org/tlog-proof@v1`, `extra <base64>`, `index <decimal>`, the leaf's audit path (base64, a
hash a line), an empty line, a signed checkpoint. What `extra` holds: docs/SEALED_ARCHIVE.md, "Proof of a record".
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any, Final

import orjson

from forwarder.seal import canonical
from forwarder.seal.note import HASH_BYTES

HEADER: Final = "c2sp.org/tlog-proof@v1"
FORMAT: Final = "nmap-forwarder/record-proof/v1"
MAX_PATH: Final = 63
"""Longest audit path, in hashes: a tree has fewer than 2^63 leaves."""
MAX_PROOF: Final = 8 << 20
"""Longest proof that a verifier reads, in bytes: record and manifest have at most 1 MiB each, doubled by quoting."""


class ProofError(ValueError):
    """Bytes are no proof of this format."""


@dataclass(frozen=True, slots=True)
class LogProof:
    """A tlog proof: that a leaf is in the tree of a checkpoint."""

    index: int
    """Place of the leaf in the log, from 0."""
    path: tuple[bytes, ...]
    """Its audit path (RFC 6962, section 2.1.1), nearest sibling first, 32 bytes each."""
    checkpoint: bytes
    """Signed note."""
    extra: bytes = b""
    """What the reader needs to make the leaf anew; not authenticated."""

    def encode(self) -> bytes:
        """Return the file's bytes."""
        lines = [HEADER]
        lines += [f"extra {b64encode(self.extra).decode()}"] if self.extra else []
        lines += [f"index {self.index}", *_encoded(self.path)]
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint

    @classmethod
    def decode(cls, data: bytes) -> LogProof:
        """Read a file, which must be exactly what `encode` makes of its content.

        Raises:
            ProofError: it is no such proof.
        """
        head, _, checkpoint = data.partition(b"\n\n")
        try:
            header, *lines = head.decode("ascii").split("\n")
            extra = lines.pop(0).removeprefix("extra ") if lines[0].startswith("extra ") else ""
            word, _, index = lines.pop(0).partition(" ")
            proof = cls(int(index), _decoded(lines), checkpoint, b64decode(extra, validate=True))
        except ProofError:
            raise
        except (IndexError, ValueError):
            raise ProofError(f"not a tlog proof ({HEADER})") from None
        if (header, word) != (HEADER, "index") or proof.encode() != data:
            raise ProofError(f"not a tlog proof ({HEADER})")
        return proof


@dataclass(frozen=True, slots=True)
class RecordProof:
    """What `extra` holds: a record, the way from it to its batch's record root, and the batch's manifest."""

    record: bytes
    """The sealed line, without its newline."""
    index: int
    """Its place in the batch, from 0."""
    count: int
    """Number of records in the batch."""
    path: tuple[bytes, ...]
    """Audit path of the record's leaf among the batch's."""
    manifest: bytes
    """Stored bytes of the manifest."""

    def encode(self) -> bytes:
        """Return canonical JSON; record and manifest are strings in it, so that no reader has to write JSON anew."""
        return canonical.encode(
            {
                "count": self.count,
                "format": FORMAT,
                "index": self.index,
                "manifest": self.manifest.decode(),
                "path": _encoded(self.path),
                "record": self.record.decode(),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> RecordProof:
        """Read bytes that must be exactly what `encode` makes of their content.

        Raises:
            ProofError: they are not.
        """
        try:
            fields: dict[str, Any] = orjson.loads(data)
            if fields["format"] != FORMAT:
                raise ProofError(f"its extra data is not {FORMAT}: made by a newer version?")
            numbers = fields["index"], fields["count"]
            path = _decoded(fields["path"])
            proof = cls(fields["record"].encode(), *numbers, path, fields["manifest"].encode())
            same = all(type(number) is int for number in numbers) and proof.encode() == data
        except ProofError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ProofError("its extra data holds no record") from None
        if not same:
            raise ProofError("its extra data is not in canonical form")
        return proof


def _encoded(path: tuple[bytes, ...]) -> list[str]:
    return [b64encode(value).decode() for value in path]


def _decoded(lines: list[str]) -> tuple[bytes, ...]:
    path = tuple(_hash(line) for line in lines[: MAX_PATH + 1])
    if len(path) > MAX_PATH:
        raise ProofError("its path is too long")
    return path


def _hash(line: str) -> bytes:
    value = b64decode(line, validate=True)
    if len(value) != HASH_BYTES:
        raise ProofError("a hash of its path has not 32 bytes")
    return value
