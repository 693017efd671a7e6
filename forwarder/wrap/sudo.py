"""sudo in front of the tool: `run -- sudo -E nmap …`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from forwarder.wrap import MARK
from forwarder.wrap.process import read

WITH_VALUE: Final = set("aCcDghpRrTtUu")
"""Options of sudo(8) that take the next word, if none is attached."""
LONG_WITH_VALUE: Final = {
    *("auth-type", "close-from", "login-class", "chdir", "group", "host", "prompt", "chroot", "role"),
    *("command-timeout", "type", "other-user", "user"),
}
NAMES: Final = {"sudo", "doas"}


def tool_at(argv: list[str]) -> int:
    """Return the index of the tool's word: 0, or behind sudo with its options and variables; -1 if there is none."""
    if not argv or os.path.basename(argv[0]) not in NAMES:  # noqa: PTH119
        return 0 if argv else -1
    index = 1
    while index < len(argv):
        word = argv[index]
        if word == "--":
            return index + 1 if index + 1 < len(argv) else -1
        if word.startswith("--"):
            index += 1 if "=" in word or word[2:] not in LONG_WITH_VALUE else 2
        elif word.startswith("-") and len(word) > 1:
            index += 1 + _takes_next(word)
        elif "=" in word.partition("/")[0]:
            index += 1
        else:
            return index
    return -1


def _takes_next(word: str) -> bool:
    for place, letter in enumerate(word[1:], 2):
        if letter in WITH_VALUE:
            return place == len(word)
    return False


def to_root(words: list[str]) -> bool:
    """Tell whether sudo's words lead to root, who can write anywhere."""
    return not any(
        word.startswith(("-u", "--user", "-R", "--chroot")) and word not in {"-uroot", "--user=root"} for word in words
    )


def candidates(name: str) -> Iterator[str]:
    """Yield the paths of programs of that name: as it is given, or by PATH in its order."""
    directories = [""] if "/" in name else os.get_exec_path()
    for directory in directories:
        path = os.path.join(directory, name)  # noqa: PTH118
        if os.access(path, os.X_OK) and not os.path.isdir(path):  # noqa: PTH112
            yield os.path.abspath(path)  # noqa: PTH100


def found(name: str) -> str:
    """Return the path of a program, behind a shim of ours if there is one; empty if it is not there."""
    return next((path for path in candidates(name) if MARK not in read(path, 512)), "")
