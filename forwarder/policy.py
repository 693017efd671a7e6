"""What the site's policy says of a command line: who may scan what, how, and what has to be said of it.

docs/COMMANDS.md has the settings with examples. Nothing is resolved and nothing is sent.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from ipaddress import ip_network
from typing import Any, Final

from forwarder.config.policy import DEFAULTS, Span, zone
from forwarder.nmap import nse, targets
from forwarder.nmap.command import Command, facts, scripts_wanted
from forwarder.nmap.options import usual
from forwarder.nmap.risk import CLASSES

ACTIONS: Final = ("allowed", "flagged", "refused")
LEVELS: Final = {"none": "allowed", "flag": "flagged", "refuse": "refused"}
MOST_RANGES: Final = 100_000
"""Ranges and targets that are compared with the scopes; of more nobody can say that they are inside."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the policy says of one execution."""

    action: str = "allowed"
    """allowed, flagged or refused: `nmap.policy.action`."""
    reasons: tuple[str, ...] = ()
    """Points not kept: reason-missing, ticket-missing, ticket-malformed, outside-scope, scope-unknown, user-unlisted,
    forbidden:<rule>."""
    scope: str = "unknown"
    """inside, outside or unknown: `nmap.policy.scope`."""
    scanner: str = "unknown"
    """listed, unlisted or unknown: `nmap.policy.scanner`."""


def judge(
    command: Command, user: str, groups: Sequence[str], reason: str, ticket: str, settings: Mapping[str, Any]
) -> Judgement:
    """Judge one execution. A command line that makes nmap scan nothing (`nmap --version`) keeps every policy.

    Args:
        command: the command line.
        user: name of the login user, empty if it is not known.
        groups: names of that user's groups.
        reason: why, empty if it was not said.
        ticket: empty if there is none.
        settings: the keys `policy.*`, as forwarder.config checks them.
    """
    rules = effective(settings, user, groups)
    where = scope(command, rules["policy.scopes"])
    who = scanner(user, groups, rules["policy.scanners"])
    if not command.scans:
        return Judgement(scope=where, scanner=who)
    broken: list[tuple[str, str]] = []
    if not reason.strip():
        broken.append((rules["policy.require_reason"], "reason-missing"))
    pattern = rules["policy.ticket_pattern"]
    if not ticket.strip():
        broken.append((rules["policy.require_ticket"], "ticket-missing"))
    elif pattern and not pattern.fullmatch(ticket):
        level = rules["policy.require_ticket"]
        broken.append(("flag" if level == "none" else level, "ticket-malformed"))
    if rules["policy.scopes"] and where != "inside":
        outside = where == "outside"
        broken.append((rules["policy.outside_scope"], "outside-scope") if outside else ("flag", "scope-unknown"))
    if who == "unlisted":
        broken.append((rules["policy.unlisted"], "user-unlisted"))
    broken += [(rules["policy.forbidden"], f"forbidden:{rule}") for rule in forbidden(command, rules["policy.forbid"])]
    counted = [(LEVELS[level], why) for level, why in broken if level != "none"]
    action = max((action for action, _ in counted), key=ACTIONS.index, default="allowed")
    return Judgement(action, tuple(dict.fromkeys(why for _, why in counted)), where, who)


def effective(settings: Mapping[str, Any], user: str, groups: Sequence[str]) -> Mapping[str, Any]:
    """Return the keys `policy.*` for one user: the user's own go before those of groups, in the file's order."""
    found = {name: settings.get(name, default) for name, default in DEFAULTS.items()}
    mine = [those for name, those in found["policy.groups"].items() if name in groups]
    for those in [*reversed(mine), found["policy.users"].get(user, {})]:
        found |= those
    return found


def when(time: datetime, settings: Mapping[str, Any]) -> tuple[int, int, str]:
    """Return (hour 0 to 23, weekday 1 Monday to 7, "working" or "off") in policy.timezone; "" without policy.hours.

    Args:
        time: with its time zone.
        settings: the keys `policy.*`.
    """
    try:
        local = time.astimezone(zone(settings["policy.timezone"]) or UTC)
    except OverflowError:  # on the calendar's last or first day, which only somebody's file tells of
        local = time
    spans: Sequence[Span] = settings["policy.hours"]
    working = any(span.holds(local) for span in spans)
    return local.hour, local.isoweekday(), ("working" if working else "off") if spans else ""


