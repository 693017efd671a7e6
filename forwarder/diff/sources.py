"""Where a side comes from: an XML file, standard input, or the records of a sealed scan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from forwarder import intake
from forwarder.archive import records
from forwarder.archive.interface import Archive
from forwarder.diff import facts
from forwarder.diff.side import Side
from forwarder.ecs.ports import PortTally, Scanned
from forwarder.errors import InputError, UsageError
from forwarder.nmap.reader import Host, Reader
from forwarder.nmap.survey import Document, Survey

Advance = Callable[[int], object]
ABOUT = ("args", "version", "start")


def of_file(path: str, limit: int, advance: Advance) -> Side:
    """Read nmap XML, in any compression and encoding that `forward` takes; of several scans in it the last.

    Args:
        path: the file, `-` for standard input.
        limit: largest content in bytes.
        advance: called with 1 for each host.

    Raises:
        InputError: there is no scan in it.
        TemporaryError: reading it failed on the way.
    """
    side = Side("standard input" if path == intake.STDIN else path)
    try:
        # A copy, since it is read twice: framed for the last scan in it and that scan's end, then for its hosts.
        with TemporaryDirectory(prefix="nmap-forwarder-") as place, intake.open_input(path) as source:
            if not intake.is_xml(source, named=True):
                raise InputError("not XML, or empty", "give files written by nmap -oX or -oA")
            copied = intake.copy(source, Path(place), limit)
            if copied.note:
                side.notes.append(copied.note)
            copy = intake.spooled(Path(place), copied.raw_sha256)
            document = _last(copy, side)
            with closing(intake.Utf8(copy)) as stream:
                _read(document, Reader(stream), side, advance)
    except InputError as error:
        raise InputError(f"{side.name}: {error.what}", error.hint) from error
    return side


def _last(copy: Path, side: Side) -> Document:
    """Return the last scan of an input: with --append-output, that is the newest."""
    document, count = None, 0
    with closing(intake.Utf8(copy)) as stream:
        survey = Survey(stream)
        for count, document in enumerate(survey, 1):  # noqa: B007 - the last one is wanted
            pass
    if survey.refused:
        side.notes.append("a document in it declares entities, which nmap never does; it was passed over")
    if document is None:
        reason = side.notes.pop() if survey.refused else f"no nmap scan in it (it begins with <{survey.root[:60]}>)"
        raise InputError(reason, "give files written by nmap -oX or -oA")
    if count > 1:
        side.notes.append(f"{count} scans in one file: the last one is compared")
    if document.cut:
        side.notes.append(f"incomplete scan: {document.cut}")
    return document


def _read(document: Document, reader: Reader, side: Side, advance: Advance) -> None:
    run = document.run
    side.about = {"scan_id": document.scan_id} | {name: run.facts[name] for name in ABOUT if name in run.facts}
    if "finish" in run.facts:
        side.about["end"] = run.facts["finish"]
    side.about["complete"] = not document.cut
    side.scripts = facts.of_scripts(run.scripts())
    scanned = Scanned(run.facts.get("info", []))
    side.scanned = scanned.entries
    damaged = 0
    for host in reader.hosts(document):
        found = _host(host, scanned)
        side.hosts.put(facts.address(found), found)
        damaged += bool(host.damage)
        advance(1)
    if damaged:
        side.notes.append(f"{damaged} hosts are damaged and were repaired")


def _host(host: Host, scanned: Scanned) -> facts.Facts:
    tally, ports = PortTally(), []
    for port in host.ports():
        tally.add(port)
        ports.append(port)
    body = host.body()
    groups = tally.summary(body.get("extra_ports", []), scanned).get("group", [])
    return facts.of_host(body, body.get("script", {}), ports, groups, scanned.entries)


def of_scan(prefix: str, archives: Iterable[Archive], place: str, advance: Advance) -> Side:
    """Read a sealed scan from its records.

    Its evidence would say more (closed ports one by one), but may hold other scans too, need not be kept at all, and
    would have to be read anew; the records are always there, and what is compared is all in them.

    Args:
        prefix: the beginning of its nmap.scan.id, or all of it.
        archives: logs to look in; the first that has it counts.
        place: where these are, as people are told.
        advance: called with 1 for each batch.

    Raises:
        UsageError: no scan begins so, or several do.
        IntegrityError: a batch is not what was sealed.
    """
    side = Side(f"scan:{prefix}")
    for archive in archives:
        found = _Found(prefix, side)
        for batch in records.batches(archive):
            for line in records.lines(archive, batch):
                found.add(line)
            advance(1)
        if found.scans:
            return found.finish()
    raise UsageError(f"no scan in {place} has an nmap.scan.id that begins with {prefix}", "sealed scans are compared")


class _Found:
    """Gathers the records of one scan while those of a log go by."""

    def __init__(self, prefix: str, side: Side) -> None:
        self._prefix = prefix
        self._mark = f'"id":"{prefix}'.encode()
        self._side = side
        self._ordinal = -1
        self._ports: list[dict[str, Any]] = []
        self._truncated = 0
        self.scans: set[str] = set()

    def add(self, line: bytes) -> None:
        """Take one record, of whatever scan."""
        if self._mark not in line:  # canonical JSON; it saves reading the records of all other scans
            return
        record = orjson.loads(line)
        nmap, dataset = record["nmap"], record["event"]["dataset"]
        scan_id = nmap.get("scan", {}).get("id", "")
        if not scan_id.startswith(self._prefix):
            return
        self.scans.add(scan_id)
        if len(self.scans) > 1:
            ids = " and ".join(sorted(self.scans))
            raise UsageError(f"scan:{self._prefix} is the beginning of {ids}", "give more of it")
        self._truncated += "truncated" in nmap
        if dataset == "nmap.port":
            self._port(nmap)
        elif dataset == "nmap.host":
            self._host(nmap)
        elif dataset == "nmap.scan":
            self._scan(nmap["scan"], nmap.get("script", {}))

    def _of(self, nmap: dict[str, Any]) -> None:
        """Forget the ports of a host that was cut."""
        if nmap["host"]["ordinal"] != self._ordinal:
            self._ordinal, self._ports = nmap["host"]["ordinal"], []

    def _port(self, nmap: dict[str, Any]) -> None:
        self._of(nmap)
        if not nmap["port"].get("tombstone"):  # which tells of an earlier scan
            self._ports.append(nmap["port"] | {"script": nmap.get("script", {})})

    def _host(self, nmap: dict[str, Any]) -> None:
        self._of(nmap)
        body = nmap["host"]
        summary = body.get("port", {})
        scanned = summary.get("scanned", [])
        found = facts.of_host(body, nmap.get("script", {}), self._ports, summary.get("group", []), scanned)
        self._side.hosts.put(facts.address(found), found)
        self._side.scanned = scanned or self._side.scanned
        self._ordinal = -1

    def _scan(self, scan: dict[str, Any], script: dict[str, Any]) -> None:
        """Take a scan record; one that grew has several, and the last is sealed last."""
        side = self._side
        side.about = {name: scan[name] for name in ABOUT if name in scan} | {"complete": scan["complete"]}
        if "finish" in scan:
            side.about["end"] = scan["finish"]
        side.scripts = facts.of_scripts(script)

    def finish(self) -> Side:
        """Return what was gathered."""
        (scan_id,) = self.scans
        side = self._side
        side.about = {"scan_id": scan_id, "complete": False} | side.about
        if not side.about["complete"]:
            side.notes.append("incomplete scan")
        if self._truncated:
            side.notes.append(f"{self._truncated} records were too large to be whole; the evidence has all of them")
        return side
