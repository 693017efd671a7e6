"""Servers on the loopback interface: such as a test writes itself, and programs that are started for it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """Answers requests, and writes no log of them."""

    def log_message(self, *_: object) -> None:
        pass

    def body(self) -> bytes:
        """Return the body of the request."""
        return self.rfile.read(int(self.headers["Content-Length"]))

    def reply(self, status: int, kind: str, data: bytes) -> None:
        """Answer it with a body of that content type."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # clients hang up whenever they like
            super().handle_error(request, client_address)


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serve HTTP with handlers of that class, and yield the port."""
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(
    program: subprocess.Popen[bytes], port: int, answers: Callable[[], bool], console: Path, most: int
) -> None:
    """Return when a program that was started listens and answers.

    Raises:
        RuntimeError: it ended instead, or did not within that many seconds; with what it wrote to its console.
    """
    deadline = time.monotonic() + most
    while not (listens(port) and answers()):
        if program.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"a server does not start:\n{console.read_text(errors='replace')[-4000:]}")
        time.sleep(0.05)
