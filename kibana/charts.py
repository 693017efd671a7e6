"""How each kind of Lens chart is drawn: its `visualization` state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

STOPS = {"good": "#54b399", "watch": "#d6bf57", "bad": "#e7664c"}
"""Of Kibana's palette for the colour-blind; each tile says in words, too, what its colour says."""

BLUE = "#6092c0"
"""Of bars that all mean the same."""

DATE = 155
"""Pixels of a table's column with a time to the minute."""

BLUES = ["#d9e4f1", "#b4cae3", "#8eb0d5", "#6692c4", "#3a73b0"]
COOL = {
    "name": "cool",
    "steps": 5,
    "progression": "fixed",
    "reverse": False,
    "rangeType": "percent",
    "rangeMin": 0,
    "rangeMax": None,
    "continuity": "above",
    "colorStops": [],
    "stops": [{"color": color, "stop": 20 * n} for n, color in enumerate(BLUES, 1)],
}


def steps(panel: Json) -> Json | None:
    """Return a palette that turns from good to watch to bad at `limits: [watch, bad]`, or back when `falling`."""
    limits = panel.get("limits")
    if not limits:
        return None
    watch, bad = limits
    colors = [STOPS["good"], STOPS["watch"], STOPS["bad"]]
    if panel.get("falling"):
        colors.reverse()
    starts = [None, watch, bad]
    return {
        "name": "custom",
        "type": "palette",
        "params": {
            "name": "custom",
            "steps": 3,
            "progression": "fixed",
            "reverse": False,
            "rangeType": "number",
            "rangeMin": None,
            "rangeMax": None,
            "continuity": "all",
            "maxSteps": 5,
            "colorStops": [{"color": color, "stop": start} for color, start in zip(colors, starts, strict=True)],
            "stops": [{"color": color, "stop": end} for color, end in zip(colors, [watch, bad, bad + 1], strict=True)],
        },
    }


def metric(panel: Json, metrics: list[str], buckets: list[str]) -> Json:
    """A number, with what it says under it."""
    found: Json = {"metricAccessor": metrics[0]}
    if len(metrics) > 1:
        found["secondaryMetricAccessor"] = metrics[1]
    if buckets:
        found |= {"breakdownByAccessor": buckets[0], "maxCols": panel.get("across", 6)}
    if palette := steps(panel):
        found["palette"] = palette
    elif panel.get("color"):
        found["color"] = panel["color"]
    if subtitle := panel.get("says"):
        found["subtitle"] = subtitle
    return found


def table(panel: Json, metrics: list[str], buckets: list[str]) -> Json:
    """Rows and columns."""
    columns: list[Json] = [{"columnId": name, "isTransposed": False} for name in [*buckets, *metrics]]
    for column in columns:  # what is not said shares the rest: texts
        if width := _width(panel, column["columnId"]):
            column["width"] = width
        if panel["kinds"][column["columnId"]] == "string":
            column["alignment"] = "left"  # Lens puts what is grouped by filters to the right
    found: Json = {"columns": columns, "rowHeight": panel.get("lines", "single"), "density": "compact"}
    found |= {"headerRowHeight": "auto"} if panel.get("lines") == "auto" else {"rowHeightLines": 1}
    if by := panel.get("sort"):
        (column,) = [name for name, label in panel["labels"].items() if label == by]
        found["sorting"] = {"columnId": column, "direction": "desc"}
    if panel.get("page", True):
        found["paging"] = {"size": panel.get("page", 10), "enabled": True}
    return found


def _width(panel: Json, column: str) -> int | None:
    """Return the pixels of a column: what the source says, enough for a date, enough for the head of numbers."""
    label, kind = panel["labels"][column], panel["kinds"][column]
    arrow = 20 if panel.get("sort") == label else 0
    usual = {"date": DATE, "number": 8 * len(label) + 44 + arrow}
    found: int | None = panel.get("widths", {}).get(label, usual.get(kind))
    return found


def axes(panel: Json, metrics: list[str], buckets: list[str]) -> Json:
    """Bars and lines; the second bucket splits them."""
    chart = panel["chart"]
    series = "bar_horizontal" if chart == "bar_horizontal" else chart
    if len(buckets) > 1 and chart != "line":
        series += "_stacked"
    layer: Json = {
        "layerId": "layer",
        "layerType": "data",
        "seriesType": series,
        "accessors": metrics,
        "xAccessor": buckets[0],
        "position": "top",
        "showGridlines": False,
    }
    if len(buckets) > 1:
        layer["splitAccessor"] = buckets[1]
    if colors := panel.get("colors"):
        layer["colorMapping"] = mapping(colors)
    elif len(buckets) == 1 and len(metrics) == 1:
        layer["yConfig"] = [{"forAccessor": metrics[0], "color": panel.get("color", BLUE)}]
    many = len(buckets) > 1 or len(metrics) > 1
    return {
        "legend": {"isVisible": many, "position": "top", "shouldTruncate": False},
        "valueLabels": "show" if not many and chart == "bar_horizontal" else "hide",
        "preferredSeriesType": series,
        "fittingFunction": "None",
        "axisTitlesVisibilitySettings": {"x": False, "yLeft": panel.get("axis", False), "yRight": False},
        "layers": [layer],
    }


def mapping(colors: Json) -> Json:
    """Colours that mean the same wherever they are: value → #rrggbb."""
    assignments = [
        {
            "rule": {"type": "matchExactly", "values": [value]},
            "color": {"type": "colorCode", "colorCode": color},
            "touched": True,
        }
        for value, color in colors.items()
    ]
    rest = {"rule": {"type": "other"}, "color": {"type": "loop"}, "touched": False}
    return {
        "assignments": assignments,
        "specialAssignments": [rest],
        "paletteId": "eui_amsterdam_color_blind",
        "colorMode": {"type": "categorical"},
    }


def donut(_: Json, metrics: list[str], buckets: list[str]) -> Json:
    """Parts of a whole."""
    layer = {
        "layerId": "layer",
        "layerType": "data",
        "primaryGroups": buckets,
        "metrics": metrics,
        "numberDisplay": "value",
        "categoryDisplay": "default",
        "legendDisplay": "show",
        "nestedLegend": False,
    }
    return {"shape": "donut", "layers": [layer]}


def heatmap(panel: Json, metrics: list[str], buckets: list[str]) -> Json:
    """A grid whose cells are darker where there is more."""
    return {
        "shape": "heatmap",
        "legend": {"isVisible": True, "position": "right", "type": "heatmap_legend"},
        "gridConfig": {
            "type": "heatmap_grid",
            "isCellLabelVisible": panel.get("numbers", True),
            "isYAxisLabelVisible": True,
            "isXAxisLabelVisible": True,
            "isYAxisTitleVisible": False,
            "isXAxisTitleVisible": False,
        },
        "xAccessor": buckets[0],
        "yAccessor": buckets[1],
        "valueAccessor": metrics[0],
        "palette": {"type": "palette", "name": "cool", "accessor": metrics[0], "params": COOL},
    }


CHARTS: dict[str, Callable[[Json, list[str], list[str]], Json]] = {
    "metric": metric,
    "table": table,
    "bar": axes,
    "bar_horizontal": axes,
    "line": axes,
    "donut": donut,
    "heatmap": heatmap,
}
