"""All configured audit logs, each by the reader of its kind, from where the last run stopped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol

from forwarder.audit import files
from forwarder.audit.follow import Block, Follower
from forwarder.audit.interface import Evidence
from forwarder.positions import Positions, Progress


class Reader(Protocol):
    """What turns the lines of one log into evidence."""

    def read(self, blocks: Iterator[Block]) -> Iterator[Evidence]:
        """Take lines; yield what they make complete."""

    def end(self, *, settled: bool) -> Iterator[Evidence]:
        """Yield what is complete at the end of the log; all that is left if it is settled."""

    def held(self, *, settled: bool) -> dict[int, int]:
        """Return where, by file, the first line begins that is still needed."""

    def done(self, held: dict[int, int]) -> tuple[str, ...]:
        """Return the identities of what was handed over and has lines at or behind `held`."""


class Logs:
    """What is new in the audit logs. Nothing is remembered here: positions are handed over with the evidence.

    How a pipeline uses it, so that a crash at any instant loses nothing and repeats nothing:

        logs = Logs(settings["audit.sources"], settings["audit.tools"], ledger.positions, refused)
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
        refused: takes a line about a log that is not there, or cannot be read.
    """

    def __init__(
        self, sources: Sequence[str], tools: Collection[str], positions: Positions, refused: Callable[[str], object]
    ) -> None:
        self._sources, self._tools, self._positions, self._refused = sources, tools, positions, refused
        self._seen: set[str] = set()
        self._finished: list[Progress] = []
        self._current: tuple[Follower, Reader] | None = None

    def __iter__(self) -> Iterator[Evidence]:
        """Yield the new evidence, one log after the other."""
        known = self._positions.logs()
        for source in self._sources:
            kind, _, pattern = source.partition(":")
            found = set(files.logs_of(kind, pattern))
            if not found and (why := files.missing(kind, pattern)):
                self._refused(f"{source}: {why}")
            for log in sorted(found | {log for log in known if files.means(source, log)}):
                if not log.isprintable():
                    self._refused(f"{log}: its path has odd characters: not read")
                elif log not in self._seen:
                    self._seen.add(log)
                    yield from self._read(log)

    def progress(self) -> list[Progress]:
        """Return what is to be saved together with the evidence that was yielded so far; without it that comes again.

        After a Finding that a log was altered, the log is read from its beginning: executions come again
        under the identities that they had. Whoever records them drops identities that are recorded already.
        """
        found = list(self._finished)
        if self._current:
            follower, reader = self._current
            held = reader.held(settled=False)
            found.append(follower.progress(held, reader.done(held), ended=False))
        return found

    def _read(self, log: str) -> Iterator[Evidence]:
        kind = log.partition(":")[0]
        before = self._positions.of(log)
        follower = Follower(log, lambda: files.files_of(log), before, self._refused)
        follower.open()
        yield from follower.findings
        reader = _reader(kind, self._tools, follower.done)
        self._current = follower, reader
        yield from reader.read(follower.blocks())
        settled = follower.settled
        yield from reader.end(settled=settled)
        held = reader.held(settled=settled)
        progress = follower.progress(held, reader.done(held), ended=True)
        if progress.positions != before:
            self._finished.append(progress)
        self._current = None


def _reader(kind: str, tools: Collection[str], done: Collection[str]) -> Reader:
    """Return the reader of a kind, imported only where there is such a log."""
    if kind == "auditd":
        from forwarder.audit.auditd import Auditd  # noqa: PLC0415

        return Auditd(tools, done)
    if kind == "laurel":
        from forwarder.audit.laurel import Laurel  # noqa: PLC0415

        return Laurel(tools, done)
    from forwarder.audit.lines import Lines  # noqa: PLC0415

    return Lines(kind, tools, done)
