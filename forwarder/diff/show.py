"""A comparison as text, grouped by host as ndiff does, and as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any, Final

from forwarder.diff.compare import ADDED, CHANGED, REMOVED, Comparison, Difference, group_differs, port_order
from forwarder.diff.facts import Facts
from forwarder.diff.side import Side
from forwarder.nmap import ranges

MOST: Final = 20
"""Ports named of those that moved from one group to another."""

Line = tuple[str, str]
"""(`-`, `+`, or a space for what is the same; text, with whatever control characters were scanned)."""


def text(comparison: Comparison) -> Iterator[Line]:
    """Yield the lines of a comparison; none when there is no difference."""
    head = [("--- ", _title(comparison.before)), ("+++ ", _title(comparison.after))]
    for line in _lines(comparison):
        yield from head
        head = []
        yield line


def _title(side: Side) -> str:
    return "  ".join(filter(None, (side.name, side.about.get("start"), side.about.get("args"))))


def _lines(comparison: Comparison) -> Iterator[Line]:
    if comparison.scripts:
        yield " ", "scripts before and after all hosts"
        yield from _scripts(comparison.scripts, "  ")
    for found in comparison.hosts():
        if found.kind == CHANGED:
            yield " ", _label(found.address, found.after)
            yield from _changed(found)
        else:
            sign, there = ("-", found.before) if found.kind == REMOVED else ("+", found.after)
            yield sign, _label(found.address, there)
            yield from ((sign, line) for line in _host(found.address, there))


def _label(address: str, facts: Facts) -> str:
    name = next((name for name in facts["hostnames"] if name.endswith("(PTR)")), "") or next(
        iter(facts["hostnames"]), ""
    )
    return f"{address} {name.partition(' (')[0]}".strip()


def _host(address: str, facts: Facts) -> Iterator[str]:
    """Yield all of a host that is on one side only."""
    yield f"  is {facts['state'] or 'listed'}"
    for name, word in WORDS.items():
        yield from (f"  {word} {value}" for value in facts[name] if value != address)
    for group in facts["not_shown"]:
        yield _group(group)
    for key in sorted(facts["ports"], key=port_order):
        port = facts["ports"][key]
        yield f"  {_port(key, port, ())}"
        for name, result in port.get("scripts", {}).items():
            yield from _output(f"    {name}: ", result["output"].splitlines())
    for name, result in facts["scripts"].items():
        yield from _output(f"  {name}: ", result["output"].splitlines())


WORDS: Final = {"hostnames": "name", "addresses": "address", "macs": "MAC", "os": "OS"}


def _changed(found: Difference) -> Iterator[Line]:
    changes = found.changes
    if "state" in changes:
        yield from _both(changes["state"], lambda state: [f"  is {state or 'listed'}"])
    for name, word in WORDS.items():
        if name in changes:
            before, after = changes[name]["before"], changes[name]["after"]
            yield from (("-", f"  {word} {value}") for value in before if value not in after)
            yield from (("+", f"  {word} {value}") for value in after if value not in before)
    if "not_shown" in changes:
        yield from _groups(changes["not_shown"]["before"], changes["not_shown"]["after"])
    for key, port in changes.get("ports", {}).items():
        yield from _changed_port(key, port)
    yield from _scripts(changes.get("scripts", {}), "  ")


def _both(pair: dict[str, Any], lines: Any) -> Iterator[Line]:
    for sign, side in (("-", "before"), ("+", "after")):
        if side in pair:
            yield from ((sign, line) for line in lines(pair[side]))


def _changed_port(key: str, port: dict[str, Any]) -> Iterator[Line]:
    if port["changed"] == ["scripts"]:
        yield " ", f"  {_port(key, port['after'], ())}"
    else:
        yield from _both(port, lambda facts: [f"  {_port(key, facts, port['changed'])}"])
    sides = [port.get(side, {}).get("scripts", {}) for side in ("before", "after")]
    names = sorted(sides[0].keys() | sides[1].keys())
    pairs = {name: {"before": sides[0].get(name), "after": sides[1].get(name)} for name in names}
    yield from _scripts({name: pair for name, pair in pairs.items() if pair["before"] != pair["after"]}, "    ")


def _port(key: str, port: Facts, changed: Any) -> str:
    """Return a port's line as nmap prints it; CPEs and the owner only when they changed."""
    protocol, _, number = key.partition("/")
    service = port["service"]
    name = f"ssl/{service.get('name', '')}" if service.get("tunnel") == "ssl" else service.get("name", "")
    words = [f"{number}/{protocol}", port["state"], name, service.get("product"), service.get("version")]
    if extra := service.get("extra_info"):
        words.append(f"({extra})")
    known = {"name", "product", "version", "extra_info", "tunnel", "cpe"}
    if "banner" in changed:
        words += [f"{key}={service[key]}" for key in sorted(service.keys() - known)]
    if "cpe" in changed:
        words += service.get("cpe", [])
    if "owner" in changed and "owner" in port:
        words.append(f"owner={port['owner']}")
    if "tunnel" in changed and "tunnel" in service:
        words.append(f"tunnel={service['tunnel']}")
    return " ".join(filter(None, words))


