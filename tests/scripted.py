"""A stand-in for Elasticsearch that does on demand what a real one cannot be made to do: fail at a chosen moment.

Unless its script says otherwise it is a minimal bulk endpoint with create semantics, and a store for what setup puts.
What it takes is no proof that Elasticsearch would take it; that is what tests/integration is for.
"""

import gzip
import json
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

JSON = "application/vnd.elasticsearch+json;compatible-with=8"
NODES = {"nodes": {"abc": {"version": "8.19.21"}}}
LISTS = {"_component_template": "component_template", "_index_template": "index_template"}
LONGEST = 20.0
"""Seconds after which a reply that is held back comes anyway, so that no test hangs."""


@dataclass
class Says:
    """What the server does with one request. Without a body it does its work, and replies as usual."""

    status: int = 200
    body: bytes | None = None
    type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    product: bool = True
    """It says that it is Elasticsearch."""
    take: bool = False
    """The work is done before the failure, as when only the reply is lost."""
    cut: bool = False
    """The connection ends in the middle of the reply."""
    reset: bool = False
    """The connection is reset instead of a reply."""
    hold: threading.Event | None = None
    """The reply is held back until this is set."""
    reached: threading.Event = field(default_factory=threading.Event)
    """Set when the request is there and its work is done, before the reply."""


def error(status: int, kind: str = "some_exception", why: str = "because", **more) -> Says:
    return Says(status, json.dumps({"error": {"type": kind, "reason": why}, "status": status}).encode(), **more)


def failure(status: int, kind: str = "some_exception", why: str = "because") -> dict:
    """An item's refusal."""
    return {"status": status, "error": {"type": kind, "reason": why}}


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    time: float

    @property
    def ids(self) -> list[str]:
        """Of the documents in it, in their order."""
        lines = self.body.splitlines()[::2]
        return [json.loads(line)["create"]["_id"] for line in lines]


