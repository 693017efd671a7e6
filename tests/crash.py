"""Processes that are killed at a chosen step: every file operation and ledger entry is the last one of some run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

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
        "set_evidence_anchored",
        "add_log_key",
        "set_stamped",
    )
]
DURABLE += [(Executions, "put"), (Executions, "add_sightings"), (Claims, "put"), (Positions, "save")]


def dies(step: int, action: Callable[[], object]) -> bool:
    """Do something in a process that kills itself with SIGKILL before its step-th durable operation; tell if it did."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in {0, -signal.SIGKILL}
        return bool(status)
    left = step

    def deadly(function):
        def wrapped(*args, **options):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return wrapped

    try:
        for owner, name in DURABLE:
            setattr(owner, name, deadly(getattr(owner, name)))
        action()
        os._exit(0)
    finally:
        os._exit(1)
