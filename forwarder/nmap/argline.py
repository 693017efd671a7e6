"""A command line as one text, as nmap writes it into its outputs (output.cc, join_quoted)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

ESCAPED: Final = {'"', "\\"}
SPACES: Final = frozenset(" \t\n\v\f\r")


def split(args: str) -> list[str]:
    """Return the words of a command line.

    A word with white space is in double quotes; `"` and a backslash have a backslash before them. Versions before 6
    wrote no quotes and no backslashes; there a word with a space cannot be told from two.
    """
    words: list[str] = []
    word: list[str] | None = None
    quoted = False
    at = 0
    while at < len(args):
        letter = args[at]
        at += 1
        if letter == " " and not quoted:
            words += ["".join(word)] if word is not None else []
            word = None
            continue
        word = word if word is not None else []
        if letter == '"':
            quoted = not quoted
        elif letter == "\\" and args[at : at + 1] in ESCAPED:
            word.append(args[at])
            at += 1
        else:
            word.append(letter)
    return words + (["".join(word)] if word is not None else [])


def join(words: Sequence[str]) -> str:
    """Return words as nmap writes them: the reverse of `split`, but for empty words, which nmap does not show."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if not SPACES.isdisjoint(word) else escaped
