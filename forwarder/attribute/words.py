"""Command lines in a form in which an execution's and a scan's can be compared."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import Final

from forwarder.wrap import PRIVATE

ADDED: Final = re.compile(rf"(?:^|\s)-oX\s+\S*/(?:[0-9a-f]{{32}}(?:\.[a-z]+)*|{re.escape(PRIVATE)}\d+-\w+/xml)(?=\s|$)")
"""What the wrapper adds to a command line without XML output: a file in its spool, named by the execution's id; behind
sudo one in a directory of its own."""
QUOTES: Final = str.maketrans("", "", '"\\')
"""nmap ≥ 6 quotes words with blanks in its XML and escapes `"` and a backslash; older ones do neither."""


@lru_cache(1 << 12)
def words(argv: tuple[str, ...]) -> str:
    """Return the comparable form of a command line, hex; equal for an argv and what nmap writes of it as `args`.

    nmap writes its words as getopt left them, targets behind the options, so their order says nothing; nor do quotes.
    The program's directory is left out, for the kernel, a shell and nmap each name it in their way. Empty for none.
    """
    return _form(" ".join(argv))


def written(args: str) -> str:
    """Return the same of `args` in nmap's XML."""
    return _form(args)


def _form(text: str) -> str:
    text = text.encode(errors="surrogateescape").decode(errors="replace")
    program, *rest = ADDED.sub(" ", _repaired(text)).translate(QUOTES).split() or [""]
    if not program:
        return ""
    joined = "\n".join((program.rpartition("/")[2], *sorted(rest)))
    return sha256(joined.encode(errors="replace")).hexdigest()[:32]


def _repaired(text: str) -> str:
    """Undo that nmap escapes each byte of UTF-8 as a character of its own."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text
