"""Lens visualisations: from a panel of our sources to the state that Kibana 8.12 keeps."""

from __future__ import annotations

from typing import Any

from charts import CHARTS

Json = dict[str, Any]
LAYER = "layer"
ALL = "nmap-all"
AD_HOC = "esql"
"""Id of the data view that an ES|QL panel carries along."""

SUMMARIES = {
    "count": "count",
    "unique": "unique_count",
    "sum": "sum",
    "max": "max",
    "min": "min",
    "average": "average",
    "median": "median",
    "last": "last_value",
}
"""Our word → Lens's operation."""


class Columns:
    """The columns of one form-based layer, named c0, c1 and so on."""

    def __init__(self, types: dict[str, str]) -> None:
        """Begin without columns.

        Args:
            types: type of each field, as Elasticsearch has it.
        """
        self.types = types
        self.found: Json = {}

    def metric(self, metric: Json) -> str:
        """Add what is counted or summed up, written as `of: count`, `of: unique nmap.scan.id`; return its id.

        With `minus:`, another of its kind, that is taken off.
        """
        if "minus" in metric:
            return self._difference(metric)
        operation, _, field = metric["of"].partition(" ")
        kind = self._kind(field) if operation in {"last", "min", "max"} else "number"
        column: Json = {
            "label": metric.get("label", "Records"),
            "customLabel": True,
            "dataType": kind,
            "operationType": SUMMARIES[operation],
            "isBucketed": False,
            "scale": "ratio" if kind == "number" else "ordinal",
            "sourceField": field or "___records___",
            "params": {},
        }
        if operation == "last":
            column["params"]["sortField"] = "@timestamp"
            column["params"]["showArrayValues"] = metric.get("array", False)
            column["filter"] = kql(f'"{field}": *')
        elif operation in {"count", "unique", "sum"}:
            column["params"]["emptyAsNull"] = False
        if where := metric.get("where"):
            both = f'({where}) and "{field}": *' if operation == "last" else where
            column["filter"] = kql(both)
        if form := metric.get("format"):
            column["params"]["format"] = {"id": form, "params": {"decimals": metric.get("decimals", 0)}}
        return self._add(column)

    def _difference(self, metric: Json) -> str:
        """Add `of` less `minus` as Lens keeps a formula: its text, the operands' columns, and a tree of both."""
        kind, label = {"dataType": "number", "isBucketed": False, "scale": "ratio"}, metric["label"]
        name = f"c{len(self.found)}"
        # Lens takes what begins with the formula's id for the formula's own and lists it nowhere else.
        self.found[name] = kind | {"label": label, "customLabel": True, "operationType": "formula"}
        parts, texts = [], []
        for part in (metric, metric["minus"]):
            whole = {key: value for key, value in part.items() if key != "minus"} | {"label": label}
            operand = self.found.pop(self.metric(whole))
            parts.append(f"{name}X{len(parts)}")
            self.found[parts[-1]] = operand
            texts.append(_formula(operand))
        text, tree = " - ".join(texts), f"{name}X{len(parts)}"
        where = {"min": 0, "max": len(text)}
        ast = {"type": "function", "name": "subtract", "args": parts, "location": where, "text": text}
        self.found[tree] = kind | {"label": label, "customLabel": True, "operationType": "math", "references": parts}
        self.found[tree]["params"] = {"tinymathAst": ast}
        self.found[name] |= {"references": [tree], "params": {"formula": text, "isFormulaBroken": False}}
        return name

    def bucket(self, bucket: Json, by: str | None) -> str:
        """Add what is grouped by: `field:`, `time:`, `ranges:` or `filters:`; return its id.

        Args:
            bucket: of our source.
            by: id of the column that orders the values of a field; None for their own order.
        """
        if "filters" in bucket:
            filters = [{"label": label, "input": kql(query)} for label, query in bucket["filters"].items()]
            return self._add(_bucketed(bucket.get("label", ""), "string", "filters", "ordinal", {"filters": filters}))
        if "ranges" in bucket:
            ranges = [{"label": label, "from": n, "to": n + 1} for n, label in bucket["ranges"].items()]
            params: Json = {"type": "range", "ranges": ranges, "maxBars": "auto", "includeEmptyRows": True}
            params["parentFormat"] = {"id": "range", "params": {"template": "arrow_right", "replaceInfinity": True}}
            column = _bucketed(bucket["label"], "string", "range", "ordinal", params)
            return self._add(column | {"sourceField": bucket["of"]})
        field = bucket.get("field") or bucket["time"]
        if "time" in bucket:
            params = {"interval": bucket.get("every", "auto"), "includeEmptyRows": True, "dropPartials": False}
            column = _bucketed(bucket.get("label", ""), "date", "date_histogram", "interval", params)
            return self._add(column | {"sourceField": field})
        order: Json = {"type": "column", "columnId": by} if by else {"type": "alphabetical"}
        params = {
            "size": bucket.get("size", 10),
            "orderBy": order,
            "orderDirection": bucket.get("order", "desc" if by else "asc"),
            "otherBucket": bucket.get("other", False) or bucket.get("missing", False),  # else Lens forgets the missing
            "missingBucket": bucket.get("missing", False),
            "parentFormat": {"id": "terms"},
            "include": [],
            "exclude": [],
            "includeIsRegex": False,
            "excludeIsRegex": False,
        }
        column = _bucketed(bucket.get("label", field), self._kind(field), "terms", "ordinal", params)
        return self._add(column | {"sourceField": field})

    def _add(self, column: Json) -> str:
        name = f"c{len(self.found)}"
        self.found[name] = column
        return name

    def _kind(self, field: str) -> str:
        kinds = {"date": "date", "boolean": "boolean", "ip": "ip"}
        numbers = {"long", "integer", "float", "double", "short"}
        found = self.types.get(field, "keyword")
        return "number" if found in numbers else kinds.get(found, "string")

    def layer(self) -> Json:
        """Return the layer: Lens wants buckets first in its order."""
        order = sorted(self.found, key=lambda name: not self.found[name]["isBucketed"])
        return {
            "columnOrder": order,
            "columns": self.found,
            "incompleteColumns": {},
            "sampling": 1,
        }


