"""`nmap-forwarder demo-data`."""

from __future__ import annotations

import argparse
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from forwarder import elastic
from forwarder.cli import common
from forwarder.errors import Exit, UsageError
from forwarder.terminal import say

EPILOG = """\
examples:
  nmap-forwarder demo-data --out demo                  # files for the bulk API, and what rules must find
  nmap-forwarder demo-data --elasticsearch https://es.example:9200 --api-key-file setup.key
  nmap-forwarder demo-data --out demo --days 30 --seed 3

Makes months of scans of a company that is not there, with an incident planted for each
detection rule, taken in during the last minutes: install the rules first, then load the
data, and each rule fires in its next run. The data go to the namespace `demo`, apart
from yours; event.ingested is told, and not set on arrival. expectations.json names what
each rule must find: event.id of documents, or the values that an aggregating rule groups
by. From 30 days on there is enough of a past for all of them. The same seed and end
make the same data."""
MOST_DAYS: Final = 400


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    parser.add_argument("--out", metavar="DIR", help="write bulk-….ndjson and expectations.json there")
    parser.add_argument("--seed", type=common.count, default=1, metavar="N", help="another story for each; default 1")
    parser.add_argument(
        "--days", type=common.count, default=90, metavar="N", help="how long before its end; default 90"
    )
    parser.add_argument("--end", metavar="TIME", help="when the story ends, RFC 3339; default: now")
    parser.add_argument("--namespace", default="demo", metavar="NAME", help="of the data streams; default demo")
    common.setting(parser, *common.ELASTICSEARCH)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    values = common.settings(args)
    if not 1 <= args.days <= MOST_DAYS:
        raise UsageError(f"--days {args.days} is not from 1 to {MOST_DAYS}")
    if not args.out and not elastic.configured(values):
        raise UsageError("nowhere to put the data", "give --out DIR or --elasticsearch URL")
    from forwarder.demo import output  # noqa: PLC0415
    from forwarder.demo.story import Story  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="nmap-forwarder-demo-") as directory:
        story = Story(_end(args.end), args.days, args.seed, args.namespace, Path(directory))
        found = output.documents(story)
        if args.out:
            count = output.to_files(found, Path(args.out))
            (Path(args.out) / "expectations.json").write_bytes(output.expectations(story))
            say(f"{args.out}: {count} documents for the bulk API; expectations.json says what rules must find")
        else:
            where = elastic.place(values)
            count = output.to_elasticsearch(found, values, args.namespace)
            say(f"{where}: {count} documents in logs-nmap.*-{args.namespace}")
    return Exit.OK


def _end(text: str | None) -> datetime:
    if not text:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--end {text} is no time", "give one such as 2026-03-02T09:00:00Z") from None
    return found.astimezone(UTC)
