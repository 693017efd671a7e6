"""Logs that a parser of lines reads: of sudo, and shell histories."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Collection, Iterator
from importlib import import_module
from itertools import chain, groupby, starmap
from typing import Any, Final

from forwarder.audit import skim
from forwarder.audit.follow import Block
from forwarder.audit.interface import Evidence, Execution

PARSERS: Final = {"sudo": "sudo", "sudo-io": "sudo_io", "history": "history"}
"""Kind → module of this package with `parse(lines, path, …)`."""

EXPORT: Final = b"__"
"""How the journal's export format begins. It is read whole: behind a gap, a value cannot be told from a field."""


class Lines:
    """Reads the lines of such a log by its parser.

    A parser may look ahead as it likes: until it has seen the end of a file, all of it counts as held. A history's
    identities count what came before in it, so that it is always read as a whole.

    Args:
        kind: sudo, sudo-io or history.
        tools: programs whose executions are wanted.
        done: identities of executions that were handed over before.
    """

    def __init__(self, kind: str, tools: Collection[str], done: Collection[str]) -> None:
        self._kind, self._tools, self._skip = kind, tuple(tools), frozenset(done)
        module = import_module(f"forwarder.audit.{PARSERS[kind]}")
        self._parse: Callable[..., Iterator[Evidence]] = module.parse
        self._marks: list[bytes] | None = None if kind == "sudo-io" else module.marks(self._tools)
        self._held: dict[int, int] = {}
        self._given: dict[str, int] = {}

    def read(self, blocks: Iterator[Block]) -> Iterator[Evidence]:
        """Take lines; yield the executions on them."""
        for place, group in groupby(blocks, lambda block: block.place):
            first = next(group)
            self._held[place] = first.offset
            unfinished: list[int] = []
            for found in self._parse(self._lines(first, group), first.path, **self._options(first, unfinished)):
                known = found.identity in self._given
                if not known:
                    self._given[found.identity] = found.log_offset if isinstance(found, Execution) else found.offset
                if not known and found.identity not in self._skip:
                    yield found
            if unfinished:
                self._held[place] = unfinished[-1]
            elif self._kind != "history":
                del self._held[place]
                self._given.clear()

    def end(self, *, settled: bool) -> Iterator[Evidence]:  # noqa: ARG002 - the end of a file was the parser's end
        """Yield nothing: the parser knew where its file ended."""
        yield from ()

    def held(self, *, settled: bool) -> dict[int, int]:  # noqa: ARG002
        """Return where, by file, the parser is to begin again."""
        return dict(self._held)

    def done(self, held: dict[int, int]) -> tuple[str, ...]:
        """Return the identities of what was handed over and lies behind that."""
        first = min(held.values(), default=0)
        return tuple(identity for identity, offset in self._given.items() if offset >= first) if held else ()

    def _lines(self, first: Block, others: Iterator[Block]) -> Iterator[tuple[int, bytes]]:
        blocks = ((block.offset, block.data) for block in chain([first], others))
        if self._marks is None or first.data.startswith(EXPORT):
            return chain.from_iterable(starmap(skim.split, blocks))
        return skim.lines(blocks, self._marks)

    def _options(self, block: Block, unfinished: list[int]) -> dict[str, Any]:
        if self._kind == "history":
            return {"tools": self._tools, "user": _name(block.stat.st_uid)}
        found = {"tools": self._tools, "private": _private(block), "unfinished": unfinished.append}
        return found | {"mtime": block.stat.st_mtime}


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _private(block: Block) -> bool:
    """Tell whether only root can have written a file, or put another in its place."""
    try:
        above = os.stat(os.path.dirname(block.path) or ".")  # noqa: PTH116, PTH120
    except OSError:
        return False
    return all(stat.st_uid == 0 and not stat.st_mode & 0o022 for stat in (block.stat, above))
