"""The ledger's table of positions: how far each audit log is read, told by its content and not by name or inode."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace


@dataclass(frozen=True, slots=True)
class Position:
    """How far one file of a log is read.

    A file is this one if its content (decompressed) begins and, before `read`, ends as the fingerprints say.
    """

    log: str
    """KIND:PATH of the log; the files that it was rotated to belong to it."""
    number: int
    """Place among the log's files, oldest first."""
    path: str
    """What it was called."""
    stat: str
    """What saves opening it again while it is unchanged; empty when something of it is left to read."""
    head_length: int
    head_sha256: str
    offset: int
    """Where reading goes on, in bytes of the content: the first line of an event that has no end yet, or `read`."""
    read: int
    """How far the content was looked at."""
    tail_length: int
    tail_sha256: str
    """Of that many bytes before `read`."""
    done: tuple[str, ...] = ()
    """Identities of the executions at or after `offset` that were handed over already."""


@dataclass(frozen=True, slots=True)
class Progress:
    """All positions of one log; they replace those that were saved of it before."""

    log: str
    positions: tuple[Position, ...]


class Positions:
    """The table.

    Args:
        db: the ledger's database.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def of(self, log: str) -> tuple[Position, ...]:
        """Return the positions in a log's files, oldest first."""
        rows = self._db.execute("SELECT * FROM audit_position WHERE log = ? ORDER BY number", (log,))
        return tuple(replace(Position(*row), done=tuple(json.loads(row[-1]))) for row in rows)

    def logs(self) -> list[str]:
        """Return the logs that something was read of."""
        return [log for (log,) in self._db.execute("SELECT DISTINCT log FROM audit_position ORDER BY log")]

    def save(self, progress: Iterable[Progress]) -> None:
        """Remember how far logs are read; to be called in the transaction that promises what was read."""
        for item in progress:
            self._db.execute("DELETE FROM audit_position WHERE log = ?", (item.log,))
            rows = ((*astuple(position)[:-1], json.dumps(position.done)) for position in item.positions)
            self._db.executemany("INSERT INTO audit_position VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
