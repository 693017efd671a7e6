"""Where a story goes: files for the bulk API, or an Elasticsearch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from forwarder import elastic
from forwarder.config import Settings
from forwarder.deliver.elasticsearch import ElasticsearchOutput
from forwarder.deliver.interface import Document
from forwarder.ecs.fields import DATASETS
from forwarder.errors import UsageError
from forwarder.setup.artifacts import artifacts

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from forwarder.demo.story import Story

BAD_REQUEST: Final = 400
AT_A_TIME: Final = 5000
"""Documents in a file; some megabytes, which a request may have."""


def documents(story: Story) -> Iterator[Document]:
    """Yield a story's documents as they are delivered."""
    for sequence, record in enumerate(chain.from_iterable(story.tell())):
        stream = f"logs-{record['event']['dataset']}-{story.namespace}"
        yield Document(stream, record["event"]["id"], orjson.dumps(record), sequence)


def expectations(story: Story) -> bytes:
    """Return what each rule must find in a story that was told, as JSON."""
    return orjson.dumps(story.marks, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n"


def to_files(found: Iterable[Document], directory: Path) -> int:
    """Write bodies of bulk requests, `bulk-001.ndjson` and so on; return the number of documents.

    Raises:
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    every, total, number = iter(found), 0, 0
    while some := list(islice(every, AT_A_TIME)):
        number += 1
        with (directory / f"bulk-{number:03}.ndjson").open("wb") as out:
            for document in some:
                action: dict[str, Any] = {"create": {"_index": document.stream, "_id": document.id}}
                out.write(orjson.dumps(action) + b"\n" + document.body + b"\n")
        total += len(some)
    return total


def to_elasticsearch(found: Iterable[Document], settings: Settings, namespace: str) -> int:
    """Deliver documents; return the number of those that were taken now.

    Raises:
        ForwarderError: Elasticsearch is not there, or refuses.
    """
    client = elastic.connect(settings)
    elastic.check(client, elastic.place(settings))
    _keep_times(client, elastic.place(settings), namespace)
    output = ElasticsearchOutput(client, settings)
    return sum(outcome.created for outcome in output.deliver(found, resumed=True))


def _keep_times(client: Elasticsearch, where: str, namespace: str) -> None:
    """Have the data streams of the demonstration keep event.ingested; the usual pipeline would say: now."""
    from elastic_transport import TransportError  # noqa: PLC0415
    from elasticsearch import ApiError  # noqa: PLC0415

    headers = {"accept": elastic.JSON, "content-type": elastic.JSON}
    templates = {artifact.name: artifact.body for artifact in artifacts(0) if artifact.kind == "index_template"}
    for dataset in DATASETS:
        usual = templates[f"logs-nmap.{dataset}"]
        body = {
            **{name: usual[name] for name in ("composed_of", "data_stream", "ignore_missing_component_templates")},
            "index_patterns": [f"logs-nmap.{dataset}-{namespace}"],
            "priority": usual["priority"] + 1,
            "template": {"settings": {"index": {"final_pipeline": "_none"}}},
            "_meta": {"managed_by": "nmap-forwarder", "description": "made by nmap-forwarder demo-data"},
        }
        path = f"/_index_template/logs-nmap.{dataset}-{namespace}"
        try:
            client.perform_request("PUT", path, headers=headers, body=body)
        except ApiError as error:
            if error.meta.status == BAD_REQUEST:
                raise UsageError(
                    f"{where} lacks our templates ({elastic.reason(error.body)})", "run setup elasticsearch first"
                ) from None
            raise elastic.explain(error, where) from None
        except TransportError as error:
            raise elastic.explain(error, where) from None
