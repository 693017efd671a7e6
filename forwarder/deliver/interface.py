"""What every output can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class Document(NamedTuple):
    """One document on its way."""

    stream: str
    """Data stream that takes it."""
    id: str
    """event.id of its record."""
    body: bytes
    """JSON on one line."""
    sequence: int
    """event.sequence of its record."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A document that will never be taken as it is."""

    document: Document
    status: int
    """HTTP status; 201 for one that went to a failure store instead."""
    reason: str


@dataclass(slots=True)
class Outcome:
    """What became of some documents."""

    created: int = 0
    known: int = 0
    """Documents that an earlier attempt of ours had brought already."""
    rejected: list[Rejected] = field(default_factory=list)


class Output(ABC):
    """A place that takes documents."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, as people are told."""

    @abstractmethod
    def deliver(self, documents: Iterable[Document], *, resumed: bool = False) -> Iterator[Outcome]:
        """Send documents, and yield what became of them, some at a time, in no particular order.

        Args:
            documents: what to send; taken as it is needed, so that memory stays bounded.
            resumed: some of them may have been taken before, so that finding them there is no surprise.

        Raises:
            TemporaryError: the output is away or overloaded for too long; documents may have been taken.
            UsageError: the output does not know or not allow us.
        """
