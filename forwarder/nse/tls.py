"""What TLS servers offer, by ssl-enum-ciphers, sslv2 and tls-alpn (nmap 5 to 7)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from forwarder.nse.results import Facts, Result, clean, element, elements, inner, lines, present, some, tables

VERSION = re.compile(r"(SSLv2|SSLv3|TLSv1\.[0-3]):?")
CIPHER = re.compile(r"((?:TLS|SSL2?)_[A-Za-z0-9_]{1,100})(?: \([^()]{0,100}\))?(?: - ([a-zA-Z ]{1,20}))?")
"""A line for a cipher: name, parameters of its key exchange (nmap 7), grade (nmap 5.30 and later)."""
WEAK: Final = frozenset({"C", "D", "E", "F", "weak", "broken"})
"""Grades of weak ciphers: letters since nmap 7, words before."""
WEAK_NAME = re.compile(r"_(?:NULL|EXPORT|EXPORT1024|RC4|RC2|DES|DES40|3DES|anon|MD5|IDEA)(?:_|$)")
"""Part of the name of a cipher that is weak, for versions of nmap that give no grade."""
LEAST: Final = "least strength"


def ciphers(result: Result) -> Facts:
    """Return `tls`.

    Returns:
        `version`, those that the server offers a cipher for; `weak_cipher`, the names of ciphers of grade C or worse;
        `warning`, nmap's reasons for bad grades; `least_strength`, the worst grade (A to F, `strong`, `weak`, …).
    """
    offers = list(_structured(result.table)) or list(_written(result.text))
    if not offers:
        return {}
    found = present(
        version=some(version for version, _, _ in offers),
        weak_cipher=some(name for _, named, _ in offers for name, grade in named if _is_weak(name, grade)),
        warning=some(warning for _, _, warnings in offers for warning in warnings),
        least_strength=clean(element(result.table, LEAST) or _after(result.text, f"{LEAST}: ")),
    )
    return {"tls": found}


Offer = tuple[str, list[tuple[str, str]], list[str]]
"""Version, [(cipher, grade), …], warnings."""


def _structured(table: object) -> Iterator[Offer]:
    for version, offer in tables(table):
        named = [(element(each, "name"), element(each, "strength")) for _, each in tables(inner(offer, "ciphers"))]
        if named and VERSION.fullmatch(version):
            yield version, named, [warning for _, warning in elements(inner(offer, "warnings"))]


def _written(text: str) -> Iterator[Offer]:
    """Yield what a text tells: below each version its ciphers, and below `warnings:` those."""
    offers: list[Offer] = []
    warnings = False
    for line in lines(text):
        if match := VERSION.fullmatch(line):
            offers.append((match[1], [], []))
            warnings = False
        elif not offers:
            continue
        elif match := CIPHER.fullmatch(line):
            offers[-1][1].append((match[1], match[2] or ""))
        elif line.lower().startswith("warnings"):
            warnings = True
        elif warnings and not line.startswith(LEAST):
            offers[-1][2].append(line)
    return (offer for offer in offers if offer[1])


def _is_weak(name: str, grade: str) -> bool:
    return grade in WEAK if grade and grade != "unknown strength" else bool(WEAK_NAME.search(name[:200]))


def _after(text: str, start: str) -> str:
    return next((line.removeprefix(start) for line in lines(text) if line.startswith(start)), "")


def sslv2(result: Result) -> Facts:
    """Return `tls` with `version` SSLv2, and in `weak_cipher` all of its ciphers: none is any good."""
    if "SSLv2 supported" not in result.text and not result.table:
        return {}
    named: Any = [name for _, name in elements(inner(result.table, "ciphers"))] or lines(result.text)
    return {"tls": present(version=["SSLv2"], weak_cipher=some(name for name in named if CIPHER.fullmatch(name)))}


def alpn(result: Result) -> Facts:
    """Return `tls` with `alpn`: protocols that the server speaks inside of TLS."""
    named = some(name for _, name in elements(result.table)) or some(lines(result.text))
    return {"tls": {"alpn": named}} if named else {}
