"""What a verification finds, what its verdict rests on, and what it cannot exclude."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

MAX_FINDINGS: Final = 10_000
"""Findings kept of each kind (failures, warnings) and log; of the others only the number is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was sealed."""

    code: str
    """Kind of finding, for machines; never changes its meaning."""
    message: str
    """For people: one sentence."""
    origin: str = ""
    batch: int | None = None
    record: int | None = None
    """Index of the record in its batch."""
    object: str = ""
    """Key below the log's directory."""
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        place = [self.origin] if self.origin else []
        place += [f"batch {self.batch}"] if self.batch is not None else []
        place += [f"record {self.record}"] if self.record is not None else []
        place += [self.object] if self.object else []
        line = f"{', '.join(place)}: {self.message}" if place else self.message
        if self.expected or self.found:
            line += f" (expected {self.expected or 'nothing'}, found {self.found or 'nothing'})"
        return line

    def as_json(self) -> dict[str, Any]:
        """Return what is known as JSON values."""
        return {name: value for name, value in asdict(self).items() if value not in {"", None}}


@dataclass(slots=True)
class LogVerdict:
    """The verdict on one log, or on a part of it."""

    origin: str
    batches: int = 0
    records: int = 0
    evidence: int = 0
    """Evidence objects read."""
    bytes_read: int = 0
    """Stored bytes read."""
    locks: int = 0
    """Object locks read."""
    size: int = 0
    """Size of the newest checkpoint that holds."""
    root: str = ""
    """Its root, hex."""
    read_from: int = 0
    """First batch that was read; those before were verified earlier, or their retention is over."""
    expired: int = 0
    """Objects that are gone and need not be there any more: the retention of their batches is over."""
    sealed_until: str = ""
    """When the newest batch was sealed."""
    findings: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    """What somebody should look at, although sealed bytes are what they were."""
    left_out: int = 0
    """Findings and warnings beyond those kept."""
    notes: list[str] = field(default_factory=list)
    """Worth a word, but no sign of tampering."""
    rests_on: list[str] = field(default_factory=list)
    cannot_exclude: list[str] = field(default_factory=list)
    checkpoint: bytes = b""
    """The newest checkpoint that holds."""

    def add(self, code: str, message: str, **where: Any) -> None:
        """Add a finding."""
        self._keep(self.findings, Finding(code, message, self.origin, **where))

    def warn(self, code: str, message: str, **where: Any) -> None:
        """Add a warning."""
        self._keep(self.warnings, Finding(code, message, self.origin, **where))

    def _keep(self, kept: list[Finding], finding: Finding) -> None:
        if len(kept) < MAX_FINDINGS:
            kept.append(finding)
        else:
            self.left_out += 1

    def merge(self, part: LogVerdict) -> None:
        """Take over what was found in, and read of, a part of the log."""
        for name in ("batches", "records", "evidence", "bytes_read", "locks", "expired", "left_out"):
            setattr(self, name, getattr(self, name) + getattr(part, name))
        for finding in part.findings:
            self._keep(self.findings, finding)
        for warning in part.warnings:
            self._keep(self.warnings, warning)
        self.notes += part.notes

    def sort(self) -> None:
        """Put findings in the order of the log; parts of it come in as they are ready."""
        locked_out = {finding.object for finding in self.findings if finding.code == "undecryptable"}
        self.findings = [
            finding
            for finding in self.findings
            if not (finding.object in locked_out and finding.code.endswith("-missing"))
        ]
        for kept in (self.findings, self.warnings):
            kept.sort(key=lambda one: (one.batch is None, one.batch or 0))

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        values = asdict(self)
        del values["checkpoint"]
        values["findings"] = [finding.as_json() for finding in self.findings]
        values["warnings"] = [warning.as_json() for warning in self.warnings]
        return {"ok": not self.findings} | values
