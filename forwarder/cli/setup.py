"""`nmap-forwarder setup`."""

from __future__ import annotations

import argparse
import json
from urllib.parse import urlsplit

from forwarder import elastic, state
from forwarder.archive.place import Bucket
from forwarder.cli import common
from forwarder.config import Settings
from forwarder.errors import Exit, UsageError
from forwarder.terminal import say

EPILOG = """\
examples:
  nmap-forwarder setup elasticsearch --print > nmap.json       # for other tools
  nmap-forwarder setup elasticsearch --elasticsearch https://es.example:9200 --api-key-file setup.key
  nmap-forwarder setup elasticsearch --check                   # exit code 2 if something is missing or old
  nmap-forwarder setup s3 --archive s3://scans/nmap            # make the bucket, with Object Lock and a policy
  nmap-forwarder setup s3 --archive s3://scans/nmap --print    # policies: bucket, forwarder, read-only auditor
  nmap-forwarder setup kibana --kibana https://kibana.example:5601 --kibana-key-file kibana.key --dry-run

Installs index templates with mappings, lifecycle, the ingest pipeline and the
latest-state transforms; a second time there is nothing to do. What you add in
component templates named …@custom is kept. The key that setup needs may do more
than the one that delivers: --print shows both as roles.

A bucket that is there is not changed: it must keep versions and have Object Lock.
Who may make a bucket should not be who forwards: --print shows the least for each.

Kibana gets the dashboards and detection rules. What a person changed there since is
left as it is and named, unless --overwrite says otherwise; whether a rule is enabled,
its exceptions and actions are kept in any case."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    parser.add_argument(
        "target", choices=["elasticsearch", "kibana", "s3"], metavar="SYSTEM", help="elasticsearch, kibana or s3"
    )
    common.setting(parser, "archive", *common.S3, *common.ELASTICSEARCH, *common.KIBANA)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--print", action="store_true", help="print what would be installed as one JSON object")
    what.add_argument("--check", action="store_true", help="install nothing; fail when something is missing or old")
    what.add_argument("--dry-run", action="store_true", help="kibana: only say what would be installed")
    parser.add_argument("--overwrite", action="store_true", help="kibana: replace what a person changed, too")
    parser.add_argument("--roles", action="store_true", help="install the roles, too (needs manage_security)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    values = common.settings(args)
    if args.target != "kibana" and (args.dry_run or args.overwrite):
        raise UsageError("--dry-run and --overwrite are for kibana", "--check and --print change nothing either")
    return {"s3": _s3, "kibana": _kibana, "elasticsearch": _elasticsearch}[args.target](args, values)


def _s3(args: argparse.Namespace, values: Settings) -> Exit:
    bucket = values["archive"]
    if not isinstance(bucket, Bucket):
        raise UsageError(f"{bucket} is no archive in S3", "give --archive s3://bucket/prefix")
    from forwarder.archive import s3_client  # noqa: PLC0415
    from forwarder.archive.s3 import Locking  # noqa: PLC0415
    from forwarder.setup import s3  # noqa: PLC0415

    locking = Locking.of(values)
    if args.print:
        directory = values["state_dir"]
        origin = state.verifier_key(directory).name if state.is_made(directory) else values["origin"]
        print(json.dumps(s3.policies(bucket, locking, origin), indent=2))
        return Exit.OK
    client = s3_client.connect(values, bucket)
    if args.check:
        s3.check(client, bucket, locking)
    else:
        s3.make(client, bucket, locking, values["s3.region"], say)
    say(f"{bucket}: objects will be locked for {locking.days} days ({locking.mode.lower()})")
    if locking.kms_key:
        say(f"{bucket}: whoever deletes the KMS key {locking.kms_key} destroys the evidence, whatever the lock says")
    return Exit.OK


def _elasticsearch(args: argparse.Namespace, values: Settings) -> Exit:
    from forwarder.setup import artifacts  # noqa: PLC0415
    from forwarder.setup.elasticsearch import Installer  # noqa: PLC0415

    wanted = artifacts.artifacts(values["elasticsearch.retention_days"])
    if args.print or args.roles:
        wanted += artifacts.roles()
    if args.print:
        print(json.dumps({artifact.path: artifact.body for artifact in wanted}, indent=2))
        return Exit.OK
    if not elastic.configured(values):
        raise UsageError("no Elasticsearch to set up", "give --elasticsearch URL, or set elasticsearch.url")
    where = elastic.place(values)
    client = elastic.connect(values)
    elastic.check(client, where)
    installer = Installer(client, where, say)
    if args.check:
        problems = installer.check(wanted)
        for line in problems:
            say(line)
        say(f"{where}: {len(problems)} problems" if problems else f"{where}: all of it is there")
        return Exit.USAGE if problems else Exit.OK
    count = installer.install(wanted)
    say(f"{where}: {count} of {len(wanted)} installed, the others were as they should be")
    return Exit.OK


def _kibana(args: argparse.Namespace, values: Settings) -> Exit:
    try:
        from forwarder.setup import kibana  # noqa: PLC0415
        from forwarder.setup.kibana_api import Kibana  # noqa: PLC0415
    except ImportError:
        raise UsageError("setting up Kibana needs requests", "pip install 'nmap-forwarder[kibana]'") from None

    if args.print:
        for line in kibana.lines():
            print(line)
        return Exit.OK
    if not values["kibana.url"]:
        raise UsageError("no Kibana to set up", "give --kibana URL, or set kibana.url")
    space = Kibana(values)
    space.check()
    wanted, dry = kibana.things(values["kibana.space"], urlsplit(space.place).path), args.dry_run or args.check
    installer = kibana.Installer(space, values["state_dir"], say)
    count = installer.install(wanted, overwrite=args.overwrite, dry=dry)
    say(f"{space.place}: {count} of {len(wanted)} {'would be ' if dry else ''}installed")
    return Exit.USAGE if args.check and count else Exit.OK
