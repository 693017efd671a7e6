"""Reads usual hosts in compiled code, where it was built (hatch_build.py does, with rustc); lib.rs says what is usual.

What it gives, forwarder.nmap.host and port give, too, and the same: they alone say what a host's facts are. Without
the library all goes through them.
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

Host = tuple[dict[str, Any], list[dict[str, Any]]]
"""A host, as `forwarder.nmap.host.host` returns it, and its ports, as `forwarder.nmap.port.port` returns them."""


def _load(library: Path, name: str) -> Callable[[bytes], Any]:
    """Return a function of the library, as one that takes an element and returns what was JSON."""
    function, json = CDLL(str(library))[name], c_void_p()
    function.argtypes, function.restype = [c_char_p, c_size_t, c_void_p], c_size_t
    to_json = byref(json)

    def read(frame: bytes) -> Any:
        length = function(frame, len(frame), to_json) if len(frame) <= LARGE else 0
        return orjson.loads(string_at(json, length)) if length else None

    return read


_read_host, _read_port = (_load(LIBRARY, name) if COMPILED else None for name in ("read_host", "read_port"))


def host(frame: bytes) -> Host | None:
    """Read a `host` element; None when it has to be read in Python."""
    found = _read_host(frame) if _read_host else None
    return (found["head"], found["ports"]) if found else None


def port(frame: bytes) -> dict[str, Any] | None:
    """Read a `port` element as `forwarder.nmap.port.port` does; None when it has to be read in Python."""
    found: dict[str, Any] | None = _read_port(frame) if _read_port else None
    return found
