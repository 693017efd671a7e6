"""Keys in files: PKCS #8 PEM (RFC 8410) that only its owner can read, encrypted with a passphrase if there is one."""

from __future__ import annotations

import binascii
import os
import stat
from base64 import b64decode
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forwarder.errors import UsageError
from forwarder.keys.interface import Key
from forwarder.seal.note import Verifier

MAX_FILE: Final = 1 << 16
BEGIN, END = b"-----BEGIN PRIVATE KEY-----\n", b"\n-----END PRIVATE KEY-----\n"
PKCS8: Final = bytes.fromhex("302e020100300506032b657004220420")
"""What is before the seed in PKCS #8 without optional parts (RFC 8410, section 7)."""
SEED_BYTES: Final = 32
ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
GIVE: Final = "give it by NMAP_FORWARDER_KEY_PASSPHRASE or key.passphrase_file"


class FileKey(Key):
    """An Ed25519 key in memory, under a name; made by `from_seed` or `load`."""

    scheme = "file:"

    def __init__(self, private: Ed25519PrivateKey, name: str) -> None:
        self._private = private
        self._verifier = Verifier(name, private.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: bytes, name: str) -> FileKey:
        """Return the key of a 32-byte RFC 8032 seed."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed), name)

    @classmethod
    def load(cls, path: Path, name: str, passphrase: str = "") -> FileKey:
        """Read a key file; a passphrase is used if the file is encrypted.

        Raises:
            UsageError: others can read it, it is no Ed25519 key in PKCS #8 PEM, or the passphrase is wrong or missing.
            OSError: it cannot be read.
        """
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_FILE)
        if mode & 0o077:
            raise UsageError(f"{path} can be read by others (mode {mode:o})", f"chmod 600 {path}")
        return cls.from_pem(data, name, passphrase, str(path))

    @classmethod
    def from_pem(cls, data: bytes, name: str, passphrase: str, where: str = "the key") -> FileKey:
        """Read a key file's bytes.

        Raises:
            UsageError: it is no Ed25519 key in PKCS #8 PEM, or the passphrase is wrong or missing.
        """
        if seed := _seed(data):
            return cls.from_seed(seed, name)
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

        encrypted = ENCRYPTED in data
        if encrypted and not passphrase:
            raise UsageError(f"{where} is encrypted, and there is no passphrase", GIVE)
        try:
            private = serialization.load_pem_private_key(data, passphrase.encode() if encrypted else None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            what = "cannot be decrypted with the passphrase" if encrypted else "is not a PKCS #8 PEM key"
            raise UsageError(f"{where} {what}") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise UsageError(f"{where} is not an Ed25519 key")
        return cls(private, name)

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return self._verifier

    def sign(self, message: bytes) -> bytes:
        """Return a signature; see `Key.sign`."""
        return self._private.sign(message)


def _seed(pem: bytes) -> bytes:
    """Return the seed in a key file as `generate` makes it without a passphrase; nothing of any other.

    Every run reads its key, and what reads all kinds of keys takes as long to import as what signs.
    """
    try:
        der = b64decode(pem.removeprefix(BEGIN).removesuffix(END), validate=True)
    except binascii.Error:
        return b""
    return der.removeprefix(PKCS8) if der.startswith(PKCS8) and len(der) == len(PKCS8) + SEED_BYTES else b""


def generate(passphrase: str = "") -> tuple[bytes, bytes]:
    """Return a new key as (PEM, 32 public bytes); the PEM is encrypted if there is a passphrase."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    private = Ed25519PrivateKey.generate()
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return pem, private.public_key().public_bytes_raw()
