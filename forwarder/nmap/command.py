"""The nmap command line, read as nmap reads it, and what it tells of a scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from forwarder.nmap import nse, risk, targets
from forwarder.nmap.argline import split
from forwarder.nmap.options import SCANS, Read, Words

LARGEST: Final = (1 << 53) - 1
"""Largest number that canonical JSON holds; no scan of more addresses ends."""
MOST: Final = 1000
"""Targets and ranges that facts hold."""
NO_SCAN: Final = frozenset({"-h", "-V", "--iflist", "--script-help", "--script-updatedb", "--thc"})
"""Options after which nmap scans nothing; with targets, all but -h, -V and --thc are beside a scan."""
AT_ONCE: Final = frozenset({"-h", "-V", "--thc"})
TIMINGS: Final = ("paranoid", "sneaky", "polite", "normal", "aggressive", "insane")
EVASION: Final = {
    "-D": "decoys",
    "-f": "fragments",
    "--mtu": "fragments",
    "-S": "spoofed-source",
    "--spoof-mac": "spoofed-mac",
    "--source-port": "source-port",
    "--data": "data-padding",
    "--data-length": "data-padding",
    "--data-string": "data-padding",
    "--ip-options": "ip-options",
    "--ttl": "ttl",
    "--badsum": "bad-checksum",
    "--scanflags": "custom-flags",
    "-sI": "idle-scan",
    "-b": "ftp-bounce",
    "--proxies": "proxies",
    "--scan-delay": "scan-delay",
}
"""Options that hide a scan or its source, and `nmap.scan.evasion`."""
SLOW: Final = 1
"""Timing template up to which a scan is so slow that it hides."""
SOURCES: Final = {
    "-iL": "list",
    "-iR": "random",
    "--exclude": "exclude",
    "--excludefile": "exclude",
    "--resume": "resume",
}
OUTPUTS: Final = {
    "-oX": (("xml", ""),),
    "-oN": (("normal", ""),),
    "-oG": (("grepable", ""),),
    "-oS": (("script-kiddie", ""),),
    "-oA": (("normal", ".nmap"), ("grepable", ".gnmap"), ("xml", ".xml")),
}
TIME_PARTS: Final = {letter: f"%{letter}" for letter in "HMSmdyYF"} | {"T": "%H%M%S", "R": "%H%M", "D": "%m%d%y"}
"""What nmap puts for %T and the like in the name of an output (output.cc, logfilename)."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a command line asks for."""

    argv: tuple[str, ...]
    options: tuple[Read, ...]
    """(usual name with dashes; value or None), in the order given: ("--script", "vuln"), ("-sS", None)."""
    operands: tuple[str, ...]
    """Targets on the command line, as typed."""
    listed: tuple[str, ...] | None = None
    """Targets in the list of -iL; None where it was not read."""
    problems: tuple[str, ...] = ()
    """What nmap would refuse, in fixed words; then the rest is what can be told."""

    def value(self, *names: str) -> str | None:
        """Return the last value of an option by its usual names, None if it was not given."""
        return next((value or "" for name, value in reversed(self.options) if name in names), None)

    def has(self, *names: str) -> bool:
        """Tell whether one of the options was given."""
        return any(name in names for name, _ in self.options)

    @property
    def wanted(self) -> tuple[str, ...]:
        """All targets asked for, as typed and as listed."""
        return self.operands + (self.listed or ())

    @property
    def v6(self) -> bool:
        """Whether targets are IPv6."""
        return self.has("-6")

    @property
    def scans(self) -> bool:
        """Whether nmap sends anything, or lists targets."""
        if self.has(*AT_ONCE):
            return False
        return bool(self.operands) or self.has("-iL", "-iR", "--resume") or not self.has(*NO_SCAN)


def parse(argv: Sequence[str], cwd: Path | None = None, at: float | None = None, uid: int | None = None) -> Command:
    """Read a command line; argv[0] is the program. It never fails; `problems` says what nmap would refuse.

    Args:
        argv: words, bytes that are no UTF-8 kept by surrogateescape.
        cwd: working directory, to read a list of targets (-iL) from; None: it is not read.
        at: seconds since 1970 when nmap was started; a list that changed since is not read. None: just now.
        uid: user who started it, when we may read more than that user; see `targets.listed`.
    """
    words = Words(argv[1:])
    lists = [value for name, value in words.options if name == "-iL" and value]
    return Command(
        tuple(argv),
        tuple(words.options),
        tuple(argv[1 + index] for index in words.operands),
        targets.listed(lists[0], cwd, at, uid) if cwd is not None and len(lists) == 1 else None,
        tuple(dict.fromkeys(words.problems)),
    )


