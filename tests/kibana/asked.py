"""What each panel of kibana/dashboards.ndjson asks, read from the file that people import."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forwarder.ecs.fields import fields

Json = dict[str, Any]
FILE = Path(__file__).parents[2] / "kibana" / "dashboards.ndjson"
OBJECTS = [json.loads(line) for line in FILE.read_text().splitlines()]
VIEWS = {entry["id"]: entry["attributes"]["title"] for entry in OBJECTS if entry["type"] == "index-pattern"}
SEARCHES = {entry["id"]: entry for entry in OBJECTS if entry["type"] == "search"}
DASHBOARDS = {entry["id"]: entry for entry in OBJECTS if entry["type"] == "dashboard"}
SUMMARIES = {"unique_count": "cardinality", "sum": "sum", "max": "max", "min": "min", "average": "avg"}
IN_KQL = re.compile(r"([@a-z_]+(?:\.[a-z0-9_]+)*)\"?\s*(?::|<=|>=|<|>)")
IN_ESQL = re.compile(r"(?<![`\w.])(@timestamp|[a-z_0-9]+(?:\.[a-z_0-9]+)+)")


@dataclass
class Asked:
    """One request to Elasticsearch."""

    name: str
    index: str
    kql: list[str] = field(default_factory=list)
    grouped: list[str] = field(default_factory=list)
    """Fields whose values are counted or grouped."""
    measured: dict[str, str] = field(default_factory=dict)
    """Field → how it is summed up."""
    shown: list[str] = field(default_factory=list)
    """Fields of a list of documents."""
    esql: str = ""
    body: Json = field(default_factory=dict)


def panels(dashboard: Json) -> list[Json]:
    """The panels of a dashboard."""
    return json.loads(dashboard["attributes"]["panelsJSON"])


def asked() -> Iterator[Asked]:
    """All requests of all dashboards."""
    for identity, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            name, config = f"{identity}/{panel['panelIndex']}", panel["embeddableConfig"]
            if panel["type"] == "lens":
                yield _lens(name, config["attributes"])
            elif panel["type"] == "search":
                (found,) = [r["id"] for r in dashboard["references"] if r["name"].endswith(":" + panel["panelRefName"])]
                yield _search(name, SEARCHES[found])
            elif panel["type"] == "visualization" and config["savedVis"]["type"] == "vega":
                data = json.loads(config["savedVis"]["params"]["spec"])["data"]
                url = (data[0] if isinstance(data, list) else data)["url"]
                yield Asked(name, url["index"], body=url["body"])


def controls(dashboard: Json) -> Iterator[tuple[str, str]]:
    """The data view and the field of each control."""
    for identity, panel in json.loads(dashboard["attributes"]["controlGroupInput"]["panelsJSON"]).items():
        name = f"controlGroup_{identity}:optionsListDataView"
        (view,) = [reference["id"] for reference in dashboard["references"] if reference["name"] == name]
        yield view, panel["explicitInput"]["fieldName"]


def _search(name: str, search: Json) -> Asked:
    attributes = search["attributes"]
    query = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]["query"]
    return Asked(name, VIEWS[search["references"][0]["id"]], [query] if query else [], shown=attributes["columns"])


def _lens(name: str, attributes: Json) -> Asked:
    state = attributes["state"]
    if "esql" in state["query"]:
        query = state["query"]["esql"]
        return Asked(name, query.split()[1], esql=query)
    (layer,) = state["datasourceStates"]["formBased"]["layers"].values()
    found = Asked(name, VIEWS[attributes["references"][0]["id"]])
    if query := state["query"]["query"]:
        found.kql.append(query)
    columns = [layer["columns"][column] for column in layer["columnOrder"]]
    columns = [column for column in columns if column["operationType"] not in {"formula", "math"}]  # sums of others
    found.body = _body(found, columns)
    return found


def _body(found: Asked, columns: list[Json]) -> Json:
    """The aggregations that Lens makes of columns: the buckets in each other, the metrics in the innermost."""
    measures, outer = {}, {}
    for n, column in enumerate(columns):
        if not column["isBucketed"]:
            measures[f"m{n}"] = _measure(found, column)
    aggregations = measures
    for n, column in reversed([*enumerate(columns)]):
        if column["isBucketed"]:
            outer = {f"b{n}": _bucket(found, column) | ({"aggs": aggregations} if aggregations else {})}
            aggregations = outer
    return {"size": 0, "aggs": aggregations}


def kql(query: str) -> Json:
    """KQL as Elasticsearch takes it."""
    return {"kql": {"query": query}}


def _measure(found: Asked, column: Json) -> Json:
    source, operation = column["sourceField"], column["operationType"]
    if source != "___records___":
        found.measured[source] = operation
    if operation == "count":
        made: Json = {"filter": {"match_all": {}}}
    elif operation == "median":
        made = {"percentiles": {"field": source, "percents": [50]}}
    elif operation == "last_value":
        made = {"top_hits": {"size": 1, "sort": [{"@timestamp": "desc"}], "docvalue_fields": [source]}}
    else:
        made = {SUMMARIES[operation]: {"field": source}}
    where = column.get("filter", {}).get("query")
    if not where:
        return made
    found.kql.append(where)
    return {"filter": kql(where)} if operation == "count" else {"filter": kql(where), "aggs": {"inside": made}}


def _bucket(found: Asked, column: Json) -> Json:
    params, operation = column["params"], column["operationType"]
    if operation == "filters":
        queries = {entry["label"]: entry["input"]["query"] for entry in params["filters"]}
        found.kql += queries.values()
        return {"filters": {"filters": {label: kql(query) for label, query in queries.items()}}}
    source = column["sourceField"]
    if operation == "date_histogram":
        found.measured[source] = operation
        return {"date_histogram": {"field": source, "fixed_interval": "1d"}}
    if operation == "range":
        found.measured[source] = operation
        return {"range": {"field": source, "ranges": [{"from": r["from"], "to": r["to"]} for r in params["ranges"]]}}
    found.grouped.append(source)
    missing = {"missing": "::"} if params["missingBucket"] and fields()[source].type == "keyword" else {}
    return {"terms": {"field": source, "size": params["size"]} | missing}
