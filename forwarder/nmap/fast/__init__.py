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

LIBRARY: Final = Path(__file__).with_name("reader.so")
COMPILED: Final = LIBRARY.exists() and not os.environ.get("NMAP_FORWARDER_PURE")
"""Whether the library is used."""

Read = tuple[dict[str, Any], list[dict[str, Any]]]
"""A host, as `forwarder.nmap.host.host` returns it, and its ports, as `forwarder.nmap.port.port` returns them."""


def _load(library: Path) -> Callable[[bytes], Read | None]:
    read_host, json = CDLL(str(library)).read_host, c_void_p()
    read_host.argtypes, read_host.restype = [c_char_p, c_size_t, c_void_p], c_size_t
    to_json = byref(json)

    def read(frame: bytes) -> Read | None:
        length = read_host(frame, len(frame), to_json)
        if not length:
            return None
        found = orjson.loads(string_at(json, length))
        return found["head"], found["ports"]

    return read


def _read_nothing(_: bytes) -> Read | None:
    return None


read: Final = _load(LIBRARY) if COMPILED else _read_nothing
"""Reads a `host` element; None when it has to be read in Python."""