def facts(command: Command, scripts: nse.Scripts | None = None) -> dict[str, Any]:
    """Return the members of `nmap.scan` that the command line tells (ecs_mappings/nmap.csv), without empty ones.

    Args:
        command: what was parsed.
        scripts: categories of scripts, `nse.installed()`; None: of those we know, so that the answer is the same on
            every machine.
    """
    names = sorted({name for name, _ in command.options})
    rules = scripts_wanted(command)
    categories = nse.categories(rules, scripts)
    timed = timing(command)
    number = target_count(command)
    evasions = evasion(command, timed)
    kinds = technique(command)
    asks = risk.Asked(kinds, evasions, categories, timed, ports(command), command.has("-iR"), number, command.scans)
    found: dict[str, Any] = {
        "technique": kinds,
        "timing": timed,
        "ports_wanted": ports(command),
        "script_wanted": rules[:MOST],
        "script_category": sorted(categories - {nse.FILES}),
        "evasion": evasions,
        "option": names,
        "option_set": " ".join(names),
        "target_wanted": list(command.wanted[:MOST]),
        "target_source": sources(command),
        "target_count": number if number is None or number <= LARGEST else None,
        "target_range": [
            {"gte": str(low), "lte": str(high)}
            for low, high in targets.addresses(command.wanted[:MOST], v6=command.v6, most=MOST)
        ],
        "output_path": [path for _, path in outputs(command)],
    }
    if not command.has("--resume"):  # then another command line is carried on, which this one does not tell
        found["risk"] = dict(zip(("class", "reason"), risk.judge(asks), strict=True))
    return {name: value for name, value in found.items() if value not in (None, "", [])}


def technique(command: Command) -> list[str]:
    """Return what nmap was asked to do; `tcp` is a scan whose kind (syn or connect) hangs on the user's privileges."""
    if not command.scans or command.has("--resume"):
        return []
    found = {kind for letter, kind in SCANS.items() if command.has(f"-s{letter}")}
    found |= {kind for name, kind in (("-sI", "idle"), ("-b", "bounce")) if command.has(name)}
    if not found - {"version", "scripts"}:
        found.add("tcp")
    everything = command.has("-A")
    for kind, name in (("os", "-O"), ("traceroute", "--traceroute"), ("version", "-sV"), ("scripts", "--script")):
        if everything or command.has(name):
            found.add(kind)
    return sorted(found)


def timing(command: Command) -> int | None:
    """Return the timing template, None where none is named."""
    value = command.value("-T")
    if not value:
        return None
    if value.lower() in TIMINGS:
        return TIMINGS.index(value.lower())
    return int(value[0]) if value[0] in "012345" else None


def ports(command: Command) -> str:
    """Return the ports as asked for; F or top and a number for the usual ones."""
    if (value := command.value("-p")) is not None:
        return value
    if (value := command.value("--top-ports")) is not None:
        return f"top {value}"
    if (value := command.value("--port-ratio")) is not None:
        return f"ratio {value}"
    return "F" if command.has("-F") else ""


def scripts_wanted(command: Command) -> list[str]:
    """Return scripts, categories and expressions as asked for; `default` for -sC and -A."""
    found = ["default"] if command.has("-sC", "-A") else []
    for name, value in command.options:
        if name == "--script" and value:
            found += nse.rules(value)
    return list(dict.fromkeys(found))


def evasion(command: Command, timed: int | None) -> list[str]:
    """Return how the scan or its source is hidden."""
    found = {EVASION[name] for name, _ in command.options if name in EVASION}
    if timed is not None and timed <= SLOW:
        found.add("slow-timing")
    return sorted(found)


def sources(command: Command) -> list[str]:
    """Return where the targets come from."""
    found = {SOURCES[name] for name, _ in command.options if name in SOURCES}
    return sorted(found | ({"arguments"} if command.operands else set()))


def target_count(command: Command) -> int | None:
    """Return how many addresses are asked for; None where the command line and its lists do not tell."""
    if command.has("-iR"):
        value = command.value("-iR") or ""
        return int(value) if value.isascii() and value.isdigit() and 0 < len(value) < 10 and int(value) else None  # noqa: PLR2004
    if not command.scans or command.has("--resume") or (command.has("-iL") and command.listed is None):
        return None
    return targets.count(command.wanted, v6=command.v6)


def outputs(command: Command, at: datetime | None = None) -> list[tuple[str, str]]:
    """Return (format, path as typed) of each output but those to the terminal.

    Args:
        command: what was parsed.
        at: when nmap was started, in its time zone, to fill in %T and the like; None: they stay as typed.
    """
    found = []
    for name, value in command.options:
        if value and value != "-" and name in OUTPUTS:
            path = _filled(value, at) if at else value
            found += [(kind, path + ending) for kind, ending in OUTPUTS[name]]
    return found


def _filled(path: str, at: datetime) -> str:
    def parts() -> Iterator[str]:
        letters = iter(path)
        for letter in letters:
            if letter != "%":
                yield letter
            elif (following := next(letters, "")) in TIME_PARTS:
                yield at.strftime(TIME_PARTS[following].replace("%F", "%Y-%m-%d"))
            else:
                yield following

    return "".join(parts())


def asked(args: str) -> list[targets.Range]:
    """Return the ranges of addresses that a command line certainly asks nmap for, to tell who is gone.

    Names are left out, and so is everything when an option brings or takes away targets that the command line does not
    show, when nmap only lists them, or when it is not certain how nmap read it.

    Args:
        args: the command line, as nmap writes it into its XML.
    """
    command = parse(split(args))
    if command.problems or not command.scans or command.has("-sL", *SOURCES) or args.count('"') % 2:
        return []
    found = targets.addresses(command.operands, v6=command.v6, most=MOST + 1)
    return found if len(found) <= MOST else []
