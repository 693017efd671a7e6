"""Which tools a line of shell runs, as far as its text tells.

Written from the POSIX shell language (XCU 2) and the manuals of bash and zsh. Nothing is expanded: variables, globs and
substitutions stay as they were typed, and the command says so. Input is text with surrogateescape, of any content;
nothing here raises, and time is linear in its length.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import Final

DEEPEST: Final = 20
"""Substitutions inside each other that are followed; deeper ones are text."""
OPENING: Final = frozenset(
    {"then", "do", "else", "elif", "if", "while", "until", "!", "{", "coproc", "and", "or", "not"}
)
"""Words before a command that are none themselves; the last three of fish."""
LOOPS: Final = frozenset({"for", "select", "while", "until"})
BRANCHES: Final = frozenset({"if", "case"})
COMPOUND: Final = LOOPS | BRANCHES

BLANK = re.compile(r"(?:[ \t\r]|\\\r?\n)+")
PLAIN = re.compile(r"[^ \t\r\n\\'\"$`;&|()<>#]+|#")
NEVER_SPECIAL: Final = frozenset(string.ascii_letters + "-./:_,=%@+")
"""Characters that no operator or redirection begins with."""
OPERATOR = re.compile(r";;&|;;|;&|&&|\|\||\|&|[;&|\n()]")
REDIRECTION = re.compile(r"&>>?|[0-9]*(?:<<<|<<-?|<>|>>|>\||[<>]&|[<>])")
HEREDOC = re.compile(r"[0-9]*<<(-?)\Z")
DEFINITION = re.compile(r"[ \t]*\)")
"""What comes behind the parenthesis of a function's definition."""
GLOB = re.compile(r"[*?\[]|\A~")
BRACES = re.compile(r"\{([^{}]*)\}")
VARIABLE = re.compile(r"\$(?:\{[^}]{0,1000}\}|[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])")
ANSI = re.compile(r"\$'((?:[^'\\]|\\.)*)'?", re.DOTALL)
ANSI_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
LETTERS: Final = dict(zip("abeEfnrtv", "\a\b\x1b\x1b\f\n\r\t\v", strict=True))
IN_DOUBLE = re.compile(r'[^"\\$`]+')


@dataclass(frozen=True, slots=True)
class Simple:
    """One simple command."""

    words: tuple[str, ...]
    """Without quotes and redirections; assignments before the command are words, too."""
    expands: bool
    """Whether a word holds something that the shell replaced."""
    conditional: bool
    """Whether it ran only if something before it let it."""
    repeated: bool
    """Whether it stands in a loop."""
    row: int
    """Lines of the text before it."""


def commands(text: str) -> list[Simple]:
    """Return the simple commands of a text, those of substitutions and subshells before what they stand in."""
    return _Parser(text, 0, 0).run()


