"""Reading an archive's evidence again, just as it was read, to learn how far each scan is sealed."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from forwarder import durable, intake, reading, rebuild, recollect
from forwarder.archive import records
from forwarder.archive.interface import Archive
from forwarder.config import Settings
from forwarder.errors import InputError
from forwarder.ledger import XML, Ledger, Scan
from forwarder.nmap.survey import Survey
from forwarder.seal.manifest import Evidence, evidence_name
from forwarder.state import State


def inputs(ledger: Ledger, state: State, settings: Settings) -> int:
    """Fill a ledger's scans and assets from the archive; return how many inputs are left for the next run.

    Inputs are read one after the other, so that only the last one of the newest batch may be sealed in part. Of
    evidence that only its hash is kept of, nothing is learned.

    Args:
        ledger: knows the archive's batches and inputs.
        state: has the archive and the spool; and the ledger before, whose inputs that are still to be read are kept.
        settings: what records look like.

    Raises:
        IntegrityError: the archive does not have a batch as it was sealed.
    """
    recollect.catch_up(ledger, state.archive)
    again = 0
    newest: Evidence | None = None
    seen: dict[str, Evidence] = {}
    for manifest in records.batches(state.archive):
        scans = [item for item in manifest.evidence if item.kind == XML]  # what audit logs say, records tell whole
        newest = scans[-1] if scans else newest
        seen |= {item.raw_sha256: item for item in scans}
    for item in seen.values():
        if item.stored_sha256 and item is not newest:
            copy = _fetch(state, item)
            _read(ledger, state, settings, item.raw_sha256, _whole(ledger, state.archive))
            copy.unlink()
    if newest and newest.stored_sha256:
        again += _read_newest(ledger, state, settings, newest)
    else:
        rebuild.catch_up(ledger, state.archive)
    for left in (*state.ledger.inputs("spooled"), *state.ledger.inputs("rejected")):
        if ledger.input(left.raw_sha256) is None:
            ledger.add_input(left)
            again += left.state == "spooled"
    return again


def _whole(ledger: Ledger, archive: Archive) -> reading.Sink:
    """Return what takes the scans of an input of which all records are sealed: only how far they go is wanted."""

    def earlier(scan: Scan) -> intake.Utf8 | None:
        before = ledger.input(scan.raw_sha256)
        key = evidence_name(before.stored_sha256) if before and before.stored_sha256 else ""
        return intake.Utf8(archive.open(key)) if key else None

    return reading.Sink(
        lambda _: False,
        ledger.set_scan,
        ledger.scan,
        lambda: False,
        lambda: None,
        earlier,
        lambda *_: None,
        lambda _: None,
        lambda *_: iter(()),
    )


class _UnsealedError(Exception):
    """A record comes that the log does not have: reading is to go on here."""


def _read_newest(ledger: Ledger, state: State, settings: Settings, item: Evidence) -> bool:
    """Read the last input; tell whether some of its records are not sealed.

    That needs the hosts as they were known before it, for its records tell what changed.
    """
    copy = _fetch(state, item)
    begun = dict(_begun(ledger, copy))

    def of_it(record: dict[str, Any]) -> bool:
        nmap = record["nmap"]
        first = begun.get(nmap.get("scan", {}).get("id", ""))
        return first is not None and nmap.get("host", {}).get("ordinal", first) >= first

    rebuild.catch_up(ledger, state.archive, leave=of_it)
    with closing(sqlite3.connect("")) as table:  # on disk, for there may be many
        table.execute("CREATE TABLE sealed (id TEXT PRIMARY KEY) WITHOUT ROWID")
        for manifest in records.batches(state.archive):
            if item.raw_sha256 in {evidence.raw_sha256 for evidence in manifest.evidence}:
                rows = ((_id(line),) for line in records.lines(state.archive, manifest))
                table.executemany("INSERT OR IGNORE INTO sealed VALUES (?)", rows)

        def add(line: bytes) -> bool:
            if not table.execute("SELECT 1 FROM sealed WHERE id = ?", (_id(line),)).fetchone():
                raise _UnsealedError
            return True  # so that progress is told before each record

        sink = replace(
            _whole(ledger, state.archive),
            add=add,
            is_full=lambda: True,
            asset=ledger.assets.get,
            observed=lambda asset: ledger.assets.put([asset]),
            up=ledger.assets.up,
        )
        try:
            _read(ledger, state, settings, item.raw_sha256, sink)
        except _UnsealedError:
            ledger.finish_input(item.raw_sha256, "spooled")
            return True
    copy.unlink()
    return False


def _id(line: bytes) -> str:
    """Return event.id of a record."""
    return str(orjson.loads(line)["event"]["id"])


def _begun(ledger: Ledger, copy: Path) -> Iterator[tuple[str, int]]:
    """Yield (id, first host that an input brings) of the scans in it that were not sealed whole before."""
    with closing(intake.Utf8(copy)) as stream:
        for document in Survey(stream):
            for scan_id in {document.scan_id, document.sha256}:
                known = ledger.scan(scan_id)
                if not (known and known.record_id and known.length >= document.length):
                    yield scan_id, known.next_host if known else 0


def _read(ledger: Ledger, state: State, settings: Settings, raw_sha256: str, sink: reading.Sink) -> None:
    """Read an input of the archive from its copy in the spool."""
    item = ledger.input(raw_sha256)
    assert item is not None
    unsealed = False
    with ledger.transaction():
        try:
            reading.read_input(item, intake.spooled(state.spool, raw_sha256), settings, sink, lambda _: None)
        except InputError:
            ledger.finish_input(raw_sha256, "rejected", "it holds no scan")
        except _UnsealedError:
            unsealed = True  # how far it goes is kept all the same
    if unsealed:
        raise _UnsealedError


def _fetch(state: State, item: Evidence) -> Path:
    """Copy evidence to the spool, durably."""
    target = intake.spooled(state.spool, item.raw_sha256)
    part = target.with_name(target.name + durable.PART)
    with state.archive.open(item.name) as source, part.open("wb") as out:
        shutil.copyfileobj(source, out, intake.CHUNK)
    durable.sync_file(part)
    durable.commit(part, target)
    return target
