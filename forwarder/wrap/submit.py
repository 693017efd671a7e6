"""Hands an entry of the spool to the receiver (forwarder/wrap/receive.py): from then on it is out of our reach.

A message is a line of fixed length, `nmap-forwarder 1 KIND ID ENTRY RESULT` (the kind is `start` or `end`, filled up
with blanks; both sizes are bytes, in twelve digits), then the entry's JSON, then nmap's result. The answer is a line:
`accepted` and the SHA-256 of the JSON when all of it is on disk, or `refused` and why.
"""

from __future__ import annotations

import os
import socket
from hashlib import sha256
from typing import Final

HEADER: Final = "nmap-forwarder 1 {kind:5} {identity} {entry:012d} {result:012d}\n"
ANSWER: Final = 512
"""Bytes of an answer at most."""
PATIENCE: Final = 1.0
"""Seconds that a receiver may take for each step of a message; one that hangs costs the caller no more."""
SLOWEST: Final = 16 << 20
"""Bytes of a result that it may take another second for."""
LARGEST_ENTRY: Final = 16 << 20
"""Bytes of JSON: of a command line as long as Linux takes, with every byte escaped."""
LARGEST_RESULT: Final = 64 << 20
"""Bytes of a result that is sent; a larger one stays in the drop box, and the entry has its hash."""


class RefusedError(OSError):
    """The receiver did not accept an entry."""


def submit(path: str, kind: str, identity: str, entry: bytes, result: str = "") -> None:
    """Send an entry, and wait until it is safe.

    Args:
        path: the receiver's socket.
        kind: "start" or "end".
        identity: 32 hexadecimal digits.
        entry: its JSON.
        result: path of nmap's XML; empty if there is none to send.

    Raises:
        OSError: nobody listens, listens in time, or accepts it.
    """
    source = os.open(result, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC) if result else -1
    try:
        size = sent = os.fstat(source).st_size if result else 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(path)
            connection.sendall(HEADER.format(kind=kind, identity=identity, entry=len(entry), result=size).encode())
            connection.sendall(entry)
            while size:
                data = os.read(source, min(size, 1 << 16))
                if not data:
                    raise RefusedError("the result was cut meanwhile")
                connection.sendall(data)
                size -= len(data)
            connection.settimeout(PATIENCE + sent / SLOWEST)
            answer = connection.recv(ANSWER)
    finally:
        if result:
            os.close(source)
    if answer != f"accepted {sha256(entry).hexdigest()}\n".encode():
        raise RefusedError(answer.decode("ascii", "replace").strip() or "the receiver hung up")
