"""Makes dashboards.ndjson from the sources beside this file: `make kibana`. The same sources give the same bytes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from lens import kql, source
from panels import built

from forwarder.ecs.fields import fields

Json = dict[str, Any]
HERE = Path(__file__).parent
MIGRATIONS = {"dashboard": "8.9.0", "index-pattern": "8.0.0", "search": "8.0.0"}
"""What Kibana 8.12 takes; a newer one migrates from there."""
WIDTH = 48
STAMP = 150
"""Pixels of the column with the time that Discover puts before all others."""
GROUP = "controlGroup"


def objects() -> list[Json]:
    """Return all saved objects, those that others refer to first."""
    common = _read("common.yaml")
    shared = _read("data_views.yaml")
    views = [_view(view, shared) for view in shared["views"]]
    searches = [_search(search) for search in _read("searches.yaml")]
    dashboards = [yaml.safe_load(path.read_text()) for path in sorted((HERE / "dashboards").glob("*.yaml"))]
    return [*views, *searches, *(_dashboard(dashboard, common) for dashboard in dashboards)]


def rendered() -> str:
    """Return the text of dashboards.ndjson."""
    return "".join(json.dumps(entry, ensure_ascii=False, sort_keys=True) + "\n" for entry in objects())


def _read(name: str) -> Any:
    return yaml.safe_load((HERE / name).read_text())


def _saved(kind: str, identity: str, attributes: Json, references: list[Json]) -> Json:
    return {
        "id": identity,
        "type": kind,
        "attributes": attributes,
        "references": references,
        "managed": False,
        "coreMigrationVersion": "8.8.0",
        "typeMigrationVersion": MIGRATIONS[kind],
    }


def _view(view: Json, shared: Json) -> Json:
    dates = {name: {"id": "date", "params": {"pattern": "YYYY-MM-DD HH:mm"}} for name in shared["dates"]}
    attributes = {
        "title": view["index"],
        "name": view["name"],
        "timeFieldName": "@timestamp",
        "allowNoIndex": True,  # some datasets come late or never
        "fields": "[]",
        "fieldAttrs": _json({name: {"customLabel": label} for name, label in shared["labels"].items()}),
        "fieldFormatMap": _json(dates | view.get("formats", {})),
        "runtimeFieldMap": "{}",
        "sourceFilters": "[]",
        "typeMeta": "{}",
    }
    return _saved("index-pattern", view["id"], attributes, [])


def _search(search: Json) -> Json:
    name = "kibanaSavedObjectMeta.searchSourceJSON.index"
    view, query = source(search)
    asked = {"query": kql(query), "filter": [], "indexRefName": name}
    attributes = {
        "title": search["title"],
        "description": search["description"],
        "columns": search["columns"],
        "sort": [["@timestamp", "desc"]],
        "grid": {
            "columns": {
                column: {"width": width} for column, width in ({"@timestamp": STAMP} | search["widths"]).items()
            }
        },
        "hideChart": True,
        "isTextBasedQuery": False,
        "rowHeight": 1,
        "rowsPerPage": 25,
        "timeRestore": False,
        "kibanaSavedObjectMeta": {"searchSourceJSON": _json(asked)},
    }
    return _saved("search", search["id"], attributes, [{"type": "index-pattern", "id": view, "name": name}])


def _dashboard(dashboard: Json, common: Json) -> Json:
    types = {field.name: field.type for field in fields().values()}
    panels, references, y = [], [], 0
    for row in [*common["rows"], *map(partial(_own, dashboard["id"].removeprefix("nmap-")), dashboard["rows"])]:
        x = 0
        for panel in row["panels"]:
            width = panel.get("width", WIDTH)
            grid = {"x": x, "y": y, "w": width, "h": row["height"]}
            found, needed = built(panel, grid, types)
            panels.append(found)
            references += needed
            x += width
        if x != WIDTH:
            raise ValueError(f"a row of {dashboard['id']} is {x} wide, not {WIDTH}")
        y += row["height"]
    control, needed = _controls([*common["controls"], *dashboard.get("controls", [])], common["data"])
    options = {"useMargins": True, "syncColors": True, "syncCursor": True, "syncTooltips": False}
    attributes = {
        "title": dashboard["title"],
        "description": " ".join(dashboard["description"].split()),
        "panelsJSON": _json(panels),
        "optionsJSON": _json(options | {"hidePanelTitles": False}),
        "controlGroupInput": control,
        "version": 1,
        "timeRestore": True,
        "timeFrom": dashboard["from"],
        "timeTo": "now",
        "refreshInterval": {"pause": True, "value": 60000},
        "kibanaSavedObjectMeta": {"searchSourceJSON": _json({"query": kql(""), "filter": []})},
    }
    return _saved("dashboard", dashboard["id"], attributes, references + needed)


def _own(dashboard: str, row: Json) -> Json:
    """Return a row whose panels have ids that no other dashboard has.

    On the way from one dashboard to another Kibana keeps what has the same id: one's panel would be shown in the other.
    """
    return row | {"panels": [panel | {"id": f"{dashboard}-{panel['id']}"} for panel in row["panels"]]}


def _controls(controls: list[Json], view: str) -> tuple[Json, list[Json]]:
    panels, references = {}, []
    for order, control in enumerate(controls):
        identity = control["id"]
        asked = {
            "id": identity,
            "fieldName": control["field"],
            "title": control["label"],
            "enhancements": {},
            "selectedOptions": [],
        }
        panel = {"type": "optionsListControl", "order": order, "grow": True, "width": "small", "explicitInput": asked}
        panels[identity] = panel
        name = f"{GROUP}_{identity}:optionsListDataView"
        references.append({"type": "index-pattern", "id": control.get("data", view), "name": name})
    group = {
        "chainingSystem": "HIERARCHICAL",
        "controlStyle": "oneLine",
        "ignoreParentSettingsJSON": _json(
            {"ignoreFilters": False, "ignoreQuery": False, "ignoreTimerange": False, "ignoreValidations": False}
        ),
        "panelsJSON": _json(panels),
    }
    return group, references


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


if __name__ == "__main__":
    (HERE / "dashboards.ndjson").write_text(rendered())
