"""What every source of audit evidence gives: executions, and where each was seen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypeVar

from forwarder.audit import TOOLS

SOURCES: Final = ("run", "shim", "auditd", "laurel", "sudo", "sudo-io", "history")
"""Where evidence is from; `nmap.audit.source`."""
KERNEL: Final = frozenset({"auditd", "laurel"})
"""Those that are the kernel's own."""
STRONG: Final = KERNEL | {"run", "shim"}
"""The kernel's own sources, and our wrapper's, in whose spool a user can write of nobody but himself."""
HALVES: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Halves of characters that stand for no byte (surrogateescape); JSON may tell of them, and nothing can write them."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output file of an execution."""

    path: str
    """Absolute, or as it was given where the working directory is not known."""
    format: str
    """xml, normal, grepable or script-kiddie."""
    state: str = ""
    """present, missing, discarded, unreadable; empty where nobody looked."""
    sha256: str = ""
    size: int = -1


@dataclass(slots=True)
class User:
    """One user, as far as the source knows."""

    id: str = ""
    """Number, as text; empty when unset (auid 4294967295)."""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sent an entry of the spool, as the kernel told the receiver; whatever the entry itself says."""

    uid: int
    gid: int
    pid: int
    """Of the wrapper; 0 where the receiver could not see it."""
    received: str
    """When the entry came, RFC 3339 in UTC."""
    started: str = ""
    """When that process began; empty where it was gone already."""
    real: int = -1
    """Its real user; -1 likewise."""
    login: int = -1
    """Who logged in (auid); -1 if nobody did, or it was gone."""


@dataclass(slots=True)
class Execution:
    """One execution of a tool, as one source saw it.

    Times are RFC 3339 in UTC with at least milliseconds; empty where the source does not tell.
    """

    source: str
    """One of SOURCES."""
    identity: str
    """The source's own name of the event, unique in it: `<seconds>.<ms>:<serial>[@node]` of auditd."""
    argv: tuple[str, ...]
    """Words of the command line; bytes that are no UTF-8 are kept by surrogateescape until the record is made."""
    start: str = ""
    end: str = ""
    host: str = ""
    """Name of the machine, where the evidence tells one."""
    cwd: str = ""
    executable: str = ""
    pid: int = -1
    ppid: int = -1
    wrapper_pid: int = -1
    """Process of our wrapper, which began as the shim that the user called and started the program."""
    login: User = field(default_factory=User)
    """auid: who logged in."""
    real: User = field(default_factory=User)
    effective: User = field(default_factory=User)
    sudo_user: str = ""
    terminal: str = ""
    session: str = ""
    remote_ip: str = ""
    """Where an ssh session comes from."""
    interactive: bool | None = None
    parent_executable: str = ""
    parent_command_line: str = ""
    title: str = ""
    """PROCTITLE, where argv was not complete."""
    exit_code: int | None = None
    signal: str = ""
    reason: str = ""
    ticket: str = ""
    sha256: str = ""
    """Of the program."""
    version: str = ""
    """Of the program."""
    environment: tuple[str, ...] = ()
    """NAME=value, of those that change what nmap does."""
    outputs: tuple[Output, ...] = ()
    container_id: str = ""
    container_runtime: str = ""
    pod: str = ""
    namespace: str = ""
    container_marks: tuple[str, ...] = ()
    policy_action: str = ""
    """allowed, flagged or refused, when the wrapper asked the policy; empty when nobody did."""
    policy_reasons: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """What is missing or wrong, in our fixed words."""
    peer: Peer | None = None
    """Who sent the entry; None of other sources, and of an entry that its user put into the drop box himself."""
    log_path: str = ""
    log_offset: int = -1
    raw: bytes = b""
    """The evidence itself: lines of the log, or the spool's entry; what is sealed as evidence."""
    trusted: bool | None = None
    """Whether this evidence can be trusted more, or less, than its source; None where it is as its source is."""

    @property
    def strong(self) -> bool:
        """Whether an ordinary user could not have written it, or only of himself; `nmap.audit.strength`."""
        return self.source in STRONG if self.trusted is None else self.trusted

    @property
    def tool(self) -> str:
        """Name of the program: of its file if that is a tool, whatever it calls itself; else of its first argument."""
        name = self.executable.rpartition("/")[2]
        return name if name in TOOLS or not self.argv else self.argv[0].rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is remarkable about the evidence itself."""

    action: str
    """event.action: audit-log-truncated, audit-event-refused, spool-entry-refused."""
    message: str
    """One line."""
    time: str
    """When it happened, as far as the evidence tells: of a log, its mtime."""
    path: str = ""
    offset: int = -1
    identity: str = ""
    """What makes it this finding and no other."""
    raw: bytes = b""


Evidence = Execution | Finding
"""What the readers of forwarder/audit yield, in the order of their logs."""
Reader = Iterable[Evidence]


T = TypeVar("T")


def sound(value: T) -> T:
    """Return evidence, or a part of it, in whose texts halves of characters are replaced by U+FFFD."""
    if isinstance(value, str):
        return value if value.isascii() else HALVES.sub("\ufffd", value)  # type: ignore[return-value]
    if isinstance(value, tuple):
        return tuple(map(sound, value))  # type: ignore[return-value]
    if isinstance(value, Execution | Finding | User | Output):
        return replace(value, **{member.name: sound(getattr(value, member.name)) for member in fields(value)})
    return value


def facts(execution: Execution) -> dict[str, Any]:
    """Return an execution's members that say something, by name, without `raw`: what a ledger keeps as JSON."""
    found = {name: getattr(execution, name) for name in Execution.__slots__ if name != "raw"}
    return {name: value for name, value in found.items() if value not in ("", (), None, -1)}
