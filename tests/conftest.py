"""What many tests need: a forwarder in a directory of its own, and scans to feed it."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import elastic_server
import loopback
import pytest
import s3_server
import zstandard

from forwarder import cli, pipeline, state
from forwarder.config import Settings
from forwarder.keys.file import FileKey
from forwarder.outcome import Listener, Outcome
from forwarder.seal.manifest import Manifest
from forwarder.verify.policy import Policy
from forwarder.verify.run import Task, verify
from forwarder.verify.verdict import LogVerdict

for number, usual in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:  # as who starts the tests in the background leaves it
        signal.signal(number, usual)


cli.parser = functools.cache(cli.parser)  # to make it takes longer than most of what tests have commands do


def host(n: int, ports: int = 2, extra: str = "") -> str:
    """A host of a scan, different for each n."""
    listed = "".join(
        f'<port protocol="tcp" portid="{100 + i}"><state state="open" reason="syn-ack" reason_ttl="64"/>'
        f'<service name="http" product="p{n}-{i}" version="1.{i}" method="probed" conf="10"/></port>\n'
        for i in range(ports)
    )
    return (
        f'<host starttime="{1700000000 + n}" endtime="{1700000100 + n}"><status state="up" reason="arp-response"/>\n'
        f'<address addr="10.0.{n // 250}.{n % 250 + 1}" addrtype="ipv4"/>\n<hostnames></hostnames>\n'
        f'<ports><extraports state="closed" count="{1000 - ports}"/>{listed}</ports>{extra}\n</host>\n'
    )


def scan(hosts: int = 3, ports: int = 2, *, start: int = 1700000000, end: bool = True) -> str:
    """A whole scan as nmap writes it."""
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE nmaprun>\n'
        f'<nmaprun scanner="nmap" args="nmap -sS -oX x 10.0.0.0/16" start="{start}" version="7.93">\n'
        '<scaninfo type="syn" protocol="tcp" numservices="1000" services="1-1000"/>\n'
    )
    tail = (
        f'<runstats><finished time="{start + 1000}" elapsed="1000" exit="success"/>'
        f'<hosts up="{hosts}" down="0" total="{hosts}"/>\n</runstats>\n</nmaprun>\n'
    )
    return head + "".join(host(n, ports) for n in range(hosts)) + (tail if end else "")


def need(program: str) -> str:
    """The path of a program; without it a skip here, a failure in CI."""
    if found := shutil.which(program):
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(f"{program} is missing, and CI must have it")
    pytest.skip(f"{program} is not installed")


def task(keys, pins=(), **policy) -> Task:
    """What to verify with: nothing that may be on its way is waited for."""
    return Task(list(keys), lambda _: list(pins), Policy(**{"patience": 0} | policy))


@dataclass
class Forwarder:
    """One forwarder with a state directory of its own."""

    directory: Path
    flags: dict[str, object] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        flags = {"state_dir": str(self.directory / "state"), "intake_settle": 0, "observer_name": "scanner1"}
        return Settings(flags | self.flags, environment={"NMAP_FORWARDER_CONFIG": str(self.directory / "config.toml")})

    @property
    def archive(self) -> Path:
        return self.directory / "state" / "archive"

    @property
    def log(self) -> Path:
        return self.archive / self.key.name

    @property
    def key(self):
        return state.verifier_key(self.directory / "state")

    def init(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "config.toml").touch()
        if not state.is_made(self.directory / "state"):
            state.init(self.settings)

    def forward(self, *paths: Path | str) -> Outcome:
        self.init()
        listener = Listener(said=self.said.append)
        with state.opened(self.settings) as opened:
            return pipeline.forward(opened, self.settings, [str(path) for path in paths], listener)

    def forward_scans(self, count: int) -> Forwarder:
        """Forward so many scans, of one host, two hosts and so on, each into a batch of its own; return self."""
        for n in range(count):
            self.forward(self.write(f"{n}.xml", scan(n + 1, start=1700000000 + n)))
        return self

    def manifests(self) -> list[Manifest]:
        files = sorted(self.log.glob("batches/*/manifest.json"))
        return [Manifest.decode(file.read_bytes()) for file in files]

    def lines(self) -> list[bytes]:
        found: list[bytes] = []
        for manifest in self.manifests():
            if manifest.records.count:
                data = (self.log / manifest.records.name).read_bytes()
                found += zstandard.ZstdDecompressor().decompressobj().decompress(data).splitlines()
        return found

    def records(self, dataset: str = "") -> list[dict]:
        found = [json.loads(line) for line in self.lines()]
        return [record for record in found if not dataset or record["event"]["dataset"] == f"nmap.{dataset}"]

    def verify(self, pins=()) -> LogVerdict:
        (verdict,) = verify(self.settings["archive"], replace(task([self.key], pins), settings=self.settings))
        return verdict

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def command(self, *arguments: str | Path, **options) -> subprocess.CompletedProcess:
        """Run the program as a user does, or another that Python is given."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("NMAP_FORWARDER_")}
        environment |= {
            "NMAP_FORWARDER_STATE_DIR": str(self.directory / "state"),
            "NMAP_FORWARDER_CONFIG": str(self.directory / "config.toml"),
            "NMAP_FORWARDER_INTAKE_SETTLE": "0",
        } | options.pop("env", {})
        program = options.pop("program", ["-m", "forwarder"])
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "config.toml").touch()
        return subprocess.run(
            [sys.executable, *program, *map(str, arguments)],
            check=False,
            capture_output=True,
            env=environment,
            timeout=120,
            **options,
        )


