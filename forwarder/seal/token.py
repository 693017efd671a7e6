"""Time-stamps of RFC 3161 over checkpoints: what to ask of an authority, and what its answer proves.

What is stamped is the SHA-256 of a checkpoint's stored bytes, signatures included: the key has signed before that time.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from forwarder.errors import UsageError

if TYPE_CHECKING:
    from cryptography import x509
    from rfc3161_client import TimeStampResponse

MAX_TOKEN: Final = 1 << 16
"""Largest answer of an authority that is read, in bytes."""
SHA256_OID: Final = "2.16.840.1.101.3.4.2.1"


class TokenError(ValueError):
    """Bytes are no time-stamp over these bytes by one of these authorities."""


@dataclass(frozen=True, slots=True)
class Token:
    """What an authority says."""

    time: datetime
    """When it saw the bytes."""
    nonce: int | None
    """Number from the question."""
    authority: str
    """Its name, from its certificate; worth nothing unless `trusted`."""
    trusted: bool
    """Its certificate leads to one that was given."""


class Request:
    """A question to an authority about some bytes, with a nonce.

    Raises:
        UsageError: rfc3161-client is not installed.
    """

    def __init__(self, data: bytes) -> None:
        client = library()
        self._data = data
        builder = client.TimestampRequestBuilder().data(data).hash_algorithm(client.HashAlgorithm.SHA256)
        self._request = builder.nonce(nonce=True).cert_request(cert_request=True).build()

    def encode(self) -> bytes:
        """Return the DER of the TimeStampReq."""
        return bytes(self._request.as_bytes())

    def check(self, answer: bytes, roots: list[x509.Certificate]) -> Token:
        """Return what an answer says; without certificates, its signature stays unchecked.

        Raises:
            TokenError: it is no answer to this question.
        """
        token = check(answer, self._data, roots)
        if token.nonce != self._request.nonce:
            raise TokenError("the answer is to another question (nonce)")
        if roots and not token.trusted:
            raise TokenError("its certificate does not lead to one that is trusted")
        return token


def check(answer: bytes, data: bytes, roots: list[x509.Certificate]) -> Token:
    """Return what an answer of an authority says about bytes.

    Args:
        answer: DER of a TimeStampResp.
        data: the bytes that were stamped.
        roots: certificates to trust; an authority may have been valid at the time of its token only.

    Raises:
        TokenError: it is no time-stamp over these bytes.
        UsageError: rfc3161-client is not installed.
    """
    client = library()
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is odd about certificates
            return _read(client, answer, data, roots)
    except TokenError:
        raise
    except Exception as error:  # noqa: BLE001 - hostile bytes make readers of certificates raise almost anything
        raise TokenError(f"not a time-stamp ({type(error).__name__})") from None


def _read(client: Any, answer: bytes, data: bytes, roots: list[x509.Certificate]) -> Token:
    response: TimeStampResponse = client.decode_timestamp_response(answer)
    status = client.PKIStatus(response.status)
    if status is not client.PKIStatus.GRANTED:
        raise TokenError(f"the authority refuses: {status.name}")
    if response.as_bytes() != answer:
        raise TokenError("not a time-stamp in DER")
    info = response.tst_info
    if info.message_imprint.hash_algorithm.dotted_string != SHA256_OID:
        raise TokenError("the time-stamp is not over a SHA-256")
    if info.message_imprint.message != sha256(data).digest():
        raise TokenError("the time-stamp is over other bytes")
    trusted = False
    for root in roots:
        try:
            trusted = client.VerifierBuilder(roots=[root]).build().verify_message(response, data)
        except (client.VerificationError, ValueError):
            continue
        break
    return Token(info.gen_time, info.nonce, _authority(response), trusted)


def _authority(response: TimeStampResponse) -> str:
    """Return the subject of the certificate that the token says it was signed by."""
    from cryptography import x509  # noqa: PLC0415 - as below

    (signer,) = response.signed_data.signer_infos
    for der in response.signed_data.certificates:
        certificate = x509.load_der_x509_certificate(der)
        if (certificate.issuer, certificate.serial_number) == (signer.issuer, signer.serial_number):
            return certificate.subject.rfc4514_string()
    return f"certificate {signer.serial_number} of {signer.issuer.rfc4514_string()}"


def certificates(pem: bytes) -> list[x509.Certificate]:
    """Read certificates.

    Raises:
        ValueError: there is none in PEM.
    """
    from cryptography import x509  # noqa: PLC0415 - it takes as long as a short run, which seldom needs it

    return x509.load_pem_x509_certificates(pem)


def library() -> Any:
    """Return rfc3161_client.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import rfc3161_client  # noqa: PLC0415 - optional
    except ImportError:
        raise UsageError("time-stamps need rfc3161-client", "pip install 'nmap-forwarder[timestamps]'") from None
    return rfc3161_client
