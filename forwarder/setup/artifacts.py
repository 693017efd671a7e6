"""What Elasticsearch needs before documents come: made from the field table and the files beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from forwarder.ecs.fields import DATASETS, Field, fields, source

PRIORITY: Final = 501
"""Above the 100 of Elastic's own `logs-*-*` and the 200 of its integrations."""
VERSION: Final = 1
"""Raised with every change of what is installed; people see it, `--check` compares contents."""
IGNORE_ABOVE: Final = 8191
"""Characters of the longest keyword that is indexed: Lucene takes 32,766 bytes, four for each character."""
LATEST: Final = "nmap-latest"
MAPPINGS, SETTINGS = "logs-nmap@mappings", "logs-nmap@settings"
PIPELINE: Final = "logs-nmap@pipeline"
SORT: Final = {"scan": "event.ingested"}
"""Dataset → what its newest document is told by, where that is not @timestamp: what links a scan to its execution later
has the scan's own time."""
RANGES: Final = frozenset({"nmap.target.network"})
"""Fields with networks in CIDR notation: `<field>.range` finds the networks that an address is in."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One thing to install."""

    kind: str
    """component_template, index_template, pipeline, transform or role."""
    name: str
    body: dict[str, Any]

    @property
    def path(self) -> str:
        """Where the REST API has it."""
        return f"/{PATHS[self.kind]}/{self.name}"


PATHS: Final = {
    "pipeline": "_ingest/pipeline",
    "component_template": "_component_template",
    "index_template": "_index_template",
    "transform": "_transform",
    "role": "_security/role",
}
"""Kind → collection of the REST API, in the order of installation."""


def artifacts(retention_days: int) -> list[Artifact]:
    """Return what is installed, in the order in which it must be.

    Args:
        retention_days: how long documents are kept; 0: for ever.
    """
    keep = f"{retention_days}d" if retention_days else ""
    found = [
        Artifact("pipeline", PIPELINE, _stamped(_load("pipeline.json"))),
        Artifact("component_template", MAPPINGS, _stamped({"template": {"mappings": mappings()}})),
        Artifact(
            "component_template",
            SETTINGS,
            _stamped(
                {
                    "template": {
                        "settings": _load("settings.json"),
                        "lifecycle": {"data_retention": keep} if keep else {"enabled": True},
                    }
                },
                retention_days=retention_days,  # one that was taken away leaves no other trace to compare
            ),
        ),
    ]
    found += [Artifact("index_template", f"logs-nmap.{dataset}", _stream(dataset)) for dataset in DATASETS]
    found.append(Artifact("index_template", LATEST, _latest()))
    found += [
        Artifact("transform", f"{LATEST}-{dataset}", _transform(dataset, key, retention_days))
        for dataset, key in _load("latest.json").items()
    ]
    return found


def roles() -> list[Artifact]:
    """Return the roles; their bodies are what API keys take as role descriptors, too."""
    return [Artifact("role", f"nmap-forwarder-{name}", body) for name, body in _load("roles.json").items()]


def mappings() -> dict[str, Any]:
    """Return the mappings of all fields in the table."""
    root: dict[str, Any] = {}
    for field in fields().values():
        *objects, leaf = field.name.split(".")
        holder = root
        for name in objects:
            holder = holder.setdefault(name, {"properties": {}})["properties"]
        holder[leaf] = _mapping(field)
    return {"properties": root}


def _mapping(field: Field) -> dict[str, Any]:
    found: dict[str, Any] = {"type": field.type}
    if not field.index:
        found |= {"index": False, "doc_values": False}
    elif field.type in {"keyword", "wildcard", "flattened"}:
        found["ignore_above"] = IGNORE_ABOVE
    if field.name in RANGES:
        found["fields"] = {"range": {"type": "ip_range"}}
    return found


def _stream(dataset: str) -> dict[str, Any]:
    """Return the index template of a dataset's data streams."""
    optional = ["ecs@mappings", "logs-nmap@custom", f"logs-nmap.{dataset}@custom"]
    constants = {
        "type": {"type": "constant_keyword", "value": "logs"},
        "dataset": {"type": "constant_keyword", "value": f"nmap.{dataset}"},
    }
    return _stamped(
        {
            "index_patterns": [f"logs-nmap.{dataset}-*"],
            "data_stream": {},
            "allow_auto_create": True,
            "priority": PRIORITY,
            "composed_of": [optional[0], MAPPINGS, SETTINGS, *optional[1:]],
            "ignore_missing_component_templates": optional,
            "template": {"mappings": {"properties": {"data_stream": {"properties": constants}}}},
        }
    )


def _latest() -> dict[str, Any]:
    """Return the index template of the transforms' destinations; one holds the documents of many data streams."""
    stream = {name: {"type": "keyword", "ignore_above": IGNORE_ABOVE} for name in ("type", "dataset", "namespace")}
    return _stamped(
        {
            "index_patterns": [f"{LATEST}-*"],
            "priority": PRIORITY,
            "composed_of": ["ecs@mappings", MAPPINGS, "logs-nmap@custom"],
            "ignore_missing_component_templates": ["ecs@mappings", "logs-nmap@custom"],
            "template": {
                "settings": {"index": {"auto_expand_replicas": "0-1"}},
                "mappings": {"properties": {"data_stream": {"properties": stream}}},
            },
        }
    )


def _transform(dataset: str, key: list[str], retention_days: int) -> dict[str, Any]:
    """Return the transform that keeps the newest document for each thing that documents are about."""
    body: dict[str, Any] = {
        "description": f"The latest state of each {dataset} that nmap-forwarder has seen",
        "source": {"index": [f"logs-nmap.{dataset}-*"]},
        "dest": {"index": f"{LATEST}-{dataset}"},
        "latest": {"unique_key": key, "sort": SORT.get(dataset, "@timestamp")},
        "sync": {"time": {"field": "event.ingested", "delay": "60s"}},
        "frequency": "1m",
        "_meta": _meta(retention_days=retention_days),
    }
    if retention_days:
        body["retention_policy"] = {"time": {"field": "@timestamp", "max_age": f"{retention_days}d"}}
    return body


def _stamped(body: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return body | {"version": VERSION, "_meta": _meta(**meta)}


def _meta(**more: Any) -> dict[str, Any]:
    """Return who made something; nothing that changes with every version, or each upgrade would make all of it anew."""
    return {"managed_by": "nmap-forwarder", "description": "installed by nmap-forwarder setup"} | more


def _load(name: str) -> Any:
    return orjson.loads(source(name).read_bytes())
