"""The table of all fields that a record may have: ECS's in ecs.csv, ours in nmap.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from forwarder.errors import UsageError

DATASETS: Final = ("scan", "host", "port", "vulnerability", "change", "audit", "alert", "seal")
TABLES: Final = ("ecs.csv", "nmap.csv")
PLACES: Final = (
    Path(__file__).parents[1] / "_data" / "ecs_mappings",  # an installed wheel
    Path(__file__).parents[2] / "ecs_mappings",  # a source checkout
)


@dataclass(frozen=True, slots=True)
class Field:
    """One leaf field."""

    name: str
    """All of it, with dots."""
    type: str
    """Of Elasticsearch."""
    array: bool
    """A list holds its values, or the objects that it is in."""
    allowed: frozenset[str]
    """The only values it may have; empty when there is no such rule."""
    index: bool
    """It can be searched; otherwise a long text that Elasticsearch only keeps in _source."""
    datasets: frozenset[str]
    """Those whose documents may have it."""
    meaning: str
    """What it means in them: one clause."""
    example: str
    """One value; a text as it is, any other as JSON."""


@cache
def fields() -> dict[str, Field]:
    """Return all fields by name.

    Raises:
        UsageError: the tables are not where the program was installed.
    """
    found = {}
    for table in TABLES:
        with source(table).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found[row["field"]] = _field(row)
    return found


@cache
def objects() -> frozenset[str]:
    """Return the names of all objects that hold fields, at any depth."""
    return frozenset(name[:end] for name in fields() for end, letter in enumerate(name) if letter == ".")


def _field(row: dict[str, str]) -> Field:
    datasets = DATASETS if row["datasets"] == "all" else row["datasets"].split("|")
    return Field(
        name=row["field"],
        type=row["type"],
        array=row["array"] == "true",
        allowed=frozenset(filter(None, row.get("allowed", "").split("|"))),
        index=row["index"] == "true",
        datasets=frozenset(datasets),
        meaning=row["meaning"],
        example=row["example"],
    )


def source(name: str) -> Path:
    """Return the path of a file of ecs_mappings/.

    Raises:
        UsageError: it is not where the program was installed.
    """
    for place in PLACES:
        if (path := place / name).is_file():
            return path
    raise UsageError(f"{name} is missing", "install nmap-forwarder again")