def _groups(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Iterator[Line]:
    old, new = ({(g["state"], g.get("protocol", "")): g for g in groups} for groups in (before, after))
    for key in sorted(old.keys() | new.keys()):
        one, other = old.get(key, {}), new.get(key, {})
        if one and other and not group_differs(one, other):
            continue
        left, right = (set(ranges.ports(group.get("ports", ""))) for group in (one, other))
        known = left and right
        if one:
            yield "-", _group(one, left - right if known else ())
        if other:
            yield "+", _group(other, right - left if known else ())


def _group(group: dict[str, Any], only: Collection[int] = ()) -> str:
    """Return the line of a group; its whole list would fill screens, so only what the other side has not is named."""
    what = " ".join(filter(None, (str(group["count"]), group["state"], group.get("protocol"))))
    named = ranges.write(only).split(",") if only else []
    more = f", … {len(named) - MOST} more" if len(named) > MOST else ""
    return f"  not shown: {what} ports{', among them ' + ','.join(named[:MOST]) + more if named else ''}"


def _scripts(scripts: dict[str, Any], indent: str) -> Iterator[Line]:
    """Yield the lines in which results differ, without those that both begin and end with."""
    for name, pair in scripts.items():
        before, after = pair.get("before"), pair.get("after")
        old, new = (result["output"].splitlines() if result else [] for result in (before, after))
        if old == new and before and after:  # only the tables differ
            old, new = (list(_rows(result.get("table", []))) for result in (before, after))
        start = end = 0
        while start < min(len(old), len(new)) and old[start] == new[start]:
            start += 1
        while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
            end += 1
        first = f"{indent}{name}: "
        yield from (("-", line) for line in _output(first, old[start : len(old) - end], always=bool(before)))
        yield from (("+", line) for line in _output(first, new[start : len(new) - end], always=bool(after)))


def _output(first: str, lines: list[str], *, always: bool = True) -> Iterator[str]:
    """Yield the lines of a script's output; its name stands before the first."""
    shown = [line for line in lines if line.strip()]
    if not shown and always:
        yield first.rstrip()
    for number, line in enumerate(shown):
        yield f"{first if not number else ' ' * len(first)}{line.strip()}"


def _rows(table: list[dict[str, Any]], path: str = "") -> Iterator[str]:
    """Yield the values of a table, each with the keys that lead to it."""
    for row in table:
        name = f"{path}{row.get('key', '')}"
        if "value" in row:
            yield f"{name}={row['value']}"
        else:
            yield from _rows(row.get("table", []), f"{name}.")


def as_json(comparison: Comparison) -> Iterator[str]:
    """Yield the pieces of one JSON object, so that not all hosts have to be in memory.

    `before` and `after`: {name, hosts, scan_id, args, version, start, end, complete}; `scripts`: pre- and postscripts
    that differ; `hosts`: {`added`: [{address, after}], `removed`: [{address, before}], `changed`: [{address,
    changes}]}, the last as in `Difference.changes`; `different`: whether there is any difference.
    """
    yield "{"
    for name, side in (("before", comparison.before), ("after", comparison.after)):
        yield f'"{name}": {json.dumps({"name": side.name, "hosts": len(side.hosts)} | side.about)}, '
    yield f'"scripts": {json.dumps(comparison.scripts)}, "hosts": {{'
    for kind, member in ((ADDED, "after"), (REMOVED, "before"), (CHANGED, "changes")):
        yield f'{"" if kind == ADDED else ", "}"{kind}": ['
        separator = ""
        for found in comparison.hosts(kind):
            yield separator + json.dumps({"address": found.address, member: getattr(found, member)})
            separator = ", "
        yield "]"
    yield f'}}, "different": {json.dumps(comparison.different)}}}'
