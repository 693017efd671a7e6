"""What the site's policy says of a command line: who may scan what, how, when, and what has to be said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from forwarder.nmap.command import Command


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the policy says of one execution."""

    action: str = "allowed"
    """allowed, flagged or refused: `nmap.policy.action`."""
    reasons: tuple[str, ...] = ()
    """Points not kept: reason-missing, ticket-missing, ticket-malformed, outside-scope, forbidden:<rule>, user-unlisted."""
    scope: str = "unknown"
    """inside, outside or unknown: `nmap.policy.scope`."""
    scanner: str = "unknown"
    """listed, unlisted or unknown: `nmap.policy.scanner`."""


def judge(
    command: Command, user: str, groups: Sequence[str], reason: str, ticket: str, settings: Mapping[str, Any]
) -> Judgement:
    """Judge one execution.

    Args:
        command: the command line.
        user: name of the login user, empty if it is not known.
        groups: names of that user's groups.
        reason: why, empty if it was not said.
        ticket: empty if there is none.
        settings: the keys `policy.*`, as forwarder.config checks them.
    """
    return Judgement()


def when(time: datetime, settings: Mapping[str, Any]) -> tuple[int, int, str]:
    """Return (hour 0-23, weekday 1 Monday to 7, "working" or "off" or "" without policy.hours) in policy.timezone."""
    return time.hour, time.isoweekday(), ""
