"""`nmap-forwarder status`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from forwarder import state
from forwarder.cli import common
from forwarder.config import Settings
from forwarder.errors import Exit, NothingError
from forwarder.ledger import Ledger
from forwarder.terminal import say

EPILOG = """\
examples:
  nmap-forwarder status
  nmap-forwarder status --json | jq .rejected"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.command(commands, "status", "tell what is waiting, sealed and rejected", EPILOG)
    common.setting(parser, "archive")
    parser.add_argument("--json", action="store_true", help="print it as one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command; it takes no lock, so that it answers while another process works."""
    values = common.settings(args)
    directory = values["state_dir"]
    if not state.is_made(directory):
        raise NothingError(f"{directory}: no state directory", "nmap-forwarder init makes one")
    facts = gather(values)
    if args.json:
        print(json.dumps(facts))
        return Exit.OK
    head = facts["head"]
    say(f"log       {facts['origin']}")
    say(f"archive   {facts['archive']}")
    say(
        f"sealed    {head['batches']} batches, {head['records']} records, {facts['scans']} scans, last "
        f"{head['created'] or 'never'}"
    )
    say(f"queued    {facts['queued']} batches not in the archive yet")
    say(f"spooled   {facts['spooled']} inputs to be read by the next run")
    for name, entries in (("waiting", facts["waiting"]), ("rejected", facts["rejected"])):
        say(f"{name:9} {len(entries)} files")
        for entry in entries:
            say(f"          {entry['path']}: {entry['reason']}")
    return Exit.OK


def gather(values: Settings) -> dict[str, Any]:
    """Return what the ledger knows, as JSON values."""
    directory = values["state_dir"]
    ledger = Ledger(directory / "ledger.sqlite")
    try:
        last, counts = ledger.last_batch(), ledger.counts()
        states = counts["batches"]
        return {
            "origin": state.verifier_key(directory).name,
            "state_dir": str(directory),
            "archive": str(values["archive"]),
            "scans": ledger.scans(),
            "head": {
                "batches": last.sequence + 1 if last else 0,
                "records": last.first_record + last.records if last else 0,
                "created": last.created if last else "",
                "root": ledger.root(last.sequence + 1).hex() if last else "",
            },
            "queued": states.get("intent", 0) + states.get("sealed", 0),
            "spooled": counts["inputs"].get("spooled", 0),
            "waiting": [{"path": path, "reason": reason} for path, reason in ledger.waiting()],
            "rejected": [{"path": item.path, "reason": item.reason} for item in ledger.inputs("rejected")],
        }
    finally:
        ledger.close()
