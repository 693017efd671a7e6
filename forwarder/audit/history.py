r"""Shell history: what a user typed, as their shell wrote it down.

The weakest evidence there is: the file is the user's own, an entry says what was typed and not that it ran, and nothing
is known of what variables, globs and aliases stood for. Every execution says so in its problems.

| format | an entry |
|---|---|
| bash, plain zsh | a line |
| bash with HISTTIMEFORMAT | `#<POSIX time>`, then lines up to the next time |
| zsh with EXTENDED_HISTORY | `: <POSIX time>:<seconds it took>;<command>` |
| fish | `- cmd: <command>`, newlines as `\n` and backslashes as `\\`; then `  when: <POSIX time>` |

zsh writes newlines as backslash-newline, and some bytes metafied (Src/utils.c: 0x83, then the byte xor 32). The format
is seen from each line, as users change their settings; only whether plain lines are zsh's is told by the file's name or
by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from forwarder.audit import problems, times
from forwarder.audit.counter import Counter
from forwarder.audit.interface import Execution, User
from forwarder.audit.wrappers import Found, doubts, in_text

LIMIT: Final = 128 << 10
"""Bytes kept of one entry; Linux takes no longer argument."""
BASH_TIME = re.compile(rb"#(\d{1,12})\Z")
ZSH_ENTRY = re.compile(rb": *(\d{1,12}):(\d{1,9});")
FISH_ENTRY: Final = b"- cmd: "
FISH_TIME = re.compile(rb"  when: (\d{1,12})\Z")
FISH_ESCAPE = re.compile(rb"\\([n\\])")
META = re.compile(rb"\x83(.)", re.DOTALL)


@dataclass(slots=True)
class Entry:
    """One entry of a history."""

    offset: int
    dialect: str
    """bash, zsh or fish."""
    time: int = -1
    """POSIX time; -1 when it has none."""
    elapsed: int = 0
    lines: list[bytes] = field(default_factory=list)
    """The command."""
    raw: list[bytes] = field(default_factory=list)
    size: int = 0
    cut: bool = False

    def add(self, raw: bytes, command: bytes | None = None) -> None:
        """Take a line over, up to the limit."""
        self.size += len(raw) + 1
        if self.size > LIMIT:
            self.cut = True
            return
        self.raw.append(raw)
        if command is not None:
            self.lines.append(command)

    @property
    def continues(self) -> bool:
        """Whether zsh wrote that the next line belongs to it, too."""
        return self.dialect == "zsh" and self.raw[-1:] != [] and self.raw[-1].endswith(b"\\")

    def text(self) -> str:
        """Return the command as it was typed."""
        command = b"\n".join(self.lines)
        if self.dialect == "zsh":
            command = META.sub(lambda found: bytes([found[1][0] ^ 32]), command.replace(b"\\\n", b"\n"))
        elif self.dialect == "fish":
            command = FISH_ESCAPE.sub(lambda found: b"\n" if found[1] == b"n" else b"\\", command)
        return command.decode(errors="surrogateescape")


def marks(tools: Sequence[str]) -> list[bytes]:
    """Return what `skim` is to look for: one of these is in every entry of the tools."""
    return [tool.encode() for tool in tools]


def parse(
    lines: Iterable[tuple[int, bytes]],
    path: str,
    *,
    user: str = "",
    tools: Sequence[str] = ("nmap",),
    dialect: str = "",
) -> Iterator[Execution]:
    """Yield the executions that a shell history tells of, in its order.

    An execution's identity is made of user, time, command and how often that was seen in `lines`, so it stays the same
    when the shell writes its history anew.

    Args:
        lines: (offset of the line in the file, the line with its newline); there may be gaps.
        path: of the file; its name tells plain zsh from bash.
        user: name of the user whose history it is.
        tools: names of the programs to look for.
        dialect: bash, zsh or fish, where the name of the file does not tell.
    """
    names = [tool.encode() for tool in tools]
    plain = dialect or ("zsh" if "zsh" in path.rpartition("/")[2] or path.endswith(".histfile") else "bash")
    seen = Counter()
    for entry in _entries(lines, plain):
        raw = b"\n".join(entry.raw)
        if any(name in raw for name in names):
            yield from _executions(entry, raw, path, user, tools, seen)


def _entries(lines: Iterable[tuple[int, bytes]], plain: str) -> Iterator[Entry]:
    entry: Entry | None = None
    expected = 0
    for offset, ended in lines:
        if entry and offset != expected:
            yield entry
            entry = None
        expected = offset + len(ended)
        line = ended[:-1] if ended[-1:] == b"\n" else ended
        if entry and entry.continues:
            entry.add(line, line)
            continue
        begun = _begin(offset, line, plain)
        if begun is None and entry and (entry.dialect == "fish" or entry.time >= 0) and entry.dialect != "zsh":
            _go_on(entry, line)
            continue
        if entry:
            yield entry
        entry = begun
        if entry is None:
            entry = Entry(offset, plain)
            entry.add(line, line)
    if entry:
        yield entry


def _begin(offset: int, line: bytes, plain: str) -> Entry | None:
    """Return the entry that a line is certain to begin."""
    first = line[:1]
    entry = None
    if first == b"#" and (found := BASH_TIME.match(line)):
        entry = Entry(offset, plain, int(found[1]))
        entry.add(line)
    elif first == b":" and (found := ZSH_ENTRY.match(line)):
        entry = Entry(offset, "zsh", int(found[1]), int(found[2]))
        entry.add(line, line[found.end() :])
    elif first == b"-" and line.startswith(FISH_ENTRY):
        entry = Entry(offset, "fish")
        entry.add(line, line[len(FISH_ENTRY) :])
    return entry


def _go_on(entry: Entry, line: bytes) -> None:
    """Take over a further line of bash's or fish's entry."""
    if entry.dialect != "fish":
        entry.add(line, line)
        return
    entry.add(line)
    if found := FISH_TIME.match(line):
        entry.time = int(found[1])


def _executions(
    entry: Entry, raw: bytes, path: str, user: str, tools: Sequence[str], seen: Counter
) -> Iterator[Execution]:
    start = times.utc(entry.time) if entry.time >= 0 else ""
    text = entry.text()
    found = list(in_text(text, tools))
    for one in found:
        key = "\0".join((user or path, start, *one.argv)).encode(errors="surrogateescape")
        digest = sha256(key).hexdigest()[:32]
        run_as = User(name=one.run_as or user)
        yield Execution(
            source="history",
            identity=f"{user or path}:{start}:{digest}:{seen.count(digest)}",
            argv=one.argv,
            start=start,
            end=times.utc(entry.time + entry.elapsed) if start and entry.elapsed and len(found) == 1 else "",
            executable=one.argv[0] if one.argv[0].startswith("/") else "",
            real=run_as,
            effective=run_as,
            sudo_user=user if one.run_as else "",
            environment=one.environment,
            problems=tuple(_problems(entry, one, start)),
            log_path=path,
            log_offset=entry.offset,
            raw=raw,
            trusted=False,
        )


def _problems(entry: Entry, found: Found, start: str) -> Iterator[str]:
    yield problems.ITS_USER
    if not start:
        yield problems.TIME_UNKNOWN
    elif found.row and entry.dialect == "bash":
        yield problems.TIME_OF_ENTRY
    if entry.cut:
        yield problems.ARGUMENTS_CUT
    yield from doubts(found)
