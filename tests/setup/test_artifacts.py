"""What setup installs fits the field table and itself; a second time there is nothing to do."""

import json
import os
import subprocess

import pytest
from scripted import Says, Scripted, error

from forwarder import elastic
from forwarder.cli import main
from forwarder.config import Settings
from forwarder.ecs.fields import DATASETS, fields
from forwarder.setup.artifacts import MAPPINGS, PATHS, PIPELINE, artifacts, mappings, roles
from forwarder.setup.elasticsearch import Installer, differences

FULL = [*artifacts(400), *roles()]
BODIES = {artifact.path: artifact.body for artifact in FULL}


def leaves(properties, before=""):
    for name, entry in properties.items():
        if "properties" in entry:
            assert set(entry) == {"properties"}
            yield from leaves(entry["properties"], f"{before}{name}.")
        else:
            yield before + name, entry


def test_every_field_of_the_table_has_its_type_and_nothing_else_is_mapped():
    assert {name: entry["type"] for name, entry in leaves(mappings()["properties"])} == {
        field.name: field.type for field in fields().values()
    }


def test_what_is_not_searched_costs_nothing_and_what_is_too_long_for_the_index_is_no_error():
    for name, entry in leaves(mappings()["properties"]):
        field = fields()[name]
        if not field.index:
            assert entry == {"type": field.type, "index": False, "doc_values": False}
        else:
            assert "index" not in entry
            assert "doc_values" not in entry
            long = field.type in {"keyword", "wildcard", "flattened"}
            assert entry.get("ignore_above") == (8191 if long else None)
            assert 8191 * 4 < 32766


def test_no_text_is_without_index_by_a_parameter_that_its_type_does_not_know():
    known = {"keyword", "long", "integer", "short", "float", "date", "ip", "boolean"}
    assert {field.type for field in fields().values() if not field.index} <= known


def test_networks_can_be_found_by_an_address():
    found = dict(leaves(mappings()["properties"]))
    assert found["nmap.target.network"]["fields"] == {"range": {"type": "ip_range"}}


def test_each_dataset_has_a_template_of_a_data_stream():
    for dataset in DATASETS:
        body = BODIES[f"/_index_template/logs-nmap.{dataset}"]
        assert body["index_patterns"] == [f"logs-nmap.{dataset}-*"]
        assert body["data_stream"] == {}
        assert body["priority"] > 200
        constants = body["template"]["mappings"]["properties"]["data_stream"]["properties"]
        assert constants["dataset"]["value"] == f"nmap.{dataset}"


def test_nothing_refers_to_what_is_not_there():
    components = {artifact.name for artifact in FULL if artifact.kind == "component_template"}
    for artifact in FULL:
        if artifact.kind == "index_template":
            optional = set(artifact.body["ignore_missing_component_templates"])
            assert set(artifact.body["composed_of"]) - optional <= components
            assert optional <= set(artifact.body["composed_of"])
            assert all(name.endswith("@custom") or name == "ecs@mappings" for name in optional)
            assert artifact.body["composed_of"].index(MAPPINGS) > artifact.body["composed_of"].index("ecs@mappings")
    settings = BODIES["/_component_template/logs-nmap@settings"]["template"]["settings"]
    assert settings["index"]["final_pipeline"] == PIPELINE
    for processor in BODIES[f"/_ingest/pipeline/{PIPELINE}"]["processors"]:
        if "pipeline" in processor:
            assert processor["pipeline"]["name"].endswith("@custom")
            assert processor["pipeline"]["ignore_missing_pipeline"] is True
        else:
            assert processor["set"]["field"] in fields()


def test_things_come_before_what_refers_to_them():
    kinds = [artifact.kind for artifact in artifacts(400)]
    assert kinds == sorted(kinds, key=list(PATHS).index)
    assert len(BODIES) == len(FULL)


def test_transforms_use_fields_that_their_documents_have():
    transforms = [artifact for artifact in FULL if artifact.kind == "transform"]
    assert len(transforms) == 4
    for artifact in transforms:
        body, dataset = artifact.body, artifact.name.rpartition("-")[2]
        assert body["source"]["index"] == [f"logs-nmap.{dataset}-*"]
        assert body["dest"]["index"].startswith("nmap-latest-")
        key = body["latest"]["unique_key"]
        assert len(set(key)) == len(key)
        for name in [*key, body["latest"]["sort"], body["sync"]["time"]["field"]]:
            assert dataset in fields()[name].datasets, name
            assert fields()[name].index, name
            assert fields()[name].type not in {"text", "match_only_text", "flattened"}
        assert fields()[body["latest"]["sort"]].type == "date"
        assert body["retention_policy"]["time"] == {"field": "@timestamp", "max_age": "400d"}


def test_the_shipper_may_write_and_nothing_else():
    body = BODIES["/_security/role/nmap-forwarder-shipper"]
    assert body == {
        "cluster": ["monitor"],
        "indices": [{"names": ["logs-nmap.*-*"], "privileges": ["auto_configure", "create_doc"]}],
    }
    verifier = BODIES["/_security/role/nmap-forwarder-verifier"]
    assert {name for index in verifier["indices"] for name in index["privileges"]} == {"read", "view_index_metadata"}


def test_what_is_kept_for_ever_has_no_end():
    text = json.dumps([artifact.body for artifact in artifacts(0)])
    assert "data_retention" not in text
    assert "retention_policy" not in text
    assert "0d" not in text


