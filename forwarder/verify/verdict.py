"""What a verification finds, what its verdict rests on, and what it cannot exclude."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


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


@dataclass(slots=True)
class LogVerdict:
    """The verdict on one log."""

    origin: str
    batches: int = 0
    records: int = 0
    evidence: int = 0
    """Evidence objects read."""
    bytes_read: int = 0
    """Stored bytes read."""
    size: int = 0
    """Size of the newest checkpoint that holds."""
    root: str = ""
    """Its root, hex."""
    sealed_until: str = ""
    """When the newest batch was sealed."""
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Worth a word, but no sign of tampering."""
    rests_on: list[str] = field(default_factory=list)
    cannot_exclude: list[str] = field(default_factory=list)
    checkpoint: bytes = b""
    """The newest checkpoint that holds."""

    def add(self, code: str, message: str, **where: Any) -> None:
        """Add a finding."""
        self.findings.append(Finding(code, message, self.origin, **where))

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        values = asdict(self)
        del values["checkpoint"]
        for finding in values["findings"]:
            for name in [name for name, value in finding.items() if value in ("", None)]:
                del finding[name]
        return {"ok": not self.findings} | values