class Scripted:
    """The server. Start and stop it by `with`.

    Args:
        tls: certificate and key for https.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.bulk: deque[Says] = deque()
        """What is done with the next bulk requests; afterwards they are taken."""
        self.always: Says | None = None
        """What is done with every bulk request without a line of its own in the script."""
        self.others: dict[str, Says] = {}
        """What is done with other requests, by the beginning of their path."""
        self.item: Callable[[str, dict], dict | None] = lambda _id, _document: None
        """Refuses documents: returns the item of the reply, or None for those that are stored."""
        self.refuses: Callable[[bytes], bool] = lambda _body: False
        """Whether a whole request is refused by 400."""
        self.largest = 0
        """Bytes of the largest request that is taken, as a proxy has a limit; 0: any."""
        self.key = ""
        """Authorization header that is asked for, if any."""
        self.documents: dict[tuple[str, str], bytes] = {}
        self.store: dict[str, dict] = {}
        self.requests: list[Request] = []
        self.open = self.most = 0
        """Bulk requests that are being handled now, and the most at the same time."""
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"script": self}))
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"http{'s' * bool(tls)}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def bulks(self) -> list[Request]:
        return [request for request in self.requests if request.path == "/_bulk"]

    def ids(self) -> list[str]:
        return sorted(identity for _, identity in self.documents)

    def create(self, body: bytes) -> list[dict]:
        """Store the documents of a bulk request; return the items of the reply."""
        lines, items = body.split(b"\n"), []
        assert lines.pop() == b"", "a bulk request ends with a newline"
        with self.lock:
            for head, line in zip(lines[::2], lines[1::2], strict=True):
                (action,) = json.loads(head).items()
                assert action[0] == "create"
                key, document = (action[1]["_index"], action[1]["_id"]), json.loads(line)
                refused = self.item(key[1], document)
                if refused is None and key in self.documents:
                    refused = failure(409, "version_conflict_engine_exception", "document already exists")
                if refused is None:
                    self.documents[key] = line
                items.append({"create": refused or {"status": 201}})
        return items

    def setup(self, method: str, path: str, body: bytes) -> tuple[int, dict]:  # noqa: PLR0911
        """Keep what setup installs, and give it as Elasticsearch does."""
        parts = path.split("/")[1:]
        length = 3 if parts[0] in {"_ingest", "_security"} else 2
        (collection, name), action = parts[length - 2 : length], parts[length:]
        key = "/" + "/".join(parts[:length])
        if method == "PUT":
            self.store[key] = {"state": "stopped"} | json.loads(body)
            return 200, {"acknowledged": True}
        if key not in self.store:
            return 404, {"error": {"type": "resource_not_found_exception", "reason": name}}
        if method == "DELETE":
            del self.store[key]
            return 200, {"acknowledged": True}
        found = dict(self.store[key])
        state = found.pop("state")
        if action in (["_start"], ["_stop"]):
            self.store[key]["state"] = {"_start": "started", "_stop": "stopped"}[action[0]]
            return 200, {"acknowledged": True}
        if action == ["_stats"]:
            return 200, {"count": 1, "transforms": [{"id": name, "state": state}]}
        if collection in LISTS:
            kind = LISTS[collection]
            if "lifecycle" in found.get("template", {}):  # Elasticsearch always says so
                template = found["template"]
                found["template"] = template | {"lifecycle": {"enabled": True} | template["lifecycle"]}
            return 200, {f"{kind}s": [{"name": name, kind: found}]}
        return 200, {"count": 1, "transforms": [{"id": name} | found]} if collection == "_transform" else {name: found}


class _Handler(BaseHTTPRequestHandler):
    script: Scripted
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_) -> None:
        pass

    def handle(self) -> None:
        try:
            if isinstance(self.request, ssl.SSLSocket):
                self.request.do_handshake()
            super().handle()
        except (OSError, ValueError):  # the client went away, or the script cut it off
            self.close_connection = True

    def _any(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        zipped = self.headers.get("content-encoding") == "gzip"
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = self.path.partition("?")[0]
        body = gzip.decompress(raw) if zipped else raw
        with self.script.lock:
            self.script.requests.append(Request(self.command, path, headers, body, time.monotonic()))
        if path == "/_bulk":
            with self.script.lock:
                self.script.open += 1
                self.script.most = max(self.script.most, self.script.open)
                says = self.script.bulk.popleft() if self.script.bulk else self.script.always or Says()
        else:
            says = next((says for start, says in self.script.others.items() if path.startswith(start)), Says())
        try:
            self._answer(says, path, body, len(raw))
        finally:
            if path == "/_bulk":
                with self.script.lock:
                    self.script.open -= 1

    do_GET = do_PUT = do_POST = do_DELETE = _any  # noqa: N815 - the names that http.server asks for

    def _answer(self, says: Says, path: str, body: bytes, length: int) -> None:
        status, reply = says.status, says.body
        if self.script.key and self.headers.get("authorization") != self.script.key:
            status, reply = 401, b'{"error":{"type":"security_exception","reason":"unable to authenticate"}}'
        elif says.body is None or says.take:
            status, done = self._work(path, body, length)
            reply, status = (done, status) if says.body is None else (says.body, says.status)
        says.reached.set()
        if says.hold:
            says.hold.wait(LONGEST)
        if says.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            raise ConnectionResetError
        self.send_response(status)
        for name, value in says.headers.items():
            self.send_header(name, value)
        if says.product:
            self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "text/html" if reply.startswith(b"<") else says.type)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply[: len(reply) // 2] if says.cut else reply)
        self.wfile.flush()
        self.close_connection = says.cut

    def _work(self, path: str, body: bytes, length: int) -> tuple[int, bytes]:
        if path == "/_nodes/_local":
            return 200, json.dumps(NODES).encode()
        if path != "/_bulk":
            status, reply = self.script.setup(self.command, path, body)
            return status, json.dumps(reply).encode()
        if self.script.largest and length > self.script.largest:
            return 413, b"<html><body>413 Request Entity Too Large</body></html>"
        if self.script.refuses(body):
            return 400, error(400, "illegal_argument_exception", "no").body or b""
        return 200, json.dumps({"items": self.script.create(body)}).encode()


def self_signed(directory) -> tuple[ssl.SSLContext, str]:
    """A certificate of 127.0.0.1 that nobody vouches for, in cert.pem; a server's context with it, its SHA-256."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "cert.key").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "cert.key")
    return context, sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
