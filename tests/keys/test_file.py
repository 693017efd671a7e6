"""Keys in files: who may read them, passphrases, and what openssl makes of them."""

import os
import subprocess
from base64 import b64decode, b64encode

import pytest
from conftest import Forwarder, need, scan
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from forwarder.errors import UsageError
from forwarder.keys.choose import fits, open_key
from forwarder.keys.file import FileKey, generate

PASSPHRASE = "korrekt Pferd ☂"
ATTRIBUTES = b"\xa0\x00"
"""The optional part of PKCS #8, with none in it."""


def write(path, data, mode=0o600):
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_an_encrypted_key_needs_its_passphrase(tmp_path):
    pem, public = generate(PASSPHRASE)
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    path = write(tmp_path / "k.pem", pem)
    assert FileKey.load(path, "n", PASSPHRASE).verifier.public == public
    with pytest.raises(UsageError, match="no passphrase"):
        FileKey.load(path, "n")
    with pytest.raises(UsageError, match="cannot be decrypted") as caught:
        FileKey.load(path, "n", "other")
    assert "other" not in str(caught.value).replace(str(path), "")


def test_a_plain_key_is_read_although_there_is_a_passphrase(tmp_path):
    pem, public = generate()
    assert FileKey.load(write(tmp_path / "k.pem", pem), "n", "x").verifier.public == public


def test_a_plain_key_in_other_words_is_the_same_key(tmp_path):
    pem, public = generate()
    begin, encoded, end = pem.decode().splitlines()
    der = bytearray(b64decode(encoded))
    der[1] += len(ATTRIBUTES)
    for data in (
        f"comment: made by hand\n{pem.decode()}",
        f"{begin}\r\n{encoded[:40]}\r\n{encoded[40:]}\r\n{end}\r\n",
        f"{begin}\n{b64encode(der + ATTRIBUTES).decode()}\n{end}\n",
    ):
        assert FileKey.load(write(tmp_path / "k.pem", data.encode()), "n").verifier.public == public


def test_what_is_no_key(tmp_path):
    other = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for data, why in (
        (b"", "is not a PKCS #8"),
        (b"-----BEGIN PRIVATE KEY-----\n", "is not a PKCS"),
        (other, "Ed25519"),
    ):
        with pytest.raises(UsageError, match=why):
            FileKey.load(write(tmp_path / "k.pem", data), "n")
    with pytest.raises(UsageError, match="can be read by others"):
        FileKey.load(write(tmp_path / "k.pem", generate()[0], 0o640), "n")


def test_uris():
    assert fits("file:/etc/key.pem")
    assert fits("awskms:alias/x")
    for bad in ("", "file:", "file:key.pem", "awskms:", "pkcs11:x", "/etc/key.pem"):
        assert not fits(bad), bad
    with pytest.raises(UsageError, match="known are"):
        open_key("pkcs11:x", "n")


def test_openssl_makes_keys_for_us_and_reads_ours(tmp_path):
    need("openssl")
    file = tmp_path / "theirs.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "env:P", "-out", file],
        check=True,
        env=os.environ | {"P": PASSPHRASE},
    )
    file.chmod(0o600)
    theirs = open_key(f"file:{file}", "n", PASSPHRASE)
    pem = subprocess.run(
        ["openssl", "pkey", "-in", file, "-passin", "env:P", "-pubout"],
        check=True,
        capture_output=True,
        env=os.environ | {"P": PASSPHRASE},
    ).stdout
    assert theirs.verifier.pem.encode() == pem
    ours = write(tmp_path / "ours.pem", generate(PASSPHRASE)[0])
    pem = subprocess.run(
        ["openssl", "pkey", "-in", ours, "-passin", "env:P", "-pubout"],
        check=True,
        capture_output=True,
        env=os.environ | {"P": PASSPHRASE},
    ).stdout
    assert FileKey.load(ours, "n", PASSPHRASE).verifier.pem.encode() == pem


def test_a_log_with_a_passphrase(tmp_path):
    forwarder = Forwarder(tmp_path / "f")
    secret = forwarder.write("secret", f"{PASSPHRASE}\n")
    path = forwarder.write("a.xml", scan(2))
    by_file, by_environment = (
        {"NMAP_FORWARDER_KEY_PASSPHRASE_FILE": str(secret)},
        {"NMAP_FORWARDER_KEY_PASSPHRASE": PASSPHRASE},
    )
    assert forwarder.command("forward", path, env=by_file).returncode == 0
    assert b"ENCRYPTED" in (forwarder.directory / "state" / "key.pem").read_bytes()
    refused = forwarder.command("forward", path)
    assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1)
    assert b"NMAP_FORWARDER_KEY_PASSPHRASE" in refused.stderr
    refused = forwarder.command("forward", path, env={"NMAP_FORWARDER_KEY_PASSPHRASE": "wrong one"})
    assert refused.returncode == 2
    assert b"wrong one" not in refused.stdout + refused.stderr
    assert forwarder.command("keys", "rotate", env=by_environment).returncode == 0
    (later,) = (forwarder.directory / "state" / "keys").glob("*.pem")
    assert b"ENCRYPTED" in later.read_bytes()
    assert forwarder.command("forward", forwarder.write("b.xml", scan(1)), env=by_environment).returncode == 0
    assert (
        forwarder.command("keys", "rotate", "--passphrase", PASSPHRASE).returncode == 2
    )  # no such flag: never in argv


def test_a_log_begins_with_a_key_that_is_named(forwarder, tmp_path):
    pem, public = generate()
    forwarder.flags["key_uri"] = f"file:{write(tmp_path / 'k.pem', pem)}"
    forwarder.forward(forwarder.write("a.xml", scan(1)))
    assert forwarder.key.public == public
    assert not forwarder.verify().findings
    (tmp_path / "k.pem").write_bytes(generate()[0])
    with pytest.raises(UsageError, match="exchanged"):
        forwarder.forward(forwarder.write("b.xml", scan(2)))
