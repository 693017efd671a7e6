"""What a run did, and who is told while it happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from forwarder.errors import Exit, worst


@dataclass(slots=True)
class Outcome:
    """What a run did."""

    inputs: int = 0
    """Files with new content."""
    known: int = 0
    """Files whose content was read before."""
    waiting: int = 0
    """Files left for the next run, because they are still being written."""
    scans: int = 0
    hosts: int = 0
    records: int = 0
    executions: int = 0
    """Executions that were not known before."""
    findings: int = 0
    """What is remarkable about the evidence itself."""
    rejected: list[str] = field(default_factory=list)
    """What could not be read, a line each."""
    first_batch: int = 0
    batches: int = 0
    """Batches sealed, from sequence `first_batch` on."""

    unanchored: str = ""
    """Why batches wait for the archive; empty when all are in it."""
    anchoring: Exit = Exit.OK
    """What that means for the exit code."""
    delivered: int = 0
    """Documents that Elasticsearch has taken."""
    undelivered: str = ""
    """Why delivery stopped; empty when it did not."""
    delivery: Exit = Exit.OK
    """What that means for the exit code."""

    unstamped: str = ""
    """Why an authority gave no time-stamp; empty when all did."""
    stamping: Exit = Exit.OK
    """What that means for the exit code."""

    @property
    def exit_code(self) -> Exit:
        """Exit code of the run."""
        return worst(Exit.REJECTED if self.rejected else Exit.OK, self.anchoring, self.delivery, self.stamping)


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to know while it happens."""

    started: Callable[[str, int], object] = _nothing
    """An input is being read: path, size in bytes."""
    delivering: Callable[[str, int], object] = _nothing
    """Documents are being delivered: where to, how many."""
    progressed: Callable[[int], object] = _nothing
    """That many bytes were read, or documents delivered."""
    said: Callable[[str], object] = _nothing
    """A line that is worth saying."""

    def reject(self, line: str, outcome: Outcome) -> None:
        """Say what cannot be taken, and remember it."""
        outcome.rejected.append(line)
        self.said(line)
