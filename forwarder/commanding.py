"""What records say of a command line: its facts, what the policy thinks of it, and all of it with secrets masked."""

from __future__ import annotations

import grp
import os
import pwd
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from forwarder import policy
from forwarder.attribute.model import seconds
from forwarder.audit.interface import Execution
from forwarder.config import Settings
from forwarder.ecs.audit import Command, clean
from forwarder.nmap import command, mask


def understood(whole: Execution, settings: Settings) -> Command:
    """Return what a record says of an execution's command line.

    Args:
        whole: the execution.
        settings: patterns of secrets, and the policy.
    """
    names = settings.get("audit.mask", mask.NAMES)
    argv, masked = mask.mask(whole.argv, names)
    parsed = command.parse(whole.argv, Path(whole.cwd) if whole.cwd else None, seconds(whole.start))
    scan = command.facts(parsed) if whole.tool == "nmap" else {}
    found = _judged(whole, parsed, settings) if whole.tool == "nmap" else {}
    if whole.start:
        scan["hour"], scan["weekday"], hours = policy.when(datetime.fromisoformat(whole.start), settings)
        found |= {"hours": hours} if hours else {}
    return Command(
        tuple(argv),
        masked,
        mask.mask_line(clean(whole.title), names)[0],
        mask.mask_line(clean(whole.parent_command_line), names)[0],
        scan,
        found,
    )


def _judged(whole: Execution, parsed: command.Command, settings: Settings) -> dict[str, Any]:
    """Return nmap.policy; what the wrapper did weighs more than what we would do now."""
    user = whole.login.name or whole.sudo_user or whole.real.name
    judgement = policy.judge(parsed, user, groups(user), whole.reason, whole.ticket, settings)
    reasons = whole.policy_reasons if whole.policy_action else judgement.reasons
    found = {"action": whole.policy_action or judgement.action, "scope": judgement.scope, "scanner": judgement.scanner}
    return found | ({"reason": list(reasons)} if reasons else {})


@lru_cache(256)
def groups(user: str) -> tuple[str, ...]:
    """Return the names of a user's groups on this machine; none for who is not known here."""
    try:
        numbers = os.getgrouplist(user, pwd.getpwnam(user).pw_gid) if user else []
        return tuple(grp.getgrgid(number).gr_name for number in numbers)
    except (KeyError, ValueError):
        return ()
