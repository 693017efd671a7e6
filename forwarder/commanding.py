"""What records say of an execution's command line: its facts, what the policy thinks of it, secrets masked."""

from __future__ import annotations

import grp
import os
import pwd
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from forwarder import policy
from forwarder.attribute.model import seconds
from forwarder.audit.interface import Execution
from forwarder.ecs import commands
from forwarder.ecs.audit import Command, clean
from forwarder.ecs.context import Options, network_of
from forwarder.ecs.networks import configured
from forwarder.nmap import command, mask

MOST_NETWORKS: Final = 100
"""Targets whose networks a record names."""


def understood(whole: Execution, look: Options) -> Command:
    """Return what a record says of an execution's command line.

    Args:
        whole: the execution.
        look: patterns of secrets, and the policy.
    """
    title, parent = (mask.mask_line(clean(text), look.mask)[0] for text in (whole.title, whole.parent_command_line))
    if whole.tool != "nmap":
        words, masked = mask.mask(whole.argv, look.mask)
        scan: dict[str, Any] = {}
        judged: dict[str, Any] = {}
    else:
        uid = int(whole.real.id) if whole.real.id.isdigit() else None
        parsed = command.parse(whole.argv, Path(whole.cwd) if whole.cwd else None, seconds(whole.start), uid)
        scan, words, masked = commands.of_argv(whole.argv, parsed, look)
        judged = judgement(whole, parsed, look)
    clock, hours = commands.times(whole.start, look)
    return Command(tuple(words), masked, title, parent, _clean(scan | clock), judged | hours, _networks(scan, look))


def judgement(whole: Execution, parsed: command.Command, look: Options) -> dict[str, Any]:
    """Return nmap.policy; what the wrapper did weighs more than what we would do now."""
    user = whole.login.name or whole.sudo_user or whole.real.name
    found = policy.judge(parsed, user, groups(user), whole.reason, whole.ticket, look.policy)
    reasons = whole.policy_reasons if whole.policy_action else found.reasons
    said = {"action": whole.policy_action or found.action, "scope": found.scope, "scanner": found.scanner}
    return said | ({"reason": [clean(reason) for reason in reasons]} if reasons else {})


def _networks(scan: dict[str, Any], look: Options) -> tuple[str, ...]:
    """Return the networks that targets begin in; a range over many of them is in nmap.scan.target_range."""
    known = configured(look.networks)
    first = (target["gte"] for target in scan.get("target_range", [])[:MOST_NETWORKS])
    return tuple(dict.fromkeys(network_of(known, ip) for ip in first))


@lru_cache(256)
def groups(user: str) -> tuple[str, ...]:
    """Return the names of a user's groups on this machine; none for who is not known here."""
    try:
        numbers = os.getgrouplist(user, pwd.getpwnam(user).pw_gid) if user else []
        return tuple(grp.getgrgid(number).gr_name for number in numbers)
    except (KeyError, ValueError):
        return ()


def _clean(value: Any) -> Any:
    """Return JSON values without bytes that are no UTF-8."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_clean(member) for member in value]
    return {name: _clean(member) for name, member in value.items()} if isinstance(value, dict) else value
