"""What every signing key can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from forwarder.seal.note import Verifier


class Key(ABC):
    """An Ed25519 key that can sign under a name; where the secret half is, is the implementation's business."""

    scheme: ClassVar[str]
    """Scheme of its URIs, with the colon."""

    @property
    @abstractmethod
    def verifier(self) -> Verifier:
        """The public half, under the name that was given."""

    @abstractmethod
    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of RFC 8032; the same message always has the same one.

        Raises:
            UsageError: the key cannot be used (any more).
            TemporaryError: it cannot be reached; a later run goes on.
        """
