"""`nmap-forwarder diff`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forwarder.cli import common
from forwarder.config import Settings
from forwarder.errors import Exit, ForwarderError, UsageError
from forwarder.intake import STDIN
from forwarder.terminal import complain, drop_output, paint, progress

if TYPE_CHECKING:
    from forwarder.archive.directory import DirectoryArchive
    from forwarder.diff.side import Side

EPILOG = """\
examples:
  nmap-forwarder diff monday.xml friday.xml
  nmap -oX - 192.0.2.0/24 | nmap-forwarder diff monday.xml.gz -
  nmap-forwarder diff scan:8c1f03d2 friday.xml        # a sealed scan, by its nmap.scan.id
  nmap-forwarder diff --json scan:8c1f03d2 scan:77ab09e4 | jq .hosts.added

Files may be compressed, cut or damaged, as for `forward`; of several scans in
one file the last is compared. Hosts are told apart by their addresses. Not
compared are reasons, times, and how sure nmap is.

exit codes, as diff has them: 0 no difference, 1 different (here this is no
integrity failure), 2 trouble, whatever it was."""

DIFFERENT: Final = 1
SEALED: Final = "scan:"
PREFIX: Final = re.compile(r"[0-9a-f]{8,64}")
COLOURS: Final = {"-": "31", "+": "32", "--- ": "1", "+++ ": "1"}
"""Beginning of a line → its colour on a terminal, as an SGR code."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    what = "XML file, - for standard input, or scan: with the first 8 or more digits of a sealed scan's nmap.scan.id"
    parser.add_argument("before", metavar="A", help=what)
    parser.add_argument("after", metavar="B", help="likewise")
    common.setting(parser, "archive")
    parser.add_argument("--json", action="store_true", help="print the differences as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="print no notes about the scans")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; whatever goes wrong, the exit code is 2, since 1 is taken."""
    try:
        return _run(args)
    except BrokenPipeError:  # the reader has seen enough differences
        drop_output()
        return DIFFERENT
    except ForwarderError as error:
        raise UsageError(error.what, error.hint) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise UsageError(f"{where}{error.strerror or error}") from error


def _run(args: argparse.Namespace) -> int:
    from forwarder.diff import show  # noqa: PLC0415 - libnmap is loaded for this command only
    from forwarder.diff.compare import Comparison  # noqa: PLC0415

    values = common.settings(args)
    if args.before == args.after == STDIN:
        raise UsageError("only one of the two can be standard input", "give the other as a file")
    sides = [_side(name, values, quiet=args.quiet or args.json) for name in (args.before, args.after)]
    for side in sides:
        if side.hosts.repeated:
            side.notes.append(f"{side.hosts.repeated} addresses are listed again; the last of each is compared")
        for note in () if args.quiet else side.notes:
            complain(f"{side.name}: {note}")
    comparison = Comparison(*sides)
    if args.json:
        for piece in show.as_json(comparison):
            print(piece, end="")
        print()
    else:
        for sign, line in show.text(comparison):
            paint(sign, line, COLOURS.get(sign, ""))
    for side in sides:
        side.hosts.close()
    return DIFFERENT if comparison.different else Exit.OK


def _side(name: str, values: Settings, *, quiet: bool) -> Side:
    from forwarder.diff import sources  # noqa: PLC0415

    if not name.startswith(SEALED):
        with progress(f"reading {name[-40:]}", None, "hosts", quiet=quiet) as advance:
            return sources.of_file(name, values["intake.max_bytes"], advance)
    prefix = name.removeprefix(SEALED)
    if not PREFIX.fullmatch(prefix):
        raise UsageError(
            f"{name}: not 8 to 64 digits of an nmap.scan.id (0-9 a-f)", f"give ./{name} if it is a file of that name"
        )
    archive: Path = values["archive"]
    with progress(f"looking for {name[:40]}", None, "batches", quiet=quiet) as advance:
        return sources.of_scan(prefix, _logs(archive), str(archive), advance)


def _logs(archive: Path) -> Iterator[DirectoryArchive]:
    """Yield the logs of an archive; `archive` may also be the directory of one."""
    from forwarder.archive.directory import DirectoryArchive  # noqa: PLC0415
    from forwarder.archive.place import origins  # noqa: PLC0415

    if not archive.is_dir():
        raise UsageError(f"{archive}: no such archive", "give --archive DIR")
    for origin in origins(archive, {}):
        yield DirectoryArchive(archive, origin)
