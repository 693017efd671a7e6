"""What is fuzzed: the whole way from bytes to records, and what must hold of it whatever the bytes are.

Each target takes bytes and raises AssertionError, or whatever error it finds. They need no fuzzer: test_corpus.py gives
them the kept inputs, test_properties.py those that Hypothesis makes, and run.py those of atheris.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import rfc8785

from forwarder import intake, reading
from forwarder.assets import _row
from forwarder.config import Settings
from forwarder.ecs import check
from forwarder.ecs.hosts import HostMapper
from forwarder.errors import InputError
from forwarder.ledger import Input, Scan
from forwarder.nmap import framing, salvage
from forwarder.seal.manifest import MAX_RECORD_BYTES

LIMIT = 1 << 26
"""Bytes of an input, decompressed; a compressed one may be a bomb."""
SETTINGS = Settings({"observer_name": "scanner1"}, environment={"NMAP_FORWARDER_CONFIG": "/dev/null"})
OF_A_HOST = {"nmap.host", "nmap.port", "nmap.vulnerability"}
SIZES = (
    (framing.SPLIT, framing.LIMIT, framing.CHUNK, salvage.LARGE),
    (300, 2000, 1 << 20, 900),
    (60, 400, 7, 200),
    (1, 120, 64, 100),
)
"""SPLIT, LIMIT, CHUNK, LARGE: as they are, and so small that a small input is a large one."""


class Forwarded:
    """What the pipeline does with inputs, but for batches and ledger, which are kept in memory."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._inputs: dict[str, Path] = {}
        self._scans: dict[str, Scan] = {}
        self._assets: dict = {}
        self.lines: list[bytes] = []
        """All records, in order."""

    def read(self, data: bytes) -> int:
        """Forward an input; return how many records it gave. Only InputError is raised, by what is no scan."""
        before = len(self.lines)
        copy = intake.copy(io.BufferedReader(io.BytesIO(data)), self._spool, LIMIT)
        path = self._inputs[copy.raw_sha256] = intake.spooled(self._spool, copy.raw_sha256)
        source = Input(
            copy.raw_sha256,
            copy.raw_bytes,
            copy.stored_sha256,
            copy.stored_bytes,
            "x.xml",
            "2026-01-01T00:00:00.000Z",
            "spooled",
        )
        sink = reading.Sink(
            self.lines.append,
            lambda scan: self._scans.__setitem__(scan.scan_id, scan),
            self._scans.get,
            lambda: False,
            lambda: None,
            lambda scan: intake.Utf8(self._inputs[scan.raw_sha256]),
            lambda vantage, host_id: self._assets.get((vantage, host_id)),
            lambda asset: self._assets.__setitem__((asset.vantage, asset.host_id), asset),
            lambda *_: iter(()),
        )
        reading.read_input(source, path, SETTINGS, sink, lambda _: None)
        return len(self.lines) - before

    def records(self) -> list[dict]:
        return [json.loads(line) for line in self.lines]

    def assets(self) -> list[tuple]:
        rows = map(_row, self._assets.values())
        return [(*row[:-2], json.loads(row[-2])) for row in rows]

    def ids(self, *, of_hosts: bool = False) -> list[str]:
        events = [record["event"] for record in self.records()]
        return [event["id"] for event in events if not of_hosts or event["dataset"] in OF_A_HOST]


def forwarded(*inputs: bytes) -> Forwarded:
    """Forward inputs one after the other, and look at the records; those that are no scan give none."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        found = Forwarded(Path(name))
        for data in inputs:
            try:
                found.read(data)
            except InputError:
                continue
    for line in found.lines:
        judge(line)
    assert len(set(found.ids())) == len(found.lines)
    return found


@lru_cache(maxsize=500)
def judge(line: bytes) -> None:
    """What must hold of any record; one input is forwarded several times, and gives the same ones."""
    record = json.loads(line)
    assert len(line) <= MAX_RECORD_BYTES
    assert b"\n" not in line
    assert rfc8785.dumps(record) == line
    assert not check.problems(record)


def scan(data: bytes) -> None:
    """Any bytes: only our own errors, canonical records, ids that stay when the file is read again, cut or grown."""
    once = forwarded(data)
    assert forwarded(data, data).lines == once.lines
    grown = forwarded(data[: len(data) // 2], data)
    parts = [record["nmap"]["scan"] for record in grown.records() if record["event"]["dataset"] == "nmap.scan"]
    # What hid an end, as a comment does, may itself be cut: then the whole is said to be another scan.
    if not any("diverges_from" in part for part in parts):
        assert set(once.ids(of_hosts=True)) <= set(grown.ids())


def small(data: bytes) -> None:
    """Like `scan`, and the same records whatever the sizes at which a host is read in parts."""
    if not data:
        return
    split, limit, chunk, large = SIZES[data[0] % len(SIZES)]
    with_sizes(split, limit, chunk, large, lambda: scan(data[1:]))


def with_sizes(split: int, limit: int, chunk: int, large: int, run: Callable[[], object]) -> None:
    """Run something with other sizes."""
    kept = framing.SPLIT, framing.LIMIT, framing.CHUNK, salvage.LARGE
    framing.SPLIT, framing.LIMIT, framing.CHUNK, salvage.LARGE = split, limit, chunk, large  # type: ignore[misc]
    try:
        run()
    finally:
        framing.SPLIT, framing.LIMIT, framing.CHUNK, salvage.LARGE = kept  # type: ignore[misc]


START = (
    b'<?xml version="1.0"?>\n<!DOCTYPE nmaprun>\n<nmaprun scanner="nmap" args="nmap 192.0.2.0/24" start="1700000000" '
    b'version="7.95">\n<scaninfo type="syn" protocol="tcp" numservices="3" services="1-3"/>\n'
)
END = b'<runstats><finished time="1700000100" exit="success"/></runstats>\n</nmaprun>\n'
HOSTS = [
    b'<host starttime="1700000001" endtime="1700000002"><status state="up"/><address addr="192.0.2.%d" addrtype="ipv4"/>'
    b'<ports><port protocol="tcp" portid="%d"><state state="open"/><script id="s" output="x"/></port></ports></host>\n'
    % (n, n)
    for n in range(1, 6)
]


def hosts(data: bytes) -> None:
    """A scan with anything in one of its hosts, or before, between or behind them: all the others are in the records.

    The first byte says where, the second how much of what is there goes; the rest is put there.
    """
    if len(data) < 3 or b"<!ENTITY" in data:  # a scan that declares entities is refused as a whole
        return
    place, gone, put = data[0] % 7, data[1], data[2:]
    parts = [START, *HOSTS, END]
    middle = len(parts[place]) // 2
    parts[place] = parts[place][:middle] + put + parts[place][middle + gone :]
    found = {
        address
        for record in forwarded(b"".join(parts)).records()
        if record["event"]["dataset"] == "nmap.host"
        for address in record["host"].get("ip", ())
    }
    for n in {1, 2, 3, 4, 5} - {place}:
        assert f"192.0.2.{n}" in found, f"host {n}"


def alike(data: bytes) -> None:
    """The same records, and the same assets, from compiled code and from Python."""
    compiled = forwarded(data)
    made, HostMapper._made = HostMapper._made, lambda *_: None  # type: ignore[method-assign]
    try:
        python = forwarded(data)
    finally:
        HostMapper._made = made  # type: ignore[method-assign]
    assert compiled.lines == python.lines
    assert compiled.assets() == python.assets()


TARGETS: dict[str, Callable[[bytes], None]] = {"scan": scan, "small": small, "hosts": hosts, "alike": alike}
