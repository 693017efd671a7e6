"""Processes that are killed at a chosen step: every file operation and ledger entry is the last one of some run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable

from forwarder.executions import Claims, Executions
from forwarder.ledger import Ledger
from forwarder.positions import Positions

DURABLE = [(os, name) for name in ("fsync", "replace", "link", "unlink")]
DURABLE += [
    (Ledger, name)
    for name in (
        "add_batch",
        "set_batch_state",
        "add_input",
        "finish_input",
        "refuse_input",
        "set_evidence_anchored",
        "add_log_key",
        "set_stamped",
    )
]
DURABLE += [(Executions, "put"), (Executions, "add_sightings"), (Claims, "put"), (Positions, "save")]


def dies(step: int, action: Callable[[], object], operations: Iterable[tuple[object, str]] = DURABLE) -> bool:
    """Do something in a process that kills itself with SIGKILL before its step-th operation; tell if it did.

    Args:
        step: the first is 1.
        action: what to do.
        operations: what counts, as functions of objects by name.
    """

    def prepare(count: Callable[[], None]) -> None:
        def counted(function):
            def wrapped(*args, **options):
                count()
                return function(*args, **options)

            return wrapped

        for owner, name in operations:
            setattr(owner, name, counted(getattr(owner, name)))

    return killed(step, prepare, action)


def killed(step: int, prepare: Callable[[Callable[[], None]], None], action: Callable[[], object]) -> bool:
    """Do something in a process that is killed where it counts to `step`; tell if it was.

    Args:
        step: the first is 1.
        prepare: is given what counts, in that process, to have it called from wherever death may come.
        action: what to do.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in {0, -signal.SIGKILL}
        return bool(status)
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        prepare(count)
        action()
        os._exit(0)
    finally:
        os._exit(1)
