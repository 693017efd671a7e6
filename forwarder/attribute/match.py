"""Scans meet executions: which one made which, and how sure that is.

Exact is only what leaves no choice: the wrapper's own pair of names, the hash of the output that it saw (if the file is
that user's), or the one file that the kernel (or the wrapper) saw this command line being told to write at that time.
Equal command lines at one time are never told apart by a guess; they stay weak, with all that could have been.
"""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from forwarder.attribute.model import WRAPPED, Answer, Known, Subject, seconds, short, trusted, words_of
from forwarder.audit.interface import KERNEL, Execution

BEFORE: Final = 1.0
"""Seconds that a scan may begin before its execve: nmap cuts its times to whole seconds."""
PROMPT: Final = 1.0
"""Seconds within which it does so where a file's path is to prove who wrote it,"""
CLOSE: Final = 2.0
"""within which it usually does,"""
AFTER: Final = 10.0
"""and within which it does when it reads long lists first."""
SKEW: Final = 300.0
"""Seconds by which the clock of another machine, or one that was set meanwhile, may be off."""
LATE: Final = 5.0
"""Seconds between a scan's finish and the end of its process."""
MAX_CANDIDATES: Final = 10
"""Executions that a weak answer names; the number of all is told."""
PROVEN, NEAR, LIKELY, POSSIBLE = 4, 3, 2, 1
"""How well a scan and an execution fit."""
PATH: Final = "output-path"
"""Reason that is a proof only as long as nothing else is known that may have written there."""
OTHERS: Final = "output is another user's"
"""Reason that takes from an entry's hash what it would prove: a user may write any into an entry of his."""
ALTERED: Final = "output differs from its hash"
"""Reason that a scan has when its file is not as the wrapper saw it."""
TOOLS: Final = frozenset({"nmap", "masscan", ""})
"""Programs that write XML which is read as a scan; the empty name is one that the evidence does not tell."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One execution that may have made one scan."""

    scan_id: str
    entity_id: str
    tier: int
    reasons: tuple[str, ...]


def assign(subjects: Iterable[Subject], executions: Iterable[Known], host: str) -> dict[str, Answer]:
    """Return who made each of some scans.

    Args:
        subjects: scans of about one time, all that are not settled.
        executions: all executions of about that time that made no settled scan.
        host: name of the machine that the scans' files are on.

    Returns:
        An answer for each scan_id.
    """
    scans, runs = list(subjects), list(executions)
    pairs = [pair for scan in scans for run in runs if (pair := compare(scan, run, host))]
    pairs = _doubted(pairs, runs)
    answers: dict[str, Answer] = {}
    taken: set[str] = set()
    for tier, confidence in ((PROVEN, "exact"), (NEAR, "strong"), (LIKELY, "strong")):
        left = [pair for pair in pairs if pair.scan_id not in answers and pair.entity_id not in taken]
        fitting = [pair for pair in left if pair.tier >= tier]
        if tier != PROVEN:
            fitting = _of_owner(fitting, scans, runs)
        for pair in _only(fitting):
            answers[pair.scan_id] = Answer(confidence, pair.reasons, (pair.entity_id,), 1)
            taken.add(pair.entity_id)
    left = [pair for pair in pairs if pair.entity_id not in taken]
    for scan in scans:
        if scan.scan_id not in answers:
            answers[scan.scan_id] = _weak([pair for pair in left if pair.scan_id == scan.scan_id])
    return answers


def _doubted(pairs: list[Pair], runs: list[Known]) -> list[Pair]:
    """Take back the proof by a path where another execution of that time may have written to the same path."""
    nowhere = {run.entity_id for run in runs if not outputs(run)}
    rivals = Counter(pair.scan_id for pair in pairs if pair.tier >= LIKELY and pair.entity_id in nowhere)
    return [
        replace(pair, tier=NEAR) if pair.tier == PROVEN and PATH in pair.reasons and rivals[pair.scan_id] else pair
        for pair in pairs
    ]


def _only(pairs: list[Pair]) -> list[Pair]:
    """Return the pairs whose scan has no other execution and whose execution has no other scan."""
    scans, runs = Counter(pair.scan_id for pair in pairs), Counter(pair.entity_id for pair in pairs)
    return [pair for pair in pairs if scans[pair.scan_id] == 1 == runs[pair.entity_id]]


