"""`nmap-forwarder verify`."""

from __future__ import annotations

import argparse
import json
from datetime import timedelta
from pathlib import Path

from forwarder import state
from forwarder.archive.place import Bucket, Place, place
from forwarder.cli import common, proof
from forwarder.config import Settings
from forwarder.errors import Exit, UsageError
from forwarder.ledger import ANCHORED, Ledger
from forwarder.seal.note import Checkpoint
from forwarder.terminal import complain, progress, say
from forwarder.verdicts import leave
from forwarder.verify import junit
from forwarder.verify.attest import third_parties
from forwarder.verify.keys import Keys
from forwarder.verify.policy import Policy
from forwarder.verify.pool import processors
from forwarder.verify.run import Task, batches_at_hand, read_checkpoint, remember, verify
from forwarder.verify.verdict import LogVerdict

EPILOG = """\
examples:
  nmap-forwarder verify                               # this machine's own archive
  nmap-forwarder verify /mnt/archive --key scanner1.vkey
  nmap-forwarder verify s3://bucket/prefix --key scanner1.vkey --junit verify.xml
  nmap-forwarder verify --new --max-age 26            # only what is new; every day
  nmap-forwarder verify --json --checkpoint pinned.txt
  nmap-forwarder verify 3f1c…e9.tlog-proof --key scanner1.vkey

Without --key, the key of this machine's state directory is used. After a
verification without findings, each log's newest checkpoint is remembered in
the state directory, if there is one; from then on, batches that are cut off are found, too.
The result is left there as well, and the next forward seals it as a record (--no-record).
What a verdict rests on and what it cannot exclude is printed with it."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    parser.add_argument(
        "path",
        nargs="?",
        metavar="ARCHIVE",
        help="directory, s3://bucket/prefix, the place of one log there, or the proof of one record; "
        "default: the archive of the settings",
    )
    common.known(parser)
    parser.add_argument(
        "--tsa",
        action="append",
        default=[],
        metavar="FILE",
        help="certificate (PEM) of a time-stamp authority whose word counts; repeatable",
    )
    parser.add_argument(
        "--witness",
        action="append",
        default=[],
        metavar="FILE",
        help="verifier keys of witnesses whose cosignatures count, one a line; repeatable",
    )
    parser.add_argument("--new", action="store_true", help="read only what is behind the remembered checkpoint")
    parser.add_argument("--max-age", type=common.count, metavar="HOURS", help="find a newest batch that is older")
    parser.add_argument(
        "--max-lag", type=common.count, metavar="HOURS", help="find batches sealed later after their records"
    )
    parser.add_argument(
        "--retention-days",
        type=common.count,
        metavar="DAYS",
        dest="kept_days",
        help="for how long batches are kept; in a bucket by default s3.retention_days, elsewhere for ever",
    )
    parser.add_argument(
        "--warn-days", type=common.count, default=30, metavar="DAYS", help="warn of locks that end so soon"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 on warnings, too")
    parser.add_argument("--jobs", type=common.count, metavar="N", help="processes; default: one for each processor")
    parser.add_argument(
        "--no-record", action="store_true", help="leave no result for the next forward to seal and deliver"
    )
    parser.add_argument("--junit", metavar="FILE", help="write the verdict as a JUnit report, for pipelines")
    parser.add_argument("--json", action="store_true", help="print the verdict as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="print findings only")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    values = common.settings(args)
    directory: Path = values["state_dir"]
    keys = [common.verifier_key(Path(name)) for name in args.key]
    if not keys and state.is_made(directory):
        keys = [state.verifier_key(directory)]
    if not keys:
        raise UsageError("no public key to verify with", "give --key FILE, the key.vkey of the forwarder")
    where = _place(args.path) if args.path else values["archive"]
    trust = third_parties([Path(name) for name in args.tsa], [Path(name) for name in args.witness])
    if args.path and isinstance(where, Path) and where.is_file():
        return proof.report(where, keys, trust.witnesses, as_json=args.json, quiet=args.quiet)

    def memory(of: Keys) -> Checkpoint | None:
        file = state.remembered(directory, of.origin)
        return read_checkpoint(file, of, ours=True) if file.exists() else None

    def pinned(of: Keys) -> list[Checkpoint]:
        pins = [*(read_checkpoint(Path(name), of) for name in args.checkpoint), memory(of)]
        return [*filter(None, pins), *_own(values, of, where)]

    policy, jobs = _policy(args, values, where), args.jobs or processors()
    task = Task(keys, pinned, policy, values, jobs, memory if args.new else lambda _: None)
    quiet = args.quiet or args.json
    with progress("verifying", lambda: batches_at_hand(where, task), "batches", quiet=quiet) as advance:
        verdicts = verify(where, Task(keys, pinned, policy, values, jobs, task.since, advance, trust))
    for verdict in verdicts:
        _remember(directory, verdict, record=not args.no_record)
    failed = any(verdict.findings or (args.strict and verdict.warnings) for verdict in verdicts)
    if args.junit:
        junit.write(Path(args.junit), verdicts, policy.now, strict=args.strict)
    if args.json:
        logs = [verdict.as_json() for verdict in verdicts]
        print(json.dumps({"ok": not failed, "archive": str(where), "logs": logs}))
    else:
        for verdict in verdicts:
            _print(verdict, quiet=args.quiet)
    return Exit.INTEGRITY if failed else Exit.OK


def _place(text: str) -> Place:
    try:
        return place(text)
    except ValueError as error:
        raise UsageError(f"{text} is not {error}") from None


def _policy(args: argparse.Namespace, values: Settings, where: Place) -> Policy:
    """Return what is expected of the archive: of a bucket, what the settings lock objects with."""

    def hours(count: int | None) -> timedelta | None:
        return None if count is None else timedelta(hours=count)

    locked = isinstance(where, Bucket)
    days = args.kept_days if args.kept_days is not None else values["s3.retention_days"] if locked else 0
    mode = values["s3.mode"].upper() if locked else ""
    return Policy(timedelta(days=days), mode, timedelta(days=args.warn_days), hours(args.max_age), hours(args.max_lag))


def _own(values: Settings, keys: Keys, where: Place) -> list[Checkpoint]:
    """Return what this machine's ledger says of its own log, when it is its own archive that is verified."""
    directory = values["state_dir"]
    if where != values["archive"] or not state.is_made(directory) or state.verifier_key(directory) != keys.given:
        return []
    ledger = Ledger(directory / "ledger.sqlite")
    try:
        last = ledger.last_batch(*ANCHORED)
        return [Checkpoint(keys.origin, last.sequence + 1, ledger.root(last.sequence + 1))] if last else []
    finally:
        ledger.close()