class _Parser:
    def __init__(self, text: str, start: int, depth: int, arithmetic: int | None = None) -> None:
        self.text = text
        self._arithmetic = text.rfind("))") if arithmetic is None else arithmetic
        """Where the last arithmetic expression can end."""
        self.at = start
        self.depth = depth
        self.found: list[Simple] = []
        self._words: list[str] = []
        self._word: list[str] | None = None
        self._expands = self._conditional = self._defining = self._skip = False
        self._heredocs: list[tuple[str, bool]] = []
        self._loops = self._branches = self._row = 0
        self._begun = start

    def run(self, closing: str = "") -> list[Simple]:
        """Read on to the parenthesis that closes a substitution, or to the end."""
        opened: list[int] = []
        while self.at < len(self.text):
            operator = self._step()
            if not operator:
                continue
            if operator == ")" and closing and not opened:
                break
            before = "".join(self._word or self._words[-1:])
            if operator == "(" and DEFINITION.match(self.text, self.at):
                self._words, self._word = [], None
            self._expands |= operator == "(" and bool(before)
            self._end(operator)
            if operator == "(":
                self._defining |= bool(before) and not before.endswith("=")
                opened.append(len(self.found) if before.endswith("=") else -1)
            elif operator == ")" and opened and (array := opened.pop()) >= 0:
                del self.found[array:]  # words of an array are no commands
        self._end("")
        return self.found

    def _step(self) -> str:
        """Read one token; return it if it ends a command."""
        text, at = self.text, self.at
        if text[at] in NEVER_SPECIAL and (plain := PLAIN.match(text, at)):  # first, as hardly anything else comes
            self._add(plain[0], expands=_expands(plain[0]), end=plain.end())
        elif blank := BLANK.match(text, at):
            self._end_word()
            self.at = blank.end()
        elif (redirection := REDIRECTION.match(text, at)) and not text.startswith(("<(", ">("), at):
            self._redirect(redirection[0])
        elif operator := OPERATOR.match(text, at):
            self.at = operator.end()
            return operator[0]
        elif text[at] == "#" and self._word is None:
            end = text.find("\n", at)
            self.at = len(text) if end < 0 else end
        else:
            self._piece()
        return ""

    def _piece(self) -> None:
        """Read a part of a word."""
        text, at = self.text, self.at
        character = text[at]
        if plain := PLAIN.match(text, at):
            self._add(plain[0], expands=_expands(plain[0]), end=plain.end())
        elif character == "\\":
            self._add(text[at + 1 : at + 2], end=at + 2)
        elif character == "'":
            end = text.find("'", at + 1)
            end = len(text) if end < 0 else end
            self._add(text[at + 1 : end], end=end + 1)
        elif character == '"':
            self.at = at + 1
            self._double()
        else:
            self._dollar()

    def _double(self) -> None:
        """Read on inside double quotes."""
        self._add("")
        while self.at < len(self.text):
            character = self.text[self.at]
            if plain := IN_DOUBLE.match(self.text, self.at):
                self._add(plain[0], end=plain.end())
            elif character == '"':
                self.at += 1
                return
            elif character == "\\":
                escaped = self.text[self.at + 1 : self.at + 2]
                kept = "" if escaped == "\n" else escaped if escaped in '"\\$`' else "\\" + escaped
                self._add(kept, end=self.at + 2)
            else:
                self._dollar(quoted=True)

    def _dollar(self, *, quoted: bool = False) -> None:
        """Read a variable, a substitution, ANSI-C quotes, or a character that means nothing here."""
        text, at = self.text, self.at
        if not quoted and (ansi := ANSI.match(text, at)):
            self._add(ANSI_ESCAPE.sub(_ansi, ansi[1]), end=ansi.end())
        elif text.startswith("$((", at) and at < self._arithmetic:
            end = text.find("))", at)
            self._add(text[at : end + 2], expands=True, end=end + 2)
        elif text.startswith(("$(", "<(", ">("), at) and self.depth < DEEPEST:
            inner = _Parser(text, at + 2, self.depth + 1, self._arithmetic)
            self.found += inner.run(")")
            self._add(text[at : inner.at], expands=True, end=inner.at)
        elif text[at] == "`" and self.depth < DEEPEST:
            self._backquotes()
        elif variable := VARIABLE.match(text, at):
            self._add(variable[0], expands=True, end=variable.end())
        elif text.startswith('$"', at) and not quoted:
            self.at = at + 1
        else:
            self._add(text[at], expands=text[at] == "`", end=at + 1)

    def _backquotes(self) -> None:
        at = end = self.at
        while (end := self.text.find("`", end + 1)) > 0 and self.text[end - 1] == "\\":
            pass
        end = len(self.text) if end < 0 else end
        inner = re.sub(r"\\([`\\$])", r"\1", self.text[at + 1 : end])
        self.found += _Parser(inner, 0, self.depth + 1).run()
        self._add(self.text[at : end + 1], expands=True, end=end + 1)

    def _add(self, part: str, *, expands: bool = False, end: int | None = None) -> None:
        if self._word is None:
            self._word = []
        self._word.append(part)
        self._expands |= expands
        if end is not None:
            self.at = end

    def _redirect(self, sign: str) -> None:
        """Pass over a redirection; what it names is no word of the command."""
        if self._word and sign[0].isdigit():  # host1>file: the digit belongs to the word
            digits = len(sign) - len(sign.lstrip("0123456789"))
            self._add(sign[:digits], end=self.at + digits)
            return
        self._end_word()
        self.at += len(sign)
        before, expands = len(self._words), self._expands
        if blank := BLANK.match(self.text, self.at):
            self.at = blank.end()
        while self.at < len(self.text) and not BLANK.match(self.text, self.at):
            if OPERATOR.match(self.text, self.at) or REDIRECTION.match(self.text, self.at):
                break
            self._piece()
        self._end_word()
        target = "".join(self._words[before:])
        del self._words[before:]
        self._expands = expands
        if heredoc := HEREDOC.fullmatch(sign):
            self._heredocs.append((target, bool(heredoc[1])))

    def _end_word(self) -> None:
        if self._word is not None:
            self._words.append("".join(self._word))
            self._word = None

    def _end(self, operator: str) -> None:
        """End a command before an operator, and take over what that means for the next one."""
        self._end_word()
        words, branch, loop = self._words, False, False
        while words and words[0] in OPENING:
            branch |= words[0] in BRANCHES
            loop |= words[0] in LOOPS
            self._conditional |= words[0] in {"and", "or"}
            words = words[1:]
        if words and words[0] in COMPOUND:
            branch |= words[0] in BRANCHES
            loop |= words[0] in LOOPS
        elif words and words[0] in {"done", "fi", "esac"}:
            self._loops -= words[0] == "done" and self._loops > 0
            self._branches -= words[0] != "done" and self._branches > 0
        elif words:
            conditional = self._conditional or self._defining or self._branches > 0
            self.found.append(Simple(tuple(words), self._expands, conditional, self._loops > 0 or loop, self._row))
        self._loops += loop
        self._branches += branch
        self._words, self._expands = [], False
        self._conditional = operator in {"&&", "||"} or (self._conditional and operator == "|")
        if operator == "\n":
            self._pass_heredocs()
        self._row += self.text.count("\n", self._begun, self.at)
        self._begun = self.at

    def _pass_heredocs(self) -> None:
        for delimiter, tabs in self._heredocs:
            while self.at < len(self.text):
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                line, self.at = self.text[self.at : end], end + 1
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    break
        self._heredocs = []


def _expands(text: str) -> bool:
    """Tell whether a shell would replace something in unquoted text."""
    if GLOB.search(text):
        return True
    return "{" in text and any("," in inner or ".." in inner for inner in BRACES.findall(text))


def _ansi(found: re.Match[str]) -> str:
    """Return what an escape of $'…' stands for; bytes that are no ASCII stay bytes."""
    if found[3]:
        return LETTERS.get(found[3], found[3] if found[3] in "\\'\"?" else found[0])
    value = int(found[1], 16) if found[1] else int(found[2], 8) & 0xFF
    return bytes([value]).decode(errors="surrogateescape")
