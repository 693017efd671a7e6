"""Signing keys. A file key is an unencrypted PKCS #8 PEM (RFC 8410) that only its owner can read."""

from __future__ import annotations

import os
import re
import socket
import stat
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forwarder.errors import UsageError
from forwarder.seal.note import Verifier


class FileKey:
    """An Ed25519 key in memory, under a name; made by `generate` or `load`."""

    def __init__(self, private: Ed25519PrivateKey, name: str) -> None:
        self._private = private
        self.verifier = Verifier(name, private.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: bytes, name: str) -> FileKey:
        """Return the key of a 32-byte RFC 8032 seed."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed), name)

    @classmethod
    def load(cls, path: Path, name: str) -> FileKey:
        """Read a key file.

        Raises:
            UsageError: others can read it, or it is no Ed25519 key in PKCS #8 PEM.
            OSError: it cannot be read.
        """
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(1 << 16)
        if mode & 0o077:
            raise UsageError(f"{path} can be read by others (mode {mode:o})", f"chmod 600 {path}")
        try:
            private = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError):
            raise UsageError(f"{path} is not an unencrypted PKCS #8 PEM key") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise UsageError(f"{path} is not an Ed25519 key")
        return cls(private, name)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of RFC 8032; the same message always has the same one."""
        return self._private.sign(message)


def generate() -> tuple[bytes, bytes]:
    """Return a new key as (PEM, 32 public bytes)."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, private.public_key().public_bytes_raw()


def default_origin(public: bytes) -> str:
    """Return `<host name>-<8 hex digits of SHA-256(public key)>`: cloned machines cannot meet in one log."""
    host = re.sub(r"[^a-z0-9._-]+", "-", socket.gethostname().lower()).strip("-.") or "host"
    return f"{host}-{sha256(public).hexdigest()[:8]}"
