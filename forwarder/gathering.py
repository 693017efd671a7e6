"""From audit logs and the wrapper's spool to audit records: what is new of the evidence is merged, and sealed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO
from itertools import islice
from typing import Final, NamedTuple

from forwarder import intake, spool
from forwarder.attribute import merge
from forwarder.attribute.model import WRAPPED, Known, known, outputs_of, seconds, short
from forwarder.attributing import Attributor
from forwarder.audit.entry import name_of
from forwarder.audit.interface import Evidence, Execution, Finding, sound
from forwarder.audit.logs import Logs
from forwarder.ecs import audit
from forwarder.ledger import Input
from forwarder.outcome import Listener, Outcome
from forwarder.seal.manifest import timestamp
from forwarder.state import State

AT_A_TIME: Final = 1000
"""Pieces of evidence that are held, merged and then recorded together."""
KIND: Final = "audit-lines"
"""Of evidence, in the manifest."""


class Sighting(NamedTuple):
    """One piece of evidence."""

    key: str
    """event.id of the record that it makes alone."""
    evidence: Evidence


@dataclass(slots=True)
class Changed:
    """One execution that new evidence tells of."""

    item: Known
    keys: list[str] = field(default_factory=list)
    sources: dict[str, Input] = field(default_factory=dict)


class Gatherer:
    """Reads what is new of all audit evidence, and has its records sealed.

    Args:
        state: the open state directory.
        attributor: told of the executions; has the settings and the batch.
        outcome: is told what came of it.
        listener: likewise.
    """

    def __init__(self, state: State, attributor: Attributor, outcome: Outcome, listener: Listener) -> None:
        self._state, self._attributor, self._outcome, self._listener = state, attributor, outcome, listener
        self._settings, self._batcher = attributor.settings, attributor.batcher
        self._pending = attributor.batcher.pending
        self.files: list[str] = []
        """Results in the spool, which are inputs like others."""
        self._entries: list[tuple[tuple[str, ...], str]] = []
        """What each entry in the spool left there, and its result."""

    def gather(self) -> None:
        """Take all new evidence.

        Raises:
            OSError: the state directory cannot be written.
        """
        settings, ledger = self._settings, self._state.ledger
        logs = Logs(settings["audit.sources"], settings["audit.tools"], ledger.positions, self._refuse)
        sightings = self._sightings(logs)
        while chunk := list(islice(sightings, AT_A_TIME)):
            progress = logs.progress()
            self._take([sighting for sighting in chunk if not self._pending.sighted(sighting.key)])
            self._pending.progress = progress
            if len(self._pending.executions) >= AT_A_TIME:
                self._batcher.seal()
        self._pending.progress = logs.progress()
        self._batcher.settle()

    def _refuse(self, line: str) -> None:
        """Take note of a log that cannot be read; of one that is only configured, it may come to be."""
        if "audit.sources" in self._settings.given:
            self._listener.reject(line, self._outcome)
        else:
            self._listener.said(line)

    def tidy(self) -> None:
        """Remove from the spool what is sealed, or refused and kept; called when nothing is waiting to be sealed."""
        ledger, names = self._state.ledger, list[str]()
        for left, result in self._entries:
            if result:
                item = ledger.held(result)
                if item is None or item.state == "spooled":
                    continue  # it could not be read: the next run tries again
                ledger.forget_file(result)
            names += left
        if names:
            spool.remove(self._settings["audit.spool"], names)

    def _sightings(self, logs: Logs) -> Iterator[Sighting]:
        if directory := self._settings["audit.spool"]:
            for entry in spool.read(directory):
                self._entries.append((entry.names, str(entry.xml or "")))
                if entry.xml:
                    self.files.append(str(entry.xml))
                    self._attributor.spooled[str(entry.xml)] = entry.evidence.identity, str(entry.uid)
                evidence = sound(entry.evidence)
                yield Sighting(_key(evidence, entry.identity), evidence)
        for evidence in map(sound, logs):
            yield Sighting(_key(evidence, evidence.identity), evidence)

    def _take(self, sightings: list[Sighting]) -> None:
        """Make the records of new evidence."""
        fresh = list({sighting.key: sighting for sighting in sightings}.values())
        contents = self._contents(fresh)
        changed: dict[str, Changed] = {}
        for key, evidence in fresh:
            source = contents.get(_log(evidence))
            if isinstance(evidence, Finding):
                self._find(key, evidence, source)
                continue
            part = self._completed(evidence)
            item = self._item(part)
            item.add(part)
            self._pending.put(item)  # so that the next piece of evidence finds it; it is recorded below
            entry = changed.setdefault(item.entity_id, Changed(item))
            entry.keys.append(key)
            if source:
                entry.sources[source.raw_sha256] = source
        for entry in changed.values():
            self._record(entry)
        for entry in changed.values():
            self._attributor.settle_execution(entry.item)

    def _completed(self, seen: Execution) -> Execution:
        """Return a sighting with what follows from it: outputs by its command line, users' names on this machine."""
        if not seen.outputs:
            seen.outputs = outputs_of(seen)
        if short(seen.host) in {"", short(self._settings["observer.name"])}:
            for user in (seen.login, seen.real, seen.effective):
                if user.id.isdigit() and not user.name:
                    user.name = name_of(int(user.id))
        return seen

    def _find(self, key: str, found: Finding, source: Input | None) -> None:
        """Record what is remarkable about the evidence itself."""
        self._outcome.findings += 1
        self._listener.said(f"{found.path}: {found.message}")
        sources = [source] if source else []
        line = audit.finding(self._attributor.look, found, key, [item.raw_sha256 for item in sources])
        self._attributor.emit(line, sources)
        self._pending.sightings[key] = ""

    def _item(self, part: Execution) -> Known:
        """Return the execution that a sighting is of."""
        start, new = seconds(part.start), known(part)
        first, last = (start - merge.DESCENT, start + merge.DESCENT) if start is not None else (0.0, 2.0**40)
        near = self._pending.runs(new.words, first, last)
        if start is not None and merge.CUT in part.problems:
            near += [item for item in self._pending.runs("", first, last) if item.whole.pid == part.pid]
        if part.source in WRAPPED:
            near += self._pending.proven(part.identity)
        if found := merge.find(part, near):
            return found
        before = self._pending.execution(new.entity_id)
        if before and all(merge.strangers(part, other) for other in before.parts):  # one of them lies
            new = known(part, apart=True)
            before = self._pending.execution(new.entity_id)
        return before or new

    def _record(self, entry: Changed) -> None:
        item, attributor = entry.item, self._attributor
        self._outcome.executions += not item.record_id
        attributor.record(item, entry.keys[0], list(entry.sources.values()))
        self._pending.sightings |= dict.fromkeys(entry.keys, item.entity_id)

    def _contents(self, sightings: list[Sighting]) -> dict[str, Input]:
        """Copy the evidence to the spool, one content for each log; return them by the log's path."""
        raw: defaultdict[str, list[bytes]] = defaultdict(list)
        for _, evidence in sightings:
            if evidence.raw:
                raw[_log(evidence)].append(evidence.raw if evidence.raw.endswith(b"\n") else evidence.raw + b"\n")
        found = {}
        for path, pieces in raw.items():
            content = BufferedReader(BytesIO(b"".join(pieces)))
            copy = intake.copy(content, self._state.spool, self._settings["intake.max_bytes"])
            found[path] = item = Input(
                copy.raw_sha256,
                copy.raw_bytes,
                copy.stored_sha256,
                copy.stored_bytes,
                audit.clean(path) or str(self._settings["audit.spool"]),
                timestamp(),
                state="read",
                kind=KIND,
            )
            self._pending.inputs.append(item)
        return found


def _key(evidence: Evidence, identity: str) -> str:
    if isinstance(evidence, Finding):
        return audit.finding_id(evidence)
    return audit.event_id(evidence.source, evidence.host, identity)


def _log(evidence: Evidence) -> str:
    return evidence.path if isinstance(evidence, Finding) else evidence.log_path
