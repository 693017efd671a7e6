"""Replaces secrets on command lines: passwords in --script-args, and in URLs and relays that are given with a user."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from forwarder.nmap.argline import join, split
from forwarder.nmap.options import Words

MARK: Final = "***"
"""What stands in place of a secret."""
NAMES: Final = (
    *("*password*", "*passwd*", "*passphrase*", "*pass", "*pwd", "*secret*", "*token*", "*credential*", "*creds"),
    *("creds.*", "*cookie*", "*community*", "*hash*", "key", "*.key", "*_key", "*-key", "*apikey", "*privatekey"),
)
"""Usual patterns of names whose values are secrets (`*` is anything, case does not matter)."""
URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}://[^/\s:@]*:)([^/\s]+)(?=@)")
RELAY: Final = re.compile(r"([^:@]*:)(.+)(?=@)", re.DOTALL)
"""What -b and ncat's --proxy-auth take, user:password@server; the last @ ends the password."""
ARGUMENTS: Final = ("--script-args",)
PROGRAM: Final = "nmap"
STOPS: Final = re.compile(r"[,{}=]")


def mask(argv: Sequence[str], names: Sequence[str] = NAMES) -> tuple[list[str], int]:
    """Return (the words with secrets replaced by `***`, how many were replaced).

    Args:
        argv: a command line of nmap or another tool; argv[0] is the program.
        names: patterns of names whose values are secrets; none: nothing is replaced.
    """
    found = list(argv)
    if not names:
        return found, 0
    masker = _Masker(names)
    words = Words(argv[1:])
    unclear = bool(words.problems) or not argv or argv[0].rpartition("/")[2] != PROGRAM
    everywhere = range(1, len(argv)) if unclear else [index + 1 for index in words.operands]
    for index in everywhere:
        found[index] = masker.assignments(found[index])
        if index > 1 and argv[index - 1] == "--proxy-auth":
            found[index] = masker.relay(f"{found[index]}@")[:-1]
    for (name, value), (place, start) in zip(words.options, words.places, strict=True):
        index = place + 1
        if value is None or start > len(argv[index]):
            continue
        if name in ARGUMENTS and not unclear:
            found[index] = found[index][:start] + masker.assignments(found[index][start:])
        elif name == "-b":
            found[index] = found[index][:start] + masker.relay(found[index][start:])
    return [masker.urls(word) for word in found], masker.count


def mask_line(args: str, names: Sequence[str] = NAMES) -> tuple[str, int]:
    """Return (a command line as nmap writes it into its outputs, with secrets replaced; how many were).

    Without any the text is returned as it is.
    """
    words, count = mask(split(args), names)
    return (join(words), count) if count else (args, 0)


class _Masker:
    """Counts while it replaces."""

    def __init__(self, names: Sequence[str]) -> None:
        self.count = 0
        self._names = [name.lower() for name in names]

    def urls(self, word: str) -> str:
        """Replace the passwords of URLs."""
        return URL.sub(lambda match: match[1] + self._mark(match[2]), word) if "://" in word else word

    def relay(self, value: str) -> str:
        """Replace the password of user:password@server."""
        return RELAY.sub(lambda match: match[1] + self._mark(match[2]), value, count=1)

    def assignments(self, text: str) -> str:
        """Replace the values of secret names in name=value,name={name='value'}: what nmap's --script-args takes.

        What is not written as nmap needs it is replaced up to where the value may end at the latest.
        """
        if "=" not in text:
            return text
        out: list[str] = []
        at = 0
        while at < len(text):
            end = _item_end(text, at)
            equals = _unspaced(text, end)
            if text[equals : equals + 1] != "=":
                out.append(text[at:end])
                at = end
                continue
            value = _unspaced(text, equals + 1)
            out.append(text[at:value])
            secret = self._secret(text[at:end])
            at = _value_end(text, value) if secret else value
            out.append(self._mark(text[value:at]))
        return "".join(out)

    def _secret(self, key: str) -> bool:
        name = key.strip(" \t\n\r\"'[]-").lower()
        return any(fnmatchcase(name, pattern) for pattern in self._names)

    def _mark(self, secret: str) -> str:
        if secret in {"", MARK}:
            return secret
        self.count += 1
        return MARK


def _item_end(text: str, at: int) -> int:
    """Return where a name, or a value without one, ends; a separator is an item of its own."""
    if text[at] in "\"'":
        return _closing(text, at)
    match = STOPS.search(text, at)
    end = match.start() if match else len(text)
    return max(end, at + 1)


def _unspaced(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _closing(text: str, at: int) -> int:
    """Return the place behind a quoted text; the end where it is not closed."""
    quote = text[at]
    at += 1
    while at < len(text) and text[at] != quote:
        at += 2 if text[at] == "\\" else 1
    return min(at + 1, len(text))


def _value_end(text: str, at: int) -> int:
    """Return the place of the comma or bracket that ends a value."""
    depth = 0
    while at < len(text):
        letter = text[at]
        if letter in "\"'":
            at = _closing(text, at)
            continue
        if letter in ",}" and not depth:
            break
        depth += (letter == "{") - (letter == "}")
        at += 1
    return at
