"""What is asked of an archive beyond that its bytes are the sealed ones: how long, how locked, how fresh."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

SLACK: Final = timedelta(days=7)
"""How much before the end of its retention a batch may have been sealed after the last one that is gone: logs have a
heartbeat a day, so that the batch before was hardly more than that much older."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a verifier expects. Without limits: that sealed bytes are what they were."""

    retention: timedelta = timedelta(0)
    """How long a batch is kept after it was sealed; 0: for ever, as far as the verifier knows."""
    mode: str = ""
    """Object Lock mode that every object must have: GOVERNANCE (COMPLIANCE is stronger) or COMPLIANCE."""
    warn_before: timedelta = timedelta(0)
    """Warn of locks that end within this time."""
    max_age: timedelta | None = None
    """Longest silence: age of the newest batch."""
    max_lag: timedelta | None = None
    """Longest time from a record's own time to its seal."""
    patience: float = 5.0
    """Seconds to wait for the rest of a batch that a running forwarder may be putting."""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def expired(self, created: str) -> bool:
        """Tell whether a batch that was sealed at a manifest's time need not be there any more."""
        return bool(self.retention) and time(created) + self.retention < self.now

    def expired_before(self, created: str) -> bool:
        """Tell whether the batches before one that was sealed at that time need not be there any more."""
        return bool(self.retention) and time(created) + self.retention < self.now + SLACK


def time(text: str) -> datetime:
    """Return a manifest's or record's time.

    Raises:
        ValueError: it is no time, for instance of the 31st of February.
    """
    return datetime.fromisoformat(text)
