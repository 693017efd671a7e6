"""Makes docs/FIELDS.md, the field table for people, from ecs.csv and nmap.csv.

Usage: python ecs_mappings/make_fields.py
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from forwarder.ecs.fields import DATASETS, Field, fields

PAGE = Path(__file__).parents[1] / "docs" / "FIELDS.md"
INTRO = """\
# Fields

Made by `ecs_mappings/make_fields.py` from the tables beside it; change those, not this page.

Every record belongs to one of the datasets below, and goes to the data stream `logs-nmap.<dataset>-<namespace>`.
Records keep to the Elastic Common Schema (ECS); what has no place there is under `nmap.*`. [samples/](samples) has a
whole record of each dataset that is made today.

A delivered document is the sealed record, byte for byte, with what is known only after sealing spliced in before its
closing brace, as members with dots in their names: `agent.*`, `event.created`, `event.hash`, `event.sequence`,
`nmap.seal.*`, and `nmap.backfill` where it is true. Without them it is the line whose SHA-256 is `event.hash`.
`event.ingested` is set by Elasticsearch's ingest pipeline.

| dataset | kind | category / type | what |
|---|---|---|---|
| scan | event | network / info | one run of nmap |
| host | state | host / info | one host in one scan, with the ports that were scanned, were closed, were filtered |
| port | state | host, network / info | one port, neither closed nor filtered, or a tombstone: open no more |
| vulnerability | state | vulnerability / info | one finding of a script |
| change | event | host, network / change | a difference to the scan before: host, port, service or certificate |
| audit | event | process / start, end | one execution of nmap, from the audit trail of the machine |
| alert | alert | intrusion_detection / info | one finding of ours about scans |
| seal | event | configuration / creation, info | a batch locked away in S3; a verification; a heartbeat |

`*` beside a type: Elasticsearch only keeps the value, it cannot be searched. *list*: the value, or an object that it is
in, is in a list; the example is one entry of it.
"""
HEAD = "| field | type | list | datasets | meaning | example |\n|---|---|---|---|---|---|\n"


def page() -> str:
    """Return docs/FIELDS.md."""
    ordered = sorted(fields().values(), key=lambda field: (_order(_group(field.name)), field.name))
    tables = (_table(name, members) for name, members in groupby(ordered, lambda field: _group(field.name)))
    return "\n".join([INTRO, *tables])


def _group(name: str) -> str:
    """Return the heading of the table that a field is in: an object of ECS, or of ours below nmap."""
    first, *rest = name.split(".")
    if first == "nmap" and len(rest) > 1:
        return f"nmap.{rest[0]}"
    return first if rest else "base"


def _order(group: str) -> tuple[bool, bool, str]:
    return group.partition(".")[0] == "nmap", group != "base", group


def _table(name: str, members: Iterator[Field]) -> str:
    return f"## {name}\n\n{HEAD}" + "".join(map(_row, members))


def _row(field: Field) -> str:
    cells = (
        f"`{field.name}`",
        field.type if field.index else f"{field.type} \\*",
        "list" if field.array else "",
        "all" if len(field.datasets) == len(DATASETS) else ", ".join(filter(field.datasets.__contains__, DATASETS)),
        _escape(field.meaning),
        f"`{_escape(field.example)}`",
    )
    return f"| {' | '.join(cells)} |\n"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
