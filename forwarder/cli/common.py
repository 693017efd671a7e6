"""Flags that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from forwarder.config import Settings
from forwarder.config.keys import BY_NAME
from forwarder.errors import UsageError
from forwarder.seal.note import NoteError, Verifier
from forwarder.terminal import complain

FLAGS = {
    "state_dir": "DIR",
    "archive": "PLACE",
    "origin": "NAME",
    "key.uri": "URI",
    "key.passphrase_file": "FILE",
    "lock_wait": "SECONDS",
    "intake.settle": "SECONDS",
    "observer.name": "NAME",
    "scan.vantage": "NAME",
    "records.ports": "WHICH",
    "privacy.evidence": "RULE",
    "s3.mode": "MODE",
    "s3.retention_days": "DAYS",
    "s3.endpoint": "URL",
    "s3.profile": "NAME",
    "elasticsearch.url": "URL",
    "elasticsearch.api_key_file": "FILE",
    "elasticsearch.user": "NAME",
    "elasticsearch.password_file": "FILE",
    "elasticsearch.ca_file": "FILE",
    "elasticsearch.fingerprint": "SHA256",
    "kibana.url": "URL",
    "kibana.space": "NAME",
    "kibana.api_key_file": "FILE",
    "kibana.ca_file": "FILE",
}
"""Setting → what its flag takes. The flag is the key's last part; `scan.vantage` is --vantage."""
NAMED: Final = {
    "key.uri": "key-uri",
    "observer.name": "observer",
    "elasticsearch.url": "elasticsearch",
    "kibana.url": "kibana",
    "kibana.api_key_file": "kibana-key-file",
    "kibana.ca_file": "kibana-ca-file",
    "s3.mode": "lock-mode",
    "s3.retention_days": "lock-days",
    "s3.endpoint": "s3-endpoint",
    "s3.profile": "s3-profile",
}
"""Setting → its flag, where that is not the last part."""
S3: Final = tuple(name for name in FLAGS if name.startswith("s3."))
KIBANA: Final = tuple(name for name in FLAGS if name.startswith("kibana."))
ELASTICSEARCH: Final = tuple(name for name in FLAGS if name.startswith("elasticsearch."))


def command(parser: argparse.ArgumentParser, epilog: str) -> None:
    """Add what every command has: flags, and what its help ends with."""
    parser.epilog = epilog
    parser.add_argument("--config", metavar="FILE", help="configuration file (NMAP_FORWARDER_CONFIG)")
    setting(parser, "state_dir")


def setting(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add the flags of settings."""
    for name in names:
        key = BY_NAME[name]
        flag = NAMED.get(name, name.rpartition(".")[2].replace("_", "-"))
        parser.add_argument(
            f"--{flag}",
            dest=key.attribute,
            metavar=FLAGS[name],
            help=f"{key.help.replace('%', '%%')} ({key.variable})",
        )


def settings(args: argparse.Namespace) -> Settings:
    """Return the settings of a run.

    Raises:
        UsageError: one of them is wrong.
    """
    return Settings(vars(args), args.config)


def known(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where an archive is and what is known of its logs."""
    setting(parser, "archive")
    parser.add_argument(
        "--key", action="append", default=[], metavar="FILE", help="verifier key (key.vkey) of a log; repeatable"
    )
    checkpoints(parser)


def checkpoints(parser: argparse.ArgumentParser) -> None:
    """Add the flag for checkpoints that somebody else kept."""
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="a checkpoint known from elsewhere, which the log must contain; repeatable",
    )


def verifier_key(file: Path) -> Verifier:
    """Read a verifier key.

    Raises:
        UsageError: it cannot be read, or is none.
    """
    try:
        return Verifier.parse(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except (NoteError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from None


def count(text: str) -> int:
    """Return a number of hours, days or processes that a flag was given.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdigit() or len(text) > 6:  # noqa: PLR2004 - a century in hours
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def made(values: Settings) -> None:
    """Make the state directory if `init` has not been here, and say so."""
    from forwarder import state  # noqa: PLC0415 - not every command has to do with it

    if not state.is_made(values["state_dir"]):
        for line in state.init(values):
            complain(f"made {line}")
