"""Takes entries of the spool from everybody through a socket, and keeps them where their owners cannot reach them.

    python -I -S …/forwarder/wrap/receive.py DIRECTORY

systemd starts it when somebody connects, with the listening socket as descriptor 3 (sd_listen_fds(3)); it ends when it
was idle for a while. DIRECTORY is this user's alone. What forwarder/wrap/submit.py sends becomes `UID.ID.KIND.json`, a
line with what the kernel says of the sender and then the entry as it was sent, and `UID.ID.xml`, nmap's result. UID
comes from the kernel, so nobody can write, or be in the way, in another's name. What an entry says is judged by whoever
reads the directory (forwarder/spool.py).
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import sys
import time
from collections import Counter
from contextlib import suppress
from errno import EPERM
from hashlib import sha256
from threading import Lock, Thread
from typing import Any, Final

if __name__ == "__main__":  # started by its path, like shim.py
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120

from forwarder.wrap.facts import timestamp
from forwarder.wrap.process import read
from forwarder.wrap.submit import HEADER, LARGEST_ENTRY, LARGEST_RESULT

LISTENING: Final = 3
"""Descriptor of the first socket that systemd hands over (SD_LISTEN_FDS_START)."""
IDLE: Final = 300.0
"""Seconds without a connection after which it ends; the next one starts it anew."""
TIME: Final = 10.0
"""Seconds that a message may take, and one more for each SLOWEST bytes of it."""
SLOWEST: Final = 4 << 20
MOST_CONNECTIONS: Final = 128
MOST_OF_ONE: Final = 16
"""Connections at one time, of all users and of one."""
MOST_FILES: Final = 5000
MOST_BYTES: Final = 1 << 30
"""Of one user, that wait to be read."""
CHUNK: Final = 1 << 16
FORM: Final = re.compile(rb"nmap-forwarder 1 (start|end  ) ([0-9a-f]{32}) ([0-9]{12}) ([0-9]{12})\n")
LENGTH: Final = len(HEADER.format(kind="", identity="0" * 32, entry=0, result=0))
CREDENTIALS: Final = struct.Struct("iII")
"""struct ucred: process, user, group (unix(7), SO_PEERCRED)."""


class RefusedError(Exception):
    """Why a message is not accepted, in words of ours alone."""


class Receiver:
    """Writes what comes into a directory.

    Args:
        directory: nobody else's.

    Raises:
        OSError: it is not there, or others may get at it.
    """

    def __init__(self, directory: str) -> None:
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        found = os.fstat(self._directory)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(EPERM, "others may get at it", directory)
        self._open: Counter[int] = Counter()
        self._lock = Lock()

    def serve(self, listener: socket.socket, idle: float = IDLE) -> None:
        """Take connections, each in a thread of its own, until there was none for a time in seconds.

        Raises:
            OSError: the listener is none.
        """
        listener.settimeout(idle)
        while True:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                if self._open.total() == 0:
                    return
                continue
            pid, uid, gid = CREDENTIALS.unpack(
                connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
            )
            with self._lock:
                admitted = self._open[uid] < MOST_OF_ONE and self._open.total() < MOST_CONNECTIONS
                self._open[uid] += admitted
            if not admitted:
                _answer(connection, "refused too many connections")
                continue
            try:
                Thread(target=self._attend, args=(connection, peer(pid, uid, gid)), daemon=True).start()
            except RuntimeError:  # no more threads
                self._leave(uid)
                _answer(connection, "refused too many connections")

    def _leave(self, uid: int) -> None:
        with self._lock:
            self._open[uid] -= 1
            self._open += Counter()  # forget who has none

    def _attend(self, connection: socket.socket, sender: dict[str, Any]) -> None:
        try:
            _answer(connection, f"accepted {self.receive(connection, sender)}")
        except RefusedError as error:
            _answer(connection, f"refused {error}")
        except TimeoutError:
            _answer(connection, "refused too slow")
        except OSError as error:
            _answer(connection, f"refused {error.strerror or 'by the system'}")
        finally:
            self._leave(sender["uid"])

    def receive(self, connection: socket.socket, sender: dict[str, Any]) -> str:
        """Write down one message, durably; return the SHA-256 of its JSON.

        Args:
            connection: where it comes from.
            sender: what the kernel says of who sends it.

        Raises:
            RefusedError: it is none, or too large, or there is one like it.
            OSError: it does not come in time, or cannot be written.
        """
        stream = _Stream(connection)
        found = FORM.fullmatch(stream.take(LENGTH))
        if not found:
            raise RefusedError("no message of this version")
        kind, identity, size, result = found[1].decode().strip(), found[2].decode(), int(found[3]), int(found[4])
        if not 0 < size <= LARGEST_ENTRY or result > LARGEST_RESULT:
            raise RefusedError("too large")
        if result and kind == "start":
            raise RefusedError("a result at the start")
        self._allow(sender["uid"], size + result)
        stream.allow(size + result)
        names = [f"{sender['uid']}.{identity}.{kind}.json"] + [f"{sender['uid']}.{identity}.xml"] * bool(result)
        made: list[str] = []
        try:
            head = json.dumps(sender).encode() + b"\n"
            digest = self._write(names[0], stream, size, head, made)
            for name in names[1:]:
                self._write(name, stream, result, b"", made)
            for name in reversed(names):  # an end says that all of it is there: it comes last
                os.rename(name + ".part", name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            os.fsync(self._directory)
        finally:
            for part in made:
                with suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=self._directory)
        return digest

    def _allow(self, uid: int, size: int) -> None:
        """Refuse what a user has no room for."""
        files, used = 0, size
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name.startswith(f"{uid}."):
                    with suppress(FileNotFoundError):
                        used += entry.stat(follow_symlinks=False).st_size
                        files += 1
        if files >= MOST_FILES or used > MOST_BYTES:
            raise RefusedError("too much of this user is waiting")

    def _write(self, name: str, stream: _Stream, size: int, head: bytes, made: list[str]) -> str:
        """Write a part of a message to a file that has no name yet but one ending in .part; return its SHA-256."""
        digest = sha256()
        try:
            target = os.open(
                name + ".part", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._directory
            )
        except FileExistsError:
            raise RefusedError("the same is being received") from None
        made.append(name + ".part")
        with open(target, "wb") as file:  # noqa: PTH123 - a descriptor
            if _exists(name, self._directory):
                raise RefusedError("it is here already")
            file.write(head)
            while size:
                data = stream.some(size)
                digest.update(data)
                file.write(data)
                size -= len(data)
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest()


class _Stream:
    """What comes through a connection, within a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until = time.monotonic() + TIME

    def allow(self, size: int) -> None:
        """Give it the time that so many bytes may take."""
        self._until += size / SLOWEST

    def some(self, most: int) -> bytes:
        """Return what comes next, at least a byte."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        data = self._connection.recv(min(most, CHUNK))
        if not data:
            raise RefusedError("it ends early")
        return data

    def take(self, size: int) -> bytes:
        """Return so many bytes."""
        data = b""
        while len(data) < size:
            data += self.some(size - len(data))
        return data


def peer(pid: int, uid: int, gid: int) -> dict[str, Any]:
    """Return what the kernel says of who connected: user, group, process, and when that began; who logged in.

    Args:
        pid: of who connected, 0 where this process cannot see it.
        uid: its effective user.
        gid: its effective group.
    """
    found: dict[str, Any] = {"uid": uid, "gid": gid, "pid": pid, "received": timestamp(time.time_ns())}
    users = read(f"/proc/{pid}/status").partition(b"\nUid:")[2].split(None, 2)
    fields = read(f"/proc/{pid}/stat").rpartition(b") ")[2].split()
    login = read(f"/proc/{pid}/loginuid", 32).decode("ascii", "replace").strip()
    if pid <= 0 or len(users) < 3 or int(users[1]) != uid or len(fields) < 20:  # noqa: PLR2004 - it is gone, and another may be there
        return found
    age = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - int(fields[19]) * 10**9 // os.sysconf("SC_CLK_TCK")
    found |= {"started": timestamp(time.time_ns() - age), "real": int(users[0])}
    return found | ({"login": int(login)} if login.isdigit() and int(login) != 0xFFFFFFFF else {})  # noqa: PLR2004


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _answer(connection: socket.socket, line: str) -> None:
    """Say what became of a message, and hang up; whoever does not listen is not waited for."""
    with suppress(OSError), connection:
        connection.settimeout(0)
        connection.send(line.encode("ascii", "replace") + b"\n")


def main(directory: str) -> None:
    """Serve the socket that systemd hands over."""
    with socket.socket(fileno=LISTENING) as listener:
        Receiver(directory).serve(listener)


if __name__ == "__main__":
    main(sys.argv[1])
