"""The state directory: key, ledger, spool, outbox; made once, opened by every command that changes it."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from forwarder import config, durable
from forwarder.archive.interface import Archive
from forwarder.archive.place import open_archive
from forwarder.errors import UsageError
from forwarder.keyring import FIRST, VERIFIER, Keyring, make_first, read_verifier
from forwarder.ledger import Ledger, locked
from forwarder.seal.note import Verifier

VERIFIER_KEY = FIRST + VERIFIER
"""The public half of the log's first key."""
REMEMBERED = "remembered"
"""Directory of the newest checkpoints that were verified, by origin."""


@dataclass(frozen=True, slots=True)
class State:
    """An open state directory. Everything in it belongs to one log."""

    directory: Path
    keys: Keyring
    ledger: Ledger
    archive: Archive

    @property
    def origin(self) -> str:
        """Name of the log and of its keys."""
        return self.keys.first.name

    @property
    def agent_id(self) -> str:
        """What tells this forwarder from others: a hash of its first public key and name."""
        return sha256(str(self.keys.first).encode()).hexdigest()[:16]

    @property
    def spool(self) -> Path:
        """Copies of inputs, until all of their records are sealed and their evidence is in the archive."""
        return self.directory / "spool"

    @property
    def outbox(self) -> Path:
        """Sealed objects, until they are in the archive: a directory a batch, named by its sequence."""
        return self.directory / "outbox"

    @property
    def stamps(self) -> Path:
        """Time-stamps, until they are in the archive; below it by their keys there."""
        return self.directory / "stamps"


def init(settings: config.Settings) -> list[str]:
    """Make the state directory, the key and a configuration file, each where it is not there yet.

    Returns:
        What was made, a line each; empty when everything was there.

    Raises:
        OSError: the state directory cannot be written.
    """
    made = []
    directory: Path = settings["state_dir"]
    if not directory.is_dir():
        durable.make_directory(directory, 0o700)
        made.append(f"state directory {directory}")
    with locked(directory, settings["lock_wait"]):
        for name in ("spool", "outbox"):
            durable.make_directory(directory / name, 0o700)
        if not (directory / VERIFIER_KEY).exists():
            made.append(_make_key(directory, settings))
        Ledger(directory / "ledger.sqlite").close()
    if not settings.file.exists():
        try:
            durable.write(settings.file, config.sample().encode())
            made.append(f"configuration {settings.file}")
        except OSError as error:
            made.append(f"no configuration file: {settings.file}: {error.strerror}")
    return made


def _make_key(directory: Path, settings: config.Settings) -> str:
    host = re.sub(r"[^a-z0-9._-]+", "-", socket.gethostname().lower()).strip("-.") or "host"
    make_first(directory, settings, host)
    where = settings["key.uri"] or directory / "key.pem"
    return f"signing key {where}; verifiers need {directory / VERIFIER_KEY}"


def verifier_key(directory: Path) -> Verifier:
    """Return the public half of a state directory's first key, which names the log.

    Raises:
        FileNotFoundError: it has none.
        UsageError: the file is no verifier key.
    """
    return read_verifier(directory / VERIFIER_KEY)


@contextmanager
def opened(settings: config.Settings) -> Iterator[State]:
    """Open the state directory for one process.

    Raises:
        TemporaryError: another process uses it.
        UsageError: it is not what `init` makes, or the configured origin is not its log's.
    """
    directory: Path = settings["state_dir"]
    with locked(directory, settings["lock_wait"]):
        verifier = verifier_key(directory)
        if settings["origin"] not in {"", verifier.name}:
            raise UsageError(
                f"origin is {settings['origin']}, but the key in {directory} was made for {verifier.name}",
                "remove the setting, or give the new log a state directory of its own",
            )
        ledger = Ledger(directory / "ledger.sqlite")
        try:
            keys = Keyring(directory, ledger, settings.secret("key.passphrase"))
            yield State(directory, keys, ledger, open_archive(settings["archive"], verifier.name, settings))
        finally:
            ledger.close()


def remembered(directory: Path, origin: str) -> Path:
    """Return where the newest verified checkpoint of a log is remembered."""
    return directory / REMEMBERED / origin / "checkpoint"


def is_made(directory: Path) -> bool:
    """Tell whether `init` has been here."""
    return os.access(directory / VERIFIER_KEY, os.F_OK)
