"""What `verify` leaves for `forward` to seal: the result of the last verification of each log.

A file of JSON in the state directory, for verifying must not need what forwarding needs: no ledger, no lock, no key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forwarder import durable
from forwarder.seal.manifest import timestamp

if TYPE_CHECKING:  # forwarding verifies nothing
    from forwarder.verify.verdict import LogVerdict

NAME: Final = "verdict.json"
MOST: Final = 50
"""Findings that are kept; the number of all is, too."""
MAX_BYTES: Final = 1 << 20
"""A larger file is none of ours."""
LONGEST: Final = 1000
"""Characters of one text."""


def leave(directory: Path, verdict: LogVerdict) -> None:
    """Leave a verdict; one that nobody has sealed yet makes way for it, unless only that one had findings.

    Args:
        directory: what the state directory remembers of the log.
        verdict: the verdict.

    Raises:
        OSError: it cannot be written.
    """
    file = directory / NAME
    if not verdict.findings and any(found["findings"] for _, found in _read(file)):
        return
    findings = [finding.as_json() for finding in verdict.findings[:MOST]]
    kept = {
        "time": timestamp(),
        "origin": verdict.origin,
        "batches": verdict.batches,
        "size": verdict.size,
        "count": len(verdict.findings),
        "warnings": len(verdict.warnings),
        "findings": [{name: _short(value) for name, value in finding.items()} for finding in findings],
    }
    durable.make_directory(directory)
    durable.write(file, json.dumps(kept).encode())


def left(remembered: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield (file, verdict) of what was left; a file that is none, or that we could not take away, is passed over.

    Args:
        remembered: the state directory's place for what it remembers of logs.
    """
    for file in sorted(remembered.rglob(NAME)):
        if os.access(file.parent, os.W_OK):
            yield from _read(file)


def _read(file: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    try:
        if file.stat().st_size <= MAX_BYTES:
            found = json.loads(file.read_bytes())
            if _sound(found):
                yield file, found
    except (OSError, ValueError):
        return


def _sound(found: Any) -> bool:
    """Tell whether a file holds what `leave` writes; records of other types would be refused by Elasticsearch."""
    return (
        isinstance(found, dict)
        and all(isinstance(found.get(name), str) for name in ("time", "origin"))
        and all(type(found.get(name)) is int for name in ("batches", "size", "count", "warnings"))
        and isinstance(found.get("findings"), list)
        and all(isinstance(one, dict) and {"code", "message"} <= one.keys() for one in found["findings"])
    )


def _short(value: Any) -> Any:
    return value[:LONGEST] if isinstance(value, str) else value
