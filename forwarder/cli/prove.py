"""`nmap-forwarder prove`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from forwarder import durable, prove, state
from forwarder.archive.place import open_archive
from forwarder.cli import common
from forwarder.errors import Exit, IntegrityError, UsageError
from forwarder.terminal import complain, say
from forwarder.verify.keys import keys_of
from forwarder.verify.proof import check_proof

EPILOG = """\
examples:
  nmap-forwarder prove 3f1c…e9                        # event.id of a document
  nmap-forwarder prove 3f1c…e9 --batch 17 --output -  # its nmap.seal.batch saves the search
  nmap-forwarder verify 3f1c…e9.tlog-proof --key scanner1.vkey

The file holds the record and all that ties it to a signed checkpoint: whoever has
the public key can verify it offline, without the archive."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    parser.add_argument("id", metavar="RECORD-ID", help="event.id of the record, 64 hexadecimal digits")
    common.setting(parser, "archive", *common.S3)
    parser.add_argument("--key", metavar="FILE", help="verifier key of the log; default: this machine's")
    parser.add_argument(
        "--batch", type=int, metavar="N", help="the record's batch (nmap.seal.batch), to search no other"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="where to write; -: standard output; default: RECORD-ID.tlog-proof"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command; it takes no lock, because what is sealed does not change."""
    if not re.fullmatch(r"[0-9a-f]{64}", args.id):
        raise UsageError("RECORD-ID is not 64 hexadecimal digits", "give the event.id of a document")
    if args.batch is not None and args.batch < 0:
        raise UsageError("--batch must not be negative")
    values = common.settings(args)
    if not args.key and not state.is_made(values["state_dir"]):
        raise UsageError("it is not known which log to search", "give --key FILE, the key.vkey of the forwarder")
    key = common.verifier_key(Path(args.key)) if args.key else state.verifier_key(values["state_dir"])
    archive = open_archive(values["archive"], key.name, values)
    proof = prove.prove(archive, args.id, args.batch)
    try:
        proven = check_proof(proof, keys_of(archive, key).all)
    except IntegrityError as error:
        raise IntegrityError(f"the archive does not prove this record: {error}", "run verify") from None
    if args.output == "-":
        sys.stdout.buffer.write(proof)
        return Exit.OK
    file = Path(args.output or f"{args.id}.tlog-proof")
    durable.write(file, proof)
    complain(f"record {proven.index} of batch {proven.manifest.sequence}, proven in a log of {proven.checkpoint.size}")
    if proven.key != key:
        complain(f"who verifies it needs the key {proven.key}")
    say(str(file))
    return Exit.OK
