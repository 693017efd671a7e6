"""Keeps a record within the size that a batch takes, and says what was cut from it."""

from __future__ import annotations

from typing import Any, Final

from orjson import Fragment, loads

from forwarder.seal.canonical import encode
from forwarder.seal.manifest import MAX_RECORD_BYTES

KEPT: Final = frozenset({"@timestamp", "data_stream", "ecs", "event"})
"""Members that are never cut; they are short, and identify the record."""
SHORT: Final = 1000
"""Characters that are always left of a text."""


def line(record: dict[str, Any]) -> bytes:
    """Return a record's canonical JSON, of at most MAX_RECORD_BYTES.

    What is larger loses half of its largest list or text, as often as needed; `nmap.truncated` names the fields.
    """
    data = encode(record)
    while len(data) > MAX_RECORD_BYTES:
        name = halve(record)
        truncated = record["nmap"].setdefault("truncated", [])
        if name not in truncated:
            truncated.append(name)
        data = encode(record)
    return data


def shared(value: dict[str, Any]) -> dict[str, Any] | Fragment:
    """Return what many records hold as JSON that is written only once; unless it is large, and may have to be cut."""
    data = encode(value)
    return Fragment(data) if len(data) <= SHORT else value


def opened(value: dict[str, Any] | Fragment) -> dict[str, Any]:
    """Return what `shared` gave as a dict that may be added to."""
    found: dict[str, Any] = loads(encode(value))
    return found


def halve(record: dict[str, Any]) -> str:
    """Cut the largest list or text of a record to its half; return its field."""
    return ".".join(_halve_largest(record))


def _halve_largest(record: dict[str, Any]) -> list[str]:
    """Cut the largest list or text of a record; return the keys that lead to it."""
    path: list[str] = []
    holder: Any = record
    while True:
        items = holder.items() if isinstance(holder, dict) else enumerate(holder)
        sizes = {key: len(encode(value)) for key, value in items if path or key not in KEPT}
        key = max(sizes, key=lambda name: sizes[name])
        largest = holder[key]
        if isinstance(key, str):
            path.append(key)
        if isinstance(largest, str) and len(largest) > SHORT:
            holder[key] = largest[: max(SHORT, len(largest) // 2)]
            return path
        if isinstance(largest, list) and len(largest) > 1 and not _one_sided(largest):
            del largest[len(largest) // 2 :]
            return path
        if isinstance(largest, Fragment) or not isinstance(largest, dict | list):
            del holder[key]  # written once for many records, so it cannot be shortened in one of them
            return path
        holder = largest


def _one_sided(values: list[Any]) -> bool:
    """Tell whether one entry of a list is more than half of it, so that this entry is what has to shrink."""
    sizes = [len(encode(value)) for value in values]
    return max(sizes) * 2 > sum(sizes)