@pytest.fixture
def forwarder(tmp_path: Path) -> Forwarder:
    return Forwarder(tmp_path / "f")


@pytest.fixture
def script():
    """Loads a script of the source tree, by its path there, as a module."""

    def load(path: str):
        spec = importlib.util.spec_from_file_location(Path(path).stem, Path(__file__).parents[1] / path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def key() -> FileKey:
    """The key of the test vector in docs/SEALED_ARCHIVE.md."""
    return FileKey.from_seed(bytes(range(32)), "example.com/nmap/scanner1")


@pytest.fixture(scope="session")
def own_elastic() -> Callable[..., AbstractContextManager[elastic_server.Server]]:
    """Starts an Elasticsearch for one test or module, which may kill it: `with own_elastic(tls=True) as server`."""

    def start(*, tls: bool = False) -> AbstractContextManager[elastic_server.Server]:
        program, java = need(f"elasticsearch-{elastic_server.VERSION}"), need("java")
        return elastic_server.own(Path(program), Path(java), tls=tls)

    return start


@pytest.fixture(scope="session")
def elastic(own_elastic) -> Iterator[elastic_server.Cluster]:
    """The Elasticsearch that all tests share; who would stop it takes one of their own."""
    is_given = elastic_server.ENVIRONMENT + "URL" in os.environ
    with elastic_server.given() if is_given else own_elastic() as cluster:
        yield cluster


@pytest.fixture
def namespace(elastic) -> Iterator[str]:
    """A namespace of data streams that no other test has, so that tests need not clean the shared cluster."""
    name = f"test{secrets.token_hex(6)}"
    yield name
    if elastic.full:  # ours cannot delete data streams, and is thrown away as a whole
        with elastic.client() as admin:
            admin.options(ignore_status=404).indices.delete_data_stream(name=f"logs-nmap.*-{name}")
            admin.options(ignore_status=404).indices.delete_index_template(name=f"*-{name}")


@pytest.fixture(scope="session")
def own_s3() -> Callable[[str], AbstractContextManager[s3_server.Server]]:
    """Starts an S3 server for one test or module, which may kill it: `with own_s3("minio") as server`."""
    return lambda kind: s3_server.own(kind, need(kind))


@pytest.fixture(scope="session")
def shared_s3(own_s3) -> Iterator[Callable[[str], s3_server.Server]]:
    """The S3 server of a kind that all tests share; started when it is first asked for."""
    with ExitStack() as stack:
        yield functools.cache(lambda kind: stack.enter_context(own_s3(kind)))


@pytest.fixture(params=s3_server.KINDS)
def s3(request, shared_s3) -> s3_server.Server:
    """The S3 server that all tests share, one of each kind after the other."""
    return shared_s3(request.param)


@pytest.fixture
def new_bucket(monkeypatch) -> Callable[[s3_server.Server], str]:
    """Makes a bucket with Object Lock, which our programs find by their environment."""

    def make(server: s3_server.Server) -> str:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return server.bucket()

    return make


@pytest.fixture
def bucket(s3, new_bucket) -> str:
    """A new bucket with Object Lock."""
    return new_bucket(s3)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[[], int]]:
    """Starts a web server on the loopback interface, as often as it is called; returns its port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with ExitStack() as running:
        yield lambda: running.enter_context(loopback.serving(handler))
