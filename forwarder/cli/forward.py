"""`nmap-forwarder forward`."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from dataclasses import asdict

from forwarder import pipeline, state
from forwarder.cli import common
from forwarder.errors import Exit, worst
from forwarder.outcome import Listener, Outcome
from forwarder.terminal import Advance, complain, progress, safe, say

EPILOG = """\
examples:
  nmap-forwarder forward scan.xml
  nmap-forwarder forward /var/spool/nmap            # every scan in it, also compressed ones
  nmap -oX - 192.0.2.0/24 | nmap-forwarder forward -
  nmap-forwarder forward --json '/data/**/*.xml.gz'
  nmap-forwarder forward --audit auditd:/var/log/audit/audit.log scan.xml
  nmap-forwarder forward --archive s3://scans/nmap /var/spool/nmap
  nmap-forwarder forward --elasticsearch https://es.example:9200 --api-key-file key scan.xml

Files may be compressed (gz, bz2, xz, zst). What was read before is recognised
by its content; a file that has grown adds only what is new. One bad file does
not stop the others: it is named, and the exit code is 65."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="file, directory, glob pattern, or - for standard input"
    )
    common.setting(parser, "archive", "lock_wait", "intake.settle", "observer.name", "scan.vantage")
    parser.add_argument(
        "--audit",
        dest="audit_sources",
        action="append",
        metavar="KIND:PATH",
        help="audit log that tells who ran nmap; kinds are auditd, laurel, sudo, sudo-io, history; repeatable "
        "(NMAP_FORWARDER_AUDIT_SOURCES)",
    )
    common.setting(parser, "records.ports", "privacy.evidence", *common.S3, *common.ELASTICSEARCH)
    parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="print nothing but problems")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command; without paths it finishes what an earlier run left."""
    values = common.settings(args)
    common.made(values)
    bars = Bars(quiet=args.quiet or args.json)
    listener = Listener(bars.reading, bars.delivering, bars.advance, complain)
    with bars.stack, state.opened(values) as opened:
        outcome = pipeline.forward(opened, values, args.paths, listener)
        place = opened.archive.place
    looked_at = outcome.inputs + outcome.known + outcome.waiting
    code = worst(outcome.exit_code, Exit.OK if looked_at or not args.paths else Exit.NOTHING)
    if args.json:
        print(json.dumps(asdict(outcome) | {"archive": place, "exit_code": int(code)}))
    elif not args.quiet:
        say(_summary(outcome, place))
    return code


class Bars:
    """One progress bar for each input in turn, and one for delivery."""

    def __init__(self, *, quiet: bool) -> None:
        self.stack = ExitStack()
        self._quiet = quiet
        self._advance: Advance = lambda _: None

    def reading(self, path: str, size: int) -> None:
        """Begin the bar of an input."""
        self._start(safe(path)[-40:], size, "bytes")

    def delivering(self, where: str, count: int) -> None:
        """Begin the bar of a delivery."""
        self._start(f"delivering to {safe(where)[:40]}", count, "documents")

    def _start(self, label: str, total: int, unit: str) -> None:
        self.stack.close()
        self._advance = self.stack.enter_context(progress(label, total or None, unit, quiet=self._quiet))

    def advance(self, count: int) -> None:
        """Move on."""
        self._advance(count)


def _summary(outcome: Outcome, place: str) -> str:
    parts = [
        f"{outcome.scans} scans, {outcome.hosts} hosts, {outcome.records} records from {outcome.inputs} new inputs"
    ]
    if outcome.executions or outcome.findings:
        parts.append(f"{outcome.executions} new executions, {outcome.findings} findings in the audit trail")
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
    if outcome.delivered:
        line += f"; {outcome.delivered} documents delivered"
    if outcome.unanchored:
        line += "; what is not in the archive yet waits for the next run"
    if outcome.undelivered:
        line += "; the rest waits for the next run"
    return line
