"""`nmap-forwarder pull`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forwarder import state
from forwarder.archive.place import Bucket, Place, open_archive, origins, place
from forwarder.cli import common
from forwarder.config import Settings
from forwarder.errors import Exit, NothingError, UsageError
from forwarder.pull.answer import Answer
from forwarder.pull.question import Question
from forwarder.pull.run import Source, pull
from forwarder.seal.note import Checkpoint, Verifier
from forwarder.terminal import complain, progress, say
from forwarder.verify.run import locate, read_checkpoint

EPILOG = """\
examples:
  nmap-forwarder pull /mnt/archive --key scanner1.vkey --from 2026-03-01 --until 2026-03-31 --out march
  nmap-forwarder pull s3://seals/nmap --key scanner1.vkey --host 192.0.2.10 --tar host.tar
  nmap-forwarder pull /mnt/archive --key scanner1.vkey --scan 8c1f03d2 --out scan
  nmap-forwarder pull /mnt/archive --key scanner1.vkey --user alice --ticket SEC-1042 --out alice

The answer holds the sealed records (NDJSON, and CSV for reading), the evidence
they were made from, proofs, and VERIFY.md: how to check all of it without any
program of ours. What is asked for together must all be true of a record;
without a question the answer is the whole archive. Times are UTC unless they
name a zone; the last day or second named belongs to the period.

Everything is verified before it is in the answer. Where a log cannot be proven,
nothing is pulled; a damaged batch or evidence is left out and named, and the
exit code is 1. Nothing found is 3. A pull that was stopped goes on when it is
run again, from NAME.part. docs/PULL.md tells more."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.command(commands, "pull", "get records, their evidence and proofs from an archive", EPILOG)
    parser.add_argument(
        "path",
        nargs="?",
        metavar="ARCHIVE",
        help="directory or s3://bucket/prefix of an archive or of one log; default: this machine's",
    )
    common.setting(parser, "archive")
    parser.add_argument(
        "--key", action="append", default=[], metavar="FILE", help="verifier key (key.vkey) of a log; repeatable"
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="a checkpoint known from elsewhere, which the log must contain; repeatable",
    )
    asked = parser.add_argument_group("what is asked for")
    asked.add_argument("--from", dest="earliest", default="", metavar="TIME", help="records from this time on")
    asked.add_argument("--until", dest="latest", default="", metavar="TIME", help="records up to and with this time")
    asked.add_argument("--scan", default="", metavar="ID", help="first 8 or more digits of an nmap.scan.id")
    asked.add_argument("--host", default="", metavar="NAME", help="host's name, address in any notation, or host.id")
    asked.add_argument("--user", default="", metavar="NAME", help="user who scanned, by login, rights, or file")
    asked.add_argument("--ticket", default="", metavar="ID", help="ticket that the scan was done for")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", metavar="DIR", help="directory to make")
    where.add_argument("--tar", metavar="FILE", help="tar file to make")
    parser.add_argument("--json", action="store_true", help="print what was found as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="print findings only")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    values = common.settings(args)
    question = Question.ask(args.earliest, args.latest, args.scan, args.host, args.user, args.ticket)
    answer = Answer(args.path or str(values["archive"]), question)
    sources = list(_sources(_keys(args, values), args, values, answer))
    target = args.out or args.tar

    def bar(label: str, total: int) -> Any:
        return progress(label, total or None, "batches", quiet=args.quiet or args.json)

    pull(sources, answer, Path(target).absolute(), tar=bool(args.tar), progress=bar)
    if args.json:
        made = {"answer": target} if answer.records else {}
        print(json.dumps(answer.as_json() | made))
    else:
        _print(answer, target, quiet=args.quiet)
    if answer.findings:
        return Exit.INTEGRITY
    return Exit.OK if answer.records else Exit.NOTHING


def _keys(args: argparse.Namespace, values: Settings) -> list[Verifier]:
    keys = [common.verifier_key(Path(name)) for name in args.key]
    if not keys and state.is_made(values["state_dir"]):
        keys = [state.verifier_key(values["state_dir"])]
    if not keys:
        raise UsageError("no public key to verify with", "give --key FILE, the key.vkey of the forwarder")
    return keys


def _sources(keys: list[Verifier], args: argparse.Namespace, values: Settings, answer: Answer) -> Iterator[Source]:
    """Yield the logs whose keys were given, and note the others."""
    where, origins = _locate(answer.archive, keys, values)
    by_name = {key.name: key for key in keys}
    if missing := sorted(by_name.keys() - set(origins)):
        there = f"it has {', '.join(origins)}" if origins else "nothing was pulled"
        raise NothingError(f"{answer.archive}: no log {missing[0]} in this archive", there)
    answer.notes += [f"log {name} was not looked at: its key was not given" for name in origins if name not in by_name]
    for name in sorted(by_name):
        pins = [read_checkpoint(Path(file), by_name[name]) for file in args.checkpoint]
        known: list[Checkpoint] = [pin for pin in pins if pin]
        yield Source(open_archive(where, name, values), by_name[name], known)


def _locate(archive: str, keys: list[Verifier], values: Settings) -> tuple[Place, list[str]]:
    """Return an archive and the origins in it, for an archive or for one log of it."""
    try:
        where = place(archive)
    except ValueError as error:
        raise UsageError(f"{archive}: must be {error}") from None
    if isinstance(where, Path):
        return locate(where, keys)
    found = list(origins(where, values))
    for key in keys if found == ["."] else ():  # the key tells how much of the prefix is the origin
        if f"/{where.prefix}".endswith(f"/{key.name}"):
            return Bucket(where.name, where.prefix.removesuffix(key.name).rstrip("/")), [key.name]
    return where, found


def _print(answer: Answer, target: str, *, quiet: bool) -> None:
    for finding in answer.findings:
        say(f"FOUND  {finding}")
    for note in () if quiet else answer.notes:
        complain(note)
    if not answer.records:
        complain("no record is what was asked for" + (", as far as can be read" if answer.findings else ""))
    elif not quiet:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(answer.datasets.items()))
        say(f"{answer.records} records ({counts}) and {answer.evidence} files of evidence in {target}")
        say("VERIFY.md in it tells how to check them without this program")
