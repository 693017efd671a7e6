"""The settings `policy.*`: what each may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final

from forwarder.config.checks import one_of, texts
from forwarder.nmap.options import usual
from forwarder.nmap.risk import CLASSES

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SPAN: Final = re.compile(
    r"(?:([a-z]{3}(?:-[a-z]{3})?(?:,[a-z]{3}(?:-[a-z]{3})?)*) )?([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)"
)
DAY: Final = 24 * 60
RULES: Final = ("script", "evasion", "technique", "option", "risk")
NAME: Final = re.compile(r"[\w.*?-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """Working hours of some days."""

    days: frozenset[int]
    """On which they begin; 1 is Monday."""
    start: int
    """Minutes after midnight."""
    end: int
    """The first minute that is off; not after `start` when they last over midnight."""

    def holds(self, local: datetime) -> bool:
        """Tell whether a local time is in them."""
        minute, day = local.hour * 60 + local.minute, local.isoweekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        before = (day - 2) % 7 + 1
        return (day in self.days and minute >= self.start) or (before in self.days and minute < self.end)


def hours(value: Any) -> tuple[Span, ...]:
    """Check policy.hours: `mon-fri 08:00-18:00`, several in a list or after `;`."""
    found = []
    for item in texts(value, ";"):
        match = SPAN.fullmatch(item.lower())
        if not match:
            raise ValueError('hours such as "mon-fri 08:00-18:00"')
        start, end = int(match[2]) * 60 + int(match[3]), int(match[4]) * 60 + int(match[5])
        if max(start, end) > DAY:
            raise ValueError("hours from 00:00 to 24:00")
        found.append(Span(_days(match[1]) if match[1] else frozenset(range(1, 8)), start, end))
    return tuple(found)


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last and last not in DAYS):
            raise ValueError("days among mon tue wed thu fri sat sun")
        low, high = DAYS.index(first), DAYS.index(last or first)
        found |= {(low + step) % 7 + 1 for step in range((high - low) % 7 + 1)}
    return frozenset(found)


def zone(name: str) -> tzinfo | None:
    """Return a time zone by its name; None for an empty one.

    Raises:
        ValueError: there is none of that name on this machine.
    """
    if not name:
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 (only who names a zone pays for it)

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError("a time zone of this machine, such as Europe/Berlin") from None


def timezone(value: Any) -> str:
    """Check policy.timezone."""
    if not isinstance(value, str):
        raise ValueError("a text")  # noqa: TRY004
    zone(value)
    return value


def pattern(value: Any) -> re.Pattern[str] | None:
    """Check policy.ticket_pattern."""
    if not isinstance(value, str):
        raise ValueError("a regular expression")  # noqa: TRY004
    try:
        return re.compile(value) if value else None
    except re.error:
        raise ValueError("a regular expression") from None


def scopes(value: Any) -> tuple[str, ...]:
    """Check policy.scopes: networks in CIDR notation, addresses, names that may hold `*`."""
    from ipaddress import ip_network  # noqa: PLC0415 (its import costs more than most runs of the wrapper need)

    found = []
    for item in texts(value):
        try:
            found.append(str(ip_network(item)))
        except ValueError:
            if not NAME.fullmatch(item) or re.fullmatch(r"[\d.]+", item):
                raise ValueError('networks such as "192.0.2.0/24" or names such as "*.example.com"') from None
            found.append(item.lower())
    return tuple(found)


def scanners(value: Any) -> tuple[str, ...]:
    """Check policy.scanners: users, and groups with a % before their name."""
    return texts(value)


def forbid(value: Any) -> tuple[str, ...]:
    """Check policy.forbid."""
    found = texts(value)
    for rule in found:
        kind, _, what = rule.partition(":")
        known = {"option": bool(usual(what)), "risk": what in CLASSES}.get(kind, bool(what))
        if kind not in RULES or not known:
            raise ValueError(
                'rules such as "script:exploit", "evasion:decoys", "technique:udp", "option:-S", "risk:critical"'
            )
    return found


def overrides(value: Any) -> dict[str, dict[str, Any]]:
    """Check policy.users and policy.groups: tables of the keys that differ, by the name of a user or group.

    Returns:
        checked values by the full name of their key, by user or group.
    """
    if not isinstance(value, Mapping):
        raise ValueError("a table for each name, in the file: [policy.users.alice]")  # noqa: TRY004
    found: dict[str, dict[str, Any]] = {}
    for name, table in value.items():
        if not isinstance(table, Mapping):
            raise ValueError("a table for each name, in the file: [policy.users.alice]")  # noqa: TRY004
        for key, item in table.items():
            if key not in CHECKS:
                raise ValueError(f"tables of {', '.join(CHECKS)}; {name} has {key}")
            try:
                found.setdefault(str(name), {})[f"policy.{key}"] = CHECKS[key](item)
            except ValueError as error:
                raise ValueError(f"tables in which {name}'s {key} is {error}") from None
    return found


CHECKS: Final[dict[str, Callable[[Any], Any]]] = {
    "require_reason": one_of("none", "flag", "refuse"),
    "require_ticket": one_of("none", "flag", "refuse"),
    "ticket_pattern": pattern,
    "scopes": scopes,
    "outside_scope": one_of("flag", "refuse"),
    "forbid": forbid,
    "forbidden": one_of("flag", "refuse"),
    "scanners": scanners,
    "unlisted": one_of("none", "flag", "refuse"),
}
"""Keys that may differ by user and group."""
DEFAULTS: Final[dict[str, Any]] = {
    "policy.require_reason": "none",
    "policy.require_ticket": "none",
    "policy.ticket_pattern": None,
    "policy.scopes": (),
    "policy.outside_scope": "flag",
    "policy.forbid": (),
    "policy.forbidden": "flag",
    "policy.scanners": (),
    "policy.unlisted": "flag",
    "policy.users": {},
    "policy.groups": {},
    "policy.hours": (),
    "policy.timezone": "",
}
"""Checked values of all keys where nothing is configured: no policy."""
