"""What Kibana's detection engine asks Elasticsearch when it runs a rule once, as far as rules of ours need it.

The queries go to the server as they stand in the rule. What the engine leaves to scripts (painless, which the server of
the tests lacks), namely comparing the figures of aggregations, is done here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from elasticsearch import Elasticsearch

UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def span(text: str) -> timedelta:
    """How long before now a time of a rule is: now, now-9m."""
    if text == "now":
        return timedelta(0)
    count, unit = re.fullmatch(r"now-(\d+)([mhd])", text).groups()
    return timedelta(**{UNITS[unit]: int(count)})


def between(start: datetime, end: datetime) -> dict[str, Any]:
    """Documents of a time, by timestamp_override; those without it by @timestamp."""
    bounds = {"gte": start.isoformat(), "lte": end.isoformat()}
    without = {"bool": {"must_not": {"exists": {"field": "event.ingested"}}}}
    fallback = {"bool": {"filter": [without, {"range": {"@timestamp": bounds}}]}}
    return {"bool": {"should": [{"range": {"event.ingested": bounds}}, fallback], "minimum_should_match": 1}}


def run(client: Elasticsearch, rule: dict[str, Any], namespace: str, now: datetime | None = None) -> set[Any]:
    """Run a rule on one namespace.

    Returns:
        of a query, the ids of documents; of new_terms and threshold, a tuple of each field's value; of ES|QL, a tuple of
        the values of its BY.
    """
    now = now or datetime.now(UTC)
    start, end = now - span(rule["from"]), now - span(rule["to"])
    if rule["type"] == "esql":
        return _esql(client, rule, namespace, between(start, end))
    index = ",".join(f"{pattern}-{namespace}" for pattern in rule["index"])
    kql = {"kql": {"query": rule["query"]}}

    def filtered(begin: datetime) -> dict[str, Any]:
        return {"bool": {"filter": [kql, between(begin, end)]}}

    if rule["type"] == "query":
        found = client.search(index=index, query=filtered(start), size=1000, source=False)["hits"]["hits"]
        return {hit["_id"] for hit in found}
    if rule["type"] == "threshold":
        return _threshold(client, rule["threshold"], index, filtered(start))
    begin = now - span(rule["history_window_start"])
    first = {"first": {"min": {"field": "event.ingested"}}}
    buckets = _buckets(client, index, filtered(begin), rule["new_terms_fields"], first)
    return {key for key, found in buckets if found["first"]["value"] >= start.timestamp() * 1000}


def _buckets(client: Elasticsearch, index: str, query: dict[str, Any], fields: list[str], aggs: dict[str, Any]) -> Any:
    sources = [{str(number): {"terms": {"field": field}}} for number, field in enumerate(fields)]
    found = client.search(
        index=index,
        query=query,
        size=0,
        aggs={"by": {"composite": {"sources": sources, "size": 10_000}, "aggs": aggs}},
    )["aggregations"]["by"]["buckets"]
    return [(tuple(bucket["key"].values()), bucket) for bucket in found]


def _threshold(client: Elasticsearch, threshold: dict[str, Any], index: str, query: dict[str, Any]) -> set[Any]:
    aggs = {str(n): {"cardinality": {"field": one["field"]}} for n, one in enumerate(threshold["cardinality"])}
    least = {str(n): one["value"] for n, one in enumerate(threshold["cardinality"])}
    return {
        key
        for key, bucket in _buckets(client, index, query, threshold["field"], aggs)
        if bucket["doc_count"] >= threshold["value"] and all(bucket[n]["value"] >= value for n, value in least.items())
    }


def _esql(client: Elasticsearch, rule: dict[str, Any], namespace: str, condition: dict[str, Any]) -> set[Any]:
    query = rule["query"].replace("FROM logs-nmap.*", f"FROM logs-nmap.*-{namespace}")
    by = [name.strip() for name in re.search(r"\bBY (.+)", query)[1].split(",")]
    reply = client.esql.query(query=query, filter=condition)
    names = [column["name"] for column in reply["columns"]]
    return {tuple(row[names.index(name)] for name in by) for row in reply["values"]}
