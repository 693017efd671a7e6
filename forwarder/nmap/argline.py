"""A command line as one text, as nmap writes it into its outputs (output.cc, join_quoted)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

PART: Final = re.compile(r'\\["\\]|[^ "\\]+| +|.', re.DOTALL)
ESCAPE: Final = 2
"""Characters of an escaped quote or backslash."""
SPACES: Final = frozenset(" \t\n\v\f\r")


def split(args: str) -> list[str]:
    """Return the words of a command line.

    A word with white space is in double quotes; `"` and a backslash have a backslash before them. Versions before 6
    wrote no quotes and no backslashes; there a word with a space cannot be told from two.
    """
    words: list[str] = []
    word: list[str] | None = None
    quoted = False
    for part in PART.findall(args):
        if part == '"':
            quoted = not quoted
            word = word or []
        elif quoted or part[0] != " ":
            word = word or []
            word.append(part[1] if len(part) == ESCAPE and part[0] == "\\" and part[1] in '"\\' else part)
        elif word is not None:
            words.append("".join(word))
            word = None
    return words + (["".join(word)] if word is not None else [])


def join(words: Sequence[str]) -> str:
    """Return words as nmap writes them: the reverse of `split`, but for empty words, which nmap does not show."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if not SPACES.isdisjoint(word) else escaped
