"""The S3 servers with Object Lock that tests talk to: each of our own, on 127.0.0.1, with its data in a directory."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from loopback import free_port, wait_for

KINDS = ("versitygw", "minio")


class Server:
    """One server; it can be killed and started again."""

    def __init__(self, kind: str, program: str, directory: Path) -> None:
        self.kind, self.directory, self.port = kind, directory, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key, self.secret = "root" + secrets.token_hex(8), secrets.token_hex(20)
        self._program = program
        self.extra: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("data", "versions", "iam"):
            (directory / name).mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """What a program of ours needs to find the server: nothing else of AWS's reaches it."""
        return self.login(self.key, self.secret)

    def login(self, key: str, secret: str, token: str = "") -> dict[str, str]:
        """The environment of somebody else."""
        return {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        } | ({"AWS_SESSION_TOKEN": token} if token else {})

    def client(self, service: str = "s3", **who: Any) -> Any:
        """A client of boto3, by default with all rights, that retries nothing, so that a test sees what happened."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
            **{"aws_access_key_id": self.key, "aws_secret_access_key": self.secret} | who,
        )

    def _command(self) -> list[str]:
        address, data = f"127.0.0.1:{self.port}", str(self.directory / "data")
        if self.kind == "minio":
            return [self._program, "server", "--quiet", "--address", address, data]
        common = [self._program, "--port", address, "--quiet", "--iam-dir", str(self.directory / "iam")]
        return [*common, "posix", "--versioning-dir", str(self.directory / "versions"), data]

    def start(self) -> None:
        """Start, and return when requests are answered."""
        with (self.directory / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                # Dies with us, so that a run that is killed leaves no server behind.
                ["setpriv", "--pdeathsig", "KILL", *self._command()],
                cwd=self.directory,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.directory),
                    "MINIO_BROWSER": "off",
                    "MINIO_CI_CD": "true",  # takes a directory on the disk of the system
                    "MINIO_ROOT_USER": self.key,
                    "MINIO_ROOT_PASSWORD": self.secret,
                    "ROOT_ACCESS_KEY": self.key,
                    "ROOT_SECRET_KEY": self.secret,
                }
                | self.extra,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        wait_for(self._process, self.port, self._answers, self.directory / "console.log", 60)

    def _answers(self) -> bool:
        with contextlib.suppress(ClientError, BotoCoreError):
            self.client().list_buckets()
            return True
        return False

    def kill(self) -> None:
        """As if the machine lost power; the data stay."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def bucket(self, *, lock: bool = True) -> str:
        """Make a bucket, by default with versioning and Object Lock, and return its name."""
        name = f"test-{secrets.token_hex(8)}"
        self.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        return name


@contextlib.contextmanager
def own(kind: str, program: str) -> Iterator[Server]:
    """A started server that is gone afterwards, with its data."""
    directory = Path(tempfile.mkdtemp(prefix=f"nmap-forwarder-{kind}-"))
    server = Server(kind, program, directory)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory)
