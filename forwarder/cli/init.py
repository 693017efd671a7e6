"""`nmap-forwarder init`."""

from __future__ import annotations

import argparse

from forwarder import state
from forwarder.cli import common
from forwarder.errors import Exit
from forwarder.terminal import say

EPILOG = """\
examples:
  nmap-forwarder init
  nmap-forwarder init --state-dir /srv/nmap-forwarder --origin corp/scanner1
  nmap-forwarder init --key-uri awskms:alias/scanner1      # a key in AWS KMS

Copy the verifier key (key.vkey) to whoever is to verify archives. Keep the
signing key (key.pem) where it is: who holds it can sign in this log's name."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    common.setting(parser, "origin", "key.uri", "key.passphrase_file", "lock_wait")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    values = common.settings(args)
    lines = state.init(values)
    for line in lines:
        say(f"made {line}")
    if not lines:
        say(
            f"nothing to do: {values['state_dir']} is there, for the log {state.verifier_key(values['state_dir']).name}"
        )
    return Exit.OK