def _of_owner(pairs: list[Pair], scans: list[Subject], runs: list[Known]) -> list[Pair]:
    """Leave out executions of others than the file's owner, where one of the same time is that owner's."""
    owners = {scan.scan_id: scan.uid for scan in scans}
    users = {run.entity_id: run.whole.effective.id for run in runs}
    own = {pair for pair in pairs if owners[pair.scan_id] == users[pair.entity_id] != ""}
    having = {pair.scan_id for pair in own}
    return [pair for pair in pairs if pair in own or pair.scan_id not in having]


def _weak(pairs: list[Pair]) -> Answer:
    """Return what may be, of executions that nothing tells apart; likelier ones leave no room for others."""
    best = max((pair.tier for pair in pairs), default=0)
    found = sorted((pair for pair in pairs if pair.tier == best), key=lambda pair: pair.entity_id)
    if not found:
        return Answer("none", ("no execution fits",))
    reasons = tuple(dict.fromkeys(reason for pair in found for reason in pair.reasons))
    if len(found) > 1:
        reasons += ("several executions fit",)
    elif best > POSSIBLE:
        reasons += ("several scans fit",)
    return Answer("weak", reasons, tuple(pair.entity_id for pair in found[:MAX_CANDIDATES]), len(found))


def compare(scan: Subject, run: Known, host: str) -> Pair | None:
    """Return how well a scan and an execution fit, None if they do not.

    Args:
        scan: the scan.
        run: the execution.
        host: name of the machine that the scan's file is on.
    """
    whole = run.whole
    if whole.tool not in TOOLS or whole.policy_action == "refused":
        return None
    start, wrapped = seconds(whole.start), _wrapped(run)
    lag = scan.start - start if scan.start is not None and start is not None else None
    if _is_pair(scan, wrapped):
        return Pair(scan.scan_id, run.entity_id, PROVEN, ("spool",))
    owned = scan.uid in _users(run)
    claimed = lag is not None and -BEFORE <= lag <= AFTER and scan.sha256 and scan.sha256 in _hashes(wrapped)
    if claimed and owned:
        return Pair(scan.scan_id, run.entity_id, PROVEN, ("output-hash", "time"))  # not an older one that it left there
    alike = _alike(scan, run)
    path = bool(scan.path) and scan.path in outputs(run)
    if not alike and (scan.words or not path):
        return Pair(scan.scan_id, run.entity_id, POSSIBLE, ("output-hash", OTHERS)) if claimed else None
    local = bool(whole.host) and short(whole.host) == short(host)
    reasons = _reasons(
        arguments=alike,
        output_path=path,
        user=scan.uid not in {"", "0"} and scan.uid == whole.effective.id,
        host=local and lag is not None,
    )
    tier, how = _in_time(lag, over=local and _over(scan, whole), seen=_by_kernel(run))
    if tier > POSSIBLE and not run.strong:
        tier = POSSIBLE
    seen = owned or scan.path in {place for part in run.parts if part.source not in WRAPPED for place in _outputs(part)}
    proven = alike and path and seen and local and tier == NEAR and lag is not None and lag <= PROMPT
    if proven and _hashes(wrapped) <= {scan.sha256}:  # the wrapper did not see something else in that file
        tier = PROVEN
    doubt = (OTHERS,) if claimed else ()
    return Pair(scan.scan_id, run.entity_id, tier, (*reasons, how, *doubt)) if tier else None


def shaken(scan: Subject, answer: Answer, run: Known, host: str) -> bool:
    """Tell whether what is new of an execution may take from a scan what a path proved.

    Args:
        scan: the scan.
        answer: who made it, as far as was known.
        run: an execution, with the new evidence.
        host: name of the machine that the scan's file is on.
    """
    if PATH not in answer.reasons:
        return False
    if run.entity_id in answer.executions:
        return not _hashes(_wrapped(run)) <= {scan.sha256}
    pair = compare(scan, run, host)
    return pair is not None and pair.tier >= LIKELY