def scanner(user: str, groups: Sequence[str], scanners: Sequence[str]) -> str:
    """Return whether a user is among the scanners, by name or by %group; unknown without user or list."""
    if not scanners or not user:
        return "unknown"
    names = {user, *(f"%{group}" for group in groups)}
    return "unlisted" if names.isdisjoint(scanners) else "listed"


def scope(command: Command, scopes: Sequence[str]) -> str:
    """Return whether all targets are inside the scopes: outside as soon as an address is outside of all.

    Unknown: no scopes, no targets, names that match no pattern, or targets that the command line does not show.
    """
    if not scopes or not command.scans:
        return "unknown"
    spans = list(_spans(scopes))
    names = [text.lower() for text in scopes if not _network(text)]
    budget = iter(range(MOST_RANGES))
    places = {_place(text, spans, names, budget, v6=command.v6) for text in command.wanted[:MOST_RANGES]}
    if len(command.wanted) > MOST_RANGES:
        places.add("unknown")
    if command.has("-iR"):
        places.add("inside" if _within(spans, 0, (1 << 32) - 1, 4) else "outside")
    if "outside" in places:
        return "outside"
    hidden = command.has("--resume") or (command.has("-iL") and command.listed is None)
    return "inside" if places == {"inside"} and not hidden else "unknown"


def _place(
    expression: str, spans: list[tuple[int, int, int]], names: list[str], budget: Iterator[int], *, v6: bool
) -> str:
    """Return where one target is; what nmap passes over is nowhere, and so inside."""
    block = targets.block(expression, v6=v6)
    if block is None:
        return "inside"
    if block.name:
        inside = block.count == 1 and any(fnmatchcase(block.name.lower().rstrip("."), name) for name in names)
        return "inside" if inside else "unknown"
    seen = 0
    for _, (low, high) in zip(budget, block.ranges(), strict=False):
        seen += int(high) - int(low) + 1
        if not _within(spans, int(low), int(high), low.version):
            return "outside"
    return "inside" if seen == block.count else "unknown"


def _network(text: str) -> tuple[int, int, int] | None:
    """Return (version, first address, last address) of a scope; None of a name."""
    try:
        network = ip_network(text)
    except ValueError:
        return None
    return network.version, int(network[0]), int(network[-1])


def _spans(scopes: Iterable[str]) -> Iterator[tuple[int, int, int]]:
    """Yield the networks as (version, first, last), in order, those that touch as one."""
    last: tuple[int, int, int] | None = None
    for version, low, high in sorted(filter(None, map(_network, scopes))):
        if last and last[0] == version and low <= last[2] + 1:
            last = (version, last[1], max(last[2], high))
            continue
        if last:
            yield last
        last = (version, low, high)
    if last:
        yield last


def _within(spans: list[tuple[int, int, int]], low: int, high: int, version: int) -> bool:
    place = bisect_right(spans, (version, low, 1 << 128)) - 1
    return place >= 0 and spans[place][0] == version and high <= spans[place][2]


def forbidden(command: Command, rules: Sequence[str]) -> list[str]:
    """Return the rules of policy.forbid that a command line breaks, scripts by the script.db of this machine."""
    if not rules:
        return []
    scripts = nse.installed(command.value("--datadir") or "")
    found = facts(command, scripts)
    wanted = scripts_wanted(command)
    chosen = nse.chosen(wanted, scripts) if wanted else set()
    kinds = nse.categories(wanted, scripts)
    kinds |= {kind for name in chosen if "default" not in scripts[name] for kind in scripts[name]}
    asked = {word.removeprefix("+").rpartition("/")[2].removesuffix(".nse") for word in wanted}
    has = {
        "script": {*kinds, *chosen, *asked},
        "evasion": set(found.get("evasion", ())),
        "technique": set(found.get("technique", ())),
        "option": set(found.get("option", ())),
        "risk": set(CLASSES[: CLASSES.index(found["risk"]["class"]) + 1]) if "risk" in found else set(),
    }
    return [rule for rule in rules if _breaks(has, *rule.split(":", 1))]


def _breaks(has: Mapping[str, set[str]], kind: str, what: str) -> bool:
    pattern = usual(what) if kind == "option" else what
    return any(fnmatchcase(name, pattern) for name in has[kind])
