"""NSE script results: nested tables become lists, so that no field name is made from input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from xml.etree.ElementTree import Element

MAX_DEPTH: Final = 16
"""Tables nested deeper are pruned, and marked."""

Table = list[dict[str, Any]]


def scripts(elements: Iterable[Element], phase: str = "") -> dict[str, Any]:
    """Return the results of script elements.

    Args:
        elements: `script` elements.
        phase: `pre` or `post` for scripts that ran before or after all hosts.

    Returns:
        `id`, a list of script ids; `output`, a list of their texts in the same order; `result`, a list of
        {id, table} of those with structured output, a table being a list of {key?, value} and {key?, table}.
        An empty dict without scripts.
    """
    found: dict[str, Any] = {"id": [], "output": []}
    results = []
    for element in elements:
        name = element.get("id", "")
        output, text = element.get("output", ""), (element.text or "").strip()
        found["id"].append(name)
        found["output"].append(output or text)
        if len(element):
            results.append({"id": name, "table": table(element, 1)})
        elif output and text:  # a result that is one value, no table
            results.append({"id": name, "table": [{"value": text}]})
        if phase:
            found.setdefault("phase", []).append(phase)
    if results:
        found["result"] = results
    return found if found["id"] else {}


def table(element: Element, depth: int) -> Table:
    """Return a table's rows."""
    rows: Table = []
    for child in element:
        key = child.get("key")
        row: dict[str, Any] = {} if key is None else {"key": key}
        if child.tag == "elem" and not len(child):
            row["value"] = child.text or ""
        elif depth < MAX_DEPTH:
            row["table"] = table(child, depth + 1)
        else:
            row["pruned"] = True
        rows.append(row)
    return rows
