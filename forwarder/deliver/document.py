"""From a sealed record to the document that is delivered: the same bytes, and behind them what sealing made known.

Nothing is parsed or written anew. The members that are added have dotted names at the top level, because a record
may already have an object of the same name, and one JSON object cannot have two.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import orjson

from forwarder.deliver.interface import Document
from forwarder.errors import IntegrityError
from forwarder.seal.manifest import TIMESTAMP, Manifest, timestamp

STREAM = re.compile(rb'"data_stream":\{"dataset":"([^"\\]+)","namespace":"([^"\\]+)","type":"([^"\\]+)"\}')
"""A record's data stream; the member comes before every text that somebody else wrote."""
EVENT: Final = b',"event":{'
"""Begins a record's event; inside of a text its quotes would be escaped, and nothing before it has an event."""
ID = re.compile(rb'[{,]"id":"([0-9a-f]{64})"')
BACKFILL: Final = timedelta(hours=24)
"""A record read later than this after it happened is marked nmap.backfill."""


class Splicer:
    """Makes the documents of one batch.

    Args:
        manifest: the batch.
        manifest_sha256: hash of the manifest's stored bytes, hex.
        anchor: kind of archive that the batch is in.
        agent: id of the forwarder, and name of the machine that runs it.
    """

    def __init__(self, manifest: Manifest, manifest_sha256: str, anchor: str, agent: tuple[str, str]) -> None:
        program, _, version = manifest.software.partition("/")
        self._head = _members(
            {
                "agent.id": agent[0],
                "agent.name": agent[1],
                "agent.type": program,
                "agent.version": version,
                "event.created": manifest.created,
                "nmap.seal.anchor": anchor,
                "nmap.seal.batch": manifest.sequence,
                "nmap.seal.manifest": manifest_sha256,
                "nmap.seal.origin": manifest.origin,
            }
        )
        self._backfill = timestamp(datetime.fromisoformat(manifest.created) - BACKFILL).encode()
        self._manifest = manifest
        self._streams: dict[tuple[bytes, ...], str] = {}

    def document(self, line: bytes, index: int) -> Document:
        """Return the document of a record.

        Args:
            line: the sealed record, without its newline.
            index: its place in the batch, from 0.

        Raises:
            IntegrityError: the line is no record of ours.
        """
        stream = STREAM.search(line)
        event = line.find(EVENT)
        identity = ID.search(line, event) if event > 0 else None
        if not stream or not identity or not line.endswith(b"}"):
            raise IntegrityError(
                f"record {index} of batch {self._manifest.sequence} is none that can be delivered", "run verify"
            )
        parts = stream.groups()
        name = self._streams.get(parts)
        if name is None:
            dataset, namespace, kind = parts
            name = self._streams[parts] = f"{kind.decode()}-{dataset.decode()}-{namespace.decode()}"
        sequence = self._manifest.first_record + index
        body = b'%b%b,"event.hash":"%b","event.sequence":%d,"nmap.seal.index":%d%b}' % (
            line[:-1],
            self._head,
            sha256(line).hexdigest().encode(),
            sequence,
            index,
            b',"nmap.backfill":true' if line[TIMESTAMP] < self._backfill else b"",
        )
        return Document(name, identity[1].decode(), body, sequence)


def _members(values: dict[str, Any]) -> bytes:
    """Return members as they continue a JSON object."""
    return b"," + orjson.dumps(values)[1:-1]
