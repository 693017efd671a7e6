"""An archive of many small batches, sealed by the product's own parts but not fsynced, so that it is made quickly.

Usage: archive.py DIRECTORY [BATCHES [RECORDS [KILOBYTES]]]: as many batches, records in each, evidence for each.
"""

from __future__ import annotations

import random
import sys
from hashlib import sha256
from pathlib import Path

import zstandard

from forwarder.keys.file import FileKey
from forwarder.seal import canonical, merkle, tiles
from forwarder.seal.manifest import NO_PREVIOUS, Evidence, Manifest, Records, checkpoint_name, digest
from forwarder.seal.note import Checkpoint

ORIGIN = "example.com/nmap/scanner1"
KEY = FileKey.from_seed(bytes(range(32)), ORIGIN)


class Log:
    """Writes batches and what follows from them.

    Args:
        directory: the archive.
        seed: the same seed gives the same bytes.
    """

    def __init__(self, directory: Path, seed: int = 7) -> None:
        self.directory = directory / ORIGIN
        self._rng = random.Random(seed)
        self._tree = merkle.Frontier()
        self._entries: list[bytes] = []
        self._levels: list[list[bytes]] = []
        self._previous, self._first_record = NO_PREVIOUS, 0
        self._compress = zstandard.ZstdCompressor(level=1, write_checksum=True).compress
        self._made: set[Path] = set()

    def write(self, key: str, data: bytes) -> None:
        """Write an object."""
        path = self.directory / key
        if path.parent not in self._made:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(path.parent)
        path.write_bytes(data)

    def add(self, records: int, kilobytes: int) -> None:
        """Seal a batch with so many records and so much evidence."""
        size = self._tree.size + 1
        moment = f"{2000 + size // 31_536_000:04}-01-{1 + size // 86400 % 28:02}T{size // 3600 % 24:02}"
        moment += f":{size // 60 % 60:02}:{size % 60:02}.000Z"
        batch = Manifest(
            ORIGIN,
            size - 1,
            self._previous,
            "records" if records else "heartbeat",
            moment,
            "benchmark",
            self._first_record,
            self._records(records, moment),
            (self._evidence(kilobytes),) if records and kilobytes else (),
        )
        data = batch.encode()
        self.write(batch.name, data)
        self._previous = digest(data)
        self._first_record += records
        self._grow(tiles.entry(size - 1, self._previous))
        note = Checkpoint(ORIGIN, size, self._tree.root()).sign(KEY)
        self.write(checkpoint_name(size), note)
        self.write("checkpoint", note)

    def _records(self, count: int, moment: str) -> Records:
        if not count:
            return Records(0, merkle.EMPTY.hex())
        bits = self._rng.getrandbits
        lines = [
            canonical.encode(
                {
                    "@timestamp": moment,
                    "event": {"id": f"{bits(256):064x}", "dataset": "nmap.port", "kind": "state", "module": "nmap"},
                    "host": {"ip": [f"10.{bits(8)}.{bits(8)}.{bits(8)}"], "name": f"host{bits(20)}.example"},
                    "destination": {"port": bits(16)},
                    "network": {"transport": "tcp", "protocol": "http", "type": "ipv4"},
                    "nmap": {"scan": {"id": f"{bits(256):064x}", "vantage": "default"}, "port": {"reason": "syn-ack"}},
                    "service": {"version": f"{bits(4)}.{bits(6)}", "state": "open", "type": "http"},
                    "message": f"tcp/{bits(16)} open http Apache httpd 2.4.{bits(6)}",
                    "ecs": {"version": "8.17.0"},
                }
            )
            for _ in range(count)
        ]
        raw = b"".join(line + b"\n" for line in lines)
        stored = self._compress(raw)
        hashes = [merkle.leaf_hash(line) for line in lines]
        leaves = b"".join(hashes)
        root = merkle.root(hashes).hex()
        found = Records(count, root, len(raw), digest(raw), len(stored), digest(stored), digest(leaves), moment, moment)
        self.write(found.name, stored)
        self.write(found.leaves_name, leaves)
        return found

    def _evidence(self, kilobytes: int) -> Evidence:
        words = [f"<port portid='{self._rng.getrandbits(16)}'/>" for _ in range(64)]
        raw = "".join(self._rng.choices(words, k=kilobytes * 1024 // 22)).encode()
        stored = self._compress(raw)
        item = Evidence("nmap-xml", "full", len(raw), sha256(raw).hexdigest(), len(stored), digest(stored))
        self.write(item.name, stored)
        return item

    def _grow(self, entry: bytes) -> None:
        if len(self._entries) == tiles.WIDTH:
            self._entries = []
        self._entries.append(entry)
        value = merkle.leaf_hash(entry)
        self._tree.add(value)
        for level in range(len(self._levels) + 1):
            if level == len(self._levels):
                self._levels.append([])
            if len(self._levels[level]) == tiles.WIDTH:
                self._levels[level] = []
            self._levels[level].append(value)
            if len(self._levels[level]) < tiles.WIDTH:
                break
            value = merkle.root(self._levels[level])
        for level, index, width in tiles.right_edge(self._tree.size):
            self.write(tiles.path(level, index, width), b"".join(self._levels[level]))
            if level == 0:
                self.write(tiles.path("entries", index, width), tiles.bundle(self._entries))


def make(directory: Path, batches: int, records: int, kilobytes: int) -> None:
    """Make an archive and, beside it, `key.vkey`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory.parent / "key.vkey").write_text(f"{KEY.verifier}\n")
    log = Log(directory)
    for _ in range(batches):
        log.add(records, kilobytes)


if __name__ == "__main__":
    make(Path(sys.argv[1]), *(int(value) for value in (sys.argv[2:] + ["100000", "3", "1"][len(sys.argv) - 2 :])))
