"""The Elasticsearch of the tests does what the product's tests will ask of it."""

import contextlib

import elasticsearch
import pytest
from elasticsearch import AuthenticationException, AuthorizationException, SSLError, helpers

pytestmark = pytest.mark.integration

MAPPINGS = {
    "dynamic": "false",
    "properties": {
        "@timestamp": {"type": "date_nanos"},
        "destination": {"properties": {"ip": {"type": "ip"}, "port": {"type": "long"}}},
        "user": {"properties": {"name": {"type": "keyword"}}},
        "nmap": {"properties": {"script": {"type": "flattened", "ignore_above": 8191}}},
    },
}


@contextlib.contextmanager
def template(cluster, namespace):
    """An index template that makes data streams of this namespace, above the product's in priority."""
    with cluster.client() as admin:
        admin.indices.put_index_template(
            name=f"smoke-{namespace}",
            index_patterns=[f"logs-nmap.*-{namespace}"],
            data_stream={},
            priority=9000,
            template={"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": MAPPINGS},
        )
        yield admin


def port(n, ip="10.0.0.1"):
    return {
        "@timestamp": f"2024-01-01T00:00:{n:02}.123456Z",
        "destination": {"ip": ip, "port": 20 + n},
        "user": {"name": "alice" if n % 2 else "bob"},
        "nmap": {"script": [{"key": "title", "value": f"page {n}"}]},
    }


def create(client, stream, documents):
    """Bulk create; the status of each, which is what a shipper has to decide by."""
    actions = ({"_op_type": "create", "_index": stream, "_id": key, "_source": doc} for key, doc in documents.items())
    return [result["create"]["status"] for _, result in helpers.streaming_bulk(client, actions, raise_on_error=False)]


@pytest.fixture
def stream(elastic, namespace):
    """A data stream with six ports, sent by the shipper."""
    name = f"logs-nmap.port-{namespace}"
    with template(elastic, namespace) as admin, elastic.client("shipper") as shipper:
        assert create(shipper, name, {f"p{n}": port(n) for n in range(6)}) == [201] * 6
        admin.indices.refresh(index=name)
        yield name


def test_bulk_create_makes_a_data_stream_and_answers_for_each_document(elastic, stream):
    with elastic.client("shipper") as shipper:
        bad = port(0, ip="no address")
        assert create(shipper, stream, {"p0": port(0), "bad": bad, "p6": port(6)}) == [409, 400, 201]
    with elastic.client("reader") as reader:
        (found,) = reader.indices.resolve_index(name=stream)["data_streams"]
        assert found["timestamp_field"] == "@timestamp"
        assert reader.indices.get_mapping(index=stream)[found["backing_indices"][0]]["mappings"]["dynamic"] == "false"


def test_kql_runs_as_it_stands_in_a_rule_or_panel(elastic, stream):
    query = "user.name: ali* and destination.port >= 23 and destination.ip: 10.0.0.0/24"
    with elastic.client("reader") as reader:
        hits = reader.search(index=stream, query={"kql": {"query": query}}, sort="destination.port")["hits"]["hits"]
        assert [hit["_id"] for hit in hits] == ["p3", "p5"]


def test_esql_runs(elastic, stream):
    query = f"FROM {stream} | STATS n = COUNT(*), top = MAX(destination.port) BY user.name | SORT user.name | LIMIT 9"
    with elastic.client("reader") as reader:
        assert reader.esql.query(query=query)["values"] == [[3, 25, "alice"], [3, 24, "bob"]]


def test_the_shipper_may_only_create_and_the_reader_only_read(elastic, stream):
    with elastic.client("shipper") as shipper, elastic.client("reader") as reader:
        assert shipper.cluster.health()["status"] in {"green", "yellow"}
        for forbidden in (
            lambda: shipper.search(index=stream),
            lambda: shipper.get(index=stream, id="p1"),
            lambda: shipper.delete(index=stream, id="p1"),
            lambda: shipper.indices.delete(index=stream),
            lambda: shipper.indices.refresh(index=stream),
            lambda: shipper.create(index="logs-other-x", id="x", document=port(0)),
            lambda: reader.create(index=stream, id="x", document=port(0)),
        ):
            with pytest.raises(AuthorizationException):
                forbidden()
        assert create(shipper, stream, {"p1": port(9)}) == [409]
        assert reader.count(index=stream)["count"] == 6
    with elastic.client(basic_auth=("shipper", "wrong")) as stranger, pytest.raises(AuthenticationException):
        stranger.cluster.health()


def test_the_version_is_told_without_the_root_that_this_server_lacks(elastic):
    with elastic.client("shipper") as shipper:  # a client that has asked nothing yet: it checks the product now
        (node,) = shipper.nodes.info(node_id="_local", metric="http")["nodes"].values()
        assert node["version"].startswith(("8.", "9."))


def test_what_was_acknowledged_outlives_a_kill_and_tls_is_checked(own_elastic):
    """In one test, for each start of a server takes many seconds."""
    with own_elastic(tls=True) as server, template(server, "killed"), server.client("shipper") as shipper:
        stream = "logs-nmap.port-killed"
        assert create(shipper, stream, {f"p{n}": port(n) for n in range(3)}) == [201] * 3
        with server.client(ca_certs=None) as distrusting, pytest.raises(SSLError):
            distrusting.cluster.health()
        server.kill()
        with pytest.raises(elasticsearch.ConnectionError):
            create(shipper, stream, {"p3": port(3)})
        server.restart()
        assert create(shipper, stream, {f"p{n}": port(n) for n in range(5)}) == [409] * 3 + [201] * 2
        with server.client("reader") as reader:
            assert reader.search(index=stream, size=0)["hits"]["total"]["value"] >= 3
