"""From the joined records of an event to the execution of a tool, if it is one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Final

from forwarder.audit import arguments
from forwarder.audit import problems as problem
from forwarder.audit.arguments import ContradictionError
from forwarder.audit.events import Event, Joiner
from forwarder.audit.follow import Block
from forwarder.audit.interface import Evidence, Execution, Finding, User
from forwarder.audit.records import Record, parse

EXEC: Final[dict[str, frozenset[int]]] = {
    "c000003e": frozenset({59, 322, 0x40000000 + 520, 0x40000000 + 545}),  # x86-64, and x32 on it
    "40000003": frozenset({11, 358}),  # i386
    "c00000b7": frozenset({221, 281}),  # arm64
    "40000028": frozenset({11, 387}),  # arm
    "c00000f3": frozenset({221, 281}),  # riscv64
    "c0000102": frozenset({221, 281}),  # loongarch64
    "80000016": frozenset({11, 354}),  # s390x
    "c0000015": frozenset({11, 362}),  # ppc64le
    "80000015": frozenset({11, 362}),  # ppc64
}
"""Architecture (AUDIT_ARCH_… of Linux uapi/linux/audit.h) → numbers of execve and execveat."""
UNSET: Final = frozenset({"", "4294967295", "-1", "unset", "18446744073709551615"})
"""How an identity that nobody has set is written."""
LAST_SECOND: Final = 253402300799
"""Of the year 9999; a time beyond is none."""
SET_ASIDE: Final = (".real", ".distrib", ".orig")
"""What is put behind a program's name when something else takes its place."""
CONTAINER: Final = re.compile(r"/(?:overlay2?|containers|sandboxes|docker)/(?:[a-z-]+/)?([0-9a-f]{64})\b")
DOMAIN: Final = re.compile(r"container_t|spc_t|svirt_lxc|docker-default|cri-containerd|crio-default|lxc-container")


class Auditd:
    """Reads auditd's logs.

    Args:
        tools: programs whose executions are wanted.
        done: identities of executions that were handed over before.
    """

    def __init__(self, tools: Collection[str], done: Collection[str]) -> None:
        self._tools = frozenset(tools)
        self._joiner = Joiner(tools, done)

    def read(self, blocks: Iterator[Block]) -> Iterator[Evidence]:
        """Take lines; yield what they make complete."""
        for block in blocks:
            yield from self._evidence(self._joiner.block(block))

    def end(self, *, settled: bool) -> Iterator[Evidence]:
        """Yield what is complete at the end of a log, or will not become more."""
        return self._evidence(self._joiner.end(settled=settled))

    def held(self, *, settled: bool) -> dict[int, int]:
        """Return where, by file, the first line begins that is still needed."""
        return self._joiner.held(settled=settled)

    def done(self, held: dict[int, int]) -> tuple[str, ...]:
        """Return the identities of what was handed over and has lines behind `held`."""
        return self._joiner.done(held)

    def _evidence(self, events: Iterator[Event]) -> Iterator[Evidence]:
        for event in events:
            if found := evidence(event, self._tools):
                yield found


def evidence(event: Event, tools: Collection[str]) -> Evidence | None:
    """Return what an event says of a tool; see `judged`."""
    lines = list(dict.fromkeys(event.lines))  # a line that is there twice says nothing new
    records = [record for record in map(parse, lines) if record]
    return judged(event, records, b"\n".join(lines) + b"\n", tools)


def judged(event: Event, records: list[Record], raw: bytes, tools: Collection[str]) -> Evidence | None:
    """Return the execution that records are; a finding if they contradict each other; None if none of a tool."""
    if not _is_about(records, tools):
        return None
    try:
        found = _execution(event, records, tools)
    except ContradictionError as error:
        seconds = min(int(event.key[1].partition(b".")[0]), LAST_SECOND)
        return Finding(
            "audit-event-refused",
            f"{event.path}: event {event.identity}: {error}",
            instant(f"{seconds}.000"),
            event.path,
            event.offset,
            f"refused:{event.identity}",
            raw,
        )
    if found:
        found.raw = raw
    return found


def program(path: str) -> str:
    """Return the name of a program, by its path."""
    name = path.removesuffix(" (deleted)").rpartition("/")[2]
    for suffix in SET_ASIDE:
        name = name.removesuffix(suffix)
    return name


def _is_about(records: list[Record], tools: Collection[str]) -> bool:
    """Tell whether an event runs a tool, by any of its records; also if they contradict each other."""
    for record in records:
        if record.kind == "SYSCALL" and {program(record.text("exe")), record.text("comm")} & set(tools):
            return _is_exec(record) is not False or any(other.kind == "EXECVE" for other in records)
        if record.kind == "EXECVE" and program(record.text("a0")) in tools:
            return True
    calls = [record for record in records if record.kind == "SYSCALL"]
    title, _ = arguments.title_of(record for record in records if record.kind == "PROCTITLE")
    return bool(title) and program(title[0]) in tools and any(_is_exec(call) for call in calls)


def _is_exec(call: Record) -> bool | None:
    """Tell whether a call runs a program; None if its architecture is not known."""
    if name := call.names.get("SYSCALL"):
        return name in {"execve", "execveat"}
    numbers, number = EXEC.get(call.plain("arch")), call.number("syscall")
    return number in numbers if numbers is not None and number is not None else None


