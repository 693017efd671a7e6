"""A stand-in for AWS KMS, which cannot run here: its JSON protocol over HTTP with real Ed25519 keys behind it.

It knows what the forwarder asks for (GetPublicKey, Sign) and refuses what KMS refuses, by botocore's model of the service.
That AWS itself behaves so is not shown by it.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager

import loopback
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MAX_RAW = 4096


class RefusedError(Exception):
    """What KMS answers instead: status and error code."""


class StandIn:
    """The service's state; tests change it."""

    def __init__(self) -> None:
        self.keys = {
            "alias/one": Ed25519PrivateKey.from_private_bytes(b"\1" * 32),
            "alias/two": Ed25519PrivateKey.from_private_bytes(b"\2" * 32),
            "alias/curve": ec.generate_private_key(ec.SECP256R1()),
        }
        self.refuse: tuple[int, str] | None = None
        self.asked: list[str] = []
        self.url = ""

    def answer(self, operation: str, request: dict) -> dict:
        self.asked.append(operation)
        if self.refuse:
            raise RefusedError(*self.refuse)
        key = self.keys.get(request["KeyId"])
        if key is None:
            raise RefusedError(400, "NotFoundException")
        spec = "ECC_NIST_EDWARDS25519" if isinstance(key, Ed25519PrivateKey) else "ECC_NIST_P256"
        if operation == "TrentService.GetPublicKey":
            der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return {
                "KeyId": request["KeyId"],
                "PublicKey": b64encode(der).decode(),
                "KeySpec": spec,
                "KeyUsage": "SIGN_VERIFY",
            }
        message = b64decode(request["Message"])
        if (
            operation != "TrentService.Sign"
            or (request["MessageType"], request["SigningAlgorithm"]) != ("RAW", "ED25519_SHA_512")
            or len(message) > MAX_RAW
        ):
            raise RefusedError(400, "ValidationException")
        return {"KeyId": request["KeyId"], "Signature": b64encode(key.sign(message)).decode()}


@contextmanager
def running() -> Iterator[StandIn]:
    """Serve it on the loopback interface."""
    service = StandIn()

    class Handler(loopback.Handler):
        def do_POST(self) -> None:
            try:
                status, body = 200, service.answer(self.headers["X-Amz-Target"], json.loads(self.body()))
            except RefusedError as refused:
                status, body = refused.args[0], {"__type": refused.args[1], "message": "no"}
            self.reply(status, "application/x-amz-json-1.1", json.dumps(body).encode())

    with loopback.serving(Handler) as port:
        service.url = f"http://127.0.0.1:{port}"
        yield service