def _formula(column: Json) -> str:
    """Return a counting column as the text of a formula."""
    field = "" if column["sourceField"] == "___records___" else column["sourceField"]
    asked = column.get("filter", {}).get("query")
    arguments = [field, f"kql='{asked}'" if asked else ""]
    return f"{column['operationType']}({', '.join(filter(None, arguments))})"


def kql(query: str) -> Json:
    """Return a query in Kibana's language."""
    return {"query": " ".join(query.split()), "language": "kuery"}


def source(entry: Json) -> tuple[str, str]:
    """Return the data view of a panel or search, and its query in KQL.

    `data:` is the id of a view, or datasets such as `scan+audit`. These are asked for in the view of all records: an
    index pattern that matches nothing, as before the first alert, has no fields, and Lens would call that an error.
    """
    data, query = entry["data"], " ".join(entry.get("query", "").split())
    if data.startswith("nmap-"):
        return data, query
    datasets = " or ".join(f"data_stream.dataset: nmap.{name}" for name in data.split("+"))
    return ALL, f"({datasets}) and ({query})" if query else datasets


def form(panel: Json, types: dict[str, str]) -> Json:
    """Return the attributes of a Lens panel with columns that are aggregations of a data view."""
    columns = Columns(types)
    unfiltered = panel.get("unfiltered", False)
    view, query = source(panel)
    # A layer that leaves out the dashboard's filters leaves out its panel's query, too.
    extra = {"where": query} if unfiltered and query else {}
    metrics = [columns.metric(metric | extra) for metric in panel["metrics"]]
    buckets = [
        columns.bucket(
            bucket, metrics[bucket.get("by", 0)] if "field" in bucket and bucket.get("by") != "value" else None
        )
        for bucket in panel.get("by", [])
    ]
    layer = columns.layer() | {"ignoreGlobalFilters": unfiltered}
    reference = {"type": "index-pattern", "id": view, "name": f"indexpattern-datasource-layer-{LAYER}"}
    panel = panel | {
        "kinds": {name: column["dataType"] for name, column in columns.found.items()},
        "labels": {name: column["label"] for name, column in columns.found.items()},
    }
    return _attributes(panel) | {
        "references": [reference],
        "state": _state(panel, metrics, buckets)
        | {"query": kql("" if unfiltered else query), "datasourceStates": {"formBased": {"layers": {LAYER: layer}}}},
    }


