"""The order of things around one execution: judge, write down, run, write down. Whatever fails here, the tool runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from signal import Signals
from typing import Any, NamedTuple

from forwarder.wrap import GUARD, outputs, rules, sudo
from forwarder.wrap.child import Child, copying, end_like
from forwarder.wrap.entry import Entry, remove
from forwarder.wrap.facts import gather, now
from forwarder.wrap.process import read

REFUSED = 77
"""Exit code when the policy refuses (EX_NOPERM of sysexits.h)."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell that cannot run a program."""


class Request(NamedTuple):
    """What is to be run, and what is said of it."""

    tool: str
    """Absolute path of the program that is started: nmap, or sudo."""
    argv: list[str]
    at: int = 0
    """Index of the tool among the words; before it stands sudo."""
    source: str = "shim"
    spool: str = ""
    config: str = ""
    reason: str = ""
    ticket: str = ""
    environment: Mapping[str, str] = {}
    """Variables that may override the configuration."""


class Result(NamedTuple):
    """What came of it."""

    status: int
    """As waitpid gives it."""
    entry: Entry | None
    """Where it was written down; None where that failed."""
    failures: list[str]
    """What the wrapper itself could not do, a line each."""


class Recorder:
    """Writes down one execution; keeps what goes wrong with that to itself until somebody asks."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.failures: list[str] = []
        self.members: dict[str, Any] = {}
        self.problems: list[str] = []
        self.entry: Entry | None = None
        self.private = ""
        self.settings: Mapping[str, Any] | None = None
        self.attempt("spool", self._open)
        self.attempt("configuration", self._configure)
        self.attempt("facts", self._gather)

    def attempt(self, what: str, action: Any, *arguments: Any) -> Any:
        """Do something that must not fail the run; return None when it did."""
        try:
            return action(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, nmap runs
            said = f"{what}: {getattr(error, 'strerror', None) or error or type(error).__name__}"
            self.failures.append(said)
            self.problems.append(f"forwarder failed: {said}"[:500])
            return None

    def _open(self) -> None:
        request = self.request
        self.members = {
            "source": request.source,
            "start": now(),
            "wrapper_pid": os.getpid(),  # by which the spool's reader knows that there will be an end
            "argv": request.argv[: request.at + 1],
            "executable": request.tool,
            "reason": request.reason,
            "ticket": request.ticket,
        }
        self.entry = Entry(request.spool)

    def _configure(self) -> None:
        try:
            self.settings = rules.settings(self.request.config, self.request.environment)
        finally:
            self.members["argv"] = rules.masked(self.request.argv, self.settings)

    def _gather(self) -> None:
        found, problems = gather(lambda words: rules.masked(words, self.settings))
        self.members |= found
        self.problems += problems

    def judge(self) -> str:
        """Ask the policy; return why it refuses, empty when it does not."""
        if self.settings is None or not any(self.settings[name] for name in self.settings if name.startswith("policy.")):
            return ""
        said = {"reason": self.request.reason, "ticket": self.request.ticket}
        user = self.members["login"] or self.members["real"]
        judgement = rules.judge(self.request.argv[self.request.at :], said, user.get("name", ""), self.settings)
        self.members |= {"policy_action": judgement.action, "policy_reasons": list(judgement.reasons), **said}
        return rules.refusal(judgement) if judgement.action == "refused" else ""

    def write(self, kind: str) -> bool:
        """Write the entry as far as it is known; tell whether it is there."""
        if self.entry is not None:
            said = self.members | {"problems": list(dict.fromkeys(self.problems))}
            if self.attempt(f"spool {self.request.spool}", self._write, kind, said):
                return True
            self.entry = None
        return False

    def _write(self, kind: str, said: dict[str, Any]) -> bool:
        assert self.entry is not None
        self.entry.write(kind, said)
        return True

    def plan(self) -> outputs.Plan:
        """Decide how to come by the XML; make the file for it."""
        request = self.request
        tool = os.path.basename(request.argv[request.at])  # noqa: PTH119
        if tool != "nmap" or self.entry is None or (request.at and not sudo.to_root(request.argv[: request.at])):
            return outputs.Plan(request.argv)
        own = self._private_file() if request.at else self.entry.path("xml")
        plan = outputs.plan(request.argv, request.at, own)
        if plan.own and not request.at:
            os.close(Entry.create(own))
        return plan

    def _private_file(self) -> str:
        """Return where root may write for us: not in the spool, where the kernel keeps it from others' files (protected_regular)."""
        from tempfile import mkdtemp  # noqa: PLC0415

        self.private = mkdtemp(prefix="nmap-forwarder-")
        os.close(Entry.create(f"{self.private}/xml"))
        return f"{self.private}/xml"

    def finish(self, plan: outputs.Plan, started: float) -> None:
        """Find out what became of the outputs; keep a copy of the XML."""
        request = self.request
        own = self.entry.path("xml") if self.entry else ""
        found, xml = [], ""
        if plan.own and self.private:
            xml = f"{self.private}/xml"
        elif plan.copied:
            xml = os.path.join(self.members.get("cwd", ""), outputs.expanded(plan.copied, started, time.time()))  # noqa: PTH118
        for output in self._named():
            path = os.path.join(self.members.get("cwd", ""), outputs.expanded(output.path, started, time.time()))  # noqa: PTH118
            if output.path in {*outputs.STDOUT, outputs.NULL}:
                state = "discarded" if output.path == outputs.NULL else "present"
                found.append({"path": output.path, "format": output.format, "state": state})
            elif path == xml and own:
                found.append({"path": path, "format": "xml"} | self._copied(path, own))
            else:
                found.append({"path": path, "format": output.format} | outputs.copy(path))
        if xml and own and not any(output["path"] == xml for output in found):
            found.append({"path": xml, "format": "xml"} | self._copied(xml, own))
        if (plan.own and not self.private) or plan.passed_on:
            found.append({"path": own, "format": "xml"} | outputs.copy(own))
        self.members["outputs"] = found
        if own and (version := read(own, 1 << 14).partition(b"\n<nmaprun")[2].partition(b' version="')[2]):
            self.members["tool_version"] = version.partition(b'"')[0].decode("ascii", "replace")[:32]
        if own and os.access(own, os.F_OK) and os.path.getsize(own) == 0:  # noqa: PTH202 - it did not scan
            remove(own)
            self.members["outputs"] = [output for output in found if output["path"] != own]

    def _named(self) -> list[outputs.Named]:
        request = self.request
        preset = os.environ.get("NMAP_ARGS", "").split() if request.at == 0 else []
        last = {output.format: output for output in outputs.named(preset + request.argv[request.at + 1 :])}
        return list(last.values())

    def _copied(self, path: str, own: str) -> dict[str, Any]:
        target = Entry.create(own)
        try:
            return outputs.copy(path, target)
        finally:
            os.close(target)
            if self.private:
                remove(path)
                os.rmdir(self.private)  # noqa: PTH106

    def hash_tool(self) -> None:
        """Hash the program; while it runs there is time for that."""
        path = sudo.found(self.request.argv[self.request.at]) if self.request.at else self.request.tool
        self.members |= {"executable": path, "sha256": outputs.copy(path).get("sha256", "")}


