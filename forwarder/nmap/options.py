"""nmap's table of options (nmap.cc, parse_options), and how getopt_long_only reads words by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

NONE, REQUIRED, OPTIONAL = "", ":", "::"
"""Whether an option takes a value; an optional one has to be attached."""

SHORT: Final = {
    **dict.fromkeys("46AFIRVfhnqr", NONE),
    **dict.fromkeys("DMSTbegimop", REQUIRED),
    **dict.fromkeys("OPdsv", OPTIONAL),
}
FLAGS: Final = """
adler32 allports append-output badsum defeat-icmp-ratelimit defeat-rst-ratelimit deprecated-xml-osclass
disable-arp-ping discovery-ignore-rst ff fuzzy help iflist log-errors no-stylesheet nogcc noninteractive open
osscan-guess osscan-limit packet-trace privileged rH randomize-hosts reason release-memory resolve-all script-trace
script-updatedb send-eth send-ip system-dns thc traceroute unique unprivileged verbose version version-all
version-light version-trace vv webxml yoloscan
"""
"""Long options without a value."""
VALUED: Final = """
data data-length data-string datadir dns-servers exclude exclude-ports excludefile host-timeout iL iR
initial-rtt-timeout ip-options max-hostgroup max-os-tries max-parallelism max-rate max-retries max-rtt-timeout
max-scan-delay min-hostgroup min-parallelism min-rate min-rtt-timeout mtu nsock-engine oA oG oH oM oN oS oX
port-ratio proxies proxy resume route-dst sI scan-delay scanflags script script-args script-args-file script-help
script-timeout servicedb source-port spoof-mac stats-every stylesheet timing top-ports ttl version-intensity
versiondb
"""
"""Long options with one."""
LONG: Final = {
    **dict.fromkeys(
        FLAGS.split(),
        NONE,
    ),
    **dict.fromkeys(
        VALUED.split(),
        REQUIRED,
    ),
    "debug": OPTIONAL,
}
SAME: Final = {
    "--debug": "-d",
    "--ff": "-f",
    "--fuzzy": "--osscan-guess",
    "--help": "-h",
    "--iL": "-iL",
    "--iR": "-iR",
    "--proxy": "--proxies",
    "--rH": "--randomize-hosts",
    "--sI": "-sI",
    "--timing": "-T",
    "--verbose": "-v",
    "--version": "-V",
    "--vv": "-v",
    "--yoloscan": "-A",
    "-M": "--max-parallelism",
    "-g": "--source-port",
    "-i": "-iL",
    "-m": "-oG",
    "-o": "-oN",
    "--oM": "-oG",
    **{f"--o{kind}": f"-o{kind}" for kind in "AGHNSX"},
    "-sP": "-sn",
    "-sR": "-sV",
    "-P": "-PE",
    "-PI": "-PE",
    "-PT": "-PA",
    **{f"-P{kind}": "-Pn" for kind in "0ND"},
}
"""Names that mean another, which is the usual one."""
SCANS: Final = {
    "S": "syn",
    "T": "connect",
    "U": "udp",
    "A": "ack",
    "W": "window",
    "M": "maimon",
    "N": "null",
    "F": "fin",
    "X": "xmas",
    "Y": "sctpinit",
    "Z": "sctpcookieecho",
    "O": "ipproto",
    "V": "version",
    "C": "scripts",
    "n": "ping",
    "L": "list",
}
"""Letters after -s, and what they ask for; kinds of port scans are named as in the XML's scaninfo."""
PINGS: Final = frozenset("STAUYBO")
"""Letters after -P that ports or protocols may follow."""
OTHER_PINGS: Final = frozenset("EIMP0NDnR")

Read = tuple[str, str | None]
"""An option by its usual name with dashes, and its value or None."""


class Words:
    """Sorts the words of a command line into options and operands, as glibc's getopt_long_only permutes them.

    Args:
        words: without the program.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.options: list[Read] = []
        self.places: list[tuple[int, int]] = []
        """For each option with a value that is no letter or kind: (index of its word, where the value begins in it)."""
        self.operands: list[int] = []
        """Indices of the words that are targets."""
        self.problems: list[str] = []
        self._words = words
        self._next = 0
        while self._next < len(words):
            index = self._next
            self._next += 1
            word = words[index]
            if word == "--":
                self.operands += range(self._next, len(words))
                break
            if len(word) > 1 and word.startswith("-"):
                self._option(index, word)
            else:
                self.operands.append(index)

    def _option(self, index: int, word: str) -> None:
        double = word.startswith("--")
        if double or len(word) > 2 or word[1] not in SHORT:  # noqa: PLR2004
            start = 2 if double else 1
            name, equals, value = word[start:].partition("=")
            found = [name] if name in LONG else [known for known in LONG if known.startswith(name)]
            if len(found) == 1:
                self._long(index, found[0], value if equals else None, len(word) - len(value))
                return
            if found:
                self.problems.append("ambiguous option")
                return
            if double or word[1] not in SHORT:
                self.problems.append("unknown option")
                return
        self._short(index, word)

    def _long(self, index: int, name: str, value: str | None, start: int) -> None:
        kind = LONG[name]
        if kind == NONE and value is not None:
            self.problems.append("value for an option without one")
        elif kind == REQUIRED and value is None:
            self._take(f"--{name}")
        else:
            self._add(f"--{name}", value, (index, start))

    def _short(self, index: int, word: str) -> None:
        for position in range(1, len(word)):
            letter = word[position]
            kind = SHORT.get(letter)
            if kind is None:
                self.problems.append("unknown option")
                continue
            rest = word[position + 1 :]
            if kind == NONE:
                self._add(f"-{letter}", None, (index, position + 1))
            elif rest or kind == OPTIONAL:
                self._add(f"-{letter}", rest or None, (index, position + 1))
                return
            else:
                self._take(f"-{letter}")
                return

    def _take(self, name: str) -> None:
        """Take the next word as an option's value."""
        if self._next >= len(self._words):
            self.problems.append("value missing")
            return
        self._add(name, self._words[self._next], (self._next, 0))
        self._next += 1

    def _add(self, name: str, value: str | None, place: tuple[int, int]) -> None:
        for option in self._meant(name, value):
            self.options.append(option)
            self.places.append(place)

    def _meant(self, name: str, value: str | None) -> Iterator[Read]:
        """Yield an option by its usual name; -s and -P are as many as they have letters, or one."""
        if name == "-s":
            for letter in value or "?":
                if letter not in SCANS and letter not in "PR":
                    self.problems.append("unknown scan type")
                else:
                    yield SAME.get(f"-s{letter}", f"-s{letter}"), None
        elif name == "-P":
            kind, ports = (value or "E")[0], (value or "E")[1:]
            if kind not in PINGS | OTHER_PINGS:
                self.problems.append("unknown host discovery")
            else:
                yield SAME.get(f"-P{kind}", f"-P{kind}"), (ports if kind in PINGS else "") or None
        else:
            yield SAME.get(name, name), value


def usual(name: str) -> str:
    """Return the usual name of an option, empty if there is none: `--spoof-mac` or `-sS`; `-sn` for `-sP`."""
    found = Words([name, "0"])
    return found.options[0][0] if found.options and name.startswith("-") else ""
