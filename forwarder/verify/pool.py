"""Work on several processors: hashing the lines of records holds Python's lock, so threads would not help."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from forwarder.archive.interface import Archive
from forwarder.errors import TemporaryError

if TYPE_CHECKING:  # small archives need no workers
    from concurrent.futures import ProcessPoolExecutor

P = ParamSpec("P")
T = TypeVar("T")

_archive: Archive | None = None
"""In a worker: its archive."""


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Runs functions that take an archive, here or in worker processes.

    Args:
        opener: opens the archive; called once in each process, so it must be picklable.
        jobs: worker processes; 1: everything is done in this one.
        alone: how much is done here before workers are started, in bytes of records and evidence: starting them
            takes as long as checking about that much.
    """

    def __init__(self, opener: Callable[[], Archive], jobs: int, alone: int = 64 << 20) -> None:
        self._opener = opener
        self.jobs = jobs
        self.archive = opener()
        self._alone = alone
        self._executor: ProcessPoolExecutor | None = None

    @property
    def parallel(self) -> bool:
        """Tell whether work is done by workers."""
        return self.jobs > 1 and self._alone <= 0

    def submit(
        self, weight: int, function: Callable[Concatenate[Archive, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Do a piece of work: later in a worker, or now and here when there is little to do.

        Args:
            weight: bytes of records and evidence to check, before compression.
            function: called with the archive and the arguments; picklable.
            args: picklable.
            kwargs: likewise.
        """
        if not self.parallel:
            self._alone -= weight
            done: Future[T] = Future()
            done.set_result(function(self.archive, *args, **kwargs))
            return done
        if self._executor is None:
            self._executor = self._start()
        try:
            return self._executor.submit(_work, function, args, kwargs)
        except BrokenExecutor:
            raise lost() from None

    def _start(self) -> ProcessPoolExecutor:
        import multiprocessing  # noqa: PLC0415
        from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415

        return ProcessPoolExecutor(self.jobs, multiprocessing.get_context("spawn"), _begin, (self._opener,))

    def close(self) -> None:
        """Stop the workers; what they have not begun is not done."""
        if self._executor:
            self._executor.shutdown(wait=True, cancel_futures=True)


def result(future: Future[T]) -> T:
    """Return what a piece of work gave.

    Raises:
        TemporaryError: its process was killed.
    """
    try:
        return future.result()
    except BrokenExecutor:
        raise lost() from None


def lost() -> TemporaryError:
    """Return the error that a worker is gone."""
    return TemporaryError("a worker process was killed", "if memory is short, verify with --jobs 1")


def _begin(opener: Callable[[], Archive]) -> None:
    global _archive  # noqa: PLW0603 - one archive a worker, for its whole life
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    _archive = opener()


def _work(function: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> T:
    assert _archive is not None
    return function(_archive, *args, **kwargs)
