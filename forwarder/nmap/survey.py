"""First pass over an input: which scans it holds, how far each goes, and whether we know them.

Framing alone, no XML parsing of hosts; so that the second pass knows a scan's id, its end and its totals before it
makes the first record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from forwarder.nmap.framing import Frame, Framer, Stream
from forwarder.nmap.scan import Run

PrefixOf = Callable[[str], int | None]
"""scan id → length in bytes of that scan's known prefix, None for a scan that we do not know."""

COMPLETE_HOST = frozenset({"host", "host-end"})


@dataclass(slots=True)
class Document:
    """One nmaprun of an input. Offsets are bytes of the input as UTF-8."""

    index: int
    """Place in the input, from 0."""
    start: int
    """Offset of the `<` of its start tag."""
    run: Run
    """What nmap says of the scan."""
    scan_id: str = ""
    """SHA-256 of its bytes through the first complete host, or of all of it without one; hex."""
    sha256: str = ""
    """SHA-256 of all of it, hex."""
    length: int = 0
    hosts: int = 0
    """Complete hosts, and hosts that something else than the end of the input cut."""
    prefix_length: int = 0
    """Bytes through the last of these hosts."""
    prefix_sha256: str = ""
    known_prefix_sha256: str = ""
    """SHA-256 of as many bytes as are known of this scan, if a host ends there; else empty."""
    cut: str = ""
    """Why the document is not complete; empty when it is."""
    open_host: int | None = None
    """Place of a last host without an end tag, behind which another document begins; the same bytes are one host less
    while nothing follows them."""


class _Hasher:
    """Hashes what the framer consumes, and remembers where a document began."""

    def __init__(self) -> None:
        self.state = sha256()
        self.on = False

    def __call__(self, data: bytes) -> None:
        if self.on:
            self.state.update(data)


class Survey:
    """Iterates over the documents of an input; yields each when all of it went by.

    Args:
        stream: UTF-8 bytes.
        prefix_of: how much we know of a scan already.
    """

    def __init__(self, stream: Stream, prefix_of: PrefixOf = lambda _: None) -> None:
        self._hasher = _Hasher()
        self._framer = Framer(stream, self._hasher)
        self._prefix_of = prefix_of
        self._known: int | None = None
        self.refused = 0
        """Documents passed over because they declare entities."""
        self.refused_at = 0
        """Offset of the first of them."""

    @property
    def root(self) -> str:
        """Name of the first element, whatever it is."""
        return self._framer.root

    @property
    def external(self) -> str:
        """System identifier of a foreign document type; never fetched."""
        return self._framer.external

    def __iter__(self) -> Iterator[Document]:
        document: Document | None = None
        count = 0
        for frame in self._framer:
            if frame.kind == "refused":
                self.refused += 1
                self.refused_at = self.refused_at or frame.start
            elif frame.kind == "document":
                document, self._known = Document(count, frame.start, Run(frame)), None
                count += 1
                self._hasher.state, self._hasher.on = sha256(frame.data), True
            elif document is not None:
                self._add(document, frame)
                if frame.kind == "end":
                    self._hasher.on = False
                    yield document

    def _add(self, document: Document, frame: Frame) -> None:
        if frame.kind in COMPLETE_HOST:
            digest = self._hasher.state.hexdigest()
            document.hosts += 1
            document.prefix_length, document.prefix_sha256 = frame.end - document.start, digest
            document.open_host = document.hosts - 1 if frame.problem == "cut" else None
            if not document.scan_id and frame.problem != "cut":
                document.scan_id = digest
                self._known = self._prefix_of(digest)
            if document.prefix_length == self._known:
                document.known_prefix_sha256 = digest
        elif frame.kind == "element":
            document.run.add(frame)
        elif frame.kind == "cut-host":
            document.cut = f"cut at byte {frame.end}, inside the host that begins at byte {frame.start}"
        elif frame.kind == "end":
            document.length = frame.end - document.start
            if document.length != document.prefix_length:
                document.open_host = None
            document.sha256 = self._hasher.state.hexdigest()
            document.scan_id = document.scan_id or document.sha256
            if frame.problem and not document.cut:
                document.cut = f"ends at byte {frame.end} without </nmaprun>"
