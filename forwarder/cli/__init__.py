"""The command line. One module a command; each calls one room and prints. Only the chosen command's is imported."""

from __future__ import annotations

import argparse
import errno
import signal
import sqlite3
import sys
from importlib import import_module
from typing import NoReturn

from forwarder import __version__
from forwarder.errors import Exit, ForwarderError
from forwarder.terminal import complain, drop_output

COMMANDS = {
    "init": "make a state directory, a signing key and a configuration file",
    "forward": "read nmap XML, seal its records, archive and deliver them",
    "run": "run nmap, and record who ran it, when, how and why",
    "deliver": "deliver sealed records to Elasticsearch",
    "verify": "check that an archive is what was sealed",
    "prove": "write the proof that one record was sealed",
    "pull": "get records, their evidence and proofs from an archive",
    "status": "tell what is waiting, sealed and rejected",
    "diff": "tell what differs between two scans",
    "keys": "show or change the keys that sign the log",
    "rebuild": "make the history of hosts again from the archive",
    "adopt": "go on with a log where its archive ends",
    "setup": "install what other systems need",
    "enroll": "write down every user's nmap on this machine",
    "demo-data": "make months of data to try dashboards and rules with",
}
"""Name of a command, which is its module's with `_` for `-` → what it is for."""
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


def parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the whole command line.

    Args:
        chosen: the command that is given; the others only have a name then. None: all have all that they take.
    """
    root = _Parser(
        prog="nmap-forwarder",
        description="Provable, searchable history of network scans.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"nmap-forwarder {__version__}")
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=purpose,
            description=purpose[0].upper() + purpose[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if chosen in {None, name}:
            import_module(f"forwarder.cli.{name.replace('-', '_')}").add(command)
    return root


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        args = parser(next((word for word in words if not word.startswith("-")), "")).parse_args(words)
        return int(args.run(args))
    except ForwarderError as error:
        complain(str(error))
        return int(error.exit_code)
    except BrokenPipeError:
        drop_output()
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
