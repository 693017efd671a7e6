"""A pull from its beginning to its end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from forwarder import durable
from forwarder.archive.interface import Archive
from forwarder.pull import guide
from forwarder.pull.answer import Answer, gather
from forwarder.pull.bundle import bundle
from forwarder.pull.fetch import Fetcher
from forwarder.pull.log import Log
from forwarder.pull.work import Journal, Work
from forwarder.seal import canonical
from forwarder.seal.note import Checkpoint, Verifier
from forwarder.terminal import Advance
from forwarder.verify.policy import Policy

FOLDER: Final = "nmap-forwarder-answer"
"""What the answer is called in a tar: the same whatever the tar is called."""
GUIDE: Final = "VERIFY.md"
SUMMARY: Final = "summary.json"


@dataclass(frozen=True, slots=True)
class Source:
    """A log to pull from."""

    archive: Archive
    verifier: Verifier
    policy: Policy
    """For how long its batches are kept."""
    pins: list[Checkpoint]
    """Checkpoints known from elsewhere, which the log must contain."""


def pull(
    sources: Sequence[Source],
    answer: Answer,
    target: Path,
    *,
    tar: bool,
    progress: Callable[[str, int], AbstractContextManager[Advance]],
) -> Answer:
    """Make an answer; what an earlier run that was stopped has done is not done again.

    Args:
        sources: the logs.
        answer: what is asked; it is filled in and returned. Without records in it, nothing is made.
        target: where it goes.
        tar: whether as one file.
        progress: makes a progress bar of a label and a total.

    Raises:
        UsageError: the target exists, or an answer to another question has begun to be made there.
        NothingError: a log is not in the archive.
        IntegrityError: nothing of a log can be proven.
        TemporaryError: the archive cannot be reached.
    """
    asked: dict[str, Any] = {"archive": answer.archive, "asked": answer.question.as_json()}
    asked |= {"keys": [str(source.verifier) for source in sources], "tar": tar}
    work = Work(target, asked)
    with work.locked(), ExitStack() as stack:
        fetchers = []
        for source in sources:
            log = _log(source, work, progress)
            journal = Journal(_place(work, source.verifier) / "journal")
            stack.callback(journal.close)
            fetchers.append(Fetcher(log, answer.question, work, journal, source.policy))
        for fetcher in fetchers:
            with progress("pulling", fetcher.log.checkpoint.size) as advance:
                fetcher.run(advance)
        with progress("writing", 0) as advance:
            gather(answer, fetchers, work.answer, advance)
        if not answer.records:
            shutil.rmtree(work.root)
            return answer
        durable.write(work.answer / SUMMARY, canonical.encode(answer.as_json()) + b"\n")
        durable.write(work.answer / GUIDE, guide.guide(answer).encode())
        _finish(work, answer, tar=tar)
    return answer


def _finish(work: Work, answer: Answer, *, tar: bool) -> None:
    """Give the answer its final name."""
    if not tar:
        work.finish(work.answer)
        return
    file = work.root / "tar"
    newest = max(datetime.fromisoformat(log.sealed_until) for log in answer.logs)
    bundle(work.answer, file, FOLDER, int(newest.timestamp()))
    work.finish(file)


def _place(work: Work, verifier: Verifier) -> Path:
    return work.root / f"log-{verifier.key_id.hex()}"


def _log(source: Source, work: Work, progress: Callable[[str, int], AbstractContextManager[Advance]]) -> Log:
    log = Log(source.archive, source.verifier, _place(work, source.verifier), source.policy)
    with progress("reading manifests", log.checkpoint.size) as advance:
        log.read(source.pins, advance)
    return log
