"""Witnesses' cosignatures of checkpoints: C2SP tlog-cosignature, its Ed25519 type (c2sp.org/tlog-cosignature)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from forwarder.seal.note import KEY_ID_BYTES, NoteError, holds, key_id, parse_key

TYPE: Final = b"\x04"
"""Signature type of a timestamped Ed25519 cosignature."""
TIME_BYTES: Final = 8
SIGNATURE_BYTES: Final = 64
LATEST: Final = 253402300799
"""9999-12-31T23:59:59Z: what comes after is no time for us, although the format goes on to 2^63 - 1."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A named public key of somebody who cosigns checkpoints."""

    name: str
    public: bytes
    """The 32 bytes of RFC 8032."""

    @classmethod
    def parse(cls, text: str) -> Witness:
        """Read `<name>+<hex key id>+<base64(0x04 ‖ public key)>`.

        Raises:
            NoteError: the text is no such key.
        """
        return cls(*parse_key(text, TYPE))

    @property
    def key_id(self) -> bytes:
        """First four bytes of SHA-256(name ‖ 0x0A ‖ 0x04 ‖ public key)."""
        return key_id(self.name, TYPE + self.public)

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(TYPE + self.public).decode()}"

    def cosigned(self, text: bytes, lines: Iterable[tuple[str, bytes]]) -> datetime | None:
        """Return when this witness cosigned a checkpoint, None if none of the signatures is its own.

        Args:
            text: the checkpoint's signed text.
            lines: (key name, key id ‖ signature) as `note.signatures` gives them.

        Raises:
            NoteError: there is one of this witness that does not hold.
        """
        newest: int | None = None
        for name, blob in lines:
            if name != self.name or blob[:KEY_ID_BYTES] != self.key_id:
                continue
            body = blob[KEY_ID_BYTES:]
            seconds, signature = int.from_bytes(body[:TIME_BYTES]), body[TIME_BYTES:]
            message = f"cosignature/v1\ntime {seconds}\n".encode() + text
            if len(signature) != SIGNATURE_BYTES or seconds > LATEST or not holds(self.public, signature, message):
                raise NoteError(f"the cosignature of {self.name}+{self.key_id.hex()} does not hold")
            newest = max(newest or 0, seconds)
        return None if newest is None else datetime.fromtimestamp(newest, UTC)
