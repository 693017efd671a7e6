"""dashboards.ndjson is what its sources make, refers to what is there, and uses each field as its type allows."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from asked import DASHBOARDS, FILE, IN_ESQL, IN_KQL, OBJECTS, VIEWS, Asked, asked, controls, panels

from forwarder.ecs.fields import DATASETS, fields
from forwarder.setup.artifacts import LATEST, artifacts

ASKED = [*asked()]
AGGREGATABLE = {"keyword", "constant_keyword", "ip", "long", "integer", "float", "boolean", "date"}
NUMBERS = {"long", "integer", "float", "date"}
every = pytest.mark.parametrize("one", ASKED, ids=lambda one: one.name)


def datasets(one):
    """Those that a request reads."""
    if named := set(re.findall(r"(?:data_stream|event)\.dataset: nmap\.(\w+)", " ".join(one.kql))):
        assert named <= set(DATASETS)
        return named
    found = one.index.removeprefix(f"{LATEST}-")
    return {found} if found in DATASETS else set(DATASETS)


def known(name, one, types):
    """The field is in our table, in a dataset that is read, can be searched, and is of one of these types."""
    field = fields()[name]
    assert field.index, name
    assert field.datasets & datasets(one), f"{name} is never in {datasets(one)}"
    assert field.type in types, f"{name} is {field.type}"
    return field


def test_the_committed_file_is_what_the_sources_make():
    made = subprocess.run(
        [sys.executable, "-c", "import make_dashboards, sys; sys.stdout.write(make_dashboards.rendered())"],
        cwd=FILE.parent,
        capture_output=True,
        check=True,
    )
    assert made.stdout == FILE.read_bytes(), "make kibana, and commit what it makes"


def test_versions_are_those_that_kibana_8_12_takes():
    wanted = {"dashboard": "8.9.0", "index-pattern": "8.0.0", "search": "8.0.0"}
    for entry in OBJECTS:
        assert entry["coreMigrationVersion"] == "8.8.0"
        assert entry["typeMigrationVersion"] == wanted[entry["type"]]


def test_every_reference_is_to_an_object_of_the_file_and_ids_are_ours_and_unique():
    there = [(entry["type"], entry["id"]) for entry in OBJECTS]
    assert len(there) == len({identity for _, identity in there})
    assert all(identity.startswith("nmap-") for _, identity in there)
    for entry in OBJECTS:
        for reference in entry["references"]:
            assert (reference["type"], reference["id"]) in there


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_a_dashboard_has_what_kibana_cannot_do_without(dashboard):
    attributes = dashboard["attributes"]
    assert attributes["timeRestore"] is True
    assert (attributes["timeFrom"][:4], attributes["timeTo"]) == ("now-", "now")
    assert json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])
    indices = [panel["panelIndex"] for panel in panels(dashboard)]
    assert len(indices) == len(set(indices))
    names = {reference["name"] for reference in dashboard["references"]}
    for panel in panels(dashboard):
        grid = panel["gridData"]
        assert grid["i"] == panel["panelIndex"]
        assert grid["x"] + grid["w"] <= 48
        config = panel["embeddableConfig"]
        if "savedVis" in config:
            assert {"query", "filter"} <= set(config["savedVis"]["data"]["searchSource"])
        for reference in config.get("attributes", {}).get("references", []):
            assert f"{panel['panelIndex']}:{reference['name']}" in names
        if panel["type"] == "lens":
            assert config["attributes"]["state"]["filters"] == []


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_all_dashboards_share_the_controls_the_links_and_the_line_of_trust(dashboard):
    shared = {"observer.name", "user.name", "nmap.target.network", "labels.ticket", "nmap.scan.vantage"}
    assert shared <= {name for _, name in controls(dashboard)}
    for view, name in controls(dashboard):
        known(name, Asked(name, VIEWS[view]), AGGREGATABLE)
    links, *rest = panels(dashboard)
    assert links["type"] == "links"
    targets = {reference["id"] for reference in dashboard["references"] if reference["name"].startswith("links:")}
    assert targets == set(DASHBOARDS)
    assert [panel["panelIndex"] for panel in rest[:2]] == ["trust-day", "trust-silent"]


def test_panels_that_differ_have_ids_that_differ():
    """Or Kibana shows one dashboard's panel in another, on the way between them."""
    seen = {}
    for dashboard in DASHBOARDS.values():
        for panel in panels(dashboard):
            assert seen.setdefault(panel["panelIndex"], panel) == panel


def test_a_difference_is_a_formula_of_columns_that_are_there():
    """Lens shows nothing, and says nothing, where a formula's parts are missing."""
    found = 0
    for dashboard in DASHBOARDS.values():
        for panel in panels(dashboard):
            state = panel["embeddableConfig"].get("attributes", {}).get("state", {})
            for layer in state.get("datasourceStates", {}).get("formBased", {}).get("layers", {}).values():
                columns = layer["columns"]
                for name, column in columns.items():
                    if column["operationType"] == "formula":
                        (tree,) = column["references"]
                        assert tree.startswith(name)
                        assert columns[tree]["params"]["tinymathAst"]["args"] == columns[tree]["references"]
                        assert {*columns[tree]["references"]} < {*columns} == {*layer["columnOrder"]}
                        found += 1
    assert found


def test_every_chart_says_which_question_it_answers():
    for identity, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            if panel["type"] == "lens" and "esql" not in panel["embeddableConfig"]["attributes"]["state"]["query"]:
                question = panel["embeddableConfig"]["attributes"]["description"]
                assert question.endswith("?"), f"{identity}/{panel['panelIndex']}"


def test_values_that_are_missing_are_shown_where_that_is_asked():
    """Lens shows them only together with the rest."""
    for entry in OBJECTS:
        text = entry["attributes"].get("panelsJSON", "")
        assert text.count('"missingBucket": true') <= text.count('"otherBucket": true')


@every
def test_fields_exist_and_suit_their_use(one):
    for name in one.grouped:
        known(name, one, AGGREGATABLE)
    for name, operation in one.measured.items():
        known(name, one, AGGREGATABLE if operation in {"unique_count", "last_value"} else NUMBERS)
    for query in one.kql:
        found = IN_KQL.findall(query)
        assert found, query
        for name in found:
            known(name, one, {field.type for field in fields().values()} - {"flattened"})
    for name in one.shown:
        assert name in fields(), name
        assert fields()[name].datasets & datasets(one), name
        assert fields()[name].type != "flattened"
    for name in IN_ESQL.findall(one.esql.replace(one.index, "")):
        if f'"{name}"' not in one.esql:
            known(name, one, AGGREGATABLE)


def test_latest_state_is_read_from_indices_that_transforms_make():
    made = {one.body["dest"]["index"] for one in artifacts(400) if one.kind == "transform"}
    assert {title for title in VIEWS.values() if title.startswith(LATEST)} <= made


def test_a_row_that_does_not_fill_the_screen_is_an_error(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(FILE).parent))
    maker = importlib.import_module("make_dashboards")
    rows = [{"height": 4, "panels": [{"id": "a", "markdown": "a", "width": 20}]}]
    source = {"id": "nmap-x", "title": "x", "description": "x", "from": "now-1d", "rows": rows}
    with pytest.raises(ValueError, match="20 wide"):
        maker._dashboard(source, {"rows": [], "controls": [], "data": "nmap-all"})
