"""From one input in the spool to its records: which scans it holds, what of them is new, and how far we are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

from forwarder.attribute.model import Subject, seconds
from forwarder.attribute.words import written
from forwarder.config import Settings
from forwarder.config.policy import DEFAULTS
from forwarder.ecs import changes, scans
from forwarder.ecs.context import Attributed, Context, Options, Origin
from forwarder.ecs.hosts import HostMapper
from forwarder.ecs.tally import Tally
from forwarder.ecs.usual import Lines
from forwarder.errors import InputError
from forwarder.history import Asset, Change, gone
from forwarder.intake import Utf8
from forwarder.ledger import Input, Scan
from forwarder.nmap.command import asked
from forwarder.nmap.reader import VERSION, Reader
from forwarder.nmap.survey import Document, Survey
from forwarder.nmap.targets import Range

CHUNK: Final = 1 << 20
MAX_NOTES: Final = 20
"""Notes kept of one input, a screenful; the others are counted, so that a million damaged hosts cost no memory."""


@dataclass(slots=True)
class Notes:
    """What is worth a word, a line each."""

    lines: list[str] = field(default_factory=list)
    """The first MAX_NOTES."""
    more: int = 0
    """How many there are beyond them."""

    def add(self, line: str) -> None:
        """Add one."""
        if len(self.lines) < MAX_NOTES:
            self.lines.append(line)
        else:
            self.more += 1

    def about(self, document: Document) -> None:
        """Add what is wrong with a scan."""
        for what, why in (("incomplete", document.cut), ("damaged", document.run.damage)):
            if why:
                self.add(f"{what} scan: {why}")

    def of(self, path: str) -> Iterator[str]:
        """Yield the notes with the file that they are about."""
        for line in self.lines:
            yield f"{path}: {line}"
        if self.more:
            yield f"{path}: and {self.more} more notes"


@dataclass(slots=True)
class Result:
    """What reading an input came to."""

    scans: int = 0
    hosts: int = 0
    records: int = 0
    notes: Notes = field(default_factory=Notes)
    refused: list[str] = field(default_factory=list)
    """What was not read, a line each."""


@dataclass(frozen=True, slots=True)
class Sink:
    """Where records and progress go."""

    add: Callable[[bytes], bool]
    """Takes one record; tells whether the batch must be cut before the next."""
    progress: Callable[[Scan], object]
    """Takes how far a scan has come; called before a batch can be cut, too."""
    known: Callable[[str], Scan | None]
    """Gives how far a scan had come."""
    is_full: Callable[[], bool]
    """Tells whether the batch must be cut before the next record."""
    seal: Callable[[], object]
    """Cuts it."""
    earlier: Callable[[Scan], Utf8 | None]
    """Opens the evidence that a scan was read from before, as UTF-8; None where it is not kept."""
    asset: Callable[[str, str], Asset | None]
    """Gives the asset of a vantage point and host.id."""
    observed: Callable[[Asset], object]
    """Takes an asset as it is known now."""
    up: Callable[[str, Range, str, str], Iterator[Asset]]
    """Yields the assets of a vantage point in a range of addresses that were up for another scan, before a time."""
    attribute: Callable[[Subject], Attributed] = lambda _: Attributed()
    """Gives who made a scan, as its records are to say it."""
    claim: Callable[[Subject, str, bytes], object] = lambda *_: None
    """Takes a scan whose record was added: its event.id and line."""
    add_all: Callable[[bytes, int], bool] = lambda *_: False
    """Takes all records of a host at once, as usual.Lines has them, where the batch need not be cut between them; tells
    whether it did."""


def options(settings: Settings) -> Options:
    """Return what the settings say about records."""
    return Options(
        namespace=settings["namespace"],
        observer=settings["observer.name"],
        observer_ip=settings["observer.ip"],
        vantage=settings["scan.vantage"],
        networks=settings["target.networks"],
        owners=settings["target.owners"],
        all_ports=settings["records.ports"] == "all",
        os_accuracy=settings["records.os_accuracy"],
        mask=settings["audit.mask"],
        policy={name: settings[name] for name in DEFAULTS},
    )


def read_input(source: Input, copy: Path, settings: Settings, sink: Sink, seen: Callable[[int], object]) -> Result:
    """Read an input's copy and hand over its new records.

    Args:
        source: the input.
        copy: its copy in the spool.
        settings: what records look like.
        sink: where they go.
        seen: called with numbers of bytes that were read.

    Raises:
        InputError: there is no scan in it.
    """
    result = Result()
    path = "" if source.path == "-" else source.path
    origin = Origin(path, source.raw_sha256, source.raw_bytes, source.mtime, source.uid, source.owner)
    found, look = 0, options(settings)
    # The survey runs one document ahead of the reader, each over its own stream of the same copy.
    with closing(Utf8(copy)) as ahead, closing(Utf8(copy)) as behind:
        survey = Survey(ahead, lambda scan_id: scan.prefix_length if (scan := sink.known(scan_id)) else None)
        reader = Reader(_Counted(behind, seen))
        for document in survey:
            found += 1
            _read_document(document, reader, origin, look, sink, result)
        if survey.refused:
            line = f"the document type before byte {survey.refused_at} declares entities; nmap never does: refused"
            if not found:
                raise InputError(line, "write the scan again without them if it is yours")
            result.refused.append(line)
        if survey.external:
            result.notes.add(f"its document type names {survey.external}, which was not fetched")
        if not found:
            what = "; ".join(filter(None, (source.note, _what(survey.root))))
            raise InputError(what, "give files written by nmap -oX or -oA")
    if source.note:
        result.notes.add(source.note)
    return result


def _what(root: str) -> str:
    return f"not nmap XML: its first element is <{root[:60]}>, not <nmaprun>" if root else "not XML: no element in it"


class _Counted:
    """A stream that tells how much of it was read."""

    def __init__(self, stream: Utf8, seen: Callable[[int], object]) -> None:
        self._stream, self._seen = stream, seen

    def read(self, size: int, /) -> bytes:
        """Read on."""
        data = self._stream.read(size)
        self._seen(len(data))
        return data


def _read_document(
    document: Document, reader: Reader, origin: Origin, look: Options, sink: Sink, result: Result
) -> None:
    """Hand over what is new in one document."""
    known = sink.known(document.scan_id)
    diverges_from = ""
    if known and not _continues(document, known, sink):
        diverges_from, document.scan_id = document.scan_id, document.sha256
        known = sink.known(document.scan_id)
        result.notes.add(f"begins like scan {diverges_from[:16]}… but differs from it; kept as a scan of its own")
    result.notes.about(document)
    if known and _all_sealed(document, known):
        return
    subject = _subject(document, origin)
    context = Context(document, origin, look, document.scan_id, sink.attribute(subject))
    tally = Tally(known.tally if known else None)
    first, skip = (known.next_host, known.skip) if known else (0, 0)

    def progress(next_host: int, skipped: int, totals: dict[str, object], record_id: str, length: int) -> None:
        sink.progress(
            Scan(
                document.scan_id,
                origin.sha256,
                document.start,
                next_host,
                skipped,
                document.prefix_length,
                document.prefix_sha256,
                totals,
                record_id,
                length,
                VERSION,
            )
        )

    sealed_id, sealed_length = (known.record_id, known.length) if known else ("", 0)
    vantage = look.vantage
    mapper = HostMapper(context, tally, lambda host_id: sink.asset(vantage, host_id))
    before = tally.dump()
    for host in reader.hosts(document, first):
        at = partial(progress, host.ordinal, totals=before, record_id=sealed_id, length=sealed_length)
        result.records += _add(mapper.records(host), skip, sink, at)
        skip = 0
        for asset in mapper.observed:
            sink.observed(asset)
        before = tally.dump()
        progress(host.ordinal + 1, 0, before, sealed_id, sealed_length)
        result.hosts += 1
        if host.damage:
            name = host.head.get("address", [{}])[0].get("addr", "")
            result.notes.add(f"host {host.ordinal} {name} is damaged and was repaired: {host.damage}")
    for asset, change in _absent(document, context, sink):
        if sink.is_full():
            sink.seal()
        source, facts = context.time["source"], changes.host_facts(asset)
        sink.add(changes.record(context, change, context.time["value"], source, facts))
        sink.observed(asset)
        result.records += 1
    if sink.is_full():
        sink.seal()
    identity, line = scans.record(context, tally, sealed_id, diverges_from)
    sink.add(line)
    progress(document.hosts, 0, before, identity, document.length)
    sink.claim(subject, identity, line)
    result.records += 1
    result.scans += 1


def _add(lines: Iterable[bytes], skip: int, sink: Sink, progress: Callable[[int], object]) -> int:
    """Hand over a host's records but the first that were sealed before; return how many.

    Args:
        lines: the records; those that are together go over so if no batch ends between them.
        skip: how many were sealed before.
        sink: where they go.
        progress: takes how many records of the host come before those of another batch.
    """
    if isinstance(lines, Lines) and not skip and sink.add_all(lines.data, lines.count):
        return lines.count
    add, full, count = sink.add, sink.is_full(), 0
    for count, line in enumerate(lines, 1):
        if count <= skip:
            continue
        if full:
            progress(count - 1)
            sink.seal()
        full = add(line)
    return max(0, count - skip)


def _subject(document: Document, origin: Origin) -> Subject:
    """Return what tells who made a scan."""
    facts = document.run.facts
    return Subject(
        document.scan_id,
        written(facts.get("args", "")),
        seconds(facts.get("start", "")),
        seconds(facts.get("finish", "")),
        origin.sha256,
        str(Path(origin.path).absolute()) if origin.path else "",
        origin.uid,
    )


def _absent(document: Document, context: Context, sink: Sink) -> Iterator[tuple[Asset, Change]]:
    """Yield the assets that a scan asked for and that did not answer it; nmap does not list them."""
    facts = document.run.facts
    start = facts.get("start", "")
    if document.cut or facts.get("exit") != "success" or not start:
        return
    for addresses in asked(facts.get("args", "")):
        for asset in sink.up(context.options.vantage, addresses, context.scan_id, start):
            if asset.scan_id != context.scan_id and asset.time < start:
                yield gone(asset, context.time["value"], context.scan_id)


def _all_sealed(document: Document, known: Scan) -> bool:
    """Tell whether a document has nothing that is not sealed; a cut one without another host says nothing new."""
    longer = not document.cut and document.length > known.length
    return bool(known.record_id) and known.next_host >= document.hosts and not longer


def _continues(document: Document, known: Scan, sink: Sink) -> bool:
    """Tell whether a document and what we know of the scan of that id agree as far as both go."""
    if document.prefix_length >= known.prefix_length:
        return document.known_prefix_sha256 == known.prefix_sha256
    earlier = sink.earlier(known)
    if earlier is None:  # hash-only evidence: nothing to compare with, so only a shorter copy is assumed
        return True
    with closing(earlier):
        return _digest(earlier, known.start, document.prefix_length) == document.prefix_sha256


def _digest(stream: Utf8, start: int, length: int) -> str:
    """Return the SHA-256 of a part of a stream, hex."""
    state, position = sha256(), 0
    while position < start + length and (data := stream.read(CHUNK)):
        part = data[max(0, start - position) : max(0, start + length - position)]
        state.update(part)
        position += len(data)
    return state.hexdigest()
