"""What is adapted to the Elasticsearch of the tests, and that a transform's result is made as a transform makes it."""

import copy

import pytest
from elastic_adapt import TYPES, adapt, materialise
from elasticsearch import helpers

pytestmark = pytest.mark.integration

COMPONENT = {
    "template": {
        "settings": {
            "index": {"lifecycle": {"name": "logs"}, "final_pipeline": "p", "codec": "best_compression"},
            "index.lifecycle.rollover_alias": "x",
            "lifecycle.name": "y",
        },
        "lifecycle": {"data_retention": "30d"},
        "mappings": {
            "dynamic_templates": [{"texts": {"match_mapping_type": "string", "mapping": {"type": "wildcard"}}}],
            "properties": {
                "type": {"type": "constant_keyword", "value": "logs"},
                "version": {"properties": {"type": {"type": "version"}}},
                "message": {"type": "match_only_text", "fields": {"raw": {"type": "wildcard", "ignore_above": 9}}},
                "score": {"type": "scaled_float", "scaling_factor": 10},
                "size": {"type": "unsigned_long"},
                "net": {"type": "keyword", "fields": {"range": {"type": "ip_range"}}},
            },
        },
    },
    "version": 3,
}


def test_a_component_template_keeps_all_that_the_server_has():
    before = copy.deepcopy(COMPONENT)
    body, changed = adapt(COMPONENT)
    assert before == COMPONENT
    assert (body["version"], body["template"]["lifecycle"]) == (3, {"data_retention": "30d"})
    assert body["template"]["settings"] == {"index": {"final_pipeline": "p", "codec": "best_compression"}}
    assert body["template"]["mappings"] == {
        "dynamic_templates": [
            {"texts": {"match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": 8191}}}
        ],
        "properties": {
            "type": {"type": "keyword"},
            "version": {"properties": {"type": {"type": "keyword"}}},
            "message": {"type": "text", "fields": {"raw": {"type": "keyword", "ignore_above": 9}}},
            "score": {"type": "double"},
            "size": {"type": "long"},
            "net": {"type": "keyword", "fields": {"range": {"type": "ip_range"}}},
        },
    }
    assert changed == [
        "settings.index.lifecycle dropped",
        "settings.index.lifecycle.rollover_alias dropped",
        "settings.lifecycle.name dropped",
        "mappings.type: constant_keyword is keyword",
        "mappings.version.type: version is keyword",
        "mappings.message: match_only_text is text",
        "mappings.message.raw: wildcard is keyword",
        "mappings.score: scaled_float is double",
        "mappings.size: unsigned_long is long",
        "mappings.dynamic_templates.texts: wildcard is keyword",
    ]


def test_adapted_artifacts_work_together_on_the_server(elastic, namespace):
    if elastic.full:
        pytest.skip("a full cluster needs nothing adapted")
    pipeline, changed = adapt({"processors": [{"set": {"field": "a", "value": 1}}, {"pipeline": {"name": "x"}}]})
    assert changed == ["processors: set dropped", "processors: pipeline dropped"]
    component, _ = adapt(COMPONENT)
    optional = ["ecs@mappings", f"{namespace}@custom"]
    index, changed = adapt(
        {
            "index_patterns": [f"logs-nmap.*-{namespace}"],
            "priority": 9000,
            "data_stream": {},
            "composed_of": ["ecs@mappings", f"{namespace}@mappings", f"{namespace}@custom"],
            "ignore_missing_component_templates": optional,
        }
    )
    assert changed == ["composed_of: ecs@mappings dropped"]
    with elastic.client() as admin, elastic.client("shipper") as shipper:
        admin.ingest.put_pipeline(id="p", body=pipeline)
        admin.cluster.put_component_template(name=f"{namespace}@mappings", body=component)
        admin.indices.put_index_template(name=f"adapted-{namespace}", body=index)
        document = {"@timestamp": "2024-01-01T00:00:00Z", "type": "logs", "message": "x", "new": "y", "size": 1}
        assert shipper.create(index=f"logs-nmap.x-{namespace}", id="1", document=document)["result"] == "created"
        (found,) = admin.indices.get_mapping(index=f"logs-nmap.x-{namespace}").values()
        assert found["mappings"]["properties"]["new"] == {"type": "keyword", "ignore_above": 8191}


def test_each_stand_in_is_needed_on_this_server(elastic):
    """Else the table would hide more of the product than it must."""
    if elastic.full:
        pytest.skip("a full cluster has all types")
    with elastic.client() as admin:
        for missing in TYPES:
            reply = admin.options(ignore_status=400).indices.create(
                index=f"type-{missing}", mappings={"properties": {"f": {"type": missing}}}
            )
            assert "does not exist" in str(reply), missing


def test_a_latest_transform_keeps_the_newest_document_of_each_key(elastic, namespace):
    source, target = f"logs-nmap.port-{namespace}", f"latest-{namespace}"
    transform = {
        "source": {"index": [source], "query": {"term": {"user.name": "alice"}}},
        "dest": {"index": target},
        "latest": {"unique_key": ["host.id", "port"], "sort": "@timestamp"},
        "sync": {"time": {"field": "event.ingested"}},
    }
    keywords = {"type": "keyword"}
    mappings = {"properties": {"host.id": keywords, "port": {"type": "long"}, "user.name": keywords}}

    def document(day, host, port, user="alice", **more):
        found = {"@timestamp": f"2024-01-{day:02}", "host": {"id": host}, "user": {"name": user}} | more
        return found | ({"port": port} if port else {})

    def send(*documents):
        helpers.bulk(admin, ({"_op_type": "create", "_index": source, "_source": each} for each in documents))
        admin.indices.refresh(index=source)

    def state():
        hits = admin.search(index=target, size=9999)["hits"]["hits"]
        return sorted((h["_source"]["host"]["id"], h["_source"].get("port"), h["_source"]["@timestamp"]) for h in hits)

    with elastic.client() as admin:
        admin.indices.put_index_template(
            name=f"latest-{namespace}",
            index_patterns=[source],
            priority=9000,
            data_stream={},
            template={"mappings": mappings},
        )
        send(
            document(3, "a", 80),
            document(2, "a", 80),
            document(1, "a", 443, _internal=1) | {"state": "open"},
            document(9, "a", 80, user="bob"),
            document(2, "b", None),
        )
        assert materialise(admin, transform) == 3
        assert not any("_internal" in hit["_source"] for hit in admin.search(index=target)["hits"]["hits"])
        assert state() == [("a", 80, "2024-01-03"), ("a", 443, "2024-01-01"), ("b", None, "2024-01-02")]
        send(document(5, "b", None), *(document(1, f"c{n:04}", 1) for n in range(1001)))
        assert materialise(admin, transform) == 3 + 1001
        assert state()[2] == ("b", None, "2024-01-05")
        assert (
            materialise(admin, transform | {"retention_policy": {"time": {"field": "@timestamp", "max_age": "1d"}}})
            == 0
        )
        admin.indices.delete(index=target)
