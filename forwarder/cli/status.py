"""`nmap-forwarder status`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from forwarder import elastic, state
from forwarder.cli import common
from forwarder.config import Settings
from forwarder.errors import Exit, NothingError
from forwarder.ledger import ANCHORED, EARLY, SEALED, Ledger
from forwarder.seal.manifest import manifest_name, timestamp
from forwarder.terminal import say

EPILOG = """\
examples:
  nmap-forwarder status
  nmap-forwarder status --json | jq .rejected"""

MOST_LETTERS = 20
"""Refused records that are shown one by one."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    common.setting(parser, "archive", "elasticsearch.url")
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
    if facts["locked"]:
        locked = facts["locked"]
        say(f"locked    until {locked['retain_until']} ({locked['mode'].lower()}): {locked['bucket']}/{locked['key']}")
    for stamp in facts["stamped"]:
        say(f"stamped   {stamp['size']} batches at {stamp['time']} by {stamp['url']}")
    delivery = facts["delivery"]
    if delivery["place"] or delivery["delivered"]:
        say(f"delivered {delivery['delivered']} records to {delivery['place'] or 'an Elasticsearch'}")
        say(f"to send   {delivery['waiting']} records in {delivery['waiting_batches']} batches")
        say(f"refused   {delivery['refused']} records")
        for letter in delivery["letters"]:
            which = f"record {letter['sequence']} of batch {letter['batch']}"
            say(f"          {which}: {letter['status']} {letter['reason']}")
    audit = facts["audit"]
    if audit["executions"] or audit["scans"]:
        waiting = audit["executions"].get("waiting", 0)
        say(f"audit     {sum(audit['executions'].values())} executions, {waiting} of which wait for their output")
        say(f"made by   {_sureness(audit)}")
    say(f"spooled   {facts['spooled']} inputs to be read by the next run")
    for name, entries in (("waiting", facts["waiting"]), ("rejected", facts["rejected"])):
        say(f"{name:9} {len(entries)} files")
        for entry in entries:
            say(f"          {entry['path']}: {entry['reason']}")
    return Exit.OK


def _sureness(audit: dict[str, Any]) -> str:
    """Return how sure it is who made how many scans, and how many wait for evidence."""
    words = ("exact", "strong", "weak", "none")
    sure = [f"{number} {word}" for word in words if (number := audit["scans"].get(f"final {word}"))]
    return ", ".join([*sure, f"{audit['pending']} pending"])


def _delivery(values: Settings, ledger: Ledger, counts: dict[str, dict[Any, int]]) -> dict[str, Any]:
    """Return what was delivered to Elasticsearch, what waits for it, and the newest of what it refuses."""
    waiting = [state for state in ANCHORED if state != "delivered"]
    refused = sum(counts["dead_letters"].values())
    return {
        "place": elastic.place(values) if elastic.configured(values) else "",
        "delivered": sum(counts["records"].get(f"{early}delivered", 0) for early in ("", EARLY)) - refused,
        "waiting": sum(counts["records"].get(state, 0) for state in waiting),
        "waiting_batches": sum(counts["batches"].get(state, 0) for state in waiting),
        "refused": refused,
        "letters": [asdict(letter) for letter in ledger.dead_letters(MOST_LETTERS)],
    }


def _locked(ledger: Ledger) -> dict[str, Any]:
    """Return what keeps the manifest of the newest batch in the archive; nothing where nothing does."""
    last = ledger.last_batch(*ANCHORED)
    receipt = ledger.receipts.of(manifest_name(last.sequence)) if last else None
    return asdict(receipt) | {"retain_until": timestamp(receipt.retain_until)} if receipt else {}


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
            "delivery": _delivery(values, ledger, counts),
            "locked": _locked(ledger),
            "queued": sum(states.get(name, 0) for name in ("intent", *SEALED)),
            "stamped": [
                {"url": url, "size": size, "time": time} for url, (size, time) in sorted(ledger.stamped().items())
            ],
            "audit": {
                "executions": ledger.executions.counts(),
                "scans": (scans := ledger.claims.counts()),
                "pending": sum(number for how, number in scans.items() if how.startswith("pending")),
            },
            "spooled": counts["inputs"].get("spooled", 0),
            "waiting": [{"path": path, "reason": reason} for path, reason in ledger.waiting()],
            "rejected": [{"path": item.path, "reason": item.reason} for item in ledger.inputs("rejected")],
        }
    finally:
        ledger.close()
