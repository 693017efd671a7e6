"""Audit logs that are read in runs, as a pipeline reads them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from forwarder.audit.interface import Evidence, Finding
from forwarder.audit.logs import Logs
from forwarder.ledger import Ledger


class Runs:
    """Reads logs again and again, with what was saved in between."""

    def __init__(self, directory: Path, *sources: str, tools: tuple[str, ...] = ("nmap",)) -> None:
        self.ledger = Ledger(directory / "ledger.sqlite")
        self.sources, self.tools = sources, tools
        self.said: list[str] = []

    def logs(self) -> Logs:
        return Logs(self.sources, self.tools, self.ledger.positions, self.said.append)

    def save(self, logs: Logs) -> None:
        with self.ledger.transaction():
            self.ledger.positions.save(logs.progress())

    def run(self) -> list[Evidence]:
        """Everything new; saved at the end."""
        logs = self.logs()
        found = list(logs)
        self.save(logs)
        return found

    def ids(self) -> list[str]:
        """Serials of what is new, and actions of findings."""
        return [name(item) for item in self.run()]

    def interrupted(self, after: int) -> Iterator[Evidence]:
        """What is new up to a kill; what was taken before it is saved after the last of them."""
        logs = self.logs()
        for count, item in enumerate(logs, 1):
            yield item
            if count == after:
                self.save(logs)
                return
        self.save(logs)


def name(item: Evidence) -> str:
    return item.action if isinstance(item, Finding) else item.identity.rpartition(":")[2]


def age(*paths: Path, seconds: float = 7200) -> None:
    """Make files old, so that nothing more is expected of them."""
    for path in paths:
        os.utime(path, (time.time() - seconds,) * 2)
