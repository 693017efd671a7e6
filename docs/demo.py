"""The product in one minute: scan, forward, verify; change one byte of a copy; verify again.

With ELASTICSEARCH_URL in the environment (and NMAP_FORWARDER_ELASTICSEARCH_API_KEY, or …_USER and …_PASSWORD, where it
needs them) the records go there, too, into data streams of the namespace `demo`; SETUP=no leaves out installing the
templates.
"""

from __future__ import annotations

import http.server
import os
import shutil
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

from forwarder import elastic
from forwarder.config import Settings

OUT = Path("demo-out")
RECORDED = Path(__file__).parent.parent / "tests/fixtures/nmap/demo.xml"
QUERIES = (
    "FROM logs-nmap.*-demo | STATS documents = COUNT(*) BY data_stream.dataset | SORT documents DESC | LIMIT 10",
    "FROM logs-nmap.change-demo | SORT @timestamp DESC | KEEP @timestamp, event.action, message | LIMIT 5",
    "FROM logs-nmap.port-demo | SORT @timestamp DESC | KEEP message, nmap.seal.batch, nmap.seal.index | LIMIT 5",
)
BANNERS = {b"220 mail.example ESMTP ready\r\n": "smtp", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n": "ssh"}


def main() -> int:
    """Run the demonstration; return 0 when everything went as it should."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    os.environ["NMAP_FORWARDER_STATE_DIR"] = str(OUT / "state")
    os.environ["NMAP_FORWARDER_CONFIG"] = str(OUT / "config.toml")
    (OUT / "config.toml").write_text('namespace = "demo"\n\n[scan]\nvantage = "demo"\n')
    url = os.environ.get("ELASTICSEARCH_URL", "")
    if url:
        os.environ["NMAP_FORWARDER_ELASTICSEARCH_URL"] = url
        if os.environ.get("SETUP", "yes") == "yes":
            forwarder("setup", "elasticsearch")
    scans()
    forwarder("forward", "--settle", "0", *map(str, sorted(OUT.glob("*.xml"))))
    forwarder("status")
    forwarder("verify")
    if url:
        search()
    print("\n# One byte of a copy of the archive is changed.")
    copy = OUT / "tampered"
    shutil.copytree(OUT / "state/archive", copy)
    victim = next(copy.rglob("*.ndjson.zst"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    code = forwarder("verify", str(copy), expected=1)
    print("\nThe verifier found it." if code == 1 else "\nThe verifier did NOT find it!")
    print(f"The sealed archive is in {OUT}/state/archive; its public key is {OUT}/state/key.vkey.")
    return 0 if code == 1 else 1


def scans() -> None:
    """Scan a few services of our own with nmap, twice, one of them gone the second time; or take a recorded scan."""
    if shutil.which("nmap") is None:
        print(f"# nmap is not installed: using the recorded scan {RECORDED.name}")
        shutil.copy(RECORDED, OUT / "1.xml")
        return
    servers: list[socketserver.BaseServer] = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Quiet)]
    servers += [socketserver.ThreadingTCPServer(("127.0.0.1", 0), _banner(text)) for text in BANNERS]
    for server in servers:
        server.handle_error = lambda *_: None  # nmap hangs up in the middle, as scanners do
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ports = ",".join(str(server.server_address[1]) for server in servers)  # type: ignore[index]
    for name in ("1.xml", "2.xml"):
        command = ["nmap", "-sT", "-sV", "--script", "banner,http-title", "-p", f"{ports},1-10"]
        command += ["-oX", str(OUT / name), "127.0.0.1"]
        print("$", " ".join(command))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        gone = servers.pop()
        gone.shutdown()
        gone.server_close()


def search() -> None:
    """Show in Elasticsearch what the archive holds."""
    client = elastic.connect(Settings({}))
    client.indices.refresh(index="logs-nmap.*-demo")
    for query in QUERIES:
        print(f"\n# ES|QL: {query}")
        reply = client.esql.query(query=query)
        for row in reply["values"]:
            print("  ".join(str(value) for value in row))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _banner(text: bytes) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(text)

    return Handler


def forwarder(*arguments: str, expected: int = 0) -> int:
    """Run a command as a user would, and show it; stop when it fails unexpectedly."""
    print("\n$ nmap-forwarder", " ".join(arguments), flush=True)
    code = subprocess.run([sys.executable, "-m", "forwarder", *arguments], check=False).returncode
    if code != expected:
        sys.exit(f"demo: exit code {code} instead of {expected}")
    return code


if __name__ == "__main__":
    sys.exit(main())
