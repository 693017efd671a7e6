"""The order of things around one execution: judge, run, write down. Whatever of ours fails, the tool runs."""

from __future__ import annotations

import os
import sys
import time
from errno import E2BIG
from signal import Signals
from typing import Any, NamedTuple

from forwarder.wrap import GUARD, outputs
from forwarder.wrap.child import Child, copying, end_like
from forwarder.wrap.entry import Entry
from forwarder.wrap.facts import now
from forwarder.wrap.recorder import Recorder, Request

REFUSED = 77
"""Exit code when the policy refuses (EX_NOPERM of sysexits.h)."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell that cannot run a program."""


class Result(NamedTuple):
    """What came of it."""

    status: int
    """As waitpid gives it."""
    entry: Entry | None
    """Where it was written down; None where that failed."""
    failures: list[str]
    """What the wrapper itself could not do, a line each."""
    refused: bool = False
    """The policy kept it from running."""


def run(request: Request) -> Result:
    """Run the tool and write down its execution; a policy's refusal is a status of its own."""
    recorder = Recorder(request)
    if refusal := recorder.attempt("policy", recorder.judge):
        recorder.members["end"] = now()
        recorder.write("end.json")
        _complain(refusal)
        return Result(REFUSED << 8, recorder.entry, recorder.failures, refused=True)
    plan = recorder.attempt("result", recorder.plan) or outputs.Plan(request.argv)
    status = _run(recorder, plan)
    return Result(status, recorder.entry, recorder.failures)


def _run(recorder: Recorder, plan: outputs.Plan) -> int:
    child, started, copier = Child(), time.time(), 0
    try:
        passing = recorder.attempt("result", _pass_on, recorder) if plan.passed_on else None
        copier, output = passing or (0, 1)
        try:
            recorder.members["pid"] = _start(child, recorder.request, plan, output)
        except OSError as error:
            return _not_started(recorder, error)
        if output != 1:
            os.close(output)
        recorder.write("start.json")
        recorder.attempt("program", recorder.hash_tool)
        status = child.wait()
        recorder.members |= _end(status)
        if copier and os.waitpid(copier, 0)[1]:
            recorder.problems.append("copy of the output is cut")
        recorder.attempt("outputs", recorder.collect, plan, started, time.time())
    finally:
        recorder.write("end.json")
        child.release()
    return status


def _start(child: Child, request: Request, plan: outputs.Plan, output: int) -> int:
    """Start the tool; where our words are too many for the system, with the user's alone."""
    try:
        return child.start(request.tool, plan.argv, dict(os.environ) | {GUARD: str(os.getpid())}, output)
    except OSError as error:
        if error.errno != E2BIG:
            raise
        return child.start(request.tool, request.argv, dict(os.environ), output)


def _pass_on(recorder: Recorder) -> tuple[int, int]:
    """Start what copies standard output; return its process id, and what is to be the tool's standard output."""
    assert recorder.entry is not None
    copy = Entry.create(recorder.entry.path("xml"))
    pipe = os.pipe()
    copier = copying(*pipe, copy)
    os.close(pipe[0])
    os.close(copy)
    return copier, pipe[1]


def _end(status: int) -> dict[str, Any]:
    if os.WIFEXITED(status):
        return {"end": now(), "exit_code": os.WEXITSTATUS(status)}
    number = os.WTERMSIG(status)
    return {"end": now(), "signal": next((signal.name for signal in Signals if signal == number), str(number))}


def _not_started(recorder: Recorder, error: OSError) -> int:
    code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    _complain(f"{recorder.request.tool}: {error.strerror}")
    recorder.members |= {"end": now(), "exit_code": code}
    recorder.problems.append("program could not be started")
    return code << 8


def finish(result: Result, source: str) -> int:
    """Tidy up, say what failed where that may be said, and end as the tool did."""
    if result.entry:
        result.entry.tidy()
    if result.failures and result.entry is None:
        import syslog  # noqa: PLC0415 - only failures need it

        syslog.openlog("nmap-forwarder", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
        for line in result.failures:
            syslog.syslog(syslog.LOG_WARNING, f"uid {os.getuid()}: {ascii(line)[1:-1]}")
    if source == "run":
        for line in result.failures:
            ran = "" if result.refused else "; it ran all the same"
            _complain(line + ran + ("" if result.entry else ", but is not recorded"))
    return end_like(result.status)


def _complain(line: str) -> None:
    """Say a line on standard error, as forwarder.terminal does; that takes longer to import than this."""
    print(f"nmap-forwarder: {ascii(line)[1:-1]}", file=sys.stderr)
