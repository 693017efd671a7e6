"""Findings of the many scripts that use nmap's library `vulns` (since nmap 5.60), and of smb-check-vulns before it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from itertools import islice
from typing import Any, Final

from forwarder.nmap.script import Table
from forwarder.nse.finding import CVE, OWN, SEVERITIES, Finding, identity, only_cve, score, severity
from forwarder.nse.results import MAX_VALUES, Facts, Result, clean, element, elements, inner, lines, tables

IS_FOUND: Final = ("VULNERABLE", "LIKELY VULNERABLE")
"""How the states of findings begin; others are NOT VULNERABLE and UNKNOWN."""
SCORE = re.compile(r"CVSS(?:v?([0-9](?:\.[0-9])?))?[0-9x.]*: ([0-9.]{1,5})")
"""A score in the text: `CVSSv2: 4.3 (MEDIUM) (AV:N/AC:M/Au:N/C:N/I:N/A:P)`."""
SCHEME = re.compile(r"CVSS(?:v?([0-9](?:\.[0-9])?))?.{0,10}", re.IGNORECASE)
DAY = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})")
HEADERS: Final = frozenset({"VULNERABLE:", "NOT VULNERABLE:"})
"""Lines above groups of findings."""
PARTS: Final = {
    "IDs": "ids",
    "Risk factor": "risk",
    "Description": "description",
    "Disclosure date": "disclosure",
    "Check results": "check",
    "Exploit results": "exploit",
    "Extra information": "extra",
    "References": "references",
}
"""Heading in the text → part; the description often has none, and follows the ids or the risk."""
CHECKED = re.compile(r"(.{1,100}): ((?:LIKELY )?VULNERABLE)\b.*")
BULLETIN = re.compile(r"MS[0-9]{2}-[0-9]{3}")
"""Of Microsoft."""


def library(result: Result) -> Facts:
    """Return `vulnerability` with `finding`: weaknesses that a script says are there, or likely there."""
    written = list(islice(_written(result), MAX_VALUES))
    severities = {finding.title: finding.severity for finding in written}  # the structured output has no risk
    entries = ((key, table) for key, table in tables(result.table) if element(table, "title"))
    found = [_structured(result.id, key, table, severities) for key, table in islice(entries, MAX_VALUES + 1)]
    return _facts([finding for finding in found or written if finding.state.startswith(IS_FOUND)])


def _facts(found: list[Finding]) -> Facts:
    return {"vulnerability": {"finding": found}} if found else {}


def _structured(script: str, key: str, table: Table, severities: dict[str, str]) -> Finding:
    title = clean(element(table, "title"))
    scores = [(SCHEME.fullmatch(name), text) for name, text in elements(inner(table, "scores"))]
    rated = [(match[1] or "", text.partition(" ")[0]) for match, text in scores if match]
    description = [text for _, text in elements(inner(table, "description"))] or [element(table, "description")]
    return _finding(
        script,
        {
            "title": title,
            "state": element(table, "state"),
            "ids": [text for _, text in elements(inner(table, "ids"))] or [key],
            "scores": rated,
            "severity": severities.get(title, ""),
            "description": description,
            "disclosure": element(table, "disclosure"),
            "references": [text for _, text in elements(inner(table, "refs"))],
            "exploit": any(key == "exploit_results" for rows in (elements(table), tables(table)) for key, _ in rows),
        },
    )


def _written(result: Result) -> Iterator[Finding]:
    """Yield the findings of a text: a title, below it `State: …`, then parts with and without headings."""
    found: dict[str, Any] | None = None
    last, part = "", ""
    for line in lines(result.text):
        if line in HEADERS:
            continue
        heading, colon, rest = line.partition(":")
        if line.startswith("State: "):
            if found:
                if found[part] and found[part][-1] == last:
                    found[part].pop()  # that was this one's title
                yield _from_text(result.id, found)
            found = {name: [] for name in PARTS.values()} | {"title": last, "state": rest.strip()}
            part = "description"
        elif found and colon and heading in PARTS:
            part = PARTS[heading]
            if rest.strip():
                found[part].append(rest.strip())
                part = "description"
        elif found:
            found[part].append(line)
        last = line
    if found:
        yield _from_text(result.id, found)


def _from_text(script: str, found: dict[str, Any]) -> Finding:
    risk = " ".join(found["risk"])[:1000]
    word = risk.partition(" ")[0].capitalize()
    return _finding(
        script,
        found
        | {
            "ids": [each for line in found["ids"] for each in line[:1000].split("  ")],
            "scores": [(version, text) for version, text in SCORE.findall(risk)],
            "severity": word if word in SEVERITIES else "",
            "disclosure": next(iter(found["disclosure"]), ""),
            "exploit": bool(found["exploit"]),
        },
    )


def _finding(script: str, said: dict[str, Any]) -> Finding:
    """Return a finding from its parts, wherever they were read."""
    title, state = clean(said["title"]), clean(said["state"])
    enumeration, name = _identity(script, title, said["ids"], said["references"])
    rated = sorted((_version(version), value) for version, text in said["scores"] if (value := score(text)))
    version, value = rated[-1] if rated else ("", None)
    links = [link for text in said["references"] if "://" in (link := clean(text))]
    return Finding(
        script=script,
        id=name,
        enumeration=enumeration,
        title=title,
        state=state,
        severity=severity(value, version) or said["severity"],
        score=value,
        score_version=version,
        description=clean("\n".join(islice(said["description"], 100))),
        reference=next((link for link in links if name in link), next(iter(links), "")),
        disclosed=_day(said["disclosure"]),
        exploit=True if "Exploitable" in state or said["exploit"] else None,
    )


def _version(text: str) -> str:
    return text if "." in text or not text else f"{text}.0"


def _identity(script: str, title: str, ids: list[str], references: list[str]) -> tuple[str, str]:
    """Return (enumeration, id): a CVE if one is named, or else the first id, or else the script's name."""
    for text in ids[:MAX_VALUES]:
        if match := CVE.search(text[:200]):
            return "CVE", match[0].upper()
    for text in ids[:MAX_VALUES]:
        enumeration, colon, name = text.partition(":")
        if colon and identity(name):
            return clean(enumeration)[:50] or OWN, identity(name)
    if cve := only_cve(title, *(text[:200] for text in references[:MAX_VALUES])):
        return "CVE", cve
    return OWN, identity(script)


def _day(text: str) -> str:
    """Return a day as RFC 3339, empty for none; nmap writes months and days with one digit or two."""
    if not (match := DAY.fullmatch(text.strip()[:20])):
        return ""
    try:
        return f"{date(int(match[1]), int(match[2]), int(match[3]))}T00:00:00.000Z"
    except ValueError:
        return ""


def smb_check(result: Result) -> Facts:
    """Read smb-check-vulns (nmap 4.85 to 6): a line `MS08-067: VULNERABLE` for each of a few weaknesses."""
    found = []
    for match in filter(None, map(CHECKED.fullmatch, lines(result.text))):
        title = clean(match[1])
        if cve := only_cve(title):
            enumeration, name = "CVE", cve
        elif bulletin := BULLETIN.search(title):
            enumeration, name = "MS", bulletin[0]
        else:
            enumeration, name = OWN, result.id
        found.append(Finding(result.id, name, enumeration, title, match[2]))
    return _facts(found[: MAX_VALUES + 1])
