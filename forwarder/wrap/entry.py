"""Entries of the spool: what the wrapper writes down of an execution, for the service to read.

`<id>.start.json` is there from the start, `<id>.end.json` from the end, and stands alone; `<id>.xml` is nmap's result.
Each is sent to the receiver, which keeps it where its owner cannot reach it; where there is none, it is put into a
directory, the drop box. There nmap writes its result in any case, and it stays until it is sent.
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
        directory: the drop box.
        receiver: socket that entries are sent to; empty for none.

    Raises:
        OSError: nothing can be written there.
    """

    def __init__(self, directory: str, receiver: str = "") -> None:
        self.identity = os.urandom(16).hex()
        self._receiver = receiver if receiver and os.access(receiver, os.W_OK) else ""
        self._sent = ""
        self.directory = os.path.realpath(directory)
        os.stat(self.directory)  # noqa: PTH116 - says why, if it is not there
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise PermissionError(EACCES, os.strerror(EACCES), self.directory)

    def path(self, kind: str) -> str:
        """Return the path of one of the files: start.json, end.json or xml."""
        return f"{self.directory}/{self.identity}.{kind}"

    def write(self, kind: str, members: dict[str, Any]) -> None:
        """Send start.json or end.json, with the result; else write it, whole or not at all.

        Raises:
            OSError: neither can be done.
        """
        said = {name: value for name, value in members.items() if value not in ("", (), [], {}, None)}
        text = json.dumps({"version": VERSION, "id": self.identity} | said).encode("ascii")
        if self._receiver and self._send(kind, text):
            return
        part = self.path(kind) + ".part"
        try:
            with open(self.create(part), "wb") as file:  # noqa: PTH123
                file.write(text)
            os.rename(part, self.path(kind))  # noqa: PTH104
        except OSError:
            remove(part)
            raise

    def _send(self, kind: str, text: bytes) -> bool:
        """Tell whether the receiver has it; one that failed once is not waited for again."""
        try:
            from forwarder.wrap.submit import LARGEST_RESULT, submit  # noqa: PLC0415 - while nmap runs there is time

            result = self.path("xml") if kind == "end.json" else ""
            if result and not 0 < _size(result) <= LARGEST_RESULT:
                result = ""
            submit(self._receiver, kind.removesuffix(".json"), self.identity, text, result)
        except Exception:  # noqa: BLE001 - there is the drop box
            self._receiver = ""
            return False
        self._sent = result
        return True

    def tidy(self) -> None:
        """Remove the result from the drop box, if the receiver has it."""
        if self._sent:
            remove(self._sent)

    @staticmethod
    def create(path: str) -> int:
        """Make a file that is not there yet, not even as a link, and return its descriptor.

        Raises:
            OSError: it is there, or cannot be made.
        """
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return 0


def remove(path: str) -> None:
    """Remove a file if it is there and may be."""
    try:
        os.unlink(path)  # noqa: PTH108
    except OSError:
        return
