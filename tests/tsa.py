"""A time-stamp authority (RFC 3161) of our own: `openssl ts` behind a small HTTP server on the loopback interface."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import loopback

CONFIG = """\
[tsa]
default_tsa = local
[local]
serial = {directory}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


def openssl(*arguments: str | Path, **options) -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, **options).stdout


class Authority:
    """A CA, the authority's certificate from it, and what the server does wrong when a test wants it to."""

    def __init__(self, directory: Path, usage: str = "critical,timeStamping") -> None:
        self.directory = directory
        directory.mkdir()
        self.ca, self.url = directory / "ca.pem", ""
        self.fault: bytes | int | None = None
        self.asked = 0
        (directory / "serial").write_text("01\n")
        (directory / "config").write_text(CONFIG.format(directory=directory))
        new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "36500")
        openssl(*new, "-subj", "/CN=Local CA", "-keyout", directory / "ca.key", "-out", self.ca)
        openssl(
            *new, "-subj", "/CN=Local TSA", "-CA", self.ca, "-CAkey", directory / "ca.key",
            "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=critical,digitalSignature",
            "-addext", f"extendedKeyUsage={usage}",
            "-keyout", directory / "tsa.key", "-out", directory / "tsa.pem",
        )  # fmt: skip

    def stamp(self, query: bytes) -> bytes:
        """Answer a TimeStampReq."""
        (self.directory / "query").write_bytes(query)
        arguments = (
            "-config",
            "config",
            "-section",
            "local",
            "-queryfile",
            "query",
            "-signer",
            "tsa.pem",
            "-inkey",
            "tsa.key",
        )
        return openssl("ts", "-reply", *arguments, cwd=self.directory)

    def of(self, data: bytes) -> bytes:
        """Stamp bytes without asking by HTTP."""
        (self.directory / "data").write_bytes(data)
        return self.stamp(openssl("ts", "-query", "-data", "data", "-sha256", "-cert", cwd=self.directory))

    def verifies(self, token: Path, data: Path) -> bool:
        """Tell whether openssl accepts a token."""
        command = ["openssl", "ts", "-verify", "-in", token, "-data", data, "-CAfile", self.ca]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0


@contextmanager
def running(directory: Path) -> Iterator[Authority]:
    """Run an authority."""
    authority = Authority(directory)

    class Handler(loopback.Handler):
        def do_POST(self) -> None:
            authority.asked += 1
            query = self.body()
            assert self.headers["Content-Type"] == "application/timestamp-query"
            fault = authority.fault
            answer = fault if isinstance(fault, bytes) else authority.stamp(query)
            self.reply(fault if isinstance(fault, int) else 200, "application/timestamp-reply", answer)

    with loopback.serving(Handler) as port:
        authority.url = f"http://127.0.0.1:{port}/tsr"
        yield authority
