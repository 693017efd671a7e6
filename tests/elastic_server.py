"""The Elasticsearch that tests talk to: one of our own, or a full cluster that the environment names."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from elasticsearch import ApiError, Elasticsearch, TransportError
from loopback import free_port, listens, wait_for

VERSION = "8.19.21"
ENVIRONMENT = "NMAP_FORWARDER_TEST_ELASTICSEARCH_"

# What each user of the tests may do: what the product tells its users to grant, and nothing more.
SHIPPED = json.loads((Path(__file__).parents[1] / "ecs_mappings" / "roles.json").read_text())
ROLES: dict[str, dict[str, Any]] = {
    "shipper": SHIPPED["shipper"],
    "setup": SHIPPED["setup"],
    "reader": SHIPPED["verifier"],
}


@dataclass
class Cluster:
    """Somewhere to send to and search in. Users are admin (may do all), shipper, setup and reader."""

    url: str
    logins: dict[str, tuple[str, str]]
    """By user, the name and password to log in with."""
    ca: Path | None = None
    """The certificate authority to trust, where the URL is https."""
    full: bool = False
    """Whether this is a full cluster: then nothing is adapted and nothing skipped."""

    def client(self, user: str = "admin", **options: Any) -> Elasticsearch:
        """A client that retries nothing, so that a test sees what happened."""
        if self.ca:
            options.setdefault("ca_certs", str(self.ca))
        return Elasticsearch(
            self.url, **{"basic_auth": self.logins[user], "request_timeout": 30, "max_retries": 0} | options
        )


class Server(Cluster):
    """An Elasticsearch of our own, on 127.0.0.1, in a directory of its own; it can be killed and started again."""

    def __init__(self, program: Path, java: Path, directory: Path, *, tls: bool = False) -> None:
        self.directory = directory
        self.port = free_port()
        scheme = "https" if tls else "http"
        logins = {user: (user, secrets.token_urlsafe(12)) for user in ("admin", *ROLES)}
        super().__init__(f"{scheme}://127.0.0.1:{self.port}", logins, directory / "ca.pem" if tls else None)
        self._java = java.resolve().parents[1]
        self._home = self._reachable(program.resolve().parents[1])
        self._process: subprocess.Popen[bytes] | None = None
        self._configure()

    def _reachable(self, home: Path) -> Path:
        """Elasticsearch refuses to run as root, and root's cache is closed to whom it runs as instead."""
        if os.geteuid() != 0:
            return home
        return Path(shutil.copytree(home, self.directory / "home", copy_function=link))

    def _configure(self) -> None:
        config = self.directory / "config"
        shutil.copytree(self._home / "config", config, copy_function=shutil.copyfile)
        (self.directory / "tmp").mkdir()
        settings: dict[str, Any] = {
            "cluster.name": "nmap-forwarder-tests",
            "cluster.routing.allocation.disk.threshold_enabled": False,  # a full disk here is not what is tested
            "discovery.type": "single-node",
            "http.port": self.port,
            "network.host": "127.0.0.1",
            "node.name": "test",
            "path.data": str(self.directory / "data"),
            "path.logs": str(self.directory / "logs"),
            "transport.port": 0,
            "xpack.ml.enabled": False,
            "xpack.security.autoconfiguration.enabled": False,
            "xpack.security.enabled": True,
            "xpack.security.http.ssl.enabled": self.ca is not None,
        }
        if self.ca:
            authority = trustme.CA()
            authority.cert_pem.write_to_path(self.ca)
            issued = authority.issue_cert("127.0.0.1")
            issued.private_key_pem.write_to_path(config / "http.key")
            issued.cert_chain_pems[0].write_to_path(config / "http.crt")
            settings["xpack.security.http.ssl.key"] = "http.key"
            settings["xpack.security.http.ssl.certificate"] = "http.crt"
        lines = {  # JSON is YAML; the file of roles wants each on a line of its own
            "elasticsearch.yml": [f"{key}: {json.dumps(value)}" for key, value in settings.items()],
            "roles.yml": [f"{name}: {json.dumps(role)}" for name, role in ROLES.items()],
            "users": [f"{name}:{hashed(password)}" for name, password in self.logins.values()],
            "users_roles": ["superuser:admin", *(f"{name}:{name}" for name in ROLES)],
        }
        for file, text in lines.items():
            (config / file).write_text("\n".join(text) + "\n")
        if os.geteuid() == 0:
            for path in (self.directory, self.directory / "tmp", config, *config.rglob("*")):
                shutil.chown(path, "nobody")

    def start(self) -> None:
        """Start, and return when requests are answered."""
        # Dies with us, so that a run that is killed leaves no server behind.
        command = ["setpriv", "--pdeathsig", "TERM"]
        if os.geteuid() == 0:
            command += ["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
        with (self.directory / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                [*command, self._home / "bin" / "elasticsearch"],
                cwd=self.directory / "tmp",
                env={
                    "PATH": os.environ["PATH"],
                    "ES_JAVA_HOME": str(self._java),
                    "ES_JAVA_OPTS": "-Xms512m -Xmx512m",
                    "ES_PATH_CONF": str(self.directory / "config"),
                    "ES_TMPDIR": str(self.directory / "tmp"),
                },
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # the launcher and the server it starts can be killed together
            )
        with self.client() as client:
            wait_for(self._process, self.port, lambda: is_healthy(client), self.directory / "console.log", 600)

    def kill(self) -> None:
        """As if the machine lost power; the data stay."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            while listens(self.port):
                time.sleep(0.05)

    def stop(self) -> None:
        """As an operator stops it; the data stay."""
        if self._process:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=60)
            self.kill()

    def restart(self) -> None:
        """Start again on the same data and the same port, stopping first what still runs."""
        self.stop()
        self.start()


@contextlib.contextmanager
def own(program: Path, java: Path, *, tls: bool = False) -> Iterator[Server]:
    """A started server that is gone afterwards, with its data."""
    # Not in pytest's directory, which only its owner may enter.
    directory = Path(tempfile.mkdtemp(prefix="nmap-forwarder-elasticsearch-"))
    server = Server(program, java, directory, tls=tls)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory)


@contextlib.contextmanager
def given() -> Iterator[Cluster]:
    """The cluster that the environment names, with users of ours for as long as the tests run."""
    admin = (os.environ[ENVIRONMENT + "USER"], os.environ[ENVIRONMENT + "PASSWORD"])
    ca = os.environ.get(ENVIRONMENT + "CA")
    run = secrets.token_hex(4)  # several workers may use it at a time
    names = {user: f"nmap-forwarder-test-{run}-{user}" for user in ROLES}
    logins = {user: (name, secrets.token_urlsafe(12)) for user, name in names.items()}
    cluster = Cluster(os.environ[ENVIRONMENT + "URL"], {"admin": admin} | logins, Path(ca) if ca else None, full=True)
    with cluster.client() as client:
        try:
            for user, (name, password) in logins.items():
                client.security.put_role(name=name, **ROLES[user])
                client.security.put_user(username=name, password=password, roles=[name])
            yield cluster
        finally:
            for name in names.values():
                client.options(ignore_status=404).security.delete_user(username=name)
                client.options(ignore_status=404).security.delete_role(name=name)


def hashed(password: str) -> str:
    """A password as Elasticsearch's file realm keeps it; its own tool would start a JVM for each."""
    salt, rounds = secrets.token_bytes(32), 1000
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds, 32)
    return f"{{PBKDF2}}{rounds}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def link(source: str, target: str) -> str:
    """Copy a file, without copying its bytes where that is possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        shutil.copymode(source, target)
    return target


def is_healthy(client: Elasticsearch) -> bool:
    """Whether a cluster answers, and has its indices where they can be used."""
    with contextlib.suppress(ApiError, TransportError):
        client.cluster.health(wait_for_status="yellow", timeout="10s")
        return True
    return False
