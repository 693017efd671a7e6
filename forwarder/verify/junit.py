"""A verdict as a JUnit report: a test suite for each log, a test case for each thing that is checked."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import datetime
from pathlib import Path
from typing import Final

from forwarder.errors import UsageError
from forwarder.terminal import safe
from forwarder.verify.verdict import Finding, LogVerdict

CASES: Final = {
    "manifests": ("manifest-", "chain-", "gap", "batches-", "clock-"),
    "checkpoints": ("checkpoint-", "key-", "pointer-", "fork"),
    "tiles": ("tile-",),
    "records": ("record", "leaves-"),
    "evidence": ("evidence-",),
    "nothing else": ("stray",),
    "memory": ("cut-off", "rewritten"),
    "versions and locks": ("hidden", "overwritten", "lock-", "undecryptable"),
    "freshness": ("silent", "sealed-late"),
}
"""Test case → beginnings of the codes of findings that fail it."""
OTHER: Final = "other"
SHOWN: Final = 100
"""Findings that a failure lists."""


def case_of(code: str) -> str:
    """Return the test case that a finding fails."""
    return next((name for name, starts in CASES.items() if code.startswith(starts)), OTHER)


def write(file: Path, verdicts: list[LogVerdict], when: datetime, *, strict: bool) -> None:
    """Write the report.

    Args:
        file: where to.
        verdicts: one a log.
        when: time of the verification.
        strict: warnings fail, too.

    Raises:
        UsageError: the file cannot be written.
    """
    root = ET.Element("testsuites", name="nmap-forwarder verify")
    for verdict in verdicts:
        suite = ET.SubElement(root, "testsuite", name=verdict.origin, timestamp=f"{when:%Y-%m-%dT%H:%M:%S}")
        failed = _cases(suite, verdict, strict=strict)
        suite.attrib |= {"tests": str(len(suite)), "failures": str(failed), "errors": "0", "skipped": "0"}
        lines = [f"rests on {line}" for line in verdict.rests_on]
        lines += [f"cannot exclude {line}" for line in verdict.cannot_exclude]
        lines += verdict.notes + [f"warning: {warning}" for warning in verdict.warnings[:SHOWN]]
        ET.SubElement(suite, "system-out").text = safe("\n".join(lines)).replace("\\x0a", "\n")
    try:
        ET.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None


def _cases(suite: ET.Element, verdict: LogVerdict, *, strict: bool) -> int:
    """Add the test cases of a log; return how many fail."""
    by_case: dict[str, list[Finding]] = {}
    for finding in [*verdict.findings, *(verdict.warnings if strict else [])]:
        by_case.setdefault(case_of(finding.code), []).append(finding)
    for name in [*CASES, *([OTHER] if OTHER in by_case else [])]:
        case = ET.SubElement(suite, "testcase", classname=verdict.origin, name=name)
        if found := by_case.get(name):
            codes = ", ".join(sorted({finding.code for finding in found}))
            failure = ET.SubElement(case, "failure", type=codes, message=safe(f"{len(found)} findings: {found[0]}"))
            failure.text = "\n".join(safe(f"{finding.code}: {finding}") for finding in found[:SHOWN])
    return len(by_case)
