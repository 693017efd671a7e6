"""All configured audit logs, each by the reader of its kind, from where the last run stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from forwarder.audit.interface import Evidence
from forwarder.positions import Positions, Progress


class Logs:
    """What is new in the audit logs. Nothing is remembered here: positions are handed over with the evidence.

    How a pipeline uses it, so that a crash at any instant loses nothing and repeats nothing:

        logs = Logs(settings["audit.sources"], settings["audit.tools"], ledger.positions, said)
        for evidence in logs:
            ...                                     # make its records, add them to the batch
            if the batch is full:
                with ledger.transaction():          # the one that promises the batch
                    ...
                    ledger.positions.save(logs.progress())
        with ledger.transaction():                  # likewise at the end, also if there was no evidence
            ledger.positions.save(logs.progress())

    Args:
        sources: `audit.sources`: KIND:PATH or KIND:PATTERN.
        tools: `audit.tools`: names of the programs whose executions are wanted.
        positions: where earlier runs stopped.
        said: takes a line about what cannot be read, or is worth a word.
    """

    def __init__(
        self, sources: Sequence[str], tools: Sequence[str], positions: Positions, said: Callable[[str], object]
    ) -> None:
        self._sources, self._tools, self._positions, self._said = sources, tools, positions, said

    def __iter__(self) -> Iterator[Evidence]:
        """Yield the new evidence, one log after the other."""
        yield from ()

    def progress(self) -> list[Progress]:
        """Return what is to be saved together with all evidence that was yielded so far, and without which it comes again.

        After a Finding that a log was altered, the log is read from its beginning: executions come again
        under the identities that they had. Whoever records them drops identities that are recorded already.
        """
        return []
