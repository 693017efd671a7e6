"""Panels that are no Lens charts, and what a panel is wrapped in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from lens import esql, form

Json = dict[str, Any]
HERE = Path(__file__).parent
VERSION = "8.12.0"
DRILLDOWN = "DASHBOARD_TO_DASHBOARD_DRILLDOWN"
NO_QUERY: Json = {"query": {"query": "", "language": "kuery"}, "filter": []}


def built(panel: Json, grid: Json, types: dict[str, str]) -> tuple[Json, list[Json]]:
    """Return a panel as the dashboard keeps it, and the dashboard's references for it.

    Args:
        panel: of our source.
        grid: its place: x, y, w, h of 48 columns.
        types: type of each field.
    """
    kind, config, references = _content(panel, types)
    config.setdefault("enhancements", {})
    if "title" not in panel:
        config["hidePanelTitles"] = True
    if since := panel.get("since"):
        config["timeRange"] = {"from": since, "to": "now"}
    if target := panel.get("drill"):
        event = f"{panel['id']}-drill"
        config["enhancements"] = {"dynamicActions": {"events": [_drilldown(event, panel.get("drill_name", "Open"))]}}
        references = [*references, _dashboard(f"drilldown:{DRILLDOWN}:{event}:dashboardId", target)]
    found = {
        "version": VERSION,
        "type": kind,
        "panelIndex": panel["id"],
        "gridData": grid | {"i": panel["id"]},
        "embeddableConfig": config,
    }
    if "title" in panel:
        found["title"] = panel["title"]
    if kind == "search":
        found["panelRefName"] = f"panel_{panel['id']}"
    return found, [reference | {"name": f"{panel['id']}:{reference['name']}"} for reference in references]


def _content(panel: Json, types: dict[str, str]) -> tuple[str, Json, list[Json]]:
    if "markdown" in panel:
        params = {"fontSize": 10, "openLinksInNewTab": False, "markdown": panel["markdown"].strip()}
        return "visualization", {"savedVis": _visualisation("markdown", params)}, []
    if "vega" in panel:
        spec = yaml.safe_load((HERE / "vega" / panel["vega"]).read_text())
        params = {"spec": json.dumps(spec, indent=1)}
        return "visualization", {"savedVis": _visualisation("vega", params)}, []
    if "links" in panel:
        return _links(panel)
    if "search" in panel:
        reference = {"type": "search", "id": panel["search"], "name": f"panel_{panel['id']}"}
        return "search", {}, [reference]
    attributes = esql(panel) if "esql" in panel else form(panel, types)
    return "lens", {"attributes": attributes}, attributes["references"]


def _visualisation(kind: str, params: Json) -> Json:
    data = {"aggs": [], "searchSource": NO_QUERY}
    return {"id": "", "title": "", "description": "", "type": kind, "params": params, "uiState": {}, "data": data}


def _links(panel: Json) -> tuple[str, Json, list[Json]]:
    """A line of links that keeps filters and time."""
    links, references = [], []
    options = {"openInNewTab": False, "useCurrentDateRange": True, "useCurrentFilters": True}
    for order, (target, label) in enumerate(panel["links"].items()):
        name = f"link_{target}_dashboard"
        link = {"id": target, "type": "dashboardLink", "order": order, "label": label, "options": options}
        links.append(link | {"destinationRefName": name})
        references.append(_dashboard(name, target))
    return "links", {"attributes": {"layout": "horizontal", "links": links}}, references


def _drilldown(event: str, name: str) -> Json:
    config = {"useCurrentFilters": True, "useCurrentDateRange": True, "openInNewTab": False}
    action = {"factoryId": DRILLDOWN, "name": name, "config": config}
    return {"eventId": event, "triggers": ["FILTER_TRIGGER"], "action": action}


def _dashboard(name: str, target: str) -> Json:
    return {"type": "dashboard", "id": target, "name": name}
