"""Findings that scripts look up by product and version: vulners (nmap 7.80 and later) and vulscan (third party)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from forwarder.nse.finding import CVE, Finding, identity, score, severity
from forwarder.nse.results import MAX_VALUES, Facts, Result, clean, element, lines, tables

PAGE: Final = "https://vulners.com/"
LINE = re.compile(rf"(\S{{1,200}})\s+(?:([0-9.]{{1,5}})\s+)?({PAGE}(\w{{1,50}})/\S{{1,200}})(\s+\*EXPLOIT\*)?")
"""A finding in vulners' text: id, score, URL, and whether it is an exploit."""
ENTRY = re.compile(r"\[([^\]\s]{1,200})\] (.*)")
"""A finding in vulscan's text: `[CVE-2012-1180] Title`; it stands below a line `MITRE CVE - https://cve.mitre.org:`."""


def vulners(result: Result) -> Facts:
    """Return `vulnerability` with `finding`: all that is known of a product's version; nothing of it was tested."""
    return _facts(_structured(result)) or _facts(_written(result))


def _structured(result: Result) -> Iterator[Finding]:
    for product, found in tables(result.table):
        for _, row in tables(found):
            if name := identity(element(row, "id")):
                kind, exploit = clean(element(row, "type"))[:50], element(row, "is_exploit") == "true"
                page = f"{PAGE}{kind}/{name}" if kind else ""
                yield _vulners(result.id, name, kind, element(row, "cvss"), page, product, exploit=exploit)


def _written(result: Result) -> Iterator[Finding]:
    product = ""
    for line in lines(result.text):
        if match := LINE.fullmatch(line):
            name, rated, page, kind, exploit = match.groups(default="")
            yield _vulners(result.id, identity(name), kind, rated, page, product, exploit=bool(exploit))
        elif line.endswith(":"):
            product = line[:-1]


def _vulners(script: str, name: str, kind: str, rated: str, page: str, product: str, *, exploit: bool) -> Finding:
    value = score(rated)
    return Finding(
        script=script,
        id=name,
        enumeration="CVE" if CVE.fullmatch(name) else kind or script,
        severity=severity(value),
        score=value,
        product=clean(product),
        reference=page,
        exploit=exploit,
    )


def vulscan(result: Result) -> Facts:
    """Return `vulnerability` with `finding`: entries of databases that resemble a product's name."""
    return _facts(_listed(result))


def _listed(result: Result) -> Iterator[Finding]:
    source = ""
    for line in lines(result.text):
        if match := ENTRY.fullmatch(line):
            name = identity(match[1])
            enumeration = "CVE" if CVE.fullmatch(name) else source or result.id
            yield Finding(result.id, name, enumeration, clean(match[2]))
        elif line.endswith(":") and " - http" in line:
            source = clean(line.partition(" - http")[0])[:50]


def _facts(findings: Iterator[Finding]) -> Facts:
    found = list(islice(findings, MAX_VALUES + 1))
    return {"vulnerability": {"finding": found}} if found else {}
