"""Each rule's query on a real Elasticsearch: it finds what it must, and nothing else."""

import copy
import json
import re
import secrets
from pathlib import Path

import detection_engine
import pytest
from elastic_adapt import adapt
from elasticsearch import helpers
from rule_cases import CASES
from rule_records import ago

from forwarder.ecs.check import problems
from forwarder.ecs.fields import fields
from forwarder.setup.artifacts import artifacts

ROOT = Path(__file__).parents[2] / "kibana"
NAMES = [source.stem for source in sorted((ROOT / "rules").glob("*.toml"))]
LINES = (ROOT / "rules.ndjson").read_text().splitlines()
RULES = dict(zip(NAMES, map(json.loads, LINES), strict=True))
DASHBOARDS = {json.loads(line).get("id") for line in (ROOT / "dashboards.ndjson").read_text().splitlines()}
JSON = {"accept": "application/json", "content-type": "application/json"}
PREFIXES = {"Data Source", "Domain", "Use Case", "Tactic", "Rule Type", "Resources", "Promotion"}
BANDS = {"low": range(22), "medium": range(22, 48), "high": range(48, 74), "critical": range(74, 101)}
SEARCHED = {"keyword", "constant_keyword", "wildcard", "ip", "date", "long", "integer", "boolean", "float"}
"""Types that KQL, aggregations and ES|QL all can use; flattened and match_only_text are not among them."""


@pytest.fixture
def make_rules(script):
    return script("kibana/make_rules.py")


@pytest.fixture(scope="module")
def ready(elastic):
    """The shared cluster with our templates, adapted to it if it is no full one."""
    with elastic.client() as admin:
        for artifact in artifacts(30):
            if artifact.kind != "transform":
                body = artifact.body if elastic.full else adapt(artifact.body)[0]
                admin.perform_request("PUT", artifact.path, headers=JSON, body=body)
    return elastic


def value(document, name):
    for part in name.split("."):
        document = document[part]
    return document


def copy_of(document, rule, name, **facts):
    """A copy with another id, and with a term of its own where the rule looks for new ones."""
    found = copy.deepcopy(document)
    found["event"] |= {"id": secrets.token_hex(32)} | {k: v for k, v in facts.items() if k == "ingested"}
    if "at" in facts:
        found["@timestamp"] = facts["at"]
    if facts.get("backfill"):
        found["nmap"] = found.get("nmap", {}) | {"backfill": True}
    if rule["type"] == "new_terms":
        *above, last = rule["new_terms_fields"][-1].split(".")
        holder = found
        for part in above:
            holder = holder[part]
        holder[last] = f"{holder[last]}-{name}"
    return found


def completed(case, rule):
    """A case with a document that came late, one that came long ago, and one that was read long after it happened."""
    if case.groups is not None:
        return case
    some = case.found[0]
    late = copy_of(some, rule, "late", at=ago(hours=20))
    passed = [copy_of(some, rule, "old", ingested=ago(hours=2)), copy_of(some, rule, "backfill", backfill=True)]
    return case._replace(found=[*case.found, late], passed=[*case.passed, *passed])


def expected(case, rule):
    if case.groups is not None:
        return case.groups
    if rule["type"] == "new_terms":
        return {tuple(value(document, name) for name in rule["new_terms_fields"]) for document in case.found}
    return {document["event"]["id"] for document in case.found}


def send(client, namespace, documents):
    actions = []
    for document in documents:
        document["data_stream"]["namespace"] = namespace
        assert problems(document) == []
        index = f"logs-{document['event']['dataset']}-{namespace}"
        actions.append({"_op_type": "create", "_index": index, "_id": document["event"]["id"], "_source": document})
    helpers.bulk(client, actions, refresh=True)


@pytest.mark.integration
@pytest.mark.parametrize("slug", CASES)
def test_a_rule_finds_what_it_must_and_nothing_else(ready, namespace, slug):
    rule = RULES[slug]
    case = completed(CASES[slug](), rule)
    with ready.client() as admin:
        send(admin, namespace, [*case.found, *case.passed])
        assert detection_engine.run(admin, rule, namespace) == expected(case, rule)


