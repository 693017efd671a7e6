"""Laurel's logs: one JSON object a line, which is a joined event (laurel-about(7)).

Its texts hold bytes that are no UTF-8, controls, `%` and `+` as %XX; what was added has names in capitals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from forwarder.audit.auditd import judged
from forwarder.audit.events import Event
from forwarder.audit.follow import Block
from forwarder.audit.interface import Evidence, Execution
from forwarder.audit.records import Record

ID: Final = re.compile(r"\d{1,12}\.\d{3}:\d{1,20}")
MAX_LINE: Final = 16 << 20
"""Longest line in bytes that is read."""
TEXTS: Final = frozenset({"exe", "comm", "cwd", "name"})
"""Fields that the kernel does not trust, and that a record holds in hexadecimal."""


class Laurel:
    """Reads laurel's logs.

    Args:
        tools: programs whose executions are wanted.
        done: identities of executions that were handed over before.
    """

    def __init__(self, tools: Collection[str], done: Collection[str]) -> None:
        self._tools, self._skip = frozenset(tools), frozenset(done)
        self._needles = tuple(tool.encode() for tool in self._tools)
        self._at: dict[int, int] = {}
        self._last = ""

    def read(self, blocks: Iterator[Block]) -> Iterator[Evidence]:
        """Take lines; yield the executions on them."""
        for block in blocks:
            yield from self._block(block)

    def _block(self, block: Block) -> Iterator[Evidence]:
        for start in sorted(self._mentions(block.data)):
            end = block.data.find(b"\n", start)
            line = block.data[start : end if end >= 0 else len(block.data)]
            found = evidence(line, block.path, block.offset + start, self._tools)
            if found and found.identity not in self._skip:
                self._at, self._last = {block.place: block.offset + start}, found.identity
                yield found
        self._at, self._last = {}, ""

    def end(self, *, settled: bool) -> Iterator[Evidence]:  # noqa: ARG002 - lines are whole events
        """Yield nothing: each line was whole."""
        yield from ()

    def held(self, *, settled: bool) -> dict[int, int]:  # noqa: ARG002
        """Return where the line begins that was handed over last, while others of its block are to come."""
        return self._at

    def done(self, held: dict[int, int]) -> tuple[str, ...]:
        """Return the identity of what was handed over last, while it is held."""
        return (self._last,) if held else ()

    def _mentions(self, data: bytes) -> set[int]:
        found = set()
        for needle in self._needles:
            at = data.find(needle)
            while at >= 0:
                found.add(data.rfind(b"\n", 0, at) + 1)
                end = data.find(b"\n", at)
                at = data.find(needle, end) if end >= 0 else -1
        return found


def evidence(line: bytes, path: str, offset: int, tools: Collection[str]) -> Evidence | None:
    """Return what a line says of a tool: its execution, or a finding if that cannot be; None if it says nothing."""
    if len(line) > MAX_LINE or b"{" not in line:
        return None
    try:
        event = json.loads(line[line.index(b"{") :])  # a prefix such as @cee: may precede it
    except (ValueError, RecursionError):
        return None
    moment = event.get("ID") if isinstance(event, dict) else None
    if not isinstance(moment, str) or not ID.fullmatch(moment):
        return None
    key = (_bytes(event.get("NODE")), moment.encode())
    found = judged(Event(key, path, offset), records(event), line + b"\n", tools)
    if isinstance(found, Execution):
        found.source = "laurel"
        _add(found, event)
    return found


def records(event: dict[str, Any]) -> list[Record]:
    """Return an event's records as the kernel would have written them."""
    found = []
    for kind, value in event.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                found.append(_record(kind, part))
    return found


def _record(kind: str, part: dict[str, Any]) -> Record:
    fields: dict[str, bytes] = {}
    names: dict[str, str] = {}
    for name, value in part.items():
        if name in TEXTS:
            fields[name] = _hex(_bytes(value))
        elif isinstance(value, str | int) and not isinstance(value, bool):
            if name.isupper():
                names[name] = str(value)
            else:
                fields[name] = str(value).removeprefix("0x").encode("utf-8", "replace")
    words = part.get("ARGV")
    if kind == "EXECVE" and isinstance(words, list):
        fields |= {f"a{number}": _hex(_bytes(word)) for number, word in enumerate(words)}
        argc = part.get("argc")
        if isinstance(argc, int) and argc > len(words):  # laurel cut them in the middle
            at = next((at for at, word in enumerate(words) if isinstance(word, str) and word.startswith("<...")), None)
            for number in range(at if at is not None else len(words), len(words)):
                del fields[f"a{number}"]
    elif kind == "EXECVE" and isinstance(part.get("ARGV_STR"), str):
        fields |= {f"a{number}": _hex(_bytes(word)) for number, word in enumerate(part["ARGV_STR"].split(" "))}
        fields.pop("argc", None)  # without it the arguments count as cut: blanks in them are lost
    if kind == "PROCTITLE" and isinstance(words, list):
        fields["proctitle"] = _hex(b"\0".join(map(_bytes, words)))
    return Record(kind, fields, names)


def _add(found: Execution, event: dict[str, Any]) -> None:
    """Add what laurel knows beyond the records."""
    call = _part(event, "SYSCALL")
    parent = _part(call, "PPID") or _part(event, "PARENT_INFO")
    found.parent_executable = _text(parent.get("exe"))
    argv = parent.get("ARGV")
    found.parent_command_line = " ".join(map(_text, argv)) if isinstance(argv, list) else ""
    container = (
        _part(event, "CONTAINER_INFO") or _part(call, "CONTAINER_INFO") or _part(_part(call, "PID"), "CONTAINER")
    )
    if identity := _text(container.get("ID")):
        found.container_id = identity
    variables = _part(_part(event, "EXECVE"), "ENV") or _part(event, "ENV")
    found.environment = tuple(f"{name}={_text(value)}" for name, value in sorted(variables.items()))


def _part(of: dict[str, Any], name: str) -> dict[str, Any]:
    value = of.get(name)
    return value if isinstance(value, dict) else {}


def _bytes(value: Any) -> bytes:
    return unquote_to_bytes(value.encode("utf-8", "replace")) if isinstance(value, str) else b""


def _text(value: Any) -> str:
    return _bytes(value).decode("utf-8", "surrogateescape")


def _hex(value: bytes) -> bytes:
    return value.hex().upper().encode() if value else b'""'
