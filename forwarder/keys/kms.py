"""Keys in AWS KMS (key spec ECC_NIST_EDWARDS25519, algorithm ED25519_SHA_512): they never leave it."""

from __future__ import annotations

from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from forwarder.errors import ForwarderError, TemporaryError, UsageError
from forwarder.keys.interface import Key
from forwarder.seal.note import Verifier

ALGORITHM: Final = "ED25519_SHA_512"
"""Ed25519 of RFC 8032 over the message itself (MessageType RAW), at most 4,096 bytes."""
LATER: Final = {
    "DependencyTimeoutException",
    "KMSInternalException",
    "KeyUnavailableException",
    "LimitExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
}
"""Error codes of what passes by itself."""
SERVER_ERROR: Final = 500


class KmsKey(Key):
    """An asymmetric KMS key for signing.

    Credentials, region, endpoint and retries are boto3's business: its environment variables, profiles, instance roles.

    Args:
        key_id: id, ARN or `alias/…` of the key; an alias must not be moved to another key.
        name: name to sign under.

    Raises:
        UsageError: there is no such key, it is none for Ed25519, we may not use it, or boto3 is not installed.
        TemporaryError: KMS cannot be reached.
    """

    scheme = "awskms:"

    def __init__(self, key_id: str, name: str) -> None:
        self._key_id = key_id
        self._client = _client()
        answer = self._ask("get_public_key", KeyId=key_id)
        public = load_der_public_key(answer["PublicKey"])
        if not isinstance(public, Ed25519PublicKey) or answer.get("KeyUsage") != "SIGN_VERIFY":
            raise UsageError(
                f"{self.scheme}{key_id} is no Ed25519 key for signing", "make one of spec ECC_NIST_EDWARDS25519"
            )
        self._verifier = Verifier(name, public.public_bytes_raw())

    @property
    def verifier(self) -> Verifier:
        """The public half, as KMS gave it."""
        return self._verifier

    def sign(self, message: bytes) -> bytes:
        """Have KMS sign; what it answers is checked."""
        answer = self._ask("sign", KeyId=self._key_id, Message=message, MessageType="RAW", SigningAlgorithm=ALGORITHM)
        signature = bytes(answer["Signature"])
        if not self._verifier.holds(signature, message):
            raise UsageError(f"{self.scheme}{self._key_id} signs with another key than before", "was its alias moved?")
        return signature

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            return dict(getattr(self._client, operation)(**arguments))
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            kind: type[ForwarderError] = TemporaryError if code in LATER or status >= SERVER_ERROR else UsageError
            said = str(error.response.get("Error", {}).get("Message", "")).split("\n")[0]
            raise kind(f"{self.scheme}{self._key_id}: KMS refuses {operation} ({code}: {said})") from None
        except BotoCoreError as error:
            raise TemporaryError(f"{self.scheme}{self._key_id}: {error}") from None


def _client() -> Any:
    try:
        import boto3  # noqa: PLC0415 - weighs more than all of ours
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    except ImportError:
        raise UsageError("a key in KMS needs boto3", "pip install 'nmap-forwarder[s3]'") from None
    try:
        return boto3.client("kms")
    except (BotoCoreError, ValueError) as error:
        raise UsageError(f"KMS cannot be used: {error}") from None
