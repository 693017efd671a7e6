"""Reads usual hosts in compiled code, where it was built (hatch_build.py does, with rustc); lib.rs says what is usual.

What it gives, forwarder.nmap.host and port give, too, and the same: they alone say what a host's facts are. Without
the library all goes through them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from ctypes import CDLL, byref, c_char_p, c_size_t, c_void_p, string_at
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from forwarder.nmap.salvage import LARGE

LIBRARY: Final = Path(__file__).with_name("reader.so")
COMPILED: Final = LIBRARY.exists() and not os.environ.get("NMAP_FORWARDER_PURE")
"""Whether the library is used."""

PARTS: Final = 6
"""Pieces of JSON that a port comes in."""


class Written(NamedTuple):
    """A usual port, as pieces of canonical JSON that its record is made of."""

    facts: tuple[str, str, int, str, str, str, str, str]
    """Id (`tcp/22`), protocol, number, state, reason, the service's name if nmap asked it, its product, its version;
    empty for what nmap does not give."""
    number: bytes
    words: bytes
    """What begins the record's message, as it stands in a string."""
    network: bytes
    """Members of `network`, each with a comma."""
    port: bytes
    """`nmap.port`."""
    script: bytes
    """`,"script":` and `nmap.script`; empty for none."""
    service: bytes
    """`,"service":` and ECS's `service`; empty for none."""

    @property
    def scripts(self) -> dict[str, Any]:
        """What `forwarder.nmap.script.scripts` returns."""
        found: dict[str, Any] = orjson.loads(self.script[len(b',"script":') :]) if self.script else {}
        return found

    def read(self) -> dict[str, Any]:
        """Return the port as `forwarder.nmap.port.port` does."""
        port: dict[str, Any] = orjson.loads(self.port)
        port["id"] = self.facts[0]
        if self.script:
            port["script"] = self.scripts
        return port


def _load(library: Path, name: str) -> Callable[[bytes], list[bytes]]:
    """Return a function of the library, as one that takes an element and returns what was written, if anything."""
    function, written = CDLL(str(library))[name], c_void_p()
    function.argtypes, function.restype = [c_char_p, c_size_t, c_void_p], c_size_t
    place = byref(written)

    def read(frame: bytes) -> list[bytes]:
        length = function(frame, len(frame), place) if len(frame) <= LARGE else 0
        return string_at(written, length).split(b"\0") if length else []

    return read


def _ports(written: list[bytes]) -> list[Written]:
    index, *parts = written
    of_each = (parts[n::PARTS] for n in range(PARTS))
    return list(map(Written._make, zip(orjson.loads(index), *of_each, strict=True)))


_read_host, _read_port = (_load(LIBRARY, name) if COMPILED else None for name in ("read_host", "read_port"))


def host(frame: bytes) -> tuple[dict[str, Any], list[Written]] | None:
    """Read a `host` element as `forwarder.nmap.host.host` does, and its ports; None where Python has to."""
    found = _read_host(frame) if _read_host else None
    return (orjson.loads(found[0]), _ports(found[1:])) if found else None


def port(frame: bytes) -> Written | None:
    """Read a `port` element; None where Python has to."""
    found = _read_port(frame) if _read_port else None
    return _ports(found)[0] if found else None
