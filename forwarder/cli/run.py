"""`nmap-forwarder run`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from forwarder.cli import common
from forwarder.config import Settings
from forwarder.errors import ForwarderError, UsageError
from forwarder.terminal import complain
from forwarder.wrap import CONFIG, REASON, SOCKET, SPOOL, TICKET, sudo
from forwarder.wrap.recorder import Request
from forwarder.wrap.run import REFUSED, Result, finish, run

EPILOG = f"""\
examples:
  nmap-forwarder run -- nmap -sS -p- 192.0.2.0/24
  nmap-forwarder run --reason 'monthly inventory' --ticket CHG-1234 -- nmap -A -oA march 192.0.2.0/24
  nmap-forwarder run -- sudo nmap -sU 192.0.2.1
  sudo nmap-forwarder run -- nmap -O 192.0.2.1
  nmap-forwarder run nmap -sV 192.0.2.1        # without -- as well

nmap has the terminal, its keys and the signals as without this, and its exit code is
this command's. What it may not do by the policy is not run: exit code {REFUSED}. When
something of ours fails, nmap runs all the same, and standard error says so in a line.
Where the wrapper of `enroll` is installed, NMAP_FORWARDER_REASON and
NMAP_FORWARDER_TICKET say why for scripts that call nmap."""
OWN_SPOOL = "runs"
"""Directory in the state directory for what `run` writes down where the machine has no spool."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    common.command(parser, EPILOG)
    parser.usage = "%(prog)s [--reason TEXT] [--ticket ID] [--config FILE] [--state-dir DIR] -- nmap ARGS..."
    parser.add_argument("--reason", default="", metavar="TEXT", help="why (NMAP_FORWARDER_REASON)")
    parser.add_argument("--ticket", default="", metavar="ID", help="ticket it belongs to (NMAP_FORWARDER_TICKET)")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="nmap ARGS...", help="what to run, as in a shell")
    parser.set_defaults(run=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; its exit code is the tool's.

    Raises:
        UsageError: it is not told what to run, or that is not there.
    """
    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    at = sudo.tool_at(words)
    if at < 0:
        raise UsageError("nothing to run", "nmap-forwarder run -- nmap ARGS...")
    tool = _tool(words[0])
    values, trouble = _settings(args)
    spool, own = _spool(values)
    machine = os.geteuid() != 0 and os.access(CONFIG, os.F_OK)  # its policy is not for users to change
    request = Request(
        tool=tool,
        argv=words,
        at=at,
        source="run",
        spool=spool,
        receiver=SOCKET if spool == SPOOL else "",
        config=CONFIG if machine else str(values.file) if values else "",
        reason=args.reason or os.environ.get(REASON, ""),
        ticket=args.ticket or os.environ.get(TICKET, ""),
        environment={} if machine else os.environ,
    )
    result = run(request)
    if trouble:
        result.failures.append(trouble)
    if values and result.entry:
        _forward(args, values, result, spool if own else "")
    return finish(result, "run")


def _settings(args: argparse.Namespace) -> tuple[Settings | None, str]:
    """Return the settings; where they cannot be used, nothing and why: nmap runs without them."""
    try:
        return common.settings(args), ""
    except ForwarderError as error:
        return None, str(error)


def _tool(name: str) -> str:
    """Return the path of the program that is run.

    Raises:
        UsageError: it is not there.
    """
    if path := sudo.found(name):
        return path
    raise UsageError(f"{name}: no such program", "install it, or name its path")


def _spool(values: Settings | None) -> tuple[str, bool]:
    """Return where to write entries, and whether that is the user's own place: where the machine has no spool."""
    wanted = (values.get("audit.spool") if values else None) or SPOOL
    if os.access(wanted, os.W_OK | os.X_OK) or values is None:
        return str(wanted), False
    own: Path = values["state_dir"] / OWN_SPOOL
    try:
        if not own.is_dir():
            common.made(values)
            own.mkdir(mode=0o700, exist_ok=True)
    except (OSError, ForwarderError):
        return str(wanted), False
    return str(own), True


def _forward(args: argparse.Namespace, values: Settings, result: Result, own_spool: str) -> None:
    """Hand the result to the pipeline, if this user has a state directory; say what fails, and leave it for later."""
    from forwarder import state  # noqa: PLC0415 - nmap does not wait for what comes after it

    assert result.entry is not None
    if not state.is_made(values["state_dir"]) or not os.access(values["state_dir"], os.W_OK):
        return
    from forwarder import pipeline  # noqa: PLC0415
    from forwarder.outcome import Listener  # noqa: PLC0415

    args.intake_settle = 0  # nmap has ended: what has no end by now will have none
    args.audit_spool = own_spool or None
    try:
        settings = common.settings(args)
        with state.opened(settings) as opened:
            pipeline.forward(opened, settings, _inputs(settings, result), Listener(said=complain))
    except (ForwarderError, OSError) as error:
        result.failures.append(f"forwarding: {error}")


def _inputs(settings: Settings, result: Result) -> list[str]:
    """Return what the pipeline is to read: of a spool that it reads itself, nothing more."""
    assert result.entry is not None
    xml = result.entry.path("xml")
    return [] if os.access(settings["audit.spool"] or SPOOL, os.R_OK) or not os.access(xml, os.F_OK) else [xml]
