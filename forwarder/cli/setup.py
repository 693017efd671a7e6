"""`nmap-forwarder setup`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from forwarder import elastic
from forwarder.cli import common
from forwarder.errors import Exit, UsageError
from forwarder.terminal import say

EPILOG = """\
examples:
  nmap-forwarder setup elasticsearch --print > nmap.json       # for other tools
  nmap-forwarder setup elasticsearch --elasticsearch https://es.example:9200 --api-key-file setup.key
  nmap-forwarder setup elasticsearch --check                   # exit code 2 if something is missing or old

Installs index templates with mappings, lifecycle, the ingest pipeline and the
latest-state transforms; a second time there is nothing to do. What you add in
component templates named …@custom is kept. The key that setup needs may do more
than the one that delivers: --print shows both as roles."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.command(commands, "setup", "install what other systems need", EPILOG)
    parser.add_argument("target", choices=["elasticsearch"], metavar="SYSTEM", help="elasticsearch")
    common.setting(parser, *common.ELASTICSEARCH)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--print", action="store_true", help="print what would be installed as one JSON object")
    what.add_argument("--check", action="store_true", help="install nothing; fail when something is missing or old")
    parser.add_argument("--roles", action="store_true", help="install the roles, too (needs manage_security)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    from forwarder.setup import artifacts  # noqa: PLC0415
    from forwarder.setup.elasticsearch import Installer  # noqa: PLC0415

    values = common.settings(args)
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