def run(request: Request) -> Result:
    """Run the tool and write down its execution; a policy's refusal is a status of 77."""
    recorder = Recorder(request)
    refusal = recorder.attempt("policy", recorder.judge)
    if refusal:
        recorder.members |= {"end": now(), "exit_code": REFUSED}
        recorder.write("end.json")
        print(f"nmap-forwarder: {refusal}", file=sys.stderr)
        return Result(REFUSED << 8, recorder.entry, recorder.failures)
    recorder.write("start.json")
    plan = recorder.attempt("output", recorder.plan) or outputs.Plan(request.argv)
    status = _run(recorder, plan)
    recorder.write("end.json")
    return Result(status, recorder.entry, recorder.failures)


def _run(recorder: Recorder, plan: outputs.Plan) -> int:
    request, started, copier = recorder.request, time.time(), 0
    environment = dict(os.environ) | {GUARD: str(os.getpid())}
    child = Child()
    try:
        output = 1
        if plan.passed_on and recorder.entry:
            pipe = os.pipe()
            copy = Entry.create(recorder.entry.path("xml"))
            copier, output = copying(*pipe, copy), pipe[1]
            os.close(pipe[0])
            os.close(copy)
        child.start(request.tool, plan.argv, environment, output)
        if output != 1:
            os.close(output)
    except OSError as error:
        child.release()
        return _not_started(recorder, error)
    recorder.members["pid"] = child.pid
    recorder.attempt("program", recorder.hash_tool)
    status = child.wait()
    recorder.members |= _end(status)
    if copier and os.waitpid(copier, 0)[1]:
        recorder.problems.append("copy of the output is cut")
    recorder.attempt("output", recorder.finish, plan, started)
    child.release()
    return status


def _end(status: int) -> dict[str, Any]:
    if os.WIFEXITED(status):
        return {"end": now(), "exit_code": os.WEXITSTATUS(status)}
    number = os.WTERMSIG(status)
    return {"end": now(), "signal": next((name.name for name in Signals if name == number), str(number))}


def _not_started(recorder: Recorder, error: OSError) -> int:
    code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    print(f"nmap-forwarder: {recorder.request.tool}: {error.strerror}", file=sys.stderr)
    recorder.members |= {"end": now(), "exit_code": code}
    recorder.problems.append("program could not be started")
    return code << 8


def finish(result: Result, source: str) -> int:
    """Say what failed where that may be said, and end as the tool did."""
    if result.failures and result.entry is None:
        import syslog  # noqa: PLC0415 - only failures need it

        syslog.openlog("nmap-forwarder", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
        for line in result.failures:
            syslog.syslog(syslog.LOG_WARNING, f"uid {os.getuid()}: {ascii(line)[1:-1]}")
    if source == "run":
        for line in result.failures:
            print(f"nmap-forwarder: {ascii(line)[1:-1]}; nmap was run all the same", file=sys.stderr)
    return end_like(result.status)
