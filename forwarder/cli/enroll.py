"""`nmap-forwarder enroll`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from forwarder.audit import TOOLS
from forwarder.cli import common
from forwarder.errors import Exit, UsageError
from forwarder.terminal import say

EPILOG = """\
examples:
  nmap-forwarder enroll --dry-run              # print every change, and make none
  sudo nmap-forwarder enroll                   # write down every user's nmap from now on
  sudo nmap-forwarder enroll --tools ncat,masscan    # have auditd watch these, too
  sudo nmap-forwarder enroll --undo            # remove what was installed, and nothing else
  nmap-forwarder enroll --root ./image         # into the root of an image that is being built

Installs a shim in /usr/local/bin in front of nmap, a receiver that keeps what it says
where only root reads it (and a drop box for when nobody receives), audit rules, and
systemd units that seal what comes. nmap behaves as before; if this program is broken
or gone, the shim runs nmap alone. What is there and not from us is never changed; what
was changed since is left."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    parser.add_argument("--dry-run", action="store_true", help="print every change and command, and do nothing")
    parser.add_argument("--undo", action="store_true", help="remove what was installed")
    parser.add_argument(
        "--tools",
        type=_tools,
        default=[],
        metavar="NAMES",
        help=f"programs that the audit rules are for beside nmap: {', '.join(TOOLS[1:])}",
    )
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="root of an image, instead of /")
    parser.add_argument("--python", default="", metavar="FILE", help="interpreter of the shim; by default this one")
    parser.set_defaults(run=run)


def _tools(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in TOOLS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(TOOLS)}")
    return names


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    from forwarder.setup import enroll  # noqa: PLC0415 - `forward` has no use for it
    from forwarder.setup.installed import Installed  # noqa: PLC0415

    root = args.root.resolve()
    here = root == Path("/")
    if os.geteuid() != 0 and not args.dry_run:
        raise UsageError(
            "only root may install for all users", "run it with sudo, or see what it would do by --dry-run"
        )
    if not root.is_dir():
        raise UsageError(f"{args.root}: is no directory")
    os.umask(0o022)
    installed = Installed(root, say, dry=args.dry_run)
    fine, ran = True, here and not args.undo and not args.dry_run and enroll.receives()
    if args.undo:
        if here:
            enroll.before(say, dry=args.dry_run)
        installed.undo()
    else:
        items = list(enroll.items(root, args.tools, args.python))
        for tool in [tool for tool in args.tools if not enroll.real(root, tool)]:
            say(f"{tool} is not installed: no audit rules for it")
        if here:
            fine = enroll.compile_wrapper(say, args.python, dry=args.dry_run)
        installed.install(items)
    if here:
        fine &= enroll.after(say, dry=args.dry_run, undone=args.undo)
        if ran and fine:
            say(f"restarted {enroll.RECEIVER}.service: what ran may have been older than what is installed")
        for line in () if args.undo else enroll.cautions():
            say(line)
    if not installed.changed and not ran:
        say("nothing to do")
    return Exit.OK if fine else Exit.TEMPORARY