def test_print_gives_all_of_it_as_json_and_needs_no_server(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.toml").touch()
    monkeypatch.setenv("NMAP_FORWARDER_CONFIG", str(tmp_path / "config.toml"))
    assert main(["setup", "elasticsearch", "--print"]) == 0
    assert json.loads(capsys.readouterr().out) == BODIES


@pytest.mark.parametrize(
    ("ours", "theirs", "wrong"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": "1", "b": 2}, []),
        ({"a": True, "b": False}, {"a": "true", "b": "false"}, []),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, ["a.b.c"]),
        ({"a": {"b": 1}}, {"a": 1}, ["a"]),
        ({"a": {"b": 1}}, {}, ["a"]),
        ({"a": 1}, {}, ["a"]),
        ({"a": 1}, [], ["all"]),
        ({"a": [1, 2]}, {"a": [1, 2]}, []),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a", "a"]),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, ["a"]),
        ({"a": [1]}, {"a": 1}, ["a"]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, ["a.b"]),
        ({"a": "x"}, {"a": ["x"]}, ["a"]),
        ({"data_stream": {}}, {"data_stream": {"hidden": False}}, []),
        ({"data_stream": {}}, {}, ["data_stream"]),
    ],
)
def test_differences(ours, theirs, wrong):
    assert differences(ours, theirs) == wrong


@pytest.fixture
def server():
    with Scripted() as server:
        yield server


@pytest.fixture
def installer(server, tmp_path):
    (tmp_path / "config.toml").touch()
    values = Settings({"elasticsearch_url": server.url}, str(tmp_path / "config.toml"), {})
    said = []
    found = Installer(elastic.connect(values), server.url, said.append)
    found.lines = said
    return found


def changes(server):
    return [request for request in server.requests if request.method != "GET"]


def test_a_second_time_there_is_nothing_to_do(server, installer):
    assert len(installer.check(FULL)) == len(FULL)
    assert installer.install(FULL) == len(FULL)
    kept = {path: {name: part for name, part in body.items() if name != "state"} for path, body in server.store.items()}
    assert kept == BODIES
    assert installer.check(FULL) == []
    before = len(changes(server))
    assert installer.install(FULL) == 0
    assert len(changes(server)) == before
    assert installer.lines[0] == "installed pipeline logs-nmap@pipeline"


def test_what_somebody_changed_is_named_and_mended(server, installer):
    installer.install(FULL)
    server.store["/_index_template/logs-nmap.port"]["priority"] = 1
    server.store["/_index_template/logs-nmap.host"].pop("data_stream")
    del server.store["/_transform/nmap-latest-host"]
    server.store["/_transform/nmap-latest-port"]["frequency"] = "1h"
    assert installer.check(FULL) == [
        "index template logs-nmap.host differs in data_stream",
        "index template logs-nmap.port differs in priority",
        "transform nmap-latest-host is missing",
        "transform nmap-latest-port differs in frequency",
    ]
    before = len(changes(server))
    assert installer.install(FULL) == 4
    asked = [(request.method, request.path) for request in changes(server)[before:]]
    assert asked == [
        ("PUT", "/_index_template/logs-nmap.host"),
        ("PUT", "/_index_template/logs-nmap.port"),
        ("PUT", "/_transform/nmap-latest-host"),
        ("POST", "/_transform/nmap-latest-host/_start"),
        ("POST", "/_transform/nmap-latest-port/_stop"),
        ("DELETE", "/_transform/nmap-latest-port"),
        ("PUT", "/_transform/nmap-latest-port"),
        ("POST", "/_transform/nmap-latest-port/_start"),
    ]
    assert installer.check(FULL) == []


def test_a_transform_that_stands_still_is_started(server, installer):
    """As after a setup that was cut off between the two requests."""
    server.others["/_transform/nmap-latest-host/_start"] = error(503)
    with pytest.raises(Exception, match="503"):
        installer.install(FULL)
    server.others.clear()
    assert "transform nmap-latest-host differs in state" in installer.check(FULL)
    assert installer.install(FULL) == 7  # the one that stands, three that are missing, and the roles
    assert installer.check(FULL) == []


@pytest.mark.parametrize(("before", "after"), [(400, 30), (400, 0), (0, 400)])
def test_another_retention_is_installed(installer, before, after):
    installer.install(artifacts(before))
    assert installer.check(artifacts(after))
    assert installer.install(artifacts(after)) == 5  # settings and four transforms
    assert installer.check(artifacts(after)) == []


def run(server, tmp_path, monkeypatch, capsys, *arguments):
    (tmp_path / "config.toml").touch()
    for name in [name for name in os.environ if name.startswith("NMAP_FORWARDER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NMAP_FORWARDER_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("NMAP_FORWARDER_ELASTICSEARCH_URL", server.url)
    code = main(["setup", "elasticsearch", *arguments])
    out, err = capsys.readouterr()
    return subprocess.CompletedProcess(arguments, code, out, err)


def test_the_command(server, tmp_path, monkeypatch, capsys):
    def setup(*arguments):
        return run(server, tmp_path, monkeypatch, capsys, *arguments)

    result = setup("--check")
    assert (result.returncode, "is missing" in result.stdout) == (2, True)
    assert changes(server) == []
    assert setup().returncode == 0
    assert "/_security/role" not in " ".join(request.path for request in server.requests)
    assert "all of it is there" in setup("--check").stdout
    assert setup("--check", "--roles").returncode == 2
    assert setup("--roles").returncode == 0
    assert setup("--check", "--roles").returncode == 0
    server.others["/_index_template"] = error(403, "security_exception", "not you")
    result = setup()
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "/_index_template/logs-nmap.scan does not let us (403: security_exception: not you)" in result.stderr
    server.others = {"/_nodes": Says(200, b"<html></html>", product=False)}
    assert setup().returncode == 2
