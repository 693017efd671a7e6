"""Adapts what the product ships for a full cluster to the Elasticsearch of the tests, which lacks some modules.

Only tests use this, and only where `Cluster.full` is false. As little as possible is changed, so that the server judges
the rest: it knows and validates life cycles of data streams, optional component templates and the names of pipelines.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from elasticsearch import Elasticsearch, helpers

TYPES = {
    "constant_keyword": "keyword",
    "match_only_text": "text",
    "scaled_float": "double",
    "unsigned_long": "long",
    "version": "keyword",
    "wildcard": "keyword",
}
"""Field types that are missing, and what stands in for them."""

PARAMETERS = {"constant_keyword": ["value"], "scaled_float": ["scaling_factor"]}
"""What the stand-in would refuse."""

BUILT_IN = {"data-streams@mappings", "ecs@mappings", "logs@mappings", "logs@settings"}
"""Component templates that every full cluster has."""


def adapt(body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Adapt a component template, an index template or an ingest pipeline.

    Returns:
        the body to send, and a line for each thing that is not as it was.
    """
    body = copy.deepcopy(body)
    changed: list[str] = []
    if "processors" in body:
        types = [name for processor in body["processors"] for name in processor]
        changed += [f"processors: {name} dropped" for name in types]
        body["processors"] = []
    if composed := body.get("composed_of"):
        body["composed_of"] = [name for name in composed if name not in BUILT_IN]
        changed += [f"composed_of: {name} dropped" for name in composed if name in BUILT_IN]
    template = body.get("template", {})
    if "settings" in template:
        template["settings"] = _settings(template["settings"], "settings", changed)
    if "mappings" in template:
        _fields(template["mappings"], "mappings", changed)
        for rule in template["mappings"].get("dynamic_templates", []):
            for name, found in rule.items():
                _field(found.get("mapping", {}), f"mappings.dynamic_templates.{name}", changed)
    return body, changed


def _settings(settings: dict[str, Any], path: str, changed: list[str]) -> dict[str, Any]:
    """Settings without those of index lifecycle management, however they are nested or dotted."""
    kept = {}
    for key, value in settings.items():
        where = f"{path}.{key}"
        if where.removeprefix("settings.").removeprefix("index.").partition(".")[0] == "lifecycle":
            changed.append(f"{where} dropped")
        else:
            kept[key] = _settings(value, where, changed) if isinstance(value, dict) else value
    return kept


def _fields(holder: dict[str, Any], path: str, changed: list[str]) -> None:
    for part in ("properties", "fields"):
        for name, field in holder.get(part, {}).items():
            _field(field, f"{path}.{name}", changed)


def _field(field: dict[str, Any], path: str, changed: list[str]) -> None:
    missing = field.get("type")
    if missing in TYPES:
        field["type"] = TYPES[missing]
        for parameter in PARAMETERS.get(missing, []):
            field.pop(parameter, None)
        if missing == "wildcard":  # it takes values of any length; an overlong keyword would refuse the document
            field.setdefault("ignore_above", 8191)
        changed.append(f"{path}: {missing} is {TYPES[missing]}")
    _fields(field, path, changed)


def materialise(client: Elasticsearch, transform: dict[str, Any]) -> int:
    """Bring the destination of a `latest` transform up to date, in the way transforms do it themselves.

    That is a composite aggregation over the keys, where a missing key is a value like others, and the newest document
    of each bucket. There is no waiting and no sync: what can be searched counts, whether it has the sync field or not.

    Args:
        client: of somebody who may read the source and write the destination.
        transform: the body of the transform, as it is sent to a full cluster.

    Returns:
        how many documents the destination has been given.
    """
    target = transform["dest"]["index"]
    actions = ({"_index": target, "_id": key, "_source": document} for key, document in _latest(client, transform))
    count, _ = helpers.bulk(client, actions, refresh=True)
    return int(count)


def _latest(client: Elasticsearch, transform: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    source, latest = transform["source"], transform["latest"]
    conditions = [source.get("query", {"match_all": {}})]
    if retention := transform.get("retention_policy", {}).get("time"):
        conditions.append({"range": {retention["field"]: {"gte": f"now-{retention['max_age']}"}}})
    pages: dict[str, Any] = {
        "size": 1000,
        "sources": [{field: {"terms": {"field": field, "missing_bucket": True}}} for field in latest["unique_key"]],
    }
    newest = {"top_hits": {"size": 1, "sort": [{latest["sort"]: {"order": "desc"}}]}}
    while True:
        reply = client.search(
            index=source["index"],
            size=0,
            query={"bool": {"filter": conditions}},
            aggs={"keys": {"composite": pages, "aggs": {"newest": newest}}},
        )
        found = reply["aggregations"]["keys"]
        for bucket in found["buckets"]:
            key = hashlib.sha256(json.dumps(bucket["key"], sort_keys=True).encode()).hexdigest()
            document = bucket["newest"]["hits"]["hits"][0]["_source"]
            yield key, {name: value for name, value in document.items() if not name.startswith("_")}
        if "after_key" not in found:
            return
        pages["after"] = found["after_key"]
