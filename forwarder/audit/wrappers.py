"""Which tool a command line runs in the end: through sudo, env, timeout, `sh -c` and the like.

Options are those of the programs' manuals (sudo 1.9, coreutils, util-linux, procps, strace, proxychains-ng).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from forwarder.audit import problems, shell

ENVIRONMENT: Final = frozenset({"NMAPDIR", "NMAP_PRIVILEGED", "NMAP_UNPRIVILEGED", "LD_PRELOAD", "LD_LIBRARY_PATH"})
"""Environment variables that change what nmap does."""
DEEPEST: Final = 10
"""Programs that start each other in one command line; more are not followed."""
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")


@dataclass(frozen=True, slots=True)
class Wrapper:
    """How a program is called that runs another one."""

    valued: str = ""
    """Letters of options whose value is the next word."""
    valued_long: frozenset[str] = frozenset()
    idle: frozenset[str] = frozenset()
    """Options with which it runs nothing."""
    operands: int = 0
    """Words between its options and the command."""
    script: str = ""
    """Letter of the option whose value is shell text; `-` when the operands are shell text."""
    assigns: bool = False
    """Whether NAME=value may stand before the command."""


SUDO_VALUED: Final = """
--auth-type --chdir --chroot --close-from --command-timeout --group --host --login-class --other-user --prompt --role
--type --user
"""
SUDO_IDLE: Final = "-e -l -v -V -K --edit --help --list --remove-timestamp --validate --version"
SHELL: Final = Wrapper(valued="oO", script="c")
WRAPPERS: Final[dict[str, Wrapper]] = {
    "sudo": Wrapper(
        valued="aCcDghpRrTtUu",
        valued_long=frozenset(SUDO_VALUED.split()),
        idle=frozenset(SUDO_IDLE.split()),
        assigns=True,
    ),
    "doas": Wrapper(valued="uC"),
    "pkexec": Wrapper(valued_long=frozenset({"--user"})),
    "su": Wrapper(valued="gGsw", script="c"),
    "runuser": Wrapper(valued="gGsuw", script="c"),
    "env": Wrapper(valued="uC", valued_long=frozenset({"--unset", "--chdir"}), script="S", assigns=True),
    "time": Wrapper(valued="fo"),
    "nohup": Wrapper(),
    "nice": Wrapper(valued="n", valued_long=frozenset({"--adjustment"})),
    "ionice": Wrapper(valued="cn"),
    "timeout": Wrapper(valued="ks", valued_long=frozenset({"--kill-after", "--signal"}), operands=1),
    "setsid": Wrapper(),
    "stdbuf": Wrapper(valued="ioe"),
    "unbuffer": Wrapper(),
    "taskset": Wrapper(operands=1),
    "chrt": Wrapper(valued="TPD", operands=1),
    "flock": Wrapper(valued="wEo", operands=1, script="c"),
    "command": Wrapper(idle=frozenset({"-v", "-V"})),
    "builtin": Wrapper(),
    "exec": Wrapper(valued="a"),
    "nocorrect": Wrapper(),
    "noglob": Wrapper(),
    "proxychains": Wrapper(valued="f"),
    "proxychains4": Wrapper(valued="f"),
    "torsocks": Wrapper(valued="uaP"),
    "torify": Wrapper(),
    "strace": Wrapper(valued="abeEIoOpPsSuUX"),
    "ltrace": Wrapper(valued="aAeDlnopsuwxX"),
    "watch": Wrapper(valued="n", valued_long=frozenset({"--interval"}), script="-"),
    "script": Wrapper(valued="EIBTOmo", script="c"),
    "xargs": Wrapper(valued="aEILnPsd"),
    "screen": Wrapper(valued="ScehLpsTt"),
    **dict.fromkeys(("sh", "bash", "dash", "zsh", "ksh", "ash", "rbash", "fish"), SHELL),
}
EVAL: Final = "eval"
ASKING: Final = frozenset({"sudo", "doas", "pkexec", "su", "runuser"})
"""Programs that run another as root where no user is named."""
PERMUTING: Final = frozenset({"su", "runuser", "script"})
"""Programs that take options after operands, too."""


@dataclass(frozen=True, slots=True)
class Found:
    """One execution of a tool that a command line asks for."""

    argv: tuple[str, ...]
    expands: bool = False
    """Whether words may not be what the program got."""
    conditional: bool = False
    repeated: bool = False
    row: int = 0
    through: tuple[str, ...] = ()
    """Names of the programs that started it, the outermost first."""
    run_as: str = ""
    """User that sudo or its like was asked to run it as; empty without."""
    environment: tuple[str, ...] = ()
    more: bool = False
    """Whether the program got arguments that the line does not show."""


def in_text(text: str, tools: Sequence[str], found: Found | None = None, depth: int = 0) -> Iterator[Found]:
    """Yield the executions of the tools in a text that a shell ran.

    Args:
        text: one or more lines, bytes that are no UTF-8 by surrogateescape.
        tools: names of programs.
        found: what is known already of a shell inside another command.
        depth: how many programs this one is inside of.
    """
    base = found or Found(())
    for simple in shell.commands(text):
        known = replace(
            base,
            expands=base.expands or simple.expands,
            conditional=base.conditional or simple.conditional,
            repeated=base.repeated or simple.repeated,
            row=base.row if found else simple.row,
        )
        yield from in_words(simple.words, tools, known, depth)


def in_words(words: Sequence[str], tools: Sequence[str], found: Found | None = None, depth: int = 0) -> Iterator[Found]:
    """Yield the executions of the tools that the words of one command lead to; see `in_text`."""
    known = found or Found(())
    words, environment = _assignments(words)
    known = replace(known, environment=(*known.environment, *environment))
    if not words or depth > DEEPEST:
        return
    name = words[0].rpartition("/")[2]
    if name in tools:
        yield replace(known, argv=tuple(words))
    elif name == EVAL:
        yield from in_text(" ".join(words[1:]), tools, known, depth + 1)
    elif name == "ip" and len(words) > 4 and words[1] in {"netns", "net"} and words[2] in {"exec", "e"}:  # noqa: PLR2004
        yield from in_words(words[4:], tools, _inside(known, name), depth + 1)
    elif wrapper := WRAPPERS.get(name):
        yield from _unwrap(_Call(name, wrapper, words), tools, _inside(known, name), depth + 1)


def _inside(known: Found, name: str) -> Found:
    run_as = known.run_as or ("root" if name in ASKING else "")
    return replace(
        known,
        through=(*known.through, name),
        more=known.more or name == "xargs",
        conditional=known.conditional or name in ASKING,  # which may refuse
        run_as=run_as,
    )


def _assignments(words: Sequence[str]) -> tuple[Sequence[str], list[str]]:
    """Split NAME=value off that precede a command; return those of interest."""
    count = 0
    while count < len(words) and ASSIGNMENT.match(words[count]):
        count += 1
    return words[count:], [word for word in words[:count] if word.partition("=")[0] in ENVIRONMENT]


@dataclass(slots=True)
class _Call:
    """A wrapper's words, taken apart."""

    name: str
    wrapper: Wrapper
    words: Sequence[str]
    at: int = 1
    values: dict[str, str] = field(default_factory=dict)
    idle: bool = False

    def read_options(self) -> None:
        """Read to the first operand."""
        while self.at < len(self.words):
            word = self.words[self.at]
            if word == "--":
                self.at += 1
                return
            if word == "-" and self.name in {"su", "runuser", "env"}:
                self.at += 1
            elif word.startswith("--"):
                self._long(word)
            elif word.startswith("-") and len(word) > 1:
                self._short(word)
            elif self.name in PERMUTING and "u" not in self.values:
                self.values["operand"] = word
                self.at += 1
            else:
                return

    def _take(self, option: str) -> None:
        self.values[option] = self.words[self.at] if self.at < len(self.words) else ""
        self.at += 1

    def _long(self, word: str) -> None:
        name, sign, value = word.partition("=")
        self.idle |= name in self.wrapper.idle
        self.at += 1
        if sign:
            self.values[name] = value
        elif name in self.wrapper.valued_long:
            self._take(name)
        elif name in {"--command", "--split-string"} and self.wrapper.script:
            self._take(self.wrapper.script)

    def _short(self, word: str) -> None:
        """Read letters that share a dash, the last of which may take a value."""
        self.at += 1
        for index, letter in enumerate(word[1:], 2):
            self.idle |= f"-{letter}" in self.wrapper.idle
            if letter in self.wrapper.valued or letter == self.wrapper.script:
                if rest := word[index:] if self.wrapper is not SHELL else "":
                    self.values[letter] = rest
                    return
                self._take(letter)


def _unwrap(call: _Call, tools: Sequence[str], known: Found, depth: int) -> Iterator[Found]:
    """Yield what a wrapper runs."""
    call.read_options()
    if call.idle:
        return
    users = [call.values[option] for option in ("u", "--user", "operand") if call.values.get(option)]
    if call.name in ASKING and users:
        known = replace(known, run_as=users[0])
    script = call.wrapper.script
    rest = call.words[call.at + call.wrapper.operands :]
    if script in call.values:
        yield from in_text(call.values[script], tools, known, depth)
    elif script == "-":
        yield from in_text(" ".join(rest), tools, replace(known, repeated=True), depth)
    elif call.wrapper is not SHELL:  # which would run a file
        yield from in_words(rest, tools, known, depth)


def doubts(found: Found) -> Iterator[str]:
    """Yield what is not known of an execution that was read from shell text."""
    for doubt, problem in (
        (found.expands, problems.ARGUMENTS_EXPANDED),
        (found.more, problems.ARGUMENTS_HIDDEN),
        (found.conditional, problems.MAY_NOT_HAVE_RUN),
        (found.repeated, problems.MAY_HAVE_REPEATED),
    ):
        if doubt:
            yield problem
