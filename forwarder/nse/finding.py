"""One finding of a vulnerability script, whichever script it was."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from forwarder.nmap.values import number
from forwarder.nse.results import clean

CVE = re.compile(r"CVE-[0-9]{4}-[0-9]{4,12}", re.IGNORECASE)
OWN: Final = "nmap"
"""Enumeration of findings that no list but nmap's scripts knows; their id is the script's name."""
HIGHEST: Final = 10
"""Score of the worst weakness."""
BANDS: Final = {
    "2.0": ((7.0, "High"), (4.0, "Medium"), (0.1, "Low")),
    "": ((9.0, "Critical"), (7.0, "High"), (4.0, "Medium"), (0.1, "Low")),
}
"""Version of CVSS → least score of each severity: CVSS 3.1, section 5, and for 2.0 the bands of NIST's database."""
SEVERITIES: Final = frozenset({"Critical", "High", "Medium", "Low"})


@dataclass(frozen=True, slots=True)
class Finding:
    """A weakness that a script found, or concluded from a version."""

    script: str
    id: str
    """In its enumeration."""
    enumeration: str
    """CVE, or the list that has the id (BID, packetstorm, …); `nmap` for the script's own name."""
    title: str = ""
    state: str = ""
    """VULNERABLE, LIKELY VULNERABLE, VULNERABLE (Exploitable) or VULNERABLE (DoS), where a script tested it."""
    severity: str = ""
    """Critical, High, Medium or Low."""
    score: float | None = None
    """CVSS base score."""
    score_version: str = ""
    """Of CVSS, such as 2.0; empty where the script does not say."""
    product: str = ""
    """CPE, or product and version, that the finding was concluded from."""
    description: str = ""
    reference: str = ""
    """URL of a page about it."""
    disclosed: str = ""
    """Day of disclosure, RFC 3339."""
    exploit: bool | None = None
    """An exploit is known, or was tried with success; None where the script does not say."""


def score(text: str) -> float | None:
    """Return a CVSS score, None for what is none; 0 is what databases say of unrated exploits."""
    try:
        value = number(text.strip()[:20])
    except ValueError:
        return None
    return value if 0 < value <= HIGHEST else None


def severity(value: float | None, version: str = "") -> str:
    """Return the severity of a score."""
    if value is None:
        return ""
    return next((word for least, word in BANDS.get(version, BANDS[""]) if value >= least), "")


def only_cve(*texts: str) -> str:
    """Return the one CVE that texts name; empty when they name none, or several."""
    found = {match.upper() for text in texts for match in CVE.findall(text)}
    return found.pop() if len(found) == 1 else ""


def identity(text: str) -> str:
    """Return an id without what would not be one; a CVE in upper case."""
    text = clean(text)[:200]
    return text.upper() if CVE.fullmatch(text) else text