def esql(panel: Json) -> Json:
    """Return the attributes of a Lens panel whose columns are those of an ES|QL query.

    `columns:` gives the query's names → [what people read, type: number, string, date, boolean, ip]; `buckets:` says
    which of them are no measures; `time:` is the field that the dashboard's time is of, if not @timestamp.
    """
    names = {name: label for name, (label, _) in panel["columns"].items()}
    renamed = ", ".join(f"{name} AS `{label}`" for name, label in names.items())
    query = {"esql": f"{' '.join(panel['esql'].split())} | RENAME {renamed}"}
    index = query["esql"].split()[1]
    kinds = dict(panel["columns"].values())
    buckets = [names[name] for name in panel["buckets"]]
    metrics = [label for label in kinds if label not in buckets]
    columns = [{"columnId": label, "fieldName": label, "meta": {"type": kind}} for label, kind in kinds.items()]
    ad_hoc = f"{AD_HOC}-{panel['id']}"
    time = panel.get("time", "@timestamp")
    layer = {"index": ad_hoc, "query": query, "timeField": time, "columns": columns, "allColumns": columns}
    view = {"id": ad_hoc, "title": index, "name": index, "timeFieldName": time, "sourceFilters": []}
    view |= {"fieldFormats": {}, "runtimeFieldMap": {}, "fieldAttrs": {}, "allowNoIndex": False}
    state = _state(panel | {"kinds": kinds, "labels": {label: label for label in kinds}}, metrics, buckets) | {
        "query": query,
        "adHocDataViews": {ad_hoc: view},
    }
    state["internalReferences"] = [
        {"type": "index-pattern", "id": ad_hoc, "name": f"textBasedLanguages-datasource-layer-{LAYER}"}
    ]
    refs = [{"id": ad_hoc, "title": index, "timeField": time}]
    state["datasourceStates"] = {"textBased": {"layers": {LAYER: layer}, "indexPatternRefs": refs}}
    return _attributes(panel) | {"references": [], "state": state}


KINDS = {
    "metric": "lnsMetric",
    "table": "lnsDatatable",
    "bar": "lnsXY",
    "bar_horizontal": "lnsXY",
    "line": "lnsXY",
    "donut": "lnsPie",
    "heatmap": "lnsHeatmap",
}


def _attributes(panel: Json) -> Json:
    kind = KINDS[panel["chart"]]
    return {"title": "", "description": panel.get("question", ""), "visualizationType": kind, "type": "lens"}


def _state(panel: Json, metrics: list[str], buckets: list[str]) -> Json:
    visualization = {"layerId": LAYER, "layerType": "data"} | CHARTS[panel["chart"]](panel, metrics, buckets)
    if "layers" in visualization:  # these charts say it in the layer
        del visualization["layerId"], visualization["layerType"]
    return {"visualization": visualization, "filters": [], "internalReferences": [], "adHocDataViews": {}}


def _bucketed(label: str, kind: str, operation: str, scale: str, params: Json) -> Json:
    return {
        "label": label,
        "customLabel": True,
        "dataType": kind,
        "operationType": operation,
        "isBucketed": True,
        "scale": scale,
        "params": params,
    }
