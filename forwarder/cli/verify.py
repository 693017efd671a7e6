"""`nmap-forwarder verify`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from forwarder import state
from forwarder.cli import common, proof
from forwarder.config import Settings
from forwarder.errors import Exit, UsageError
from forwarder.ledger import ANCHORED, Ledger
from forwarder.seal.note import Checkpoint, Verifier
from forwarder.terminal import complain, progress, say
from forwarder.verify.run import read_checkpoint, remember, verify
from forwarder.verify.verdict import LogVerdict

EPILOG = """\
examples:
  nmap-forwarder verify                               # this machine's own archive
  nmap-forwarder verify /mnt/archive --key scanner1.vkey
  nmap-forwarder verify --json --checkpoint pinned.txt
  nmap-forwarder verify 3f1c…e9.tlog-proof --key scanner1.vkey

Without --key, the key of this machine's state directory is used. After a
verification without findings, each log's newest checkpoint is remembered in
the state directory, if there is one; from then on, batches that are cut off are found, too."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.command(commands, "verify", "check that an archive is what was sealed", EPILOG)
    parser.add_argument(
        "path",
        nargs="?",
        metavar="ARCHIVE",
        help="archive, or directory of one log, or the proof of one record; default: the local archive",
    )
    common.setting(parser, "archive")
    parser.add_argument(
        "--key", action="append", default=[], metavar="FILE", help="verifier key (key.vkey); repeatable"
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="a checkpoint known from elsewhere, which the log must contain; repeatable",
    )
    parser.add_argument("--json", action="store_true", help="print the verdict as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="print findings only")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    values = common.settings(args)
    path = Path(args.path) if args.path else values["archive"]
    directory: Path = values["state_dir"]
    keys = [common.verifier_key(Path(name)) for name in args.key]
    if not keys and state.is_made(directory):
        keys = [state.verifier_key(directory)]
    if not keys:
        raise UsageError("no public key to verify with", "give --key FILE, the key.vkey of the forwarder")

    if args.path and path.is_file():
        return proof.report(path, keys, as_json=args.json, quiet=args.quiet)

    def pinned(verifier: Verifier) -> list[Checkpoint]:
        files = [Path(name) for name in args.checkpoint]
        memory = state.remembered(directory, verifier.name)
        files += [memory] if memory.exists() else []
        pins = [read_checkpoint(file, verifier) for file in files]
        return [*filter(None, pins), *_own(values, verifier, path)]

    with progress("verifying", None, "batches", quiet=args.quiet or args.json) as advance:
        verdicts = verify(path, keys, pinned, advance)
    for verdict in verdicts:
        _remember(directory, verdict)
    failed = any(verdict.findings for verdict in verdicts)
    if args.json:
        print(json.dumps({"ok": not failed, "archive": str(path), "logs": [verdict.as_json() for verdict in verdicts]}))
    else:
        for verdict in verdicts:
            _print(verdict, quiet=args.quiet)
    return Exit.INTEGRITY if failed else Exit.OK


def _own(values: Settings, verifier: Verifier, path: Path) -> list[Checkpoint]:
    """Return what this machine's ledger says of its own log, when it is its own archive that is verified."""
    directory = values["state_dir"]
    if path != values["archive"] or not state.is_made(directory) or state.verifier_key(directory) != verifier:
        return []
    ledger = Ledger(directory / "ledger.sqlite")
    try:
        last = ledger.last_batch(*ANCHORED)
        return [Checkpoint(verifier.name, last.sequence + 1, ledger.root(last.sequence + 1))] if last else []
    finally:
        ledger.close()


def _remember(directory: Path, verdict: LogVerdict) -> None:
    try:
        if state.is_made(directory):
            remember(state.remembered(directory, verdict.origin), verdict)
    except OSError as error:
        complain(f"{directory}: the checkpoint cannot be remembered: {error.strerror}")


def _print(verdict: LogVerdict, *, quiet: bool) -> None:
    for finding in verdict.findings:
        say(f"FOUND  {finding}")
    if quiet:
        return
    for note in verdict.notes:
        say(f"note   {note}")
    count = f"{verdict.batches} batches, {verdict.records} records, {verdict.evidence} evidence objects"
    if verdict.findings:
        say(f"FAILED {verdict.origin}: {len(verdict.findings)} findings in {count}")
    else:
        say(f"ok     {verdict.origin}: {count}, sealed until {verdict.sealed_until}")
    for line in verdict.rests_on:
        say(f"       rests on {line}")
    for line in verdict.cannot_exclude:
        say(f"       cannot exclude {line}")
