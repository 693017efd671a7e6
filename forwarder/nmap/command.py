"""The nmap command line, read as nmap reads it: getopt_long_only over its own table of options (nmap.cc)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Command:
    """What a command line asks for."""

    argv: tuple[str, ...]
    options: tuple[tuple[str, str | None], ...]
    """(name as nmap documents it, with dashes; value or None), in the order given: ("--script", "vuln"), ("-p", "80")."""
    operands: tuple[str, ...]
    """Targets on the command line, as typed."""
    problems: tuple[str, ...] = ()
    """What nmap would refuse, in fixed words; then the rest is what can be told."""


def parse(argv: Sequence[str], cwd: Path | None = None, at: float | None = None) -> Command:
    """Read a command line; argv[0] is the program.

    Args:
        argv: words, bytes that are no UTF-8 kept by surrogateescape.
        cwd: working directory, to read lists of targets (-iL) from; None: they are not read.
        at: seconds since 1970 when it was started; a list changed since is not read. None: now.
    """
    return Command(tuple(argv), (), ())


def facts(command: Command) -> dict[str, Any]:
    """Return the members of `nmap.scan` that the command line tells (ecs_mappings/nmap.csv), without empty ones."""
    return {}


def split(args: str) -> list[str]:
    """Return the words of a command line as nmap writes it into its outputs (`args`)."""
    return args.split()
