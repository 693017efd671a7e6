"""`nmap-forwarder adopt`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from forwarder import state
from forwarder.cli import common
from forwarder.errors import Exit, NothingError
from forwarder.ledger import ANCHORED
from forwarder.seal.note import Checkpoint
from forwarder.terminal import complain, say

EPILOG = """\
examples:
  nmap-forwarder adopt --archive s3://scans/nmap     # the machine before is lost; its key was kept
  nmap-forwarder adopt --checkpoint pinned.txt       # and the log must contain this checkpoint
  nmap-forwarder adopt --resend-from 120             # documents from batch 120 on may be missing

For a new machine: copy key.vkey, key.pem and keys/ (those that there are) into its
state directory first. For an old state directory that was restored, or one that
sealed beside another: stop the other forwarder for good. The archive is verified;
then the ledger is made from it, the newest batch is finished if need be, and forward
goes on behind it. What this state directory sealed and nobody can use any more is
read again by the next run."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    common.setting(parser, "archive", "lock_wait", *common.S3)
    common.checkpoints(parser)
    parser.add_argument(
        "--resend-from",
        type=int,
        default=-1,
        metavar="BATCH",
        help="first batch whose documents may not have been delivered; default: the newest",
    )
    parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="print nothing but problems")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    from forwarder.adopt import adopt  # noqa: PLC0415
    from forwarder.verify.keys import keys_of  # noqa: PLC0415
    from forwarder.verify.run import read_checkpoint  # noqa: PLC0415

    values = common.settings(args)
    directory = values["state_dir"]
    if not state.is_made(directory):
        raise NothingError(
            f"{directory}: no key of the log", f"copy its key.pem and {state.VERIFIER_KEY} there, and keys/"
        )
    state.init(values)  # the rest of the state directory, where only the key was copied
    with state.opened(values, adopting=True) as opened:
        keys = keys_of(opened.archive, opened.keys.first)
        memory = state.remembered(directory, opened.origin)
        found = [read_checkpoint(Path(name), keys) for name in args.checkpoint]
        found += [read_checkpoint(memory, keys, ours=True)] if memory.exists() else []
        pins = [pin for pin in found if pin]
        if last := opened.ledger.last_batch(*ANCHORED):
            pins.append(Checkpoint(opened.origin, last.sequence + 1, opened.ledger.root(last.sequence + 1)))
        result = adopt(opened, values, pins, args.resend_from, complain)
        place = opened.archive.place
    if args.json:
        print(json.dumps(asdict(result) | {"archive": place}))
    elif not args.quiet:
        say(f"{place}: {result.batches} batches with {result.inputs} inputs")
        if result.finished:
            say(f"batch {result.batches - 1} was finished and signed")
        if result.given_up:
            say(f"{len(result.given_up)} batches of this state directory were given up")
        if result.again:
            say(f"{result.again} inputs are read by the next run of forward")
    return Exit.OK
