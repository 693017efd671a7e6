"""Several sightings of one execution: the wrapper's, the kernel's, sudo's, the shell's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from forwarder.attribute.model import WRAPPED, Known, seconds, short, trusted, words_of
from forwarder.audit.interface import Execution, User
from forwarder.audit.problems import ARGUMENTS_CUT

SAME: Final = 2.0
"""Seconds by which two records of one execve, with its process id, may differ."""
DESCENT: Final = 30.0
"""Seconds that may pass between a wrapper's (or sudo's) start and that of the program it calls; sudo may ask for a
password, which it does before it logs."""
TOLD: Final = 5.0
"""Seconds by which sudo's log or a shell's history may differ from the kernel's."""
BY_PROCESS: Final = frozenset({"run", "shim", "auditd", "laurel"})
"""Sources that know the process, and may see one execution more than once; whether they are believed is no matter."""
SUDO: Final = frozenset({"sudo", "sudo-io"})
"""Sources that are sudo; it runs nothing that it refuses."""
CUT: Final = ARGUMENTS_CUT
"""Problem of evidence whose command line is not whole."""


def find(part: Execution, candidates: Iterable[Known]) -> Known | None:
    """Return the execution that a new sighting belongs to; None if it is of one that was not seen before.

    Args:
        part: the sighting.
        candidates: executions of about that time.
    """
    best: tuple[float, Known] | None = None
    for item in candidates:
        distances = [distance for other in item.parts if (distance := _distance(part, other)) is not None]
        if distances and not _taken(part, item) and (best is None or min(distances) < best[0]):
            best = min(distances), item
    return best[1] if best else None


def _taken(part: Execution, item: Known) -> bool:
    """Tell whether a source that writes one line for each execution has written it already.

    sudo may write to several logs: syslog, the journal, a file of its own.
    """
    if part.source in BY_PROCESS:
        return False
    others = [other for other in item.parts if other.source == part.source and other.identity != part.identity]
    return any(part.source != "sudo" or other.log_path == part.log_path for other in others)


def _distance(part: Execution, other: Execution) -> float | None:
    """Return the seconds between two sightings of one execution; None if they are of two."""
    if (part.source, part.identity, part.real.id) == (other.source, other.identity, other.real.id):
        return 0.0
    hosts = {short(part.host), short(other.host)} - {""}
    if len(hosts) > 1 or strangers(part, other) or _one_refused(part, other):
        return None
    alike = words_of(part) == words_of(other)
    first, second = seconds(part.start), seconds(other.start)
    apart = abs(first - second) if first is not None and second is not None else None
    if apart is not None and _one_process(part, other, apart, alike=alike):
        return apart
    if {part.source, other.source} <= BY_PROCESS or not alike or not _same_user(part, other):
        return None
    if apart is None:  # a history without times: of the same user and words, the nearest is as good as any
        return float("inf")
    return apart if apart <= TOLD else None


def _one_process(part: Execution, other: Execution, apart: float, *, alike: bool) -> bool:
    """Tell whether two sightings are of one process, or of one that called the other with the same words."""
    if part.pid <= 0 or other.pid <= 0:
        return False
    if part.pid == other.pid and apart <= SAME:
        return alike or _is_cut(part) or _is_cut(other)
    if not alike or apart > DESCENT:
        return False
    pairs = ((part, other), (other, part))
    return any(_wraps(*pair) or _calls(*pair) for pair in pairs)


def _is_cut(part: Execution) -> bool:
    """Tell whether a command line is not whole; what a user says of that in an entry of his counts for nothing."""
    return CUT in part.problems and part.source not in WRAPPED


def _wraps(wrapped: Execution, tool: Execution) -> bool:
    """Tell whether the one's wrapper is the other's process, or its parent.

    That number is right also where the tool's own is one of a process namespace, if the receiver saw it; and it needs
    no equal times: on a busy machine seconds pass between the wrapper's start and nmap's.
    """
    return wrapped.wrapper_pid > 0 and wrapped.wrapper_pid in {tool.pid, tool.ppid}


def _calls(parent: Execution, child: Execution) -> bool:
    """Tell whether one process is the other's parent, and began no later (but for the clocks' grain)."""
    first, second = seconds(parent.start), seconds(child.start)
    return parent.pid == child.ppid and first is not None and second is not None and second >= first - 1


def _same_user(part: Execution, other: Execution) -> bool:
    """Tell whether two sightings can be of one caller; where one names none, or the other way, they can."""
    ours, theirs = _caller(part), _caller(other)
    if ours.name and theirs.name:
        return ours.name == theirs.name
    return not ours.id or not theirs.id or ours.id == theirs.id


def _caller(part: Execution) -> User:
    """Return who called: sudo's caller or the login user before the user whose rights were used."""
    if part.sudo_user:
        return User("", part.sudo_user)
    return part.login if part.login != User() else part.real


def _one_refused(part: Execution, other: Execution) -> bool:
    """Tell whether sudo refused the one and the other ran; what was typed may be either."""
    if "history" in {part.source, other.source}:
        return False
    ours, theirs = (sight.policy_action == "refused" and sight.source in SUDO for sight in (part, other))
    return ours != theirs


def strangers(part: Execution, other: Execution) -> bool:
    """Tell whether two sightings have no user in common: then one of them is not what it claims to be."""
    ours, theirs = (
        {user.id for user in (sight.login, sight.real, sight.effective)} - {""}
        for sight in (trusted(part), trusted(other))
    )
    return bool(ours and theirs) and not ours & theirs
