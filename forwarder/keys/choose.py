"""From a key's URI to the key. A new kind of key is a module beside this one, and a line here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from forwarder.errors import UsageError

if TYPE_CHECKING:
    from forwarder.keys.interface import Key

SCHEMES = ("file:", "awskms:")
"""Schemes of the URIs that are known: `file:<absolute path>`, `awskms:<key id, ARN or alias/name>`."""


def fits(uri: str) -> bool:
    """Tell whether a text is a URI of a key."""
    scheme, colon, rest = uri.partition(":")
    return scheme + colon in SCHEMES and bool(rest) and (scheme != "file" or rest.startswith("/"))


def open_key(uri: str, name: str, passphrase: str = "") -> Key:
    """Return the key that a URI names, to sign under a name.

    Raises:
        UsageError: there is no such key, it is no Ed25519 key, or it may not be used.
        TemporaryError: it cannot be reached.
        OSError: a file cannot be read.
    """
    scheme, _, rest = uri.partition(":")
    if scheme == "file":
        from forwarder.keys.file import FileKey  # noqa: PLC0415 - settings need no cryptography

        return FileKey.load(Path(rest), name, passphrase)
    if scheme == "awskms":
        from forwarder.keys.kms import KmsKey  # noqa: PLC0415 - and with it boto3

        return KmsKey(rest, name)
    raise UsageError(f"no kind of key has the URI {uri}", f"known are {', '.join(SCHEMES)}")
