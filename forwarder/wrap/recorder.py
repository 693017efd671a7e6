"""Writes down one execution. Whatever fails on the way is noted and goes no further: nmap is to run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from forwarder.wrap import PRIVATE, SPOOL, outputs, rules, sudo
from forwarder.wrap.entry import Entry, remove
from forwarder.wrap.facts import gather, now
from forwarder.wrap.process import read

REASON: Final = 2000
"""Characters of a reason or ticket that are kept."""
T = TypeVar("T")


class Request(NamedTuple):
    """What is to be run, and what is said of it."""

    tool: str
    """Absolute path of the program that is started: nmap, or sudo."""
    argv: list[str]
    at: int = 0
    """Index of the tool among the words; before it stands sudo."""
    source: str = "shim"
    spool: str = ""
    """Directory that entries are written to; empty for the usual one."""
    receiver: str = ""
    """Socket that they are sent to instead, if somebody takes them there."""
    config: str = ""
    reason: str = ""
    ticket: str = ""
    environment: Mapping[str, str] = {}
    """Variables that may override the configuration."""


class Recorder:
    """What is known of one execution, and where it is written.

    Attributes:
        members: of forwarder.audit.interface.Execution, as far as they are known.
        entry: its files in the spool; None where that cannot be written.
        failures: what we could not do, a line each.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.failures: list[str] = []
        self.problems: list[str] = []
        self.entry: Entry | None = None
        self.members: dict[str, Any] = {
            "source": request.source,
            "start": now(),
            "wrapper_pid": os.getpid(),  # by which the spool's reader knows that there will be an end
            "argv": request.argv[: request.at + 1],
            "executable": sudo.found(request.argv[request.at]) if request.at else request.tool,
            "reason": request.reason[:REASON],
            "ticket": request.ticket[:REASON],
        }
        self._settings: Mapping[str, Any] = {}
        self._private = ""
        self.attempt("configuration", self._configure)
        self.attempt("arguments", self._keep_words)
        self.attempt("spool", self._open)
        self.attempt("facts", self._gather)

    def attempt(self, what: str, action: Callable[..., T], *arguments: Any) -> T | None:
        """Do something that must not keep the tool from running; return None when it failed."""
        try:
            return action(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is
            where = f" {error.filename}" if isinstance(error, OSError) and error.filename else ""
            said = f"{what}{where}: {getattr(error, 'strerror', None) or error or type(error).__name__}"[:500]
            self.failures.append(said)
            self.problems.append(f"forwarder failed: {said}")
            return None

    def _configure(self) -> None:
        self._settings = rules.settings(self.request.config, self.request.environment)

    def _mask(self, words: list[str]) -> list[str]:
        return rules.masked(words, self._settings)

    def _keep_words(self) -> None:
        self.members["argv"] = self._mask(self.request.argv)

    def _open(self) -> None:
        self.entry = Entry(self.request.spool or SPOOL, self.request.receiver)

    def _gather(self) -> None:
        found, problems = gather(self._mask)
        self.members |= found
        self.problems += problems

    def judge(self) -> str:
        """Ask the policy, if there is one; return why it refuses, empty when it does not."""
        if not rules.has_policy(self._settings):
            return ""
        said = {name: self.members[name] for name in ("reason", "ticket")}
        who = (self.members.get("login") or self.members["real"]).get("name", "")
        judgement = rules.judge(self.request.argv[self.request.at :], said, who, self._settings)
        self.members |= {"policy_action": judgement.action, "policy_reasons": list(judgement.reasons), **said}
        return rules.refusal(judgement) if judgement.action == "refused" else ""

    def write(self, kind: str) -> None:
        """Write the entry's start.json or end.json, with all that is known."""
        if self.entry is not None:
            said = self.members | {"problems": list(dict.fromkeys(self.problems))}
            failed = len(self.failures)
            self.attempt("spool", self.entry.write, kind, said)
            if len(self.failures) > failed:
                self.entry = None

    def plan(self) -> outputs.Plan:
        """Decide how to come by the XML; make the file for it."""
        request = self.request
        tool = os.path.basename(request.argv[request.at])  # noqa: PTH119
        if self.entry is None or (request.at and not sudo.to_root(request.argv[: request.at])):
            return outputs.Plan(request.argv)
        if tool != "nmap":
            return outputs.Plan(request.argv, copied=outputs.xml_of(self._named()))
        plan = outputs.plan(request.argv, request.at, self.entry.path("xml"))
        if plan.own and request.at:
            plan = outputs.plan(request.argv, request.at, self._make_private())
        elif plan.own:
            os.close(Entry.create(plan.own))
        return plan

    def _make_private(self) -> str:
        """Return where root may write for us: the spool is sticky, there protected_regular keeps root out."""
        from tempfile import mkdtemp  # noqa: PLC0415 - only sudo needs it

        self._private = mkdtemp(prefix=f"{PRIVATE}{os.getpid()}-")
        os.close(Entry.create(f"{self._private}/xml"))
        return f"{self._private}/xml"

    def _named(self) -> list[outputs.Named]:
        request = self.request
        preset = os.environ.get("NMAP_ARGS", "").split() if request.at == 0 else []
        return outputs.named(preset + request.argv[request.at + 1 :])

    def hash_tool(self) -> None:
        """Hash the program; while it runs there is time for that."""
        self.members["sha256"] = outputs.copy(self.members["executable"]).get("sha256", "")

    def collect(self, plan: outputs.Plan, started: float, ended: float) -> None:
        """Find out what became of the outputs; keep a copy of the XML.

        Args:
            plan: how we come by the XML.
            started: seconds since 1970 when the tool was started.
            ended: when it ended.
        """
        cwd = self.members.get("cwd", "")
        kept = self.entry.path("xml") if self.entry else ""
        found: dict[str, dict[str, Any]] = {}
        for output in {output.format: output for output in self._named()}.values():
            path = output.path
            if path in outputs.STDOUT or path == outputs.NULL:
                told = {"state": "discarded" if path == outputs.NULL else "present"}
            else:
                path = os.path.join(cwd, outputs.expanded(path, started, ended))  # noqa: PTH118
                told = self._copied(path, kept) if output.path == plan.copied and kept else outputs.copy(path)
            found[path] = {"path": path, "format": output.format} | told
        if plan.copied and kept and not os.access(kept, os.F_OK):  # a resumed scan's, which no word names
            found[plan.copied] = {"path": plan.copied, "format": "xml"} | self._copied(plan.copied, kept)
        if plan.own and self._private:
            self._copied(plan.own, kept)
            remove(plan.own)
            os.rmdir(self._private)  # noqa: PTH106
        if (plan.own or plan.passed_on) and kept:
            found[kept] = {"path": kept, "format": "xml"} | outputs.copy(kept)
        if kept and not self._judge_result(kept):
            remove(kept)
            found.pop(kept, None)
        self.members["outputs"] = list(found.values())

    @staticmethod
    def _copied(path: str, kept: str) -> dict[str, Any]:
        target = Entry.create(kept)
        try:
            return outputs.copy(path, target)
        finally:
            os.close(target)

    def _judge_result(self, kept: str) -> bool:
        """Tell whether what we keep is a scan: -V writes nothing, --script-help other XML. Learn its nmap's version."""
        start = read(kept, 1 << 20).partition(b"<nmaprun")[1:]
        version = start[1].partition(b">")[0].partition(b' version="')[2].partition(b'"')[0]
        self.members["tool_version"] = version.decode("ascii", "replace")[:32]
        return bool(start[0])
