"""`nmap-forwarder rebuild`."""

from __future__ import annotations

import argparse

from forwarder import pipeline, rebuild, state
from forwarder.anchoring import Anchor
from forwarder.cli import common
from forwarder.errors import Exit, NothingError
from forwarder.outcome import Listener, Outcome
from forwarder.terminal import complain, progress, say

EPILOG = """\
examples:
  nmap-forwarder rebuild

What is known of each host and port (what `change` records are made by comparing
with) is made again from the sealed records. Nothing sealed is changed."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    common.setting(parser, "archive", "lock_wait")
    parser.add_argument("--quiet", action="store_true", help="print nothing but problems")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    values = common.settings(args)
    if not state.is_made(values["state_dir"]):
        raise NothingError(f"{values['state_dir']}: no state directory", "nmap-forwarder init makes one")
    with state.opened(values) as opened, progress("reading", None, "batches", quiet=args.quiet) as advance:
        pipeline.recover(opened, Anchor(opened, Outcome(), Listener(said=complain)))
        opened.ledger.assets.reflect(0)
        count = rebuild.catch_up(opened.ledger, opened.archive, advance)
        if not args.quiet:
            say(f"{opened.ledger.assets.count()} hosts known from {count} batches in {opened.archive.place}")
    return Exit.OK
