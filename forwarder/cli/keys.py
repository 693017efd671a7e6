"""`nmap-forwarder keys`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from forwarder import pipeline, state
from forwarder.cli import common
from forwarder.errors import Exit, NothingError, UsageError
from forwarder.keyring import history, kept
from forwarder.ledger import Ledger
from forwarder.outcome import Listener, Outcome
from forwarder.seal.canonical import TIME
from forwarder.terminal import complain, say

EPILOG = """\
examples:
  nmap-forwarder keys show
  nmap-forwarder keys rotate                               # to a new key in a file
  nmap-forwarder keys rotate --key-uri awskms:alias/nmap-2
  nmap-forwarder keys revoke --trusted-size 120 --since 2026-11-20T00:00:00.000Z

A change of keys is a batch of the log, signed by the old key and the new one: whoever
has any of the log's keys can verify all of it. The old private key is removed when
the change is in the archive. Rotate before a key is old; revoke one that may have been
in other hands, and give auditors the new key: to them, checkpoints of the old key
beyond the last trusted size (that of a checkpoint pinned or verified before) count
only with a time-stamp, a witness or the bucket's own time from before."""

NO_STATE = "nmap-forwarder init makes one"


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    parser.add_argument("action", choices=["show", "rotate", "revoke"], metavar="ACTION", help="show, rotate or revoke")
    common.setting(parser, "archive", "key.uri", "key.passphrase_file", "lock_wait", *common.S3)
    parser.add_argument(
        "--trusted-size", type=int, metavar="N", help="revoke: largest size of the log that was surely signed by us"
    )
    parser.add_argument(
        "--since", default="", metavar="TIME", help="revoke: when the key may have come into other hands, if known"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    values = common.settings(args)
    if not state.is_made(values["state_dir"]):
        raise NothingError(f"{values['state_dir']}: no state directory", NO_STATE)
    if args.action == "show":
        return _show(values["state_dir"], as_json=args.json)
    revoke = args.action == "revoke"
    if revoke != (args.trusted_size is not None) or (args.since and not revoke):
        raise UsageError(
            "revoke, and only revoke, needs --trusted-size",
            "give the size of the newest checkpoint that is surely ours",
        )
    if revoke and args.trusted_size < 0:
        raise UsageError("--trusted-size must not be negative")
    if args.since and not TIME.fullmatch(args.since):
        raise UsageError("--since is no time", "write it like 2026-11-20T00:00:00.000Z")
    outcome = Outcome()
    with state.opened(values) as opened:
        old = opened.keys.in_force
        new = pipeline.change_key(opened, values, outcome, Listener(said=complain), args.trusted_size, args.since)
        left = kept(opened.directory, old)
    if args.json:
        print(json.dumps({"action": args.action, "old": str(old), "new": str(new), "old_private": left}))
        return outcome.exit_code
    say(f"{'revoked' if revoke else 'replaced'} {old}")
    if not left:
        say("the old private key is removed")
    elif outcome.unanchored:
        say("the old private key is removed when the archive has the change")
    else:
        say(f"the old private key is not ours to remove: destroy it where it is kept ({left})")
    say(f"signing with {new}")
    return outcome.exit_code


def _show(directory: Any, *, as_json: bool) -> Exit:
    ledger = Ledger(directory / "ledger.sqlite")
    try:
        keys = history(directory, ledger)
    finally:
        ledger.close()
    ends: list[int | None] = [begin for begin, _ in keys[1:]]
    facts = [
        {
            "verifier": str(verifier),
            "pem": verifier.pem,
            "first_size": begin,
            "last_size": end,
            "private": kept(directory, verifier),
        }
        for (begin, verifier), end in zip(keys, [*ends, None], strict=True)
    ]
    if as_json:
        print(json.dumps({"origin": keys[0][1].name, "keys": facts}))
        return Exit.OK
    for fact in facts:
        last = fact["last_size"]
        say(str(fact["verifier"]))
        say(f"  signs checkpoints from size {fact['first_size']} {'to ' + str(last) if last else 'on'}")
        say(f"  private half: {fact['private'] or 'removed'}")
        for line in str(fact["pem"]).splitlines():
            say(line)
    return Exit.OK
