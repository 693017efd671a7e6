"""Host keys and weak algorithms of SSH servers, by ssh-hostkey and ssh2-enum-algos (nmap 5 to 7)."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from hashlib import md5, sha256
from typing import Final, NamedTuple

from forwarder.nmap.values import natural
from forwarder.nse.results import MAX_TEXT, MAX_VALUES, Facts, Result, clean, element, elements, lines, some, tables

TYPES: Final = {
    "RSA": "ssh-rsa",
    "DSA": "ssh-dss",
    "ED25519": "ssh-ed25519",
    "RSA1": "rsa1",
    "ECDSA": "ecdsa-sha2-nistp",
}
"""Name of a key's type in the text → in the protocol (RFC 4253, 5656, 8709); the curve follows from the bits."""
WRITTEN = re.compile(
    r"([0-9]{1,6}) (?:(?P<md5>[0-9a-f]{2}(?::[0-9a-f]{2}){15})|SHA256:(?P<sha256>[A-Za-z0-9+/]{43})) "
    r"\((?P<type>[A-Z0-9]{3,10})\)"
)
"""A key in the text."""
HEX = re.compile(r"[0-9a-f]{32}")
LONGEST_ALGORITHM: Final = 64
"""Characters of an algorithm's name (RFC 4251)."""
WEAK = {
    "kex": re.compile(r"diffie-hellman-group1-sha1|diffie-hellman-group14-sha1|diffie-hellman-group-exchange-sha1"
                      r"|rsa1024-sha1|gss-(?:group1|group14|gex)-sha1-.*"),
    "server_host_key": re.compile(r"ssh-(?:rsa|dss)(?:-cert-v0[01]@openssh\.com)?"),
    "encryption": re.compile(r".*-cbc(?:@.*)?|arcfour.*|des(?:-.*)?|none"),
    "mac": re.compile(r"hmac-md5.*|hmac-sha1-96.*|hmac-ripemd160.*|none"),
}  # fmt: skip
"""Kind of algorithm → those that are weak.

- Key exchange with SHA-1, or with a group of 1024 bits: RFC 9142.
- Host keys that sign with SHA-1: RFC 8332; DSA has 160 bits, too.
- Ciphers in CBC mode let plain text be recovered (CVE-2008-5161); RC4: RFC 8758; DES: its key is too short.
- Authentication codes with MD5, cut to 96 bits, or with RIPEMD-160: no longer in what OpenSSH offers by default.
"""


class HostKey(NamedTuple):
    """One host key."""

    type: str
    """In the protocol's words."""
    bits: int | None
    md5: str
    """Fingerprint, hex with colons."""
    sha256: str
    """Fingerprint as OpenSSH writes it: `SHA256:` and base64 without padding."""


def hostkey(result: Result) -> Facts:
    """Return `ssh` with `host_key`, a list of HostKey."""
    if result.table:
        found = [key for _, table in tables(result.table) if (key := _structured(table))]
    else:
        found = list(_written(result.text))
    return {"ssh": {"host_key": found[:MAX_VALUES]}} if found else {}


def _structured(table: object) -> HostKey | None:
    blob = _blob(element(table, "key"))
    digest = md5(blob, usedforsecurity=False).hexdigest() if blob else element(table, "fingerprint")
    if not HEX.fullmatch(digest):
        return None
    kind = element(table, "type") or blob[4 : 4 + int.from_bytes(blob[:4])].decode("ascii", "replace")
    fingerprint = bytes.fromhex(digest).hex(":")
    return HostKey(clean(kind), _bits(element(table, "bits")), fingerprint, _openssh(blob) if blob else "")


def _blob(text: str) -> bytes:
    """Return a key of the second protocol (RFC 4253, 6.6: it begins with its type); empty for anything else."""
    encoded = text[:MAX_TEXT].rpartition(" ")[2]
    if not encoded.startswith("AAAA"):  # the length of the type, in four bytes
        return b""
    try:
        blob = b64decode(encoded, validate=True)
    except ValueError:
        return b""
    length = int.from_bytes(blob[:4])
    return blob if 0 < length < len(blob) - 4 and length < 1 << 7 and blob[4 : 4 + length].isascii() else b""


def _openssh(blob: bytes) -> str:
    return "SHA256:" + b64encode(sha256(blob).digest()).decode().rstrip("=")


def _bits(text: str) -> int | None:
    try:
        return natural(text.removesuffix(".0"))  # Lua's number of some versions
    except ValueError:
        return None


def _written(text: str) -> Iterator[HostKey]:
    """Yield the keys of a text; its lines are `2048 <fingerprint> (RSA)`, among others."""
    for line in lines(text):
        if match := WRITTEN.fullmatch(line):
            bits, name = int(match[1]), match["type"]
            kind = TYPES.get(name, name.lower())
            if name == "ECDSA":
                kind += match[1]
            yield HostKey(kind, bits, match["md5"] or "", f"SHA256:{match['sha256']}" if match["sha256"] else "")


def algorithms(result: Result) -> Facts:
    """Return `ssh` with `weak_algorithm`: names of key exchanges, host keys, ciphers and authentication codes."""
    offered = ((heading, name) for heading, table in tables(result.table) for _, name in elements(table))
    weak = some(
        name for heading, name in (offered if result.table else _listed(result.text)) if _is_weak(heading, name)
    )
    return {"ssh": {"weak_algorithm": weak}} if weak else {}


def _listed(text: str) -> Iterator[tuple[str, str]]:
    """Yield (heading, algorithm) of a text: below each heading, `kex_algorithms: (10)`, one to a line."""
    heading = ""
    for line in lines(text):
        if "_algorithms" in line:
            heading = line
        else:
            yield heading, line


def _is_weak(heading: str, name: str) -> bool:
    pattern = WEAK.get(heading.partition("_algorithms")[0])
    return bool(pattern and len(name) <= LONGEST_ALGORITHM and pattern.fullmatch(name))
