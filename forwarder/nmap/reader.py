"""Second pass over an input: the hosts of each document, as plain dicts."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any
from xml.etree.ElementTree import Element

from forwarder.nmap import fast, salvage
from forwarder.nmap.framing import Frame, Framer, Stream
from forwarder.nmap.host import host
from forwarder.nmap.port import port
from forwarder.nmap.survey import Document

VERSION = 5
"""Raised when the same input would give other records; kept with each scan's progress."""

HOST_FRAMES = frozenset({"host", "host-start"})


class Host:
    """One host of a document.

    Its parts come in order: `head`, then `ports()` to its end, then `body()`; a large host is never held whole.
    """

    def __init__(self, ordinal: int, frame: Frame, frames: Iterator[Frame]) -> None:
        self.ordinal = ordinal
        """Place in its document, from 0."""
        self.damage = ""
        """What is wrong with its XML; empty for a sound one."""
        self.large = frame.kind != "host"
        """It comes port by port, and each of them may be large."""
        self.data = b"" if self.large else frame.data
        """Its XML, until it is read; nothing of a large one."""
        self._frame, self._parts = frame, frames
        self._element: Element | None = None
        self._ports: list[dict[str, Any]] | None = None
        self._head: dict[str, Any] | None = None

    @property
    def head(self) -> dict[str, Any]:
        """What is known before the ports: addresses, names, times. The whole host, unless it is large."""
        if self._head is None:
            self._head = self._read()
            self.data = b""
        return self._head

    def _read(self) -> dict[str, Any]:
        if self.large:
            return self._host(self._frame.data)
        if found := fast.host(self.data):
            head, self._ports = found
            return head
        self._element, self.damage = salvage.parse(self.data, partial=False)
        if self._element is not None:
            return host(self._element)
        # Then each port is read for itself, so that one cannot spoil the others.
        self._parts = Framer(BytesIO(self.data)).parts_of_host()
        return self._host(next(self._parts).data)

    def _host(self, data: bytes) -> dict[str, Any]:
        element, damage = salvage.parse(data)
        return host(element) if element is not None else {"unparsed": [damage]}

    def ports(self) -> Iterator[dict[str, Any]]:
        """Yield the host's ports; to be used once, before `body`."""
        self._head = self.head
        return self._read_ports() if self._ports is None else iter(self._ports)

    def _read_ports(self) -> Iterator[dict[str, Any]]:
        if self._element is not None:
            for group in self._element:
                if group.tag == "ports":
                    yield from map(port, group.iterfind("port"))
                elif group.tag == "port":  # outside of `ports`, where a large host's are found, too
                    yield port(group)
            return
        for frame in self._parts:
            if frame.kind != "port":
                self._finish(frame)
                return
            if found := self._port(frame):
                yield found

    def _port(self, frame: Frame) -> dict[str, Any] | None:
        """Return the port of a frame that has one; what may be large is let go of before the next is read."""
        if found := fast.port(frame.data):
            return found
        element, damage = salvage.parse(frame.data)
        frame.data = b""
        self.damage = self.damage or damage
        return port(element) if element is not None else None

    def _finish(self, frame: Frame) -> None:
        """Read the host's frame without its ports."""
        self._parts = iter(())  # what follows in the document is the next host's
        element, damage = salvage.parse(frame.data)
        self.damage = self.damage or damage
        if frame.lost:
            self.damage = f"{frame.lost} ports are too large to read and only in the evidence"
        elif frame.problem == "too large":
            self.damage = "part of it is too large to read and only in the evidence"
        if element is not None:
            self._head = host(element)

    def body(self) -> dict[str, Any]:
        """Return all of the host but its ports, as `forwarder.nmap.host.host` does."""
        return self.head


class Reader:
    """Reads the documents of an input one after the other.

    Args:
        stream: UTF-8 bytes, the same that were surveyed.
    """

    def __init__(self, stream: Stream) -> None:
        self._frames = iter(Framer(stream))
        self._index = -1

    def hosts(self, document: Document, first: int = 0) -> Iterator[Host]:
        """Yield the hosts of a document from ordinal `first` on.

        Documents must be asked for in order; those between are passed over.
        """
        while self._index < document.index:
            self._index += next(self._frames).kind == "document"
        ordinal = 0
        for frame in self._frames:
            if frame.kind == "end":
                return
            if frame.kind in HOST_FRAMES:
                if first <= ordinal < document.hosts:
                    found = Host(ordinal, frame, self._frames)
                    yield found
                    for _ in found.ports() if frame.kind == "host-start" else ():
                        pass  # whoever did not want them all
                ordinal += 1
