"""The certificate that a TLS server showed, by ssl-cert (nmap 5 to 7)."""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import UTC, datetime
from hashlib import md5, sha1, sha256
from typing import Any, Final

from forwarder.nmap.values import natural
from forwarder.nse.results import MAX_TEXT, Facts, Result, clean, element, elements, inner, lines, present, some, tables

NAMES: Final = {
    "commonName": ("common_name", "CN"),
    "organizationalUnitName": ("organizational_unit", "OU"),
    "organizationName": ("organization", "O"),
    "localityName": ("locality", "L"),
    "stateOrProvinceName": ("state_or_province", "ST"),
    "countryName": ("country", "C"),
}
"""OpenSSL's name of a part of a distinguished name → ECS's, and RFC 4514's; in the order that we write them in."""
MAX_PARTS: Final = 50
"""Parts of a distinguished name that are looked at."""
BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
ALTERNATIVE: Final = "X509v3 Subject Alternative Name"
KINDS: Final = frozenset({"DNS", "IP Address", "email", "URI"})
"""Alternative names that are names; OpenSSL writes others such as DirName, too."""
PART = re.compile(rf"/(?=(?:{'|'.join(NAMES)})=)")
"""Between the parts of a name in a text; a value may hold a slash, too."""
MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(Z|[+-][0-9]{2}:[0-9]{2})?")
TEXTS: Final = {
    "Subject": "subject",
    "Issuer": "issuer",
    "Subject Alternative Name": "names",
    "Public Key type": "type",
    "Public Key bits": "bits",
    "Signature Algorithm": "algorithm",
    "Not valid before": "from",
    "Not valid after": "to",
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-256": "sha256",
}
"""Heading in the text → what follows it."""
DIGITS: Final = {"md5": 32, "sha1": 40, "sha256": 64}
LONGEST_SERIAL: Final = 64
"""Bytes; RFC 5280 allows 20."""
SEQUENCE, INTEGER, VERSION = 0x30, 0x02, 0xA0
"""DER's tags of what a certificate begins with."""


def read(result: Result) -> Facts:
    """Return `certificate`.

    Returns:
        Names of ECS's `x509`: `subject` and `issuer` (`common_name`, `organization`, …, `distinguished_name`),
        `not_before` and `not_after` (RFC 3339 in UTC), `serial_number`, `public_key_algorithm`, `public_key_size`
        in bits, `public_key_curve`, `public_key_exponent`, `signature_algorithm`, `alternative_names`; and `hash`
        with `sha256`, `sha1`, `md5` of the DER, upper-case hex as ECS has them. Each where it is known.
    """
    table = result.table
    found = _structured(table) if inner(table, "subject") or inner(table, "validity") else _written(result.text)
    data = der(result)
    if data:
        found["hash"] = {
            "md5": md5(data, usedforsecurity=False).hexdigest().upper(),
            "sha1": sha1(data, usedforsecurity=False).hexdigest().upper(),
            "sha256": sha256(data).hexdigest().upper(),
        }
        if serial := _serial(data):
            found["serial_number"] = serial
    return {"certificate": found} if found else {}


def der(result: Result) -> bytes:
    """Return the certificate itself; empty where nmap does not give all of it."""
    pem = element(result.table, "pem") or result.text
    if BEGIN not in pem:
        return b""
    body, end, _ = pem.partition(BEGIN)[2].partition(END)
    if not end or len(body) > MAX_TEXT:
        return b""
    try:
        return b64decode("".join(body.split()))
    except ValueError:
        return b""


def _structured(table: object) -> dict[str, Any]:
    key, validity = inner(table, "pubkey"), inner(table, "validity")
    curve = element(inner(inner(key, "ecdhparams"), "curve_params"), "curve")
    names = next(
        (element(each, "value") for _, each in tables(inner(table, "extensions")) if _is_names(each)),
        "",
    )
    return _facts(
        dict(elements(inner(table, "subject"))),
        dict(elements(inner(table, "issuer"))),
        {
            "names": names,
            "type": element(key, "type"),
            "bits": element(key, "bits"),
            "exponent": element(key, "exponent"),
            "curve": curve,
            "algorithm": element(table, "sig_algo"),
            "from": element(validity, "notBefore"),
            "to": element(validity, "notAfter"),
        }
        | {name: element(table, name) for name in DIGITS},
    )


