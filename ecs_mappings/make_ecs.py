"""Makes ecs.csv, the ECS fields that our records use, from the official field list.

Usage: python ecs_mappings/make_ecs.py ecs_flat.yml

The list is `generated/ecs/ecs_flat.yml` of elastic/ecs, version 9.4.0. Only names, types and allowed values
are taken over. Needs PyYAML, which nothing else does.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

WANTED = {
    "": "@timestamp message tags ecs.version",
    "agent": "ephemeral_id id name type version",
    "data_stream": "*",
    "destination": "address domain ip mac port",
    "error": "code id message type",
    "event": (
        "action category code created dataset duration end hash id ingested kind module outcome provider "
        "reason reference risk_score sequence severity start timezone type url"
    ),
    "file": "directory extension gid group hash.sha256 inode mode mtime name owner path size type uid",
    "host": "architecture domain hostname id ip mac name os.* type uptime",
    "network": "application community_id direction iana_number name protocol transport type",
    "observer": "hostname ip mac name product serial_number type vendor version",
    "process": (
        "args args_count command_line end entity_id executable exit_code hash.sha256 interactive name pid "
        "start title working_directory parent.command_line parent.entity_id parent.executable parent.name "
        "parent.pid"
    ),
    "related": "*",
    "rule": "*",
    "service": "address id name state type version",
    "source": "address domain ip mac port",
    "tls": "cipher established server.* version version_protocol",
    "user": ("domain effective.domain effective.id effective.name email full_name group.id group.name id name roles"),
    "vulnerability": "*",
}
"""Field set → names of fields in it; `*` stands for all that are not objects themselves."""
OURS = [("labels.ticket", "keyword", "false", "")]
"""Members of ECS's open objects, which ECS does not name."""


def rows(fields: dict[str, dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Return (field, type, array, allowed) of each wanted field, in order of their names.

    Args:
        fields: the content of ecs_flat.yml, by the fields' full names.

    Raises:
        KeyError: a wanted field is not in it.
    """
    names: set[str] = set()
    for group, wanted in WANTED.items():
        for name in wanted.split():
            full = f"{group}.{name}" if group else name
            names |= _below(fields, full[:-1]) if full.endswith(".*") else {full}
    return sorted([_row(name, fields[name]) for name in names] + OURS)


def _below(fields: dict[str, dict[str, Any]], prefix: str) -> set[str]:
    return {name for name in fields if name.startswith(prefix) and fields[name]["type"] not in {"object", "nested"}}


def _row(name: str, field: dict[str, Any]) -> tuple[str, str, str, str]:
    allowed = [value["name"] for value in field.get("allowed_values", [])] or field.get("expected_values", [])
    return name, field["type"], str("array" in field["normalize"]).lower(), "|".join(allowed)


def main() -> None:
    """Write ecs.csv beside this script."""
    fields = yaml.load(Path(sys.argv[1]).read_bytes(), yaml.CSafeLoader)
    with Path(__file__).with_name("ecs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("field", "type", "array", "allowed"))
        writer.writerows(rows(fields))


if __name__ == "__main__":
    main()
