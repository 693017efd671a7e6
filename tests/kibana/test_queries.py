"""Every query of every panel runs on Elasticsearch and finds something in a company's records."""

import json
import re
from datetime import UTC, datetime

import pytest
from asked import DASHBOARDS, VIEWS, asked, controls, kql
from elastic_adapt import adapt, materialise
from elasticsearch import helpers
from seed import Company

from forwarder.setup.artifacts import LATEST, artifacts, mappings

pytestmark = pytest.mark.integration
ASKED = [*asked()]


@pytest.fixture(scope="module")
def company(elastic):
    """The records and their latest state; returns where an index pattern's are: only this module has them."""
    space = f"kibana{id(elastic):x}"
    body = {"template": {"mappings": mappings(), "settings": {"number_of_replicas": 0}}}
    if not elastic.full:
        body, _ = adapt(body)
    with elastic.client() as admin:
        template = body["template"]
        admin.indices.put_index_template(
            name=space, index_patterns=[f"logs-nmap.*-{space}"], data_stream={}, priority=9500, template=template
        )
        actions = [
            {"_op_type": "create", "_index": f"logs-{one['data_stream']['dataset']}-{space}", "_source": one}
            for one in Company(datetime.now(UTC)).records()
        ]
        helpers.bulk(admin, actions, refresh=True)
        targets: list[str] = []
        for made in (one.body for one in artifacts(400) if one.kind == "transform"):
            (source,) = made["source"]["index"]
            target = f"{space}-{made['dest']['index']}"
            targets.append(target)
            admin.indices.create(index=target, mappings=template["mappings"], settings=template["settings"])
            moved = {"source": {"index": source.replace("-*", f"-{space}")}, "dest": {"index": target}}
            assert materialise(admin, made | moved) > 0

        def place(pattern):
            if pattern == "logs-nmap.*":
                return f"logs-nmap.*-{space}"
            names = [
                f"{space}-{one}" if one.startswith(LATEST) else one.replace("*", space) for one in pattern.split(",")
            ]
            return ",".join(names)

        yield admin, place
        for target in targets:
            admin.indices.delete(index=target)
        if elastic.full:
            admin.options(ignore_status=404).indices.delete_data_stream(name=f"logs-nmap.*-{space}")
            admin.options(ignore_status=404).indices.delete_index_template(name=space)


def empty(aggregation):
    """Whether an answer, at any depth, says nothing where it should."""
    if "buckets" in aggregation:
        buckets = aggregation["buckets"]
        return not any(bucket["doc_count"] for bucket in (buckets.values() if isinstance(buckets, dict) else buckets))
    if "hits" in aggregation:
        return not aggregation["hits"]["hits"]
    if "inside" in aggregation:
        return empty(aggregation["inside"])
    if "values" in aggregation:
        return None in aggregation["values"].values()
    return not aggregation.get("value", aggregation.get("doc_count"))


def filled(text):
    """A Vega request as Kibana sends it, without filters of the dashboard."""
    text = re.sub(r'"%dashboard_context-must_clause%",\s*', "", text)
    text = re.sub(r'"%dashboard_context-(filter|must_not)_clause%"', "", text)
    return json.loads(text.replace('{"%timefilter%": true}', '{"gte": "now-90d"}'))


@pytest.mark.parametrize("one", ASKED, ids=lambda one: one.name)
def test_a_panel_has_something_to_show(company, one):
    client, place = company
    if one.esql:
        reply = client.esql.query(query=one.esql.replace(one.index, place(one.index), 1))
        assert reply["values"]
        assert None not in reply["values"][0]
        return
    body = filled(json.dumps(one.body)) if one.body else {"size": 200}
    where = [kql(query) for query in one.kql[:1]] if not one.body or _asks(one) else []
    query = {"bool": {"filter": where}} if where else body.pop("query", {"match_all": {}})
    reply = client.search(index=place(one.index), query=query, **body)
    if one.shown:
        assert reply["hits"]["hits"]
        sources = json.dumps([hit["_source"] for hit in reply["hits"]["hits"]])
        missing = [name for name in one.shown if f'"{name.rpartition(".")[2]}"' not in sources]
        assert not missing
    for name, aggregation in reply.get("aggregations", {}).items():
        assert not empty(aggregation), name


def _asks(one):
    """Whether the first KQL is the panel's own; others belong to single columns."""
    return one.kql and json.dumps(kql(one.kql[0])) not in json.dumps(one.body)


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_a_control_has_values_to_choose_from(company, dashboard):
    client, place = company
    for view, name in controls(dashboard):
        reply = client.search(index=place(VIEWS[view]), size=0, aggs={"values": {"terms": {"field": name}}})
        assert reply["aggregations"]["values"]["buckets"], name


def test_the_question_of_an_ids_is_answered(company):
    """Source, target and time of a sighting find the scan; a target outside of it, or another time, does not."""
    client, place = company
    (search,) = [one for one in ASKED if one.name.endswith("-was-it-ours")]
    (scan,) = client.search(
        index=place("logs-nmap.scan-*"), size=1, query=kql('nmap.target.network: "192.0.2.0/24"'), sort="@timestamp"
    )["hits"]["hits"]
    began, ended = (scan["_source"]["event"][name] for name in ("start", "end"))

    def found(target, at):
        question = f'observer.ip: "192.0.2.7" and nmap.scan.target_range: "{target}" and event.start <= "{at}" and event.end >= "{at}"'
        query = {"bool": {"filter": [kql(search.kql[0]), kql(question)]}}
        hits = client.search(index=place(search.index), query=query)["hits"]["hits"]
        return {hit["_source"]["nmap"]["scan"]["id"] for hit in hits}

    assert found("192.0.2.10", began) == found("192.0.2.10", ended) == {scan["_source"]["nmap"]["scan"]["id"]}
    assert not found("10.9.9.9", began)
    assert not found("192.0.2.10", "2020-01-01T00:00:00Z")