def _remember(directory: Path, verdict: LogVerdict, *, record: bool) -> None:
    try:
        if state.is_made(directory):
            remember(state.remembered(directory, verdict.origin), verdict)
            if record:
                leave(state.remembered(directory, verdict.origin).parent, verdict)
    except OSError as error:
        complain(f"{directory}: the checkpoint cannot be remembered: {error.strerror}")


def _print(verdict: LogVerdict, *, quiet: bool) -> None:
    for finding in verdict.findings:
        say(f"FOUND  {finding}")
    for warning in verdict.warnings:
        say(f"warn   {warning}")
    if quiet:
        return
    for note in verdict.notes:
        say(f"note   {note}")
    if verdict.left_out:
        say(f"note   {verdict.left_out} more findings and warnings are not listed")
    count = f"{verdict.batches} batches, {verdict.records} records, {verdict.evidence} evidence objects"
    if verdict.expired:
        count += f", {verdict.expired} expired"
    if verdict.findings:
        say(f"FAILED {verdict.origin}: {len(verdict.findings)} findings in {count}")
    else:
        say(f"ok     {verdict.origin}: {count}, sealed until {verdict.sealed_until or 'before'}")
    for line in verdict.rests_on:
        say(f"       rests on {line}")
    for line in verdict.cannot_exclude:
        say(f"       cannot exclude {line}")