def _is_names(extension: object) -> bool:
    return element(extension, "name") == ALTERNATIVE


def _written(text: str) -> dict[str, Any]:
    """Read the text; how much is in it depends on nmap's verbosity."""
    found: dict[str, str] = {}
    for line in lines(text.partition(BEGIN)[0]):
        heading, colon, rest = line.partition(":")
        if colon and (name := TEXTS.get(heading)):
            found.setdefault(name, rest.strip())
    subject, issuer = (
        dict(part.partition("=")[::2] for part in PART.split(f"/{found.get(name, '')}")[1:])
        for name in ("subject", "issuer")
    )
    return _facts(subject, issuer, found)


def _facts(subject: dict[str, str], issuer: dict[str, str], said: dict[str, str]) -> dict[str, Any]:
    alternative = (name.partition(":") for name in said.get("names", "")[:MAX_TEXT].split(", "))
    digests = {name: said.get(name, "").replace(" ", "").upper() for name in DIGITS}
    return present(
        subject=_name(subject) or None,
        issuer=_name(issuer) or None,
        not_before=moment(said.get("from", "")),
        not_after=moment(said.get("to", "")),
        public_key_algorithm=clean(said.get("type", "")),
        public_key_size=_number(said.get("bits", "")),
        public_key_exponent=_number(said.get("exponent", "")),
        public_key_curve=clean(said.get("curve", "")),
        signature_algorithm=clean(said.get("algorithm", "")),
        alternative_names=some(name for kind, _, name in alternative if kind.strip() in KINDS),
        hash={name: text for name, text in digests.items() if _is_hex(text, DIGITS[name])} or None,
    )


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and set(text) <= set("0123456789ABCDEF")


def _name(parts: dict[str, str]) -> dict[str, Any]:
    """Return a distinguished name: its parts under ECS's names, and all of it in one order of ours."""
    found: dict[str, Any] = {}
    whole = []
    for key, (name, short) in NAMES.items():
        if value := clean(parts.get(key, "")):
            found[name] = [value]
            whole.append(f"{short}={_escaped(value)}")
    for key in sorted(parts.keys() - NAMES.keys())[:MAX_PARTS]:
        if value := clean(parts[key]):
            whole.append(f"{clean(key)}={_escaped(value)}")
    if whole:
        found["distinguished_name"] = clean(", ".join(whole))
    return found


def _escaped(value: str) -> str:
    """Escape what separates parts (RFC 4514, as far as needed to tell them apart)."""
    return value.replace("\\", "\\\\").replace(",", "\\,")


def moment(text: str) -> str:
    """Return a time as RFC 3339 in UTC; nmap gives UTC, with an offset only in some versions. Empty for none."""
    if not (match := MOMENT.fullmatch(text.strip())):
        return ""
    try:
        found = datetime.fromisoformat(f"{match[1]}T{match[2]}{match[3] or 'Z'}").astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return f"{found.replace(tzinfo=None).isoformat()}.000Z"


def _number(text: str) -> int | None:
    try:
        return natural(text)
    except ValueError:
        return None


def _serial(data: bytes) -> str:
    """Return the serial number, upper-case hex; empty for data that does not begin like a certificate (RFC 5280)."""
    try:
        tag, start, _ = _next(data, 0)
        inside, start, _ = _next(data, start)
        number, first, end = _next(data, start)
        if number == VERSION:  # left out by the first version of X.509
            number, first, end = _next(data, end)
    except IndexError:
        return ""
    if (tag, inside, number) != (SEQUENCE, SEQUENCE, INTEGER) or not 0 < end - first <= LONGEST_SERIAL:
        return ""
    digits = data[first:end].hex().upper()
    return digits[2:] if digits.startswith("00") and len(digits) > 2 else digits  # noqa: PLR2004 - more than that byte


def _next(data: bytes, at: int) -> tuple[int, int, int]:
    """Return (tag, start, end) of the DER element at a place.

    Raises:
        IndexError: the data ends before it does.
    """
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[at + 2 : start])
    if start + length > len(data):
        raise IndexError
    return tag, start, start + length
