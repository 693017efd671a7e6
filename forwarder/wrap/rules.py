"""What is asked before a tool runs: the policy, and, on a terminal, the person for what that wants to know."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from forwarder.wrap.child import in_foreground

ASKED: Final = {"reason": "Reason for this scan", "ticket": "Ticket of this scan"}
"""What the policy may miss, and how it is asked for."""

VARIABLES: Final = ("NMAP_FORWARDER_POLICY_", "NMAP_FORWARDER_AUDIT_MASK")


def settings(config: str, environment: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the settings `policy.*` and `audit.*`; none where neither a policy nor a mask is set.

    Args:
        config: path of the file.
        environment: variables that may override it; of the shim none, since the user sets them.

    Raises:
        ForwarderError: the configuration cannot be used.
    """
    if not config or not (_says_something(config) or any(name.startswith(VARIABLES) for name in environment)):
        return {}
    from forwarder.config import part  # noqa: PLC0415 - takes longer than everything else here

    return part(config, ("policy.", "audit."), environment)


def _says_something(config: str) -> bool:
    """Tell whether a file may have such a setting: to parse it takes longer than all else that comes before nmap."""
    if not os.access(config, os.F_OK):
        return False
    with open(config, "rb") as file:  # noqa: PTH123
        lines = (line.lstrip() for line in file)
        return any(b"policy" in line or b"mask" in line for line in lines if not line.startswith(b"#"))


def has_policy(found: Mapping[str, Any]) -> bool:
    """Tell whether the settings ask anything of a scan, so that command lines need to be understood."""
    if not found:
        return False
    from forwarder.config.policy import DEFAULTS  # noqa: PLC0415

    return any(found[name] != value for name, value in DEFAULTS.items())


def masked(words: list[str], found: Mapping[str, Any]) -> list[str]:
    """Return words with the secrets in them replaced, by the configured names or the usual ones."""
    from forwarder.nmap.mask import NAMES, mask  # noqa: PLC0415

    return mask(words, found.get("audit.mask", NAMES))[0]


def judge(argv: list[str], said: dict[str, str], who: str, found: Mapping[str, Any]) -> Any:
    """Ask the policy; when it only misses a reason or a ticket and a person is there, ask for that.

    Args:
        argv: the tool's words.
        said: reason and ticket, which are filled in by what the person says.
        who: name of the user.
        found: the settings.

    Returns:
        The Judgement of forwarder.policy.
    """
    from forwarder.nmap.command import parse  # noqa: PLC0415
    from forwarder.policy import judge  # noqa: PLC0415

    command, groups = parse(argv, _cwd()), _groups()
    judgement = judge(command, who, groups, said["reason"], said["ticket"], found)
    missing = [name for name in ASKED if _misses(judgement, name)]
    if judgement.action == "refused" and missing and _somebody_there():
        for name in missing:
            said[name] = _ask(ASKED[name])
        judgement = judge(command, who, groups, said["reason"], said["ticket"], found)
    return judgement


def _misses(judgement: Any, name: str) -> bool:
    return any(reason in {f"{name}-missing", f"{name}-malformed"} for reason in judgement.reasons)


def refusal(judgement: Any) -> str:
    """Return one line: why it is refused, and what to do."""
    todo = "ask who keeps the policy"
    if _misses(judgement, "reason") or _misses(judgement, "ticket"):
        todo = (
            "say why with `nmap-forwarder run --reason TEXT --ticket ID -- nmap ...`, "
            "or in NMAP_FORWARDER_REASON and NMAP_FORWARDER_TICKET"
        )
    return f"refused by the policy ({', '.join(judgement.reasons)}): {todo}"


def _somebody_there() -> bool:
    return os.isatty(0) and os.isatty(2) and in_foreground()


def _ask(question: str) -> str:
    sys.stderr.write(f"{question}: ")
    sys.stderr.flush()
    return os.read(0, 1024).decode("utf-8", "replace").strip()


def _cwd() -> Any:
    from pathlib import Path  # noqa: PLC0415

    try:
        return Path.cwd()
    except OSError:
        return None


def _groups() -> list[str]:
    import grp  # noqa: PLC0415

    names = []
    for number in {os.getgid(), *os.getgroups()}:
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            names.append(str(number))
    return sorted(names)
