"""Printing for people: no control characters from input, progress bars on a terminal only."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


def safe(text: str) -> str:
    r"""Return text that cannot move the cursor, hide or reorder anything: such characters become `\x1b`, `\u202e`."""
    return "".join(
        char if char.isprintable() and unicodedata.category(char) not in {"Cf", "Co", "Cs"} else _escape(char)
        for char in text
    )


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004


def say(line: str = "") -> None:
    """Print a line of the result."""
    print(safe(line))


def paint(sign: str, line: str, colour: str) -> None:
    """Print a line of the result behind its sign; in a colour (SGR code) on a terminal, unless NO_COLOR is set."""
    wanted = colour and sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    shown = f"{sign}{safe(line)}"
    print(f"\x1b[{colour}m{shown}\x1b[0m" if wanted else shown)


def complain(line: str) -> None:
    """Print a line about what is worth a word, to standard error."""
    print(f"nmap-forwarder: {safe(line)}", file=sys.stderr)


def drop_output() -> None:
    """Send what is left of the output nowhere, because who read it is gone; else Python complains at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def progress(
    label: str, total: int | Callable[[], int | None] | None, unit: str, *, quiet: bool = False
) -> Iterator[Advance]:
    """Show a progress bar on standard error if that is a terminal; yield what advances it.

    A total that takes effort to learn is given as what tells it, and only asked for if there is a bar.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - only where there is a bar to show
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total() if callable(total) else total)
        yield lambda step: bar.advance(task, step)
