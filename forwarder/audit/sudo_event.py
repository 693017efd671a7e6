"""What one message of sudo tells, whatever format it came in, and the executions that this makes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

from forwarder.audit import problems
from forwarder.audit.counter import Counter
from forwarder.audit.interface import Execution, User
from forwarder.audit.wrappers import ENVIRONMENT, Found, doubts, in_words

ACCEPT: Final = "accept"
REFUSE: Final = "refuse"
EXIT: Final = "exit"
HELD: Final = 1000
HELD_BYTES: Final = 16 << 20
"""Executions, and bytes of their evidence, that may be waiting for their ends."""
LONGEST_REASON: Final = 200
"""Characters kept of why sudo refused."""


@dataclass(slots=True)
class Event:
    """One event of sudo: text is by surrogateescape, what is not known is empty."""

    kind: str = ACCEPT
    time: str = ""
    host: str = ""
    caller: User = field(default_factory=User)
    run_as: User = field(default_factory=User)
    terminal: str = ""
    cwd: str = ""
    argv: tuple[str, ...] = ()
    executable: str = ""
    environment: tuple[str, ...] = ()
    tsid: str = ""
    """Name of the session in sudo's I/O log."""
    identity: str = ""
    """The event's own name, where its format gives one."""
    uuid: str = ""
    """What the start and the end of an execution both have, where the format gives it."""
    reason: str = ""
    exit_code: int | None = None
    signal: str = ""
    session: str = ""
    login_id: str = ""
    pid: str = ""
    """Of sudo itself."""
    problems: list[str] = field(default_factory=list)
    trusted: bool = False
    offset: int = -1
    raw: bytes = b""

    def key(self) -> str:
        """Return what an execution's start and end have in common."""
        if self.uuid:
            return self.uuid
        parts = (
            self.host,
            self.caller.name,
            self.run_as.name,
            self.terminal,
            self.cwd,
            self.tsid,
            self.pid,
            *self.argv,
        )
        return sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]


class Executions:
    """Makes executions of sudo's events, and brings starts and ends together.

    Args:
        path: of the log.
        tools: names of the programs to look for.
        source: `sudo` or `sudo-io`.
    """

    def __init__(self, path: str, tools: Sequence[str], source: str = "sudo") -> None:
        self._path = path
        self._tools = tools
        self._source = source
        self._seen = Counter()
        self._running: OrderedDict[str, list[list[Execution]]] = OrderedDict()
        self._held = self._held_bytes = 0

    @property
    def waiting(self) -> bool:
        """Whether the end of an execution may still come."""
        return bool(self._running)

    def of(self, event: Event) -> Iterator[Execution]:
        """Take an event; yield the executions of the tools that are complete with it."""
        key = event.key()
        if event.kind == EXIT and key in self._running:
            yield from (_ended(one, event) for one in self._release(key))
            return
        found = list(in_words(event.argv, self._tools))
        if not found:
            return
        identity = self._identity(event, key)
        made = [self._make(event, f"{identity}#{n}" if n else identity, one) for n, one in enumerate(found)]
        # What waits for no end is held, too: what is seen later in the log may say how far it is believed.
        self._running.setdefault(key if event.kind == ACCEPT else f"{event.kind}:{key}", []).append(made)
        self._held += 1
        self._held_bytes += len(event.raw)
        while self._held > HELD or (self._held > 1 and self._held_bytes > HELD_BYTES):
            yield from self._release(next(iter(self._running)))

    def flush(self) -> Iterator[Execution]:
        """Yield the executions whose end did not come."""
        left = [one for lists in self._running.values() for made in lists for one in made]
        self._running.clear()
        self._held = self._held_bytes = 0
        yield from sorted(left, key=lambda one: one.log_offset)

    def _release(self, key: str) -> list[Execution]:
        """Return the first executions that wait for this end."""
        waiting = self._running[key]
        released = waiting.pop(0)
        if not waiting:
            del self._running[key]
        self._held -= 1
        self._held_bytes -= len(released[0].raw)
        return released

    def _identity(self, event: Event, key: str) -> str:
        if event.identity or event.uuid:
            return event.identity or event.uuid
        name = f"{event.time}:{event.caller.name}:{event.terminal}:{key}"
        return f"{name}:{self._seen.count(name)}"

    def _make(self, event: Event, identity: str, found: Found) -> Execution:
        executable = found.argv[0] if found.through else event.executable
        doubted = [*event.problems, *doubts(found)]
        ended = event.kind == EXIT
        if ended:
            doubted.append(problems.START_UNKNOWN)
        effective = User(name=found.run_as) if found.run_as and found.run_as != event.run_as.name else event.run_as
        return Execution(
            source=self._source,
            identity=identity,
            argv=found.argv,
            start="" if ended else event.time,
            end=event.time if ended else "",
            host=event.host,
            cwd=event.cwd,
            executable=executable if executable.startswith("/") else "",
            login=event.caller if event.login_id in {"", event.caller.id} else User(event.login_id),
            effective=effective,
            sudo_user=event.caller.name,
            terminal=event.terminal,
            session=event.session,
            exit_code=event.exit_code,
            signal=event.signal,
            environment=tuple(dict.fromkeys((*event.environment, *found.environment))),
            policy_action="refused" if event.kind == REFUSE else "",
            policy_reasons=(event.reason[:LONGEST_REASON],) if event.kind == REFUSE else (),
            problems=tuple(dict.fromkeys(doubted)),
            log_path=self._path,
            log_offset=event.offset,
            raw=event.raw,
            trusted=event.trusted,
        )


def _ended(execution: Execution, event: Event) -> Execution:
    return replace(
        execution,
        end=event.time,
        exit_code=event.exit_code,
        signal=event.signal,
        raw=execution.raw + event.raw,
        trusted=bool(execution.trusted) and event.trusted,
    )


def relevant(environment: Sequence[str]) -> tuple[str, ...]:
    """Return those of NAME=value that change what nmap does."""
    return tuple(item for item in environment if item.partition("=")[0] in ENVIRONMENT)
