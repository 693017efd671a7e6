"""Usual hosts in compiled code, where it was built (hatch_build.py does, with rustc); lib.rs says what is usual.

What it gives, forwarder.nmap.host, port and framing give, too, and forwarder.ecs.hosts, and the same: they alone say
what a host's facts and records are, and where it ends. Without the library all goes through them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from ctypes import CDLL, byref, c_char_p, c_size_t, c_void_p, string_at
from pathlib import Path
from typing import Any, Final

import orjson

from forwarder.nmap.salvage import LARGE

LIBRARY: Final = Path(__file__).with_name("reader.so")
COMPILED: Final = LIBRARY.exists() and not os.environ.get("NMAP_FORWARDER_PURE")
"""Whether the library is used."""

MORE: Final[dict[str, list[Any]]] = {
    "make_records": [c_char_p, c_size_t, c_size_t, c_char_p, c_size_t],
    "find_hosts": [c_size_t, c_size_t],
}
"""Function of the library → types of what it takes beside an element or a part of a scan."""

Host = tuple[dict[str, Any], list[dict[str, Any]]]
"""A host, as `forwarder.nmap.host.host` returns it, and its ports, as `forwarder.nmap.port.port` returns them."""


def _load(name: str) -> Callable[..., int] | None:
    """Return a function of the library: an element and what more it takes in, the length of what it wrote out."""
    if not COMPILED:
        return None
    function = CDLL(str(LIBRARY))[name]
    function.restype = c_size_t
    function.argtypes = [c_char_p, c_size_t, c_void_p]
    function.argtypes += MORE.get(name, [])
    found: Callable[..., int] = function
    return found


def _call(function: Callable[..., int] | None, data: bytes, *more: bytes | int) -> bytes:
    """Return what a function writes."""
    if function is None:
        return b""
    written = c_void_p()  # of this call alone: other threads may read hosts, too
    length = function(data, len(data), byref(written), *more)
    return string_at(written, length) if length else b""


def _read(function: Callable[..., int] | None, frame: bytes, *more: bytes | int) -> bytes:
    """Return what is made of an element; nothing for an odd one."""
    return _call(function, frame, *more) if len(frame) <= LARGE else b""


_read_host, _read_port, _make_records, _find_hosts = map(
    _load, ("read_host", "read_port", "make_records", "find_hosts")
)


def host(frame: bytes) -> Host | None:
    """Read a `host` element; None when it has to be read in Python."""
    if data := _read(_read_host, frame):
        found = orjson.loads(data)
        return found["head"], found["ports"]
    return None


def port(frame: bytes) -> dict[str, Any] | None:
    """Read a `port` element as `forwarder.nmap.port.port` does; None when it has to be read in Python."""
    data = _read(_read_port, frame)
    return orjson.loads(data) if data else None


def records(frame: bytes, scan: bytes, ordinal: int, target: bytes) -> bytes:
    """Return the records of a `host` element in lines, as record.rs writes them; nothing for an odd one.

    Args:
        frame: the element.
        scan: what the records of its scan have in common, as record.rs takes it.
        ordinal: the host's place in the scan.
        target: `nmap.target` as canonical JSON.
    """
    return _read(_make_records, frame, scan, len(scan), ordinal, target, len(target))


def plain_hosts(data: bytes, start: int, longest: int) -> memoryview:
    """Return where the `host` elements from `start` on begin and end, by turns, as long as they are plain (hosts.rs).

    Args:
        data: part of a scan.
        start: where the first begins.
        longest: bytes of one.
    """
    return memoryview(_call(_find_hosts, data, start, longest)).cast("I")
