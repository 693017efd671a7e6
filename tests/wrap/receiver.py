"""A receiver that runs, as systemd would start it, and what users do to it by processes of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from forwarder import dropbox
from forwarder.wrap import receive
from forwarder.wrap.submit import HEADER

ALICE, BOB = 20001, 20002
ID = "0123456789abcdef0123456789abcdef"


class Running:
    """One that was started."""

    def __init__(self, spool: Path, path: Path, process: subprocess.Popen) -> None:
        self.spool, self.path, self.process = spool, path, process

    def files(self) -> list[str]:
        """What it keeps."""
        return sorted(path.name for path in (self.spool / "received").iterdir())

    def content(self, name: str) -> tuple[dict, bytes]:
        """What the kernel said, and the entry."""
        line, _, entry = (self.spool / "received" / name).read_bytes().partition(b"\n")
        return json.loads(line), entry


@contextmanager
def running(spool: Path, path: Path) -> Iterator[Running]:
    """Run one on a socket that everybody may connect to."""
    dropbox.make(spool)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(64)
        number = listener.fileno()
        # preexec_fn and not pass_fds: it has to be descriptor 3, as systemd makes it
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", receive.__file__, str(spool / "received")],
            preexec_fn=lambda: os.dup2(number, receive.LISTENING, inheritable=True),  # noqa: PLW1509
            close_fds=False,
        )
        try:
            yield Running(spool, path, process)
        finally:
            process.kill()
            process.wait()


def as_user(uid: int, action: Callable[[], object]) -> str:
    """Return what an action of a user's process returns, or its error."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            try:
                said = str(action())
            except Exception as error:  # noqa: BLE001 - whatever it is
                said = f"{type(error).__name__}: {error}"
            os.write(writing, said.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as told:  # noqa: PTH123 - a descriptor
        said = told.read().decode()
    os.waitpid(pid, 0)
    return said


def message(entry: bytes, result: bytes = b"", *, kind: str = "end", identity: str = ID) -> bytes:
    """What the wrapper sends."""
    return HEADER.format(kind=kind, identity=identity, entry=len(entry), result=len(result)).encode() + entry + result


def say(path: Path, *pieces: bytes, pause: float = 0, shut: bool = False) -> str:
    """Send pieces, and return the answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            if shut:
                connection.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass
        return connection.recv(1000).decode().strip()
