"""Gathers records into batches, and seals each together with the progress that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from forwarder import __version__, elastic, outbox, verdicts
from forwarder.config import Settings
from forwarder.ecs import seals
from forwarder.history import NETWORK, Asset
from forwarder.ledger import Batch, Input, Scan
from forwarder.nmap.targets import Range
from forwarder.pending import Pending
from forwarder.reading import options
from forwarder.seal.keychange import KeyChange
from forwarder.seal.manifest import MAX_EVIDENCE, NO_PREVIOUS, Evidence, Manifest, Records, manifest_name, timestamp
from forwarder.seal.merkle import EMPTY
from forwarder.state import REMEMBERED, State

MAX_TOLD: Final = 1000
"""Anchors that one batch tells of; after an outage the next ones tell of more."""
SOFTWARE: Final = f"nmap-forwarder/{__version__}"


class Batcher:
    """The batch that is being filled.

    What a scan's records stand for (`progress`, `finish`) is remembered by the ledger in the same transaction that
    promises the batch; so after a crash, reading goes on exactly behind the last promised record.

    Args:
        state: the open state directory.
        settings: evidence rule and heartbeat.
        anchor: called after each seal; puts sealed batches into the archive.
    """

    def __init__(self, state: State, settings: Settings, anchor: Callable[[], object]) -> None:
        self._state = state
        self._settings = settings
        self._anchor = anchor
        last = state.ledger.last_batch()
        self.sequence = last.sequence + 1 if last else 0
        """Of the batch that is being filled."""
        self._previous = last.manifest_sha256 if last else NO_PREVIOUS
        self._last_created = last.created if last else ""
        self._first_record = last.first_record + last.records if last else 0
        self._writer: outbox.RecordWriter | None = None
        self._evidence: dict[str, Evidence] = {}
        self._scans: dict[str, Scan] = {}
        self._assets: dict[tuple[str, str], Asset] = {}
        self._networks: dict[tuple[str, str], Asset] = {}
        self._finished: list[str] = []
        self._told: list[int] = []
        self._verdicts: list[Path] = []
        self.pending = Pending(state.ledger)
        """Executions, and who made which scan."""

    @property
    def full(self) -> bool:
        """Tell whether the batch has to be cut before the next record."""
        return bool(self._writer and self._writer.full)

    def add(self, source: Input, line: bytes) -> bool:
        """Add a record that was made from an input; tell whether the batch has to be cut before the next."""
        return self.add_from([source], line)

    def add_from(self, sources: Sequence[Input], line: bytes) -> bool:
        """Add a record that was made from some inputs, or from what is sealed already."""
        new = {source.raw_sha256: source for source in sources if source.raw_sha256 not in self._evidence}
        if new:
            if len(self._evidence) + len(new) > MAX_EVIDENCE:
                self.seal()
                new = {source.raw_sha256: source for source in sources}
            self._evidence |= {raw_sha256: self._reference(source) for raw_sha256, source in new.items()}
        return (self._writer or self._begin()).add(line)

    def add_all(self, source: Input, data: bytes, count: int) -> bool:
        """Add more records of an input that the batch has some of, if there is room for all; tell whether there was."""
        return self._writer is not None and source.raw_sha256 in self._evidence and self._writer.add_all(data, count)

    def _tell(self, writer: outbox.RecordWriter) -> None:
        """Begin a batch with what is to be told of the anchors of those before; it is never made for that alone."""
        look = options(self._settings)
        for file, verdict in verdicts.left(self._state.directory / REMEMBERED):
            for line in seals.verification(look, verdict, self.sequence):
                writer.add(line)
            self._verdicts.append(file)
        for sequence, time in self._state.ledger.receipts.untold(MAX_TOLD):
            batch, receipt = self._state.ledger.batch(sequence), self._state.ledger.receipts.of(manifest_name(sequence))
            if batch and receipt:
                writer.add(
                    seals.record(look, self._state.origin, batch, self._state.ledger.root(sequence + 1), receipt, time)
                )
            self._told.append(sequence)

    def _reference(self, source: Input) -> Evidence:
        if self._settings["privacy.evidence"] == "hash-only":
            return Evidence(source.kind, "hash-only", source.raw_bytes, source.raw_sha256)
        return Evidence(
            source.kind, "full", source.raw_bytes, source.raw_sha256, source.stored_bytes, source.stored_sha256
        )

    def progress(self, scan: Scan) -> None:
        """Say how far a scan has come with the records added so far."""
        self._scans[scan.scan_id] = scan

    def scan(self, scan_id: str) -> Scan | None:
        """Return how far a scan has come, sealed or about to be."""
        return self._scans.get(scan_id) or self._state.ledger.scan(scan_id)

    def asset(self, vantage: str, host_id: str) -> Asset | None:
        """Return a host, or a network, as it was seen last."""
        key = vantage, host_id
        found = self._assets.get(key) or self._networks.get(key)
        if found is None:
            found = self._state.ledger.assets.get(vantage, host_id)
            if found and host_id.startswith(NETWORK):  # it is asked for with each of its hosts, and never changes
                self._networks = {key: found}
        return found

    def observed(self, asset: Asset) -> None:
        """Say how a host is known with the records added so far."""
        self._assets[asset.vantage, asset.host_id] = asset

    def up(self, vantage: str, addresses: Range, but: str, before: str) -> Iterator[Asset]:
        """Yield the hosts in a range of addresses that were up when another scan saw them last, before a time."""
        told = set()
        for asset in self._state.ledger.assets.up(vantage, addresses, but, before):
            if newer := self._assets.get((vantage, asset.host_id)):
                told.add(asset.host_id)
            if (newer or asset).up:
                yield newer or asset
        low, high = addresses
        for (place, host_id), asset in list(self._assets.items()):
            if place == vantage and asset.up and asset.ip and host_id not in told:
                address = ip_address(asset.ip)
                if address.version == low.version and int(low) <= int(address) <= int(high):
                    yield asset

    def finish(self, source: Input) -> None:
        """Say that all records of an input were added."""
        self._finished.append(source.raw_sha256)
        self.settle()

    def settle(self) -> None:
        """Have what needs no batch remembered, if none is being filled; else its promise does that."""
        if self._writer is None:
            with self._state.ledger.transaction():
                self._remember()

    def tell(self) -> None:
        """Begin a batch if a verification left its result; unlike an anchor, that is worth one of its own."""
        if self._writer is None and any(verdicts.left(self._state.directory / REMEMBERED)):
            self._begin()

    def _begin(self) -> outbox.RecordWriter:
        self._writer = outbox.RecordWriter(self._directory)
        self._tell(self._writer)
        return self._writer

    def seal(self) -> None:
        """Seal what was gathered, if anything, and have it put into the archive."""
        if self._writer is not None:
            records = self._writer.close()
            self._writer = None
            self._seal("records", records)

    def heartbeat(self) -> None:
        """Seal a batch when there was none for as long as the settings say.

        It is empty; where documents are delivered it holds a record, so that those who look there see it, too.
        """
        hours = self._settings["seal.heartbeat_hours"]
        if hours and self._last_created:
            age = datetime.now(UTC) - datetime.fromisoformat(self._last_created)
            if age < timedelta(hours=hours):
                return
            if elastic.configured(self._settings):
                look = options(self._settings)
                self._begin().add(seals.heartbeat(look, self._state.origin, self.sequence, timestamp()))
                self.seal()
            else:
                self._seal("heartbeat", Records(count=0, root=EMPTY.hex()))

    def change_key(self, change: KeyChange) -> None:
        """Seal a change of keys; nothing else may be waiting to be sealed."""
        self._seal("key", Records(count=0, root=EMPTY.hex()), change)

    @property
    def _directory(self) -> Path:
        return outbox.directory_of(self._state.outbox, self.sequence)

    def _seal(self, kind: str, records: Records, change: KeyChange | None = None) -> None:
        state, ledger, size = self._state, self._state.ledger, self.sequence + 1
        manifest = Manifest(
            origin=state.origin,
            sequence=self.sequence,
            previous=self._previous,
            type=kind,
            created=timestamp(),
            software=SOFTWARE,
            first_record=self._first_record,
            records=records,
            evidence=tuple(self._evidence.values()),
            key=change,
        )
        sha256 = outbox.stage(self._directory, manifest, state.spool)
        batch = Batch(self.sequence, sha256, self._first_record, records.count, manifest.created, "intent")
        with ledger.transaction():  # from its end on, the batch is promised
            ledger.add_batch(batch)
            if change:
                ledger.add_log_key(self.sequence, change.new)
            outbox.stage_tiles(self._directory, ledger, size)
            ledger.assets.reflect(size)
            self._remember()
            ledger.receipts.told(self._told)
        outbox.sign(self._directory, ledger, state.keys.signers(size), size)
        ledger.set_batch_state(self.sequence, "sealed")
        self.sequence, self._previous = size, sha256
        self._first_record += records.count
        self._last_created = manifest.created
        for file in self._verdicts:
            file.unlink(missing_ok=True)
        self._evidence, self._told, self._verdicts = {}, [], []
        self._anchor()

    def _remember(self) -> None:
        for scan in self._scans.values():
            self._state.ledger.set_scan(scan)
        self._state.ledger.assets.put(self._assets.values())
        for raw_sha256 in self._finished:
            self._state.ledger.finish_input(raw_sha256, "read")
        self._scans, self._assets, self._finished = {}, {}, []
        self.pending.save()

    def abandon(self) -> None:
        """Throw away what is not sealed; its inputs stay in the spool."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
            self._told, self._verdicts = [], []
