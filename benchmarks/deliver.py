"""Delivery beside raw bodies: documents a second and client CPU a document, against the same Elasticsearch.

The other side posts bulk bodies that were prepared beforehand over one plain connection and does nothing else. Both
write the same documents into new data streams, in turns. The server needs the templates of `setup elasticsearch`.

Usage: deliver.py URL [MEGABYTES] [ROUNDS]
"""

from __future__ import annotations

import http.client
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from generate import generate

from forwarder import elastic, pipeline, state
from forwarder.archive import records
from forwarder.config import Settings
from forwarder.deliver.document import Splicer
from forwarder.deliver.elasticsearch import PATH, ElasticsearchOutput
from forwarder.deliver.interface import Document
from forwarder.ledger import ANCHORED
from forwarder.outcome import Listener

DOCUMENTS = 2000
"""In one raw body, as in ours by default."""


def main() -> None:
    """Print the comparison."""
    url, megabytes = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 10  # noqa: PLR2004
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3  # noqa: PLR2004
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        generate(directory / "scan.xml", megabytes)
        (directory / "config.toml").touch()
        flags = {"state_dir": str(directory / "state"), "elasticsearch_url": url}
        settings = Settings(flags, str(directory / "config.toml"), {})
        state.init(settings)
        with state.opened(settings) as opened:
            quiet = Settings(flags | {"elasticsearch_url": ()}, str(directory / "config.toml"), {})
            pipeline.forward(opened, quiet, [str(directory / "scan.xml")], Listener())
            for n in range(rounds):
                ours = measure(partial(deliver, opened, settings, f"ours{n}"))
                raw = measure(prepared(opened, settings, f"raw{n}"))
                for label, (count, seconds, cpu) in (("deliver", ours), ("raw", raw)):
                    print(f"{label:8} {count / seconds:7.0f} documents/s {cpu / count * 1e6:5.1f} µs CPU a document")
                print(f"ratio    {ours[0] / ours[1] / (raw[0] / raw[1]):7.2f} of the raw rate")


def measure(work: Callable[[], int]) -> tuple[int, float, float]:
    """Return (documents, seconds, CPU seconds of this process)."""
    started, used = time.monotonic(), time.process_time()
    count = work()
    return count, time.monotonic() - started, time.process_time() - used


def documents(opened: state.State, settings: Settings, namespace: str) -> Iterator[Iterator[Document]]:
    """Yield the documents of each batch, for data streams of a namespace that nobody has used."""
    fresh = f"{namespace}.{uuid.uuid4().hex[:8]}"
    for batch in opened.ledger.batches(*ANCHORED):
        manifest = records.manifest(opened.archive, batch.sequence, batch.manifest_sha256)
        splicer = Splicer(manifest, batch.manifest_sha256, "directory", ("benchmark", settings["observer.name"]))
        lines = enumerate(records.lines(opened.archive, manifest))
        yield (_moved(splicer.document(line, index), fresh) for index, line in lines)


def _moved(document: Document, namespace: str) -> Document:
    return document._replace(stream=document.stream.replace("-default", f"-{namespace}"))


def deliver(opened: state.State, settings: Settings, namespace: str) -> int:
    """Deliver everything as the product does; return the number of documents."""
    output = ElasticsearchOutput(elastic.connect(settings), settings)
    created = 0
    for batch in documents(opened, settings, namespace):
        for outcome in output.deliver(batch):
            created += outcome.created
            if outcome.rejected:
                raise SystemExit(f"refused: {outcome.rejected[0].reason}")
    return created


def prepared(opened: state.State, settings: Settings, namespace: str) -> Callable[[], int]:
    """Return what posts all documents from bodies that are ready."""
    lines = [
        b'{"create":{"_index":"%b","_id":"%b"}}\n%b\n' % (item.stream.encode(), item.id.encode(), item.body)
        for batch in documents(opened, settings, namespace)
        for item in batch
    ]
    bodies = [b"".join(lines[start : start + DOCUMENTS]) for start in range(0, len(lines), DOCUMENTS)]
    url = urlsplit(settings["elasticsearch.url"][0])

    def post() -> int:
        connection = http.client.HTTPConnection(url.hostname or "", url.port)
        for body in bodies:
            connection.request("POST", PATH, body, {"content-type": "application/x-ndjson"})
            reply = connection.getresponse()
            data = reply.read()
            if reply.status != http.client.OK or b'"error"' in data:
                raise SystemExit(f"refused: {reply.status} {data[:300]!r}")
        connection.close()
        return len(lines)

    return post


if __name__ == "__main__":
    main()