def test_each_rule_has_a_case():
    assert CASES.keys() == RULES.keys()
    assert len(RULES) >= 20


def test_the_importable_file_is_what_the_sources_make(make_rules):
    assert make_rules.RESULT.read_text() == make_rules.ndjson()
    assert make_rules.FIELDS.read_text() == make_rules.schema()


def test_no_query_has_a_list_of_values_which_elasticsearch_does_not_read():
    """Kibana does, but not the `kql` query of Elasticsearch 8.19; detection-rules wants a list wherever one could be."""
    assert [
        slug for slug, rule in RULES.items() if rule["type"] != "esql" and re.search(r":\s*\(", rule["query"])
    ] == []


@pytest.mark.parametrize("slug", RULES)
def test_a_rule_says_all_that_an_analyst_needs(make_rules, slug):
    rule = RULES[slug]
    assert rule["rule_id"] == make_rules.rule_id(slug)
    assert rule["risk_score"] in BANDS[rule["severity"]]
    assert rule["timestamp_override"] == "event.ingested"
    assert "nmap.backfill" in rule["query"]
    assert detection_engine.span(rule["from"]) > detection_engine.span(f"now-{rule['interval']}"), "it looks back"
    for part in ("## Triage and analysis", f"### Investigating {rule['name']}", "### False positive analysis"):
        assert part in rule["note"]
    assert "### Response and remediation" in rule["note"]
    for text in (rule["note"], rule["setup"], rule["description"]):
        assert not re.search(r"[^\n]\n(?!\n|- )", text), "Kibana shows each line break"
    dashboards = re.findall(r"\]\(/app/dashboards#/view/([a-z-]+)\)", rule["note"])
    assert dashboards, "the first step leads to a dashboard"
    assert set(dashboards) <= DASHBOARDS
    assert rule["false_positives"]
    assert rule["setup"].startswith("## Setup")
    assert rule["description"]
    assert rule["max_signals"] <= 1000
    for threat in rule.get("threat", []):
        assert threat["tactic"]["reference"].endswith(f"/{threat['tactic']['id']}/")
        for technique in threat["technique"]:
            assert technique["reference"].endswith(f"/{technique['id']}/")
        assert f"Tactic: {threat['tactic']['name']}" in rule["tags"]
    assert all(tag.partition(": ")[0] in PREFIXES for tag in rule["tags"])


@pytest.mark.parametrize("slug", RULES)
def test_each_field_is_in_the_table_with_a_type_that_can_be_searched(slug):
    rule = RULES[slug]
    made = set(re.findall(r"\b(\w+) = ", rule["query"])) if rule["type"] == "esql" else set()
    text = re.sub(r'"[^"]*"', "", rule["query"]).replace("logs-nmap.*", "")
    names = set(re.findall(r"@timestamp|\b[a-z_]+(?:\.[a-z0-9_]+)+", text))
    names |= set(rule.get("new_terms_fields", []))
    names |= set(rule.get("alert_suppression", {}).get("group_by", []))
    if "threshold" in rule:
        names |= {*rule["threshold"]["field"], *(one["field"] for one in rule["threshold"]["cardinality"])}
    assert names
    for name in names:
        assert fields()[name].type in SEARCHED, name
        assert fields()[name].index, name
    for name in rule["investigation_fields"]["field_names"]:
        assert name in made or name in fields(), name


def test_new_terms_look_back_over_90_days_in_at_most_three_fields():
    for rule in RULES.values():
        if rule["type"] == "new_terms":
            assert rule["history_window_start"] == "now-90d"
            assert 1 <= len(rule["new_terms_fields"]) <= 3


def test_esql_only_aggregates_and_ends_in_keep():
    for rule in RULES.values():
        if rule["type"] == "esql":
            assert re.search(r"\n\| STATS .* BY .*", rule["query"])
            assert rule["query"].splitlines()[-1].startswith("| KEEP ")
            assert "index" not in rule


def test_the_documentation_names_each_rule():
    page = (ROOT.parent / "docs" / "KIBANA.md").read_text()
    assert [rule["name"] for rule in RULES.values() if f"| {rule['name']} | {rule['severity']} " not in page] == []
