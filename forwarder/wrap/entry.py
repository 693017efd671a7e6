"""Entries of the spool: what the wrapper writes down of an execution, for the service to read.

`<id>.start.json` is there from the start, `<id>.end.json` from the end, and stands alone; `<id>.xml` is nmap's result.
A JSON object has `version` (of this form, 1), `id`, and members of forwarder.audit.interface.Execution by name; but as
its `version` is the program's, that is `tool_version` here; `wrapper_pid` is the process that will write the end.
Whoever runs nmap owns the files (0600), in a directory where nobody but its owner can see names, and nobody can touch
another's files.
"""

from __future__ import annotations

import json
import os
from errno import EACCES
from typing import Any, Final

VERSION: Final = 1
MODE: Final = 0o600


class Entry:
    """One execution's files.

    Args:
        directory: the spool.

    Raises:
        OSError: nothing can be written there.
    """

    def __init__(self, directory: str) -> None:
        self.identity = os.urandom(16).hex()
        self.directory = os.path.realpath(directory)
        os.stat(self.directory)  # noqa: PTH116 - says why, if it is not there
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise PermissionError(EACCES, os.strerror(EACCES), self.directory)

    def path(self, kind: str) -> str:
        """Return the path of one of the files: start.json, end.json or xml."""
        return f"{self.directory}/{self.identity}.{kind}"

    def write(self, kind: str, members: dict[str, Any]) -> None:
        """Write a JSON file, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        said = {name: value for name, value in members.items() if value not in ("", (), [], {}, None)}
        text = json.dumps({"version": VERSION, "id": self.identity} | said)
        part = self.path(kind) + ".part"
        try:
            with open(self.create(part), "wb") as file:  # noqa: PTH123
                file.write(text.encode("ascii"))
            os.rename(part, self.path(kind))  # noqa: PTH104
        except OSError:
            remove(part)
            raise

    @staticmethod
    def create(path: str) -> int:
        """Make a file that is not there yet, not even as a link, and return its descriptor.

        Raises:
            OSError: it is there, or cannot be made.
        """
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)


def remove(path: str) -> None:
    """Remove a file if it is there and may be."""
    try:
        os.unlink(path)  # noqa: PTH108
    except OSError:
        return
