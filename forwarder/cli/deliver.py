"""`nmap-forwarder deliver`."""

from __future__ import annotations

import argparse
import json

from forwarder import elastic, pipeline, state
from forwarder.cli import common
from forwarder.cli.forward import Bars
from forwarder.errors import Exit, NothingError, UsageError
from forwarder.outcome import Listener
from forwarder.terminal import complain, say

EPILOG = """\
examples:
  nmap-forwarder deliver                              # what earlier runs could not deliver
  nmap-forwarder deliver --refused                    # again what was refused, after mappings were mended

`forward` delivers, too; this is for after an outage, without new scans. Documents
that Elasticsearch refuses stay in the archive and are listed by `status`."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    common.setting(parser, "archive", "lock_wait", *common.ELASTICSEARCH)
    parser.add_argument("--refused", action="store_true", help="also what was refused before")
    parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="print nothing but problems")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    values = common.settings(args)
    if not elastic.configured(values):
        raise UsageError("no Elasticsearch to deliver to", "give --elasticsearch URL, or set elasticsearch.url")
    if not state.is_made(values["state_dir"]):
        raise NothingError(f"{values['state_dir']}: no state directory", "forward some scans first")
    bars = Bars(quiet=args.quiet or args.json)
    listener = Listener(delivering=bars.delivering, progressed=bars.advance, said=complain)
    with bars.stack, state.opened(values) as opened:
        outcome = pipeline.redeliver(opened, values, listener, refused=args.refused)
    if args.json:
        facts = {"delivered": outcome.delivered, "refused": outcome.rejected, "undelivered": outcome.undelivered}
        print(json.dumps(facts | {"exit_code": int(outcome.exit_code)}))
    elif not args.quiet:
        say(f"{outcome.delivered} documents delivered to {elastic.place(values)}")
    return outcome.exit_code
