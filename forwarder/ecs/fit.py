"""Keeps a record within the size that a batch takes, and says what was cut from it."""

from __future__ import annotations

from typing import Any

from forwarder.seal.canonical import encode
from forwarder.seal.manifest import MAX_RECORD_BYTES

SHORT = 1000
"""Characters that are always left of a text."""


def line(record: dict[str, Any]) -> bytes:
    """Return a record's canonical JSON, of at most MAX_RECORD_BYTES.

    What is larger loses half of its largest list or text, as often as needed; `nmap.truncated` names the fields.
    """
    data = encode(record)
    while len(data) > MAX_RECORD_BYTES:
        path = _halve_largest(record["nmap"])
        truncated = record["nmap"].setdefault("truncated", [])
        if (name := ".".join(("nmap", *path))) not in truncated:
            truncated.append(name)
        data = encode(record)
    return data


def _halve_largest(value: dict[str, Any]) -> list[str]:
    """Cut the largest list or text below a value; return the keys that lead to it."""
    path: list[str] = []
    holder: Any = value
    while True:
        items = list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder))
        key, largest = max(items, key=lambda item: len(encode(item[1])))
        if isinstance(key, str):
            path.append(key)
        if isinstance(largest, str):
            holder[key] = largest[: max(SHORT, len(largest) // 2)]
            return path
        if isinstance(largest, list) and not _one_sided(largest):
            del largest[len(largest) // 2 :]
            return path
        holder = largest


def _one_sided(values: list[Any]) -> bool:
    """Tell whether one entry of a list is more than half of it, so that this entry is what has to shrink."""
    sizes = [len(encode(value)) for value in values]
    return max(sizes) * 2 > sum(sizes) and isinstance(values[sizes.index(max(sizes))], dict | list | str)
