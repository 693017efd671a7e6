"""What records of scans and executions say of the command line: `nmap.scan.*`, `nmap.policy.*`, secrets masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from forwarder import policy
from forwarder.ecs.context import Options
from forwarder.nmap import command, nse
from forwarder.nmap.argline import join, split
from forwarder.nmap.mask import mask


def of_args(args: str, options: Options) -> dict[str, Any]:
    """Return members of `nmap.scan` for the command line in nmap's XML: `args` with secrets masked, and its facts.

    They hang on nothing but the text: scripts are those of our table, lists of targets are not read.
    """
    words, masked = mask(split(args), options.mask)
    found = command.facts(command.parse(words)) | {"args": join(words) if masked else args}
    return found | {"masked": masked} if masked else found


def of_argv(
    argv: Sequence[str], parsed: command.Command, options: Options, scripts: nse.Scripts | None = None
) -> tuple[dict[str, Any], list[str], int]:
    """Return (members of `nmap.scan` for an execution, its words with secrets masked, how many were).

    Args:
        argv: words as they were given.
        parsed: the same, parsed, with its list of targets if that was read.
        options: what the configuration says about records.
        scripts: categories of scripts, `nse.installed()`, or None for those of our table.
    """
    words, masked = mask(argv, options.mask)
    shown = command.parse(words)
    return (
        command.facts(command.Command(shown.argv, shown.options, shown.operands, parsed.listed), scripts),
        words,
        masked,
    )


def times(start: str, options: Options) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return members of (`nmap.scan`, `nmap.policy`) that say when it began, by the configured clock and hours.

    Args:
        start: RFC 3339, or empty.
        options: what the configuration says about records.
    """
    if not start:
        return {}, {}
    hour, weekday, hours = policy.when(datetime.fromisoformat(start), options.policy)
    return {"hour": hour, "weekday": weekday}, {"hours": hours} if hours else {}


def scope(parsed: command.Command, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return members of `nmap.policy` that say where the targets are; none without policy.scopes."""
    scopes = settings["policy.scopes"]
    return {"scope": policy.scope(parsed, scopes)} if scopes else {}
