"""A witness of checkpoints (C2SP tlog-cosignature) with a fixed key."""

from base64 import b64encode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forwarder.seal.cosignature import Witness

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
WITNESS = Witness("witness.example/w1", PRIVATE.public_key().public_bytes_raw())


def cosign(text, seconds, private=PRIVATE, witness=WITNESS):
    signature = private.sign(f"cosignature/v1\ntime {seconds}\n".encode() + text)
    blob = witness.key_id + seconds.to_bytes(8) + signature
    return f"\N{EM DASH} {witness.name} {b64encode(blob).decode()}\n".encode()