def _execution(event: Event, records: list[Record], tools: Collection[str]) -> Execution | None:
    of: dict[str, list[Record]] = {}
    for record in records:
        of.setdefault(record.kind, []).append(record)
    call = _call(of)
    if call.plain("success").strip('"') == "no" or (call.number("exit") or 0) < 0:
        return None  # nothing was run
    if "EXECVE" not in of and not _is_exec(call):
        return None
    argv, title, problems = _words(of)
    executable = call.text("exe").removesuffix(" (deleted)")
    if not executable:
        problems.append(problem.RECORD_CUT)
        executable = next((path.text("name") for path in of.get("PATH", []) if path.number("item") == 0), "")
    argv = _without_interpreter(argv, executable, tools)
    if not {program(executable), call.text("comm")} & set(tools):
        if not argv or program(argv[0]) not in tools:
            return None
        if executable:
            problems.append(problem.NAMED_ONLY)
    found = Execution("auditd", event.identity, tuple(argv), instant(event.key[1].decode()), executable=executable)
    found.title = title
    _who(found, call)
    _where(found, event, of)
    if not found.login.id and not found.login.name:
        problems.append(problem.LOGIN_UNSET)
    if not found.cwd:
        problems.append(problem.NO_DIRECTORY)
    found.problems = tuple(dict.fromkeys(([event.cut] if event.cut else []) + problems))
    return found


def _words(of: dict[str, list[Record]]) -> tuple[list[str], str, list[str]]:
    """Return the arguments, the title if they are not all there, and what is wrong with them."""
    words = arguments.read(of.get("EXECVE", []))
    title, title_cut = arguments.title_of(of.get("PROCTITLE", []))
    argv, problems = words.words, []
    if "EXECVE" not in of:
        argv, words.cut = title, title_cut
        problems.append(problem.NO_EXECVE)
    elif words.cut and len(title) > len(argv):
        argv = title
    if words.cut or not argv:
        problems.append(problem.ARGUMENTS_CUT)
    elif not "\0".join(argv).startswith("\0".join(title)[: arguments.TITLE - 1]):
        problems.append(problem.TITLE_DIFFERS)
    return argv, " ".join(title) if problems else "", problems


def _call(of: dict[str, list[Record]]) -> Record:
    """Return an event's system call."""
    calls = of.get("SYSCALL", [])
    if not calls:
        raise ContradictionError("no SYSCALL record, which alone says who it was")
    if len(calls) > 1:
        raise ContradictionError("several SYSCALL records")
    if calls[0].twice:
        raise ContradictionError(f"field {min(calls[0].twice)} is there twice in a SYSCALL record")
    if "EXECVE" in of and _is_exec(calls[0]) is False:
        raise ContradictionError("an EXECVE record of a call that runs no program")
    return calls[0]


def _without_interpreter(argv: list[str], executable: str, tools: Collection[str]) -> list[str]:
    """Return the words from a script's name on, where a script has a tool's name.

    The kernel puts the interpreter and at most one argument before it.
    """
    if program(executable) in tools or not argv or program(argv[0]) in tools:
        return argv
    at = next((at for at in (1, 2) if at < len(argv) and program(argv[at]) in tools), 0)
    return argv[at:]


def _who(found: Execution, call: Record) -> None:
    found.pid = _number(call, "pid")
    found.ppid = _number(call, "ppid")
    found.login = user(call.plain("auid"), call.names.get("AUID", ""))
    found.real = user(call.plain("uid"), call.names.get("UID", ""))
    found.effective = user(call.plain("euid"), call.names.get("EUID", ""))
    session = call.plain("ses")
    found.session = "" if session in UNSET or not session.isdecimal() else session
    found.terminal = terminal(call.plain("tty"))


def user(number: str, name: str) -> User:
    """Return a user, with what is unset left empty."""
    known = "" if name in {"unset", "unknown", f"unknown({number})"} else name
    return User(number, known) if number not in UNSET and number.isdecimal() else User("", known if not number else "")


def terminal(name: str) -> str:
    """Return a terminal as it is called in /dev."""
    return "" if name in {"(none)", "?"} else re.sub(r"^pts(?=\d)", "pts/", name)


def _where(found: Execution, event: Event, of: dict[str, list[Record]]) -> None:
    found.host = event.key[0].decode("utf-8", "replace")
    found.log_path, found.log_offset = event.path, event.offset
    found.cwd = next((record.text("cwd") for record in of.get("CWD", [])), "")
    call = of["SYSCALL"][0]
    subject = call.plain("subj")
    marks = [f"contid:{record.plain('contid')}" for record in of.get("CONTAINER_ID", [])]
    if DOMAIN.search(subject):
        marks.append(f"subj:{subject}")
    found.container_marks = tuple(dict.fromkeys(marks))
    for place in (found.cwd, call.text("exe"), *(path.text("name") for path in of.get("PATH", []))):
        if match := CONTAINER.search(place):
            found.container_id = match[1]
            break


def _number(record: Record, name: str) -> int:
    value = record.number(name)
    return -1 if value is None else value


def instant(moment: str) -> str:
    """Return `<seconds>.<milliseconds>[:serial]` as RFC 3339.

    Raises:
        ContradictionError: there is no such time.
    """
    seconds, _, rest = moment.partition(".")
    if int(seconds) > LAST_SECOND:
        raise ContradictionError("a time after the year 9999")
    whole = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{rest[:3]}Z"
