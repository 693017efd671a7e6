"""Holds a record against the field table."""

from __future__ import annotations

import re
from datetime import datetime
from ipaddress import ip_address, ip_network
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from forwarder.ecs.fields import fields, objects

if TYPE_CHECKING:
    from collections.abc import Callable

    from forwarder.ecs.fields import Field

REQUIRED: Final = (
    "@timestamp",
    "data_stream.dataset",
    "data_stream.namespace",
    "data_stream.type",
    "ecs.version",
    "event.category",
    "event.dataset",
    "event.id",
    "event.kind",
    "event.module",
    "event.provider",
    "event.type",
    "message",
)
TEXTS: Final = frozenset({"keyword", "constant_keyword", "wildcard", "match_only_text", "text"})
INTEGERS: Final = {"short": 15, "integer": 31, "long": 63}
"""Type → bits beside the sign."""
FLOATS: Final = frozenset({"float", "double", "half_float", "scaled_float"})
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
"""RFC 3339, as far as a pattern can say it."""
SHOWN: Final = 80
"""Characters shown of a wrong value."""


def problems(record: dict[str, Any]) -> list[str]:
    """Return one line for each thing that the field table does not allow; none for a sound record.

    Args:
        record: parsed JSON. A key may hold dots, as in what is spliced into delivered documents.
    """
    found: list[str] = []
    seen: set[str] = set()
    for key, value in record.items():
        _walk(key, value, found, seen, listed=False)
    return found + [f"{name}: is missing" for name in REQUIRED if name not in seen]


def _walk(name: str, value: Any, found: list[str], seen: set[str], *, listed: bool) -> None:
    """Check a value and all below it.

    Args:
        name: its path in the record, with dots.
        value: it.
        found: takes the problems.
        seen: takes the names of fields that have a value.
        listed: some list holds the value, or an object that it is in.
    """
    field = fields().get(name)
    if not field and name not in objects():
        found.append(f"{name}: is no known field")
    elif isinstance(value, list):
        if field and not field.array:
            found.append(f"{name}: is a list")
        else:
            for item in value:
                _walk(name, item, found, seen, listed=True)
    elif field:
        seen.add(name)
        found += _wrong(field, value, listed=listed)
    elif isinstance(value, dict):
        for key, member in value.items():
            _walk(f"{name}.{key}", member, found, seen, listed=listed)
    else:
        found.append(f"{name}: {value!r:.{SHOWN}} is no object")


def _wrong(field: Field, value: Any, *, listed: bool) -> list[str]:
    """Return what is wrong with one value of a field; nothing for a right one."""
    wrong = []
    if listed != field.array:
        wrong.append(f"{field.name}: is a list" if listed else f"{field.name}: is no list")
    if not _fits(field.type, value):
        wrong.append(f"{field.name}: {value!r:.{SHOWN}} is no {field.type}")
    elif field.allowed and value not in field.allowed:
        wrong.append(f"{field.name}: {value!r:.{SHOWN}} is none of {', '.join(sorted(field.allowed))}")
    return wrong


def _fits(kind: str, value: Any) -> bool:
    """Tell whether Elasticsearch would take a value as what it is for a field of a type."""
    if kind in TEXTS:
        return isinstance(value, str)
    if kind in INTEGERS:
        return type(value) is int and -(1 << INTEGERS[kind]) <= value < 1 << INTEGERS[kind]
    if kind in FLOATS:
        return type(value) is int or (type(value) is float and isfinite(value))
    return kind in SIMPLE and SIMPLE[kind](value)


def _is_date(value: Any) -> bool:
    if not isinstance(value, str) or not DATE.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_ip(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(ip_address(value))
    except ValueError:
        return False


def _is_ip_range(value: Any) -> bool:
    """Tell whether a value is a network in CIDR notation, or the bounds of a range."""
    try:
        if isinstance(value, str):
            return bool(ip_network(value))
        ends = [ip_address(value[end]) for end in ("gte", "lte")]
        return len(value) == len(ends) and ends[0].version == ends[1].version and int(ends[0]) <= int(ends[1])
    except (KeyError, TypeError, ValueError):
        return False


def _is_range(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {"gte", "lte"}:
        return False
    return all(_fits("integer", end) for end in value.values()) and bool(value["gte"] <= value["lte"])


SIMPLE: Final[dict[str, Callable[[Any], bool]]] = {
    "boolean": lambda value: isinstance(value, bool),
    "date": _is_date,
    "flattened": lambda value: isinstance(value, dict),
    "integer_range": _is_range,
    "ip": _is_ip,
    "ip_range": _is_ip_range,
}
