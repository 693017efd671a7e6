"""The demonstration's data: sound documents, in which each rule finds what was planted and nothing else."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import detection_engine
import pytest
from conftest import Forwarder
from elasticsearch import helpers
from test_rules import RULES, ready  # noqa: F401 - a fixture

from forwarder.demo.output import documents
from forwarder.demo.story import Story
from forwarder.ecs.check import problems
from forwarder.ecs.fields import DATASETS

END = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def told(directory, namespace="demo", end=END, days=90, seed=1):
    story = Story(end, days, seed, namespace, directory)
    return story, [json.loads(document.body) for document in documents(story)]


def value(document, name):
    if name in document:
        return document[name]
    for part in name.split("."):
        document = document[part]
    return document


def test_all_documents_are_sound_and_each_dataset_has_some(tmp_path):
    _, found = told(tmp_path, days=30)
    assert [problem for document in found for problem in problems(document)] == []
    counts = Counter(document["event"]["dataset"] for document in found)
    assert set(counts) == {f"nmap.{name}" for name in DATASETS}
    assert len({document["event"]["id"] for document in found}) == len(found)
    ingested = [document["event.ingested"] for document in found]
    assert ingested == sorted(ingested)


def test_every_batch_but_the_newest_of_each_log_is_told_to_be_anchored(tmp_path):
    _, found = told(tmp_path, days=30)
    size, anchored = Counter(), {}
    for document in found:
        size[document["nmap.seal.origin"], document["nmap.seal.batch"]] += 1
        if document["event"].get("action") == "batch-anchored":
            anchor = document["nmap"]["anchor"]
            assert document["nmap.seal.batch"] == anchor["batch"] + 1
            anchored[anchor["origin"], anchor["batch"]] = anchor["records"]
    newest = {origin: max(batch for log, batch in size if log == origin) for origin, _ in size}
    assert anchored == {batch: records for batch, records in size.items() if batch[1] < newest[batch[0]]}


@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_at_whatever_hour_the_story_ends_only_one_forwarder_is_silent(tmp_path, hour):
    end = END.replace(hour=hour, minute=30)
    story, found = told(tmp_path, end=end, days=4)
    silent = (end - timedelta(hours=26)).isoformat()
    newest = {}
    for document in found:
        origin = document["nmap.seal.origin"]
        newest[origin] = max(newest.get(origin, ""), document["event.ingested"])
    assert [origin for origin, at in newest.items() if at < silent] == [story.lab.origin]


def test_alerts_are_about_scans_that_are_there(tmp_path):
    _, found = told(tmp_path, days=30)
    scans = {one["nmap"]["scan"]["id"] for one in found if one["event"]["dataset"] == "nmap.scan"}
    alerts = [one for one in found if one["event"]["dataset"] == "nmap.alert"]
    assert len({one["rule"]["name"] for one in alerts}) > 2
    assert {one["nmap"]["scan"]["id"] for one in alerts} <= scans


def test_the_same_seed_and_end_tell_the_same_story_and_another_seed_another(tmp_path):
    (one, first), (_, second) = told(tmp_path, days=9), told(tmp_path, days=9)
    assert first == second
    assert told(tmp_path, days=9, seed=2)[1] != first
    assert one.marks.keys() == RULES.keys()


@pytest.mark.integration
def test_each_rule_fires_where_something_was_planted_and_nowhere_else(ready, namespace, tmp_path):  # noqa: F811
    story, found = told(tmp_path, namespace, datetime.now(UTC))
    by_id = {document["event"]["id"]: document for document in found}
    actions = (
        {
            "_op_type": "create",
            "_index": f"logs-{document['event']['dataset']}-{namespace}",
            "_id": document["event"]["id"],
            "_source": document,
        }
        for document in found
    )
    with ready.client() as admin:
        helpers.bulk(admin, actions, refresh=True)
        wrong = {}
        for slug, rule in RULES.items():
            marks = story.marks[slug]
            if rule["type"] == "query":
                expected = set(marks)
            elif rule["type"] == "new_terms":
                names = rule["new_terms_fields"]
                expected = {tuple(value(by_id[one], name) for name in names) for one in marks}
            else:
                expected = {tuple(one) for one in marks}
            if (fired := detection_engine.run(admin, rule, namespace)) != expected:
                wrong[slug] = {
                    "missing": [by_id.get(one, {}).get("message", one) for one in expected - fired],
                    "too much": [by_id.get(one, {}).get("message", one) for one in fired - expected],
                }
        assert json.dumps(wrong) == "{}"


@pytest.mark.integration
def test_the_command_delivers_and_the_pipeline_does_not_tell_another_time(ready, namespace, forwarder):  # noqa: F811
    name, password = ready.logins["admin"]
    environment = {
        "NMAP_FORWARDER_ELASTICSEARCH_URL": ready.url,
        "NMAP_FORWARDER_ELASTICSEARCH_USER": name,
        "NMAP_FORWARDER_ELASTICSEARCH_PASSWORD": password,
        "NMAP_FORWARDER_ELASTICSEARCH_CA_FILE": str(ready.ca or ""),
    }
    arguments = ["demo-data", "--days", "3", "--end", "2026-03-02T12:00:00Z", "--namespace", namespace]
    done = forwarder.command(*arguments, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    with ready.client() as admin:
        admin.indices.refresh(index=f"logs-nmap.*-{namespace}")
        index = f"logs-nmap.scan-{namespace}"
        assert admin.count(index=index)["count"] > 0
        late = {"range": {"event.ingested": {"gte": "2026-03-02T12:00:00Z"}}}
        assert admin.count(index=index, query=late)["count"] == 0
        for settings in admin.indices.get_settings(index=index).body.values():
            assert settings["settings"]["index"]["final_pipeline"] == "_none"
    assert b" 0 documents" in forwarder.command(*arguments, env=environment).stdout, "a second time all is there"


def test_the_command_writes_bulk_requests_and_expectations(forwarder: Forwarder):
    out = forwarder.directory / "demo"
    assert forwarder.command("demo-data", "--days", "5", "--out", out, "--end", "2026-03-02T12:00:00Z").returncode == 0
    lines = (out / "bulk-001.ndjson").read_bytes().splitlines()
    action, document = json.loads(lines[0]), json.loads(lines[1])
    assert action["create"]["_index"] == f"logs-{document['event']['dataset']}-demo"
    assert action["create"]["_id"] == document["event"]["id"]
    assert json.loads((out / "expectations.json").read_bytes()).keys() == RULES.keys()


@pytest.mark.parametrize("arguments", [[], ["--out", "x", "--days", "0"], ["--out", "x", "--end", "soon"]])
def test_what_is_wrong_with_the_command_line_is_said_in_one_line(forwarder, arguments):
    done = forwarder.command("demo-data", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
