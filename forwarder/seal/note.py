"""C2SP signed notes and tlog checkpoints with Ed25519 (c2sp.org/signed-note, c2sp.org/tlog-checkpoint).

A note is UTF-8 text that ends in a newline, an empty line, and lines `— <name> <base64(key id ‖ signature)>`.
A checkpoint is a note whose text is three lines: origin, tree size, base64 of the root hash.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # to name a key or a log needs no cryptography, which takes its time to import
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519 = b"\x01"
"""Signature type of an Ed25519 key (c2sp.org/signed-note, Signature types)."""

DASH = "\N{EM DASH} "
KEY_ID_BYTES = 4
HASH_BYTES = 32


class NoteError(ValueError):
    """Bytes are not a note, a checkpoint or a verifier key, or no signature of the key holds."""


class Signer(Protocol):
    """Whatever can sign as a named key."""

    @property
    def verifier(self) -> Verifier:
        """The public half."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature over the message."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A named Ed25519 public key."""

    name: str
    """Key name; a log's key is named by its origin."""
    public: bytes
    """The 32 bytes of RFC 8032."""

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Read `<name>+<hex key id>+<base64(0x01 ‖ public key)>`.

        Raises:
            NoteError: the text is no Ed25519 verifier key, or its key id does not fit the key.
        """
        return cls(*parse_key(text, ED25519))

    @property
    def key_id(self) -> bytes:
        """First four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key)."""
        return key_id(self.name, ED25519 + self.public)

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(ED25519 + self.public).decode()}"

    @property
    def pem(self) -> str:
        """The public key in PEM (SubjectPublicKeyInfo, RFC 8410), as openssl reads it."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

        return _public_key(self.public).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Tell whether a 64-byte signature over a message is this key's."""
        return holds(self.public, signature, message)


def parse_key(text: str, kind: bytes) -> tuple[str, bytes]:
    """Return (name, 32 public bytes) of a verifier key of some signature type.

    Raises:
        NoteError: the text is no such key, or its key id does not fit the key.
    """
    name, _, rest = text.strip().partition("+")
    found, _, encoded = rest.partition("+")
    try:
        key = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("not a verifier key (name+id+base64)") from None
    if not name or key[:1] != kind or len(key) != 1 + HASH_BYTES:
        raise NoteError(f"not an Ed25519 verifier key of type {kind.hex()} (name+id+base64)")
    if key_id(name, key).hex() != found:
        raise NoteError(f"the verifier key's id is {key_id(name, key).hex()}, not {found}")
    return name, key[1:]


@lru_cache(maxsize=256)
def _public_key(public: bytes) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    return Ed25519PublicKey.from_public_bytes(public)


@lru_cache(maxsize=256)  # a log has a signature for each size, by few keys
def key_id(name: str, key: bytes) -> bytes:
    """Return the first four bytes of SHA-256(name ‖ 0x0A ‖ signature type ‖ public key)."""
    return sha256(name.encode() + b"\n" + key).digest()[:KEY_ID_BYTES]


def holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether an Ed25519 signature over a message is a public key's."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    try:
        _public_key(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log commits to at one size."""

    origin: str
    size: int
    """Number of leaves."""
    root: bytes
    """Root hash over them, 32 bytes."""

    @property
    def text(self) -> bytes:
        """The three signed lines."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n".encode()

    @classmethod
    def parse(cls, text: bytes) -> Checkpoint:
        """Read a note's text; whether it was signed is another question.

        Raises:
            NoteError: it is not exactly a checkpoint's three lines.
        """
        try:
            origin, size, encoded = text.decode().split("\n")[:-1]
            checkpoint = cls(origin, int(size), b64decode(encoded, validate=True))
        except (ValueError, binascii.Error):
            raise NoteError("not a checkpoint (origin, size, root)") from None
        if checkpoint.text != text or len(checkpoint.root) != HASH_BYTES:
            raise NoteError("not a checkpoint (origin, size, root)")
        return checkpoint

    def sign(self, *signers: Signer) -> bytes:
        """Return the whole note, signed by each of the signers in turn."""
        lines = [
            f"{DASH}{signer.verifier.name} {b64encode(signer.verifier.key_id + signer.sign(self.text)).decode()}\n"
            for signer in signers
        ]
        return self.text + b"\n" + "".join(lines).encode()


def split_note(note: bytes) -> tuple[bytes, bytes]:
    """Return a note's text and its block of signature lines.

    Raises:
        NoteError: it has no signature lines.
    """
    text, separator, block = note.rpartition(b"\n\n")
    if not separator:
        raise NoteError("not a signed note")
    return text + b"\n", block


def signatures(block: bytes) -> list[tuple[str, bytes]]:
    """Return (key name, key id ‖ signature) of each of a note's signature lines.

    Raises:
        NoteError: one of them is none.
    """
    try:
        *lines, end = block.decode().split("\n")
    except UnicodeDecodeError:
        raise NoteError("not a signed note") from None
    if end or not lines:
        raise NoteError("not a signed note")
    found = []
    for line in lines:
        name, _, encoded = line.removeprefix(DASH).partition(" ")
        if not line.startswith(DASH) or not name or not encoded:
            raise NoteError("not a signed note: a signature line is malformed")
        try:
            blob = b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise NoteError("not a signed note: a signature is not base64") from None
        if b64encode(blob).decode() != encoded:  # spare bits that decoders ignore would let a byte be changed
            raise NoteError("not a signed note: a signature is not in canonical base64")
        found.append((name, blob))
    return found


def open_note(note: bytes, verifier: Verifier) -> bytes:
    """Return a note's text once a signature of the verifier holds; other keys' signatures are passed over.

    Raises:
        NoteError: the bytes are no note, or it has no valid signature of this key.
    """
    text, block = split_note(note)
    held = False
    for name, blob in signatures(block):
        if name == verifier.name and blob[:KEY_ID_BYTES] == verifier.key_id:
            if held or not verifier.holds(blob[KEY_ID_BYTES:], text):
                raise NoteError(f"the signature of {verifier.name}+{verifier.key_id.hex()} does not hold")
            held = True
    if held:
        return text
    raise NoteError(f"not signed by {verifier.name}+{verifier.key_id.hex()}")


def open_checkpoint(note: bytes, verifier: Verifier) -> Checkpoint:
    """Return the checkpoint in a signed note of the verifier.

    Raises:
        NoteError: the note does not hold, or its text is not exactly a checkpoint's three lines.
    """
    return Checkpoint.parse(open_note(note, verifier))
