"""Which inputs are new: files are found, copied into the spool, and recognised by their content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from forwarder import intake
from forwarder.config import Settings
from forwarder.errors import InputError
from forwarder.ledger import Input
from forwarder.outcome import Listener, Outcome
from forwarder.seal.manifest import timestamp
from forwarder.state import State


def collect(
    paths: list[str],
    state: State,
    settings: Settings,
    outcome: Outcome,
    listener: Listener,
    ended: Iterable[str] = (),
) -> Iterator[Input]:
    """Yield each input whose content is new, once it is safely in the spool.

    Args:
        paths: files, directories, patterns.
        state: the open state directory.
        settings: `intake.settle` says how long a file without an end is left alone.
        outcome: is told what came of it.
        listener: likewise.
        ended: further files, whose writers are known to be done.
    """

    def reject(error: InputError) -> None:
        listener.reject(str(error), outcome)

    finder = intake.Finder([*paths, *ended], reject)
    writers, done = intake.Writers(), frozenset(ended)
    for file in finder:
        found = replace(file, ended=file.path in done)
        try:
            item, new = take_in(found, state, settings, writers, finder, outcome, listener)
        except InputError as error:
            reject(InputError(f"{found.path}: {error.what}", error.hint))
            if found.ended and found.stat:
                state.ledger.set_file(found.path, found.stat, None, str(error))
            continue
        if new and item:
            outcome.inputs += 1
            yield item
        elif item and item.state == "rejected":
            reject(InputError(refuse(replace(item, path=found.path), item.reason, state, settings)))
        elif item:
            outcome.known += 1
    for count, what in ((finder.empty, "empty files"), (finder.other, "files that are no XML")):
        if count:
            listener.said(f"{count} {what} in the directories were passed over")


def take_in(
    found: intake.Found,
    state: State,
    settings: Settings,
    writers: intake.Writers,
    finder: intake.Finder,
    outcome: Outcome,
    listener: Listener,
) -> tuple[Input | None, bool]:
    """Copy a file into the spool, unless it is known, still being written, or no XML; tell whether it is new."""
    ledger, limit = state.ledger, settings["intake.max_bytes"]
    if found.stat and not found.ended and (item := ledger.unchanged(found.path, found.stat)):
        return item, False
    if found.stat and (reason := intake.still_written(found, settings["intake.settle"], writers)):
        ledger.set_file(found.path, found.stat, None, reason)
        outcome.waiting += 1
        listener.said(f"{found.path}: left for the next run: {reason}; --settle 0 reads it now")
        return None, False
    with intake.open_input(found.path) as source:
        large = intake.too_large(limit)
        if found.stat and (found.stat.st_size > limit or ledger.left(found.path, found.stat) == str(large)):
            raise large  # unread, or only once: what is compressed is seen to be too large when much of it was read
        if not found.ended and not intake.is_xml(source, named=found.named):
            if found.named:
                raise InputError("not XML, or empty", "give files written by nmap -oX or -oA")
            finder.other += 1
            return None, False
        listener.started(found.path, found.stat.st_size if found.stat else 0)
        copy = intake.copy(source, state.spool, limit)
    if copy.stored_bytes > state.archive.largest and settings["privacy.evidence"] == "full":
        intake.spooled(state.spool, copy.raw_sha256).unlink()
        raise InputError(
            f"compressed it has {copy.stored_bytes} bytes, and {state.archive.place} takes no object above "
            f"{state.archive.largest}",
            "split it, or set privacy.evidence to hash-only",
        )
    item = ledger.input(copy.raw_sha256)
    new = item is None
    if item is None:
        uid, owner = intake.owner(found)
        mtime = timestamp(datetime.fromtimestamp(found.stat.st_mtime, UTC) if found.stat else None)
        item = Input(
            copy.raw_sha256,
            copy.raw_bytes,
            copy.stored_sha256,
            copy.stored_bytes,
            found.path,
            mtime,
            copy.note,
            uid=uid,
            owner=owner,
        )
        ledger.add_input(item)
    if found.stat:
        ledger.set_file(found.path, found.stat, copy.raw_sha256)
    return item, new


def refuse(item: Input, why: str, state: State, settings: Settings) -> str:
    """Remember that there is no scan in an input; return what to say of it.

    A result in the wrapper's spool is removed from there: its copy is kept, and is what is refused from now on.
    """
    line, path, spool = f"{item.path}: {why}", item.path, settings["audit.spool"]
    if spool and Path(path).is_relative_to(spool):
        path = str(intake.spooled(state.spool, item.raw_sha256))
        line += f"; kept as {path}"
    state.ledger.refuse_input(item.raw_sha256, path, why)
    return line