def altered(scan: Subject, executions: Iterable[Known], host: str) -> bool:
    """Tell whether a scan's file was changed since the wrapper saw its nmap end, by the hash that it took.

    A file without an end is none that was changed: nmap was still writing when it was read, or was killed.

    Args:
        scan: the scan.
        executions: all of about that time, also those that made another scan, and all that name the file's hash.
        host: name of the machine that the scan's file is on.
    """
    if not scan.sha256 or not scan.path or scan.finish is None:
        return False
    runs = list(executions)
    if any(scan.sha256 in _hashes(_wrapped(run)) for run in runs):
        return False
    return any(_wrote(scan, run, host) for run in runs)


def _wrote(scan: Subject, run: Known, host: str) -> bool:
    """Tell whether the wrapper hashed a scan's file after an execution that surely wrote it."""
    whole, wrapped = run.whole, _wrapped(run)
    start = seconds(whole.start)
    if scan.start is None or start is None or short(whole.host) != short(host) or _over(scan, whole):
        return False
    hashed = any(scan.path in _outputs(part) and _hashes([part]) for part in wrapped)
    believed = _by_kernel(run) or scan.uid in _users(run)  # else it is the word of somebody whose file it is not
    return hashed and _alike(scan, run) and believed and -BEFORE <= scan.start - start <= CLOSE


def _wrapped(run: Known) -> list[Execution]:
    return [part for part in run.parts if part.source in WRAPPED]


def _by_kernel(run: Known) -> bool:
    return any(part.source in KERNEL for part in run.parts)


def _alike(scan: Subject, run: Known) -> bool:
    return bool(scan.words) and scan.words in {words_of(part) for part in run.parts}


def _is_pair(scan: Subject, wrapped: Iterable[Execution]) -> bool:
    """Tell whether a scan is the result that is with an entry of the spool, and the one that the wrapper hashed."""
    own = [part for part in wrapped if part.identity == scan.spool_id and scan.spool_uid in {"", part.real.id}]
    return bool(scan.spool_id) and any(_hashes([part]) <= {scan.sha256} for part in own)


def _in_time(lag: float | None, *, over: bool, seen: bool) -> tuple[int, str]:
    """Return how well a scan's start fits an execve, and the word for it; 0 if not at all.

    Args:
        lag: seconds by which it began later; None if one of them is not known.
        over: the process ended at another time than the scan, as its user's entry has it.
        seen: the kernel saw the process; then no entry of its user rules it out.
    """
    if lag is None:
        return POSSIBLE, "no time"
    if abs(lag) > SKEW or (over and not seen):
        return 0, ""
    if over:
        return POSSIBLE, "end differs"
    if not -BEFORE <= lag <= AFTER:
        return POSSIBLE, "clock off"
    return (NEAR if lag <= CLOSE else LIKELY), "time"


def _hashes(wrapped: Iterable[Execution]) -> set[str]:
    """Return the SHA-256 of the XML that the wrapper saw when its nmap ended."""
    return {output.sha256 for part in wrapped for output in part.outputs if output.format == "xml"} - {""}


def _users(run: Known) -> set[str]:
    """Return the user numbers that an execution's files may have, by evidence that its user could not make up."""
    parts = [trusted(part) for part in run.parts if part.strong]
    return {user.id for part in parts for user in (part.real, part.effective)} - {""}


def _reasons(**found: bool) -> tuple[str, ...]:
    return tuple(name.replace("_", "-") for name, is_so in found.items() if is_so)


def outputs(run: Known) -> set[str]:
    """Return the absolute paths that an execution was told to write XML to."""
    return {path for part in run.parts for path in _outputs(part)}


def _outputs(part: Execution) -> Iterable[str]:
    for output in part.outputs:
        if output.format == "xml" and (output.path.startswith("/") or part.cwd):
            yield os.path.normpath(os.path.join(part.cwd, output.path))  # noqa: PTH118


def _over(scan: Subject, whole: Execution) -> bool:
    """Tell whether a process ended at another time than the scan, by one clock."""
    end = seconds(whole.end)
    return end is not None and scan.finish is not None and abs(end - scan.finish) > LATE
