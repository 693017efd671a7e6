"""`nmap-forwarder pull`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from forwarder import state
from forwarder.archive.place import Bucket, place
from forwarder.cli import common
from forwarder.config import Settings
from forwarder.errors import Exit, NothingError, UsageError
from forwarder.pull.answer import Answer
from forwarder.pull.question import Question
from forwarder.pull.run import Source, pull
from forwarder.seal.note import Verifier
from forwarder.terminal import complain, progress, say
from forwarder.verify.keys import keys_of
from forwarder.verify.policy import Policy
from forwarder.verify.run import locate, originals, read_checkpoint

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


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    parser.add_argument(
        "path",
        nargs="?",
        metavar="ARCHIVE",
        help="directory or s3://bucket/prefix of an archive or of one log; default: this machine's",
    )
    common.known(parser)
    asked = parser.add_argument_group("what is asked for")
    asked.add_argument("--from", dest="earliest", default="", metavar="TIME", help="records from this time on")
    asked.add_argument("--until", dest="latest", default="", metavar="TIME", help="records up to and with this time")
    asked.add_argument("--scan", default="", metavar="ID", help="first 8 or more digits of an nmap.scan.id")
    asked.add_argument("--host", default="", metavar="NAME", help="host's name, address in any notation, or host.id")
    asked.add_argument("--user", default="", metavar="NAME", help="user who scanned, by login, rights, or file")
    asked.add_argument("--ticket", default="", metavar="ID", help="ticket that the scan was done for")
    parser.add_argument(
        "--retention-days",
        type=common.count,
        metavar="DAYS",
        dest="kept_days",
        help="for how long batches are kept; in a bucket by default s3.retention_days, elsewhere for ever",
    )
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
    try:
        asked = place(answer.archive)
    except ValueError as error:
        raise UsageError(f"{answer.archive} is not {error}") from None
    where, origins = locate(asked, keys, values)
    by_name = {key.name: key for key in keys}
    if missing := sorted(by_name.keys() - set(origins)):
        raise NothingError(f"{asked}: no log {missing[0]} in this archive", f"it has {', '.join(origins)}")
    answer.notes += [f"log {name} was not looked at: its key was not given" for name in origins if name not in by_name]
    days = values["s3.retention_days"] if isinstance(where, Bucket) else 0
    policy = Policy(timedelta(days=days if args.kept_days is None else args.kept_days))
    for name in sorted(by_name):
        opener, survey = originals(where, name, values)
        if survey and survey.firsts:
            answer.notes.append(
                f"{name}: {len(survey.firsts) + survey.more} objects are hidden by delete markers or have later"
                " versions; their first versions were read, and verify tells which they are"
            )
        archive = opener()
        of = keys_of(archive, by_name[name])
        pins = (read_checkpoint(Path(file), of) for file in args.checkpoint)
        yield Source(archive, by_name[name], policy, [pin for pin in pins if pin])


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
