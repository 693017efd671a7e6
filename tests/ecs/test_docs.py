"""The pages that are made from the field table and from records are what they would be if made now."""

import json
import re
from pathlib import Path

from forwarder.ecs.check import problems
from forwarder.ecs.fields import DATASETS, fields

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_page_of_fields_is_that_of_the_table(script):
    made = script("ecs_mappings/make_fields.py").page()
    assert (DOCS / "FIELDS.md").read_text() == made, "run: python ecs_mappings/make_fields.py"


def test_the_page_has_each_dataset_and_each_field_once():
    page = (DOCS / "FIELDS.md").read_text()
    assert re.findall(r"^\| (\w+) \| (?:event|state|alert) ", page, re.MULTILINE) == list(DATASETS)
    listed = re.findall(r"^\| `([^`]+)` ", page, re.MULTILINE)
    assert sorted(listed) == sorted(fields())


def test_all_rows_of_a_table_have_as_many_cells():
    rows = [line for line in (DOCS / "FIELDS.md").read_text().splitlines() if line.startswith("| `")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}


def test_samples_are_what_the_reader_makes(script):
    found = {path.name: path.read_text() for path in (DOCS / "samples").glob("*.json")}
    assert found == script("docs/make_samples.py").samples(), "run: python docs/make_samples.py"
    made = {"scan", "host", "port", "vulnerability", "change", "audit", "seal"}
    assert found.keys() == {f"{name}.json" for name in made}


def test_samples_keep_to_the_table():
    for path in (DOCS / "samples").glob("*.json"):
        record = json.loads(path.read_text())
        assert record["event"]["dataset"] == f"nmap.{path.stem}"
        assert problems(record) == []
