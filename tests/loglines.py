"""Lines of logs as their readers get them."""

from __future__ import annotations


def numbered(data: bytes) -> list[tuple[int, bytes]]:
    """The lines of a log with their offsets and newlines."""
    lines, offset = [], 0
    for line in data.split(b"\n"):
        lines.append((offset, line + b"\n"))
        offset += len(line) + 1
    return lines[:-1] if data.endswith(b"\n") else lines
