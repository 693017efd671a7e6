"""Host keys and weak algorithms of SSH servers."""

import base64
import hashlib

import pytest
from said import both, structured, written

BLOB = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))
KEY = base64.b64encode(BLOB).decode()
DIGEST = hashlib.md5(BLOB).hexdigest()
MD5 = ":".join(DIGEST[n : n + 2] for n in range(0, 32, 2))
SHA256 = "SHA256:" + base64.b64encode(hashlib.sha256(BLOB).digest()).decode().rstrip("=")


def keys(found):
    return [tuple(key) for key in found["ssh"]["host_key"]]


def key(**members):
    return "<table>" + "".join(f'<elem key="{name}">{value}</elem>' for name, value in members.items()) + "</table>"


def test_a_key_of_now():
    found = structured("ssh-hostkey", key(fingerprint=DIGEST, type="ssh-ed25519", bits="256", key=KEY))
    assert keys(found) == [("ssh-ed25519", 256, MD5, SHA256)]


def test_a_key_with_its_type_before_it_and_a_number_of_another_lua():
    found = structured("ssh-hostkey", key(bits="256.0", key=f"ssh-ed25519 {KEY}"))
    assert keys(found) == [("ssh-ed25519", 256, MD5, SHA256)]


def test_a_key_of_the_first_protocol_has_a_fingerprint_only():
    found = structured("ssh-hostkey", key(fingerprint=DIGEST, type="rsa1", bits="2048", key="35 1234567890"))
    assert keys(found) == [("rsa1", 2048, MD5, "")]


@pytest.mark.parametrize("value", ["", "AAAA", "AAAAB3!", "AAAA////" * 8, "x" * 40])
def test_what_is_no_key(value):
    assert structured("ssh-hostkey", key(bits="2048", key=value)) == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"2048 {MD5} (RSA)", ("ssh-rsa", 2048, MD5, "")),
        (f"1024 {MD5} (DSA)", ("ssh-dss", 1024, MD5, "")),
        (f"521 {MD5} (ECDSA)", ("ecdsa-sha2-nistp521", 521, MD5, "")),
        (f"256 {SHA256} (ED25519)", ("ssh-ed25519", 256, "", SHA256)),
        (f"1024 {MD5} (RSA1)", ("rsa1", 1024, MD5, "")),
    ],
)
def test_keys_in_the_text(line, found):
    text = f"\n  {line}\n+--[ RSA 2048]----+\nssh-rsa AAAA\n"
    assert keys(written("ssh-hostkey", text)) == [found]


ALGORITHMS = {
    "kex_algorithms": (
        "curve25519-sha256 diffie-hellman-group14-sha256 kex-strict-s-v00@openssh.com",
        (
            "diffie-hellman-group1-sha1 diffie-hellman-group-exchange-sha1 diffie-hellman-group14-sha1 "
            "gss-group1-sha1-toWM5Slw5Ew8Mqkay+al2g=="
        ),
    ),
    "server_host_key_algorithms": ("rsa-sha2-512 ssh-ed25519 ecdsa-sha2-nistp256", "ssh-rsa ssh-dss"),
    "encryption_algorithms": (
        "chacha20-poly1305@openssh.com aes256-gcm@openssh.com aes128-ctr",
        "3des-cbc aes128-cbc arcfour256 rijndael-cbc@lysator.liu.se",
    ),
    "mac_algorithms": (
        "umac-128-etm@openssh.com hmac-sha2-256 hmac-sha1",
        "hmac-md5 hmac-md5-96 hmac-sha1-96-etm@openssh.com hmac-ripemd160",
    ),
    "compression_algorithms": ("none zlib@openssh.com", ""),
}
"""Heading → (those that are not weak, those that are)."""


@pytest.mark.parametrize("colon", ["", ":"])
def test_weak_algorithms(colon):
    inside = "".join(
        f'<table key="{heading}">' + "".join(f"<elem>{name}</elem>" for name in f"{good} {weak}".split()) + "</table>"
        for heading, (good, weak) in ALGORITHMS.items()
    )
    text = "".join(
        f"\n  {heading}{colon} ({len(f'{good} {weak}'.split())})\n      " + "\n      ".join(f"{good} {weak}".split())
        for heading, (good, weak) in ALGORITHMS.items()
    )
    found = both("ssh2-enum-algos", inside, text)
    assert found == {"ssh": {"weak_algorithm": " ".join(weak for _, weak in ALGORITHMS.values()).split()}}


def test_algorithms_that_differ_by_direction():
    inside = '<table key="encryption_algorithms_server_to_client"><elem>3des-cbc</elem></table>'
    assert structured("ssh2-enum-algos", inside) == {"ssh": {"weak_algorithm": ["3des-cbc"]}}


def test_a_text_that_only_counts():
    assert written("ssh2-enum-algos", "\n  kex_algorithms: (4)\n  mac_algorithms: (2)") == {}
