"""`nmap-forwarder forward`."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from forwarder import pipeline, state
from forwarder.cli import common
from forwarder.errors import Exit
from forwarder.terminal import Advance, complain, progress, safe, say

EPILOG = """\
examples:
  nmap-forwarder forward scan.xml
  nmap-forwarder forward /var/spool/nmap            # every scan in it, also compressed ones
  nmap -oX - 192.0.2.0/24 | nmap-forwarder forward -
  nmap-forwarder forward --json '/data/**/*.xml.gz'

Files may be compressed (gz, bz2, xz, zst). What was read before is recognised
by its content; a file that has grown adds only what is new. One bad file does
not stop the others: it is named, and the exit code is 65."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.command(commands, "forward", "read nmap XML, seal its records, and archive them", EPILOG)
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="file, directory, glob pattern, or - for standard input"
    )
    common.setting(parser, "archive", "lock_wait", "intake.settle", "observer.name", "scan.vantage")
    common.setting(parser, "records.ports", "privacy.evidence")
    parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="print nothing but problems")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command; without paths it finishes what an earlier run left."""
    values = common.settings(args)
    common.made(values)
    bars = _Bars(quiet=args.quiet or args.json)
    listener = pipeline.Listener(bars.start, bars.advance, complain)
    with bars.stack, state.opened(values) as opened:
        outcome = pipeline.forward(opened, values, args.paths, listener)
        place = opened.archive.place
    code = outcome.exit_code if args.paths else Exit.OK
    if args.json:
        print(json.dumps(asdict(outcome) | {"archive": place, "exit_code": int(code)}))
    elif not args.quiet:
        say(_summary(outcome, place))
    return code


class _Bars:
    """One progress bar for each input in turn."""

    def __init__(self, *, quiet: bool) -> None:
        self.stack = ExitStack()
        self._quiet = quiet
        self._advance: Advance = lambda _: None

    def start(self, path: str, size: int) -> None:
        self.stack.close()
        bar = progress(safe(path)[-40:], size or None, "bytes", quiet=self._quiet)
        self._advance = self.stack.enter_context(bar)

    def advance(self, count: int) -> None:
        self._advance(count)


def _summary(outcome: pipeline.Outcome, place: str) -> str:
    parts = [
        f"{outcome.scans} scans, {outcome.hosts} hosts, {outcome.records} records from {outcome.inputs} new inputs"
    ]
    if outcome.known:
        parts.append(f"{outcome.known} known already")
    if outcome.waiting:
        parts.append(f"{outcome.waiting} left for the next run")
    if outcome.rejected:
        parts.append(f"{len(outcome.rejected)} rejected")
    line = "; ".join(parts)
    if outcome.batches:
        last = outcome.first_batch + outcome.batches - 1
        which = f"batch {last}" if outcome.batches == 1 else f"batches {outcome.first_batch} to {last}"
        line += f"; sealed as {which} in {place}"
    return line
