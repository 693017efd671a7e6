"""Makes ecs.csv, the ECS fields that our records use, from the official field list.

Usage: python ecs_mappings/make_ecs.py ecs_flat.yml

The list is `generated/ecs/ecs_flat.yml` of elastic/ecs, version 9.4.0. Only names, types, allowed values
and what is not indexed are taken over. What the table says of a field's datasets, its meaning in our documents and an
example is ours and stays. Needs PyYAML, which nothing else does.
"""

from __future__ import annotations

import csv
import sys
from operator import itemgetter
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

WANTED = {
    "": "@timestamp message tags ecs.version",
    "agent": "id name type version",
    "container": "id runtime",
    "data_stream": "*",
    "destination": "ip port",
    "error": "code message",
    "event": (
        "action category created dataset duration end hash id ingested kind module outcome provider reason "
        "reference risk_score sequence severity start timezone type"
    ),
    "file": "directory extension gid group hash.sha256 inode mode mtime name owner path size type uid",
    "host": "architecture domain hostname id ip mac name os.* type uptime",
    "network": "iana_number protocol transport type",
    "observer": "ip name product type version",
    "orchestrator": "namespace resource.name",
    "process": (
        "args args_count command_line end entity_id executable exit_code hash.sha256 interactive name pid "
        "start title working_directory parent.command_line parent.entity_id parent.executable parent.name "
        "parent.pid"
    ),
    "related": "*",
    "rule": "*",
    "service": "type version",
    "source": "ip",
    "threat": "framework tactic.id tactic.name technique.id technique.name",
    "tls": (
        "cipher established server.certificate server.hash.* server.issuer server.not_after server.not_before "
        "server.subject server.x509.* version version_protocol"
    ),
    "user": ("domain effective.domain effective.id effective.name email full_name group.id group.name id name roles"),
    "vulnerability": "*",
}
"""Field set → names of fields in it; `*` stands for all that are not objects themselves."""
OURS = [{"field": "labels.ticket", "type": "keyword", "array": "false", "index": "true", "allowed": ""}]
"""Members of ECS's open objects, which ECS does not name."""
COLUMNS = ("field", "type", "array", "index", "allowed", "datasets", "meaning", "example")
KEPT = ("datasets", "meaning", "example")
"""Columns that are written by hand and stay when the table is made anew; `index` stays where it is false."""


def rows(fields: dict[str, dict[str, Any]], old: dict[str, dict[str, str]]) -> list[dict[str, str]]:
    """Return the row of each wanted field, in order of their names.

    Args:
        fields: the content of ecs_flat.yml, by the fields' full names.
        old: the rows that the table had, by the fields' full names.

    Raises:
        KeyError: a wanted field is not in ecs_flat.yml.
    """
    names: set[str] = set()
    for group, wanted in WANTED.items():
        for name in wanted.split():
            full = f"{group}.{name}" if group else name
            names |= _below(fields, full[:-1]) if full.endswith(".*") else {full}
    found = sorted([_row(name, fields[name]) for name in names] + OURS, key=itemgetter("field"))
    return [_keep(row, old.get(row["field"], {})) for row in found]


def _below(fields: dict[str, dict[str, Any]], prefix: str) -> set[str]:
    return {name for name in fields if name.startswith(prefix) and fields[name]["type"] not in {"object", "nested"}}


def _row(name: str, field: dict[str, Any]) -> dict[str, str]:
    allowed = [value["name"] for value in field.get("allowed_values", [])] or field.get("expected_values", [])
    return {
        "field": name,
        "type": field["type"],
        "array": str("array" in field["normalize"]).lower(),
        "index": str(field.get("index", True)).lower(),
        "allowed": "|".join(allowed),
    }


def _keep(row: dict[str, str], old: dict[str, str]) -> dict[str, str]:
    """Return a row with what the old one had of ours."""
    index = "false" if old.get("index") == "false" else row["index"]
    return row | {"index": index} | {name: old.get(name, "") for name in KEPT}


def main() -> None:
    """Write ecs.csv beside this script."""
    table = Path(__file__).with_name("ecs.csv")
    fields = yaml.load(Path(sys.argv[1]).read_bytes(), yaml.CSafeLoader)
    with table.open(encoding="utf-8", newline="") as file:
        old = {row["field"]: row for row in csv.DictReader(file)}
    found = rows(fields, old)
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


if __name__ == "__main__":
    main()
