"""The command line. One module a command; each calls one room and prints."""

from __future__ import annotations

import argparse
import errno
import signal
import sqlite3
import sys
from typing import NoReturn

from forwarder import __version__
from forwarder.cli import (
    adopt,
    common,
    deliver,
    demo,
    diff,
    enroll,
    forward,
    init,
    keys,
    prove,
    pull,
    rebuild,
    run,
    setup,
    status,
    verify,
)
from forwarder.errors import Exit, ForwarderError
from forwarder.terminal import complain

EPILOG = """\
exit codes: 0 fine, 1 integrity failure, 2 usage or configuration, 3 nothing to do,
65 finished but some input was rejected, 75 temporary failure: run it again.
`diff` has those of diff: 0 the same, 1 different, 2 trouble. `run` has those of the
program that it runs, and 77 for what the policy refuses.

Every setting has an environment variable and a key in the configuration file;
`nmap-forwarder init` writes one that explains them all."""
FULL = {errno.ENOSPC, errno.EDQUOT}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        complain(f"{message}; see {self.prog} --help")
        sys.exit(Exit.USAGE)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    root = _Parser(
        prog="nmap-forwarder",
        description="Provable, searchable history of network scans.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"nmap-forwarder {__version__}")
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    every = (init, forward, run, deliver, verify, prove, pull, status, diff, keys, rebuild, adopt, setup, enroll, demo)
    for command in every:
        command.add(commands)
    return root


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    args = parser().parse_args(arguments)
    try:
        return int(args.run(args))
    except ForwarderError as error:
        complain(str(error))
        return int(error.exit_code)
    except BrokenPipeError:
        common.drop_output()
        return int(Exit.OK)
    except KeyboardInterrupt:
        complain("interrupted; run it again to go on, nothing is lost")
        return 128 + signal.SIGINT
    except (OSError, sqlite3.OperationalError) as error:
        return _outside(error)


def _outside(error: OSError | sqlite3.OperationalError) -> int:
    """Say what the operating system would not do."""
    full = getattr(error, "errno", None) in FULL or "disk is full" in str(error)
    if full:
        where = getattr(error, "filename", None) or "disk of the state directory or the archive"
        complain(f"{where}: no space left: free some and run it again, nothing is lost")
        return int(Exit.TEMPORARY)
    if isinstance(error, OSError) and error.filename:
        complain(f"{error.filename}: {error.strerror}")
        return int(Exit.TEMPORARY if error.errno in {errno.EIO, errno.EROFS, errno.EMFILE} else Exit.USAGE)
    complain(f"{error}: run it again, nothing is lost")
    return int(Exit.TEMPORARY)
