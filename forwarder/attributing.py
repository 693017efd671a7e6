"""Scans meet executions: at once, or by link records when evidence comes late or is waited for no longer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from forwarder import commanding
from forwarder.attribute import match
from forwarder.attribute.model import REFUSED, Answer, Claim, Known, Subject, seconds
from forwarder.batcher import Batcher
from forwarder.config import Settings
from forwarder.ecs import attribution, audit
from forwarder.ecs.attribution import SURE
from forwarder.ecs.context import Attributed
from forwarder.executions import OPEN
from forwarder.ledger import Input
from forwarder.reading import options
from forwarder.state import State

WINDOW: Final = match.SKEW + match.AFTER
"""Seconds around a scan's start among which its execution is looked for."""
UNCONFIGURED: Final = Answer("none", ("no evidence configured",))
AT_A_TIME: Final = 500
"""Scans or executions whose time is over that are looked at together."""
NOWHERE: Final = frozenset({"/dev/null", "/dev/stdout", "-"})
"""Outputs that leave no file."""


class Attributor:
    """Who made which scan, as far as the evidence goes that was gathered.

    Args:
        state: the open state directory.
        settings: where evidence comes from, and how long it is waited for.
        batcher: the batch that is being filled.
    """

    def __init__(self, state: State, settings: Settings, batcher: Batcher) -> None:
        self.settings, self.batcher = settings, batcher
        self.look = options(settings)
        self.spooled: dict[str, tuple[str, str]] = {}
        """Result in the spool → id of its entry, and number of the user whose it is."""
        self.configured = bool(settings["audit.sources"] or settings["audit.spool"])
        self._ledger, self._pending = state.ledger, batcher.pending
        self._now, self._grace = time.time(), settings["audit.grace"]

    def emit(self, line: bytes, sources: Sequence[Input] = ()) -> None:
        """Add a record, and cut the batch before it if need be."""
        if self.batcher.full:
            self.batcher.seal()
        self.batcher.add_from(sources, line)

    # --- scans --------------------------------------------------------------------------------------------

    def attribute(self, subject: Subject) -> Attributed:
        """Return what the records of a scan that is about to be read say of who made it."""
        if not self.configured:
            return self._attributed(UNCONFIGURED, "final", "")
        subject = self._named(subject)
        answer = self._solve([subject])[subject.scan_id]
        return self._attributed(answer, self._status(answer, self._deadline(subject)), "")

    def claim(self, subject: Subject, record_id: str, line: bytes) -> None:
        """Take note of a scan whose record was added, and of what that says of others."""
        if not self.configured:
            return
        subject = self._named(subject)
        answers = self._solve([subject])
        answer, deadline = answers[subject.scan_id], self._deadline(subject)
        known = attribution.summary(line)
        claim = Claim(subject, answer, record_id, self._status(answer, deadline), deadline, known)
        self._pending.claims[subject.scan_id] = claim
        self._apply(answers)

    def _named(self, subject: Subject) -> Subject:
        identity, uid = self.spooled.get(subject.path, ("", ""))
        return replace(subject, spool_id=identity, spool_uid=uid)

    def _deadline(self, subject: Subject) -> float:
        """Return until when evidence is waited for; a scan from the future waits no longer than one of now."""
        done = subject.finish or subject.start or self._now
        return float(min(done, self._now) + self._grace)

    def _status(self, answer: Answer, deadline: float) -> str:
        return "final" if answer.confidence in SURE or self._now >= deadline else "pending"

    def _attributed(self, answer: Answer, status: str, supersedes: str) -> Attributed:
        output = "met" if answer.confidence in SURE else "waiting" if status == "pending" else ""
        if status == "final" and answer.confidence == "none" and answer is not UNCONFIGURED:
            output = "unclaimed"
        link = audit.Link(status, output, answer, supersedes=supersedes)
        runs = [run for entity_id in answer.executions if (run := self._pending.execution(entity_id))]
        policy = commanding.understood(runs[0].whole, self.look).policy if answer.confidence in SURE else {}
        return attribution.attributed(link, runs, policy)

    # --- scans and executions -----------------------------------------------------------------------------

    def _solve(self, subjects: Iterable[Subject]) -> dict[str, Answer]:
        """Return who made some scans, and those of the same time and command line that are not settled for good."""
        scans = {subject.scan_id: subject for subject in subjects}
        runs: dict[str, Known] = {}
        taken: set[str] = set()
        for subject in list(scans.values()):
            for claim in self._near(subject):
                if claim.answer.confidence == "exact" and claim.subject.scan_id not in scans:
                    taken |= set(claim.answer.executions)
                else:
                    scans.setdefault(claim.subject.scan_id, claim.subject)
            runs |= {run.entity_id: run for run in self._runs(subject)}
        left = [run for entity_id, run in runs.items() if entity_id not in taken]
        host = self.settings["observer.name"]
        answers = match.assign(scans.values(), left, host)
        for scan_id, answer in answers.items():
            if match.altered(scans[scan_id], runs.values(), host):
                answers[scan_id] = replace(answer, reasons=(*answer.reasons, match.ALTERED))
        return answers

    def _near(self, subject: Subject) -> list[Claim]:
        """Return the claims of the scans that may have come of the same executions."""
        if subject.start is None:
            return []
        return self._pending.rivals(subject.words, subject.start - WINDOW, subject.start + WINDOW)

    def _runs(self, subject: Subject) -> list[Known]:
        """Return the executions that may have made a scan."""
        found = [run for proof in (subject.sha256, subject.spool_id) if proof for run in self._pending.proven(proof)]
        if subject.start is not None:
            found += self._pending.runs(subject.words, subject.start - WINDOW, subject.start + WINDOW)
        return found

    def settle_execution(self, run: Known) -> None:
        """Say by link records what new evidence of an execution changes."""
        start, host = seconds(run.whole.start), self.settings["observer.name"]
        claims = [claim for proof in run.proofs for claim in self._pending.of_file(proof)]
        if start is not None:
            claims += self._pending.rivals(run.words, start - WINDOW, start + WINDOW)
        subjects = {
            claim.subject.scan_id: claim.subject
            for claim in claims
            if claim.answer.confidence != "exact" or match.shaken(claim.subject, claim.answer, run, host)
        }
        if subjects:
            self._apply(self._solve(subjects.values()))

    def _apply(self, answers: dict[str, Answer]) -> None:
        """Write down what is known now, where it is more or other than what records say."""
        for scan_id, answer in answers.items():
            claim = self._pending.claim(scan_id)
            if claim is None:
                continue
            before = claim.answer
            if _says(answer) != _says(before):
                claim = self._link(claim, answer, self._status(answer, claim.deadline))
            sure = answer.confidence in SURE
            for entity_id in {*answer.executions, *(before.executions if before.confidence in SURE else ())}:
                self._meet(entity_id, claim, makes=sure and entity_id in answer.executions)

    def _link(self, claim: Claim, answer: Answer, status: str) -> Claim:
        """Add a record that says more of who made a scan than the one before."""
        who = self._attributed(answer, status, claim.record_id)
        record_id, line = attribution.link_record(claim.summary, claim.subject.scan_id, who)
        self.emit(line)
        claim = replace(claim, answer=answer, record_id=record_id, status=status)
        self._pending.claims[claim.subject.scan_id] = claim
        return claim

    # --- executions ---------------------------------------------------------------------------------------

    def record(self, run: Known, identity: str, sources: Sequence[Input] = ()) -> None:
        """Add the record of an execution that new evidence tells of."""
        ran = run.whole.policy_action != REFUSED and run.whole.tool in match.TOOLS
        if not run.record_id or (ran and run.output == "none"):
            done = seconds(run.whole.end or run.whole.start) or self._now
            run.deadline = min(done, self._now) + self._grace
            run.output = OPEN if ran else "none"
        self._say(run, identity, Answer(), sources)

    def _meet(self, entity_id: str, claim: Claim, *, makes: bool) -> None:
        """Say of an execution that it made a scan, or did not after all."""
        run, scan_id = self._pending.execution(entity_id), claim.subject.scan_id
        if run is None or makes == (scan_id in run.scans):
            return
        run.scans = (*run.scans, scan_id) if makes else tuple(other for other in run.scans if other != scan_id)
        run.output = "met" if run.scans else OPEN
        what = scan_id if makes else f"not {claim.record_id}"
        self._say(run, audit.link_id(entity_id, what), claim.answer if makes else Answer())

    def _say(self, run: Known, identity: str, answer: Answer, sources: Sequence[Input] = ()) -> None:
        output = run.output if run.output in {"met", "missing", "discarded", OPEN} else ""
        status = "pending" if run.output == OPEN else "final"
        # its own id stands in process.entity_id; the list of executions is for scans
        answer = replace(answer, executions=(), candidates=0)
        link = audit.Link(status, output, answer, run.scans[-1] if run.scans else "", run.record_id)
        command = commanding.understood(run.whole, self.look)
        line = audit.record(self.look, run, command, link, identity, [source.raw_sha256 for source in sources])
        self.emit(line, sources)
        run.record_id = identity
        self._pending.put(run)

    # --- the end of waiting -------------------------------------------------------------------------------

    def close(self) -> None:
        """Say what stays without evidence, or without output, now that nobody waits for it any more."""
        while claims := self._overdue_claims():
            for claim in claims:
                self._apply(self._solve([claim.subject]))
                claim = self._pending.claim(claim.subject.scan_id) or claim  # noqa: PLW2901
                if claim.status == "pending":
                    self._link(claim, claim.answer, "final")
            self.batcher.seal()
        while runs := self._ledger_runs():
            for run in runs:
                self.settle_execution(run)
                run = self._pending.execution(run.entity_id) or run  # noqa: PLW2901
                if run.output == OPEN:
                    run.output = self._fate(run)
                    self._say(run, audit.link_id(run.entity_id, run.output), self._weakly(run))
            self.batcher.seal()

    def _overdue_claims(self) -> list[Claim]:
        own = [claim for claim in self._pending.claims.values() if claim.status == "pending"]
        due = [claim for claim in own if claim.deadline <= self._now]
        stored = self._ledger.claims.overdue(self._now, AT_A_TIME)
        return due + [claim for claim in stored if claim.subject.scan_id not in self._pending.claims]

    def _ledger_runs(self) -> list[Known]:
        own = [run for run in self._pending.executions.values() if run.output == OPEN and run.deadline <= self._now]
        stored = self._ledger.executions.overdue(self._now, AT_A_TIME)
        return own + [run for run in stored if run.entity_id not in self._pending.executions]

    def _weakly(self, run: Known) -> Answer:
        """Return with what confidence an execution may have made a scan that nothing tells from others."""
        start = seconds(run.whole.start)
        claims = self._pending.rivals(run.words, start - WINDOW, start + WINDOW) if start is not None else []
        named = [claim.answer for claim in claims if run.entity_id in claim.answer.executions]
        return named[0] if named else Answer()

    def _fate(self, run: Known) -> str:
        """Return what became of the output of an execution that no scan is known of."""
        if self._weakly(run).confidence == "weak":
            return "unsure"
        outputs = [output for output in run.whole.outputs if output.format == "xml"]
        gone = all(output.state == "discarded" or output.path in NOWHERE for output in outputs)
        return "discarded" if gone else "missing"


def _says(answer: Answer) -> tuple[str, tuple[str, ...], bool]:
    """Return what of an answer is worth a record when it changes."""
    return answer.confidence, answer.executions, match.ALTERED in answer.reasons
