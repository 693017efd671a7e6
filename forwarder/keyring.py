"""The signing keys of a state directory: the first, which names the log, and those that took over from it.

`key.vkey` is the first key's public half; whoever has it can verify the log across all changes of keys, so it stays.
A private half is `key.pem`, or `key.uri` where it is kept elsewhere; later keys are in `keys/`, named by their hash.
Which key signs at which size, the ledger knows from the moment at which the batch that says so is promised.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from forwarder import durable
from forwarder.config import Settings
from forwarder.errors import UsageError
from forwarder.keys.choose import open_key
from forwarder.keys.interface import Key
from forwarder.ledger import Ledger
from forwarder.seal.note import NoteError, Verifier

FIRST: Final = "key"
VERIFIER: Final = ".vkey"
PRIVATE: Final = ".pem"
URI: Final = ".uri"
LATER: Final = "keys"
"""Directory of the keys that came after the first."""
NEXT: Final = "next"
"""Name there of a key that may not be promised yet."""


class Keyring:
    """The keys of one log.

    Args:
        directory: the state directory.
        ledger: knows the changes of keys.
        passphrase: of key files that are encrypted.

    Raises:
        FileNotFoundError: there is no key.
        UsageError: its public half cannot be read.
    """

    def __init__(self, directory: Path, ledger: Ledger, passphrase: str) -> None:
        self._directory, self._ledger, self._passphrase = directory, ledger, passphrase
        self.first = read_verifier(directory / (FIRST + VERIFIER))
        self._loaded: dict[Verifier, Key] = {}

    def check(self) -> None:
        """See that the key in force can be used.

        Raises:
            UsageError: it cannot.
            TemporaryError: it cannot be reached.
        """
        self._load(self.in_force)

    def of(self, ledger: Ledger) -> Keyring:
        """Return the same keys as another ledger knows them."""
        return Keyring(self._directory, ledger, self._passphrase)

    @property
    def history(self) -> list[tuple[int, Verifier]]:
        """(first size whose checkpoint it signs, key) of all keys, in order."""
        return history(self._directory, self._ledger)

    @property
    def in_force(self) -> Verifier:
        """The key that signs the next checkpoint."""
        return self.history[-1][1]

    def signers(self, size: int) -> Sequence[Key]:
        """Return the keys that sign the checkpoint of a size: one; at a change of keys the old one and the new one.

        Raises:
            UsageError: one of them cannot be used.
        """
        keys = self.history
        here = max(place for place, (begin, _) in enumerate(keys) if begin <= size)
        changes = here and keys[here][0] == size
        return [self._load(verifier) for _, verifier in keys[here - 1 if changes else here : here + 1]]

    def prepare(self, uri: str) -> Verifier:
        """Make the next key, or look up the one that a URI names, durably; nothing is signed with it yet.

        Raises:
            UsageError: the URI's key cannot be used, or was the log's before.
        """
        if uri:
            key = open_key(uri, self.first.name, self._passphrase)
        else:
            from forwarder.keys.file import FileKey, generate  # noqa: PLC0415 - keys are made rarely

            pem, _ = generate(self._passphrase)
            key = FileKey.from_pem(pem, self.first.name, self._passphrase)
        verifier = key.verifier
        if any(verifier == known for _, known in self.history):
            raise UsageError(f"{uri} is a key that this log has or had", "name another by --key-uri")
        path = self._directory / LATER / NEXT
        durable.make_directory(path.parent, 0o700)
        for suffix in (VERIFIER, PRIVATE, URI):  # of a change that was stopped before it was promised
            path.with_suffix(suffix).unlink(missing_ok=True)
        if uri:
            durable.write(path.with_suffix(URI), f"{uri}\n".encode())
        else:
            durable.write(path.with_suffix(PRIVATE), pem, mode=0o600)
        durable.write(path.with_suffix(VERIFIER), f"{verifier}\n".encode())
        self._loaded[verifier] = key
        return verifier

    def tidy(self, anchored: int) -> None:
        """Give a promised key its own name, and remove private halves that sign nothing more.

        A key that the ledger does not know is left alone: the ledger may be an old or a new one.

        Args:
            anchored: number of batches that are in the archive.
        """
        keys = self.history
        upcoming, own = self._directory / LATER / NEXT, stem(self._directory, self.in_force)
        if len(keys) > 1 and files(self._directory, self.in_force) == upcoming:
            for suffix in (PRIVATE, URI, VERIFIER):  # the last tells that all are there
                if upcoming.with_suffix(suffix).exists():
                    durable.commit(upcoming.with_suffix(suffix), own.with_suffix(suffix))
        for (_, verifier), (end, _) in itertools.pairwise(keys):
            if end <= anchored:
                stem(self._directory, verifier).with_suffix(PRIVATE).unlink(missing_ok=True)

    def _load(self, verifier: Verifier) -> Key:
        if verifier not in self._loaded:
            where = kept(self._directory, verifier)
            if not where:
                raise UsageError(f"the private half of the key {verifier} is not in {self._directory}")
            key = open_key(where, verifier.name, self._passphrase)
            if key.verifier != verifier:
                raise UsageError(f"{where} is not the key {verifier}", "it was exchanged for another")
            self._loaded[verifier] = key
        return self._loaded[verifier]


def history(directory: Path, ledger: Ledger) -> list[tuple[int, Verifier]]:
    """Return (first size whose checkpoint it signs, key) of all keys of a state directory, in order."""
    later = [(sequence + 1, Verifier.parse(text)) for sequence, text in ledger.log_keys()]
    return [(1, read_verifier(directory / (FIRST + VERIFIER))), *later]


def kept(directory: Path, verifier: Verifier) -> str:
    """Return the URI of a key's private half; empty when it is gone."""
    own, path = stem(directory, verifier), files(directory, verifier)
    if own.with_suffix(PRIVATE).exists() or own.with_suffix(URI).exists():
        path = own
    if path.with_suffix(URI).exists():
        return path.with_suffix(URI).read_text(encoding="utf-8").strip()
    return f"file:{path.with_suffix(PRIVATE).absolute()}" if path.with_suffix(PRIVATE).exists() else ""


def files(directory: Path, verifier: Verifier) -> Path:
    """Return the files of a key as they are named now, without their suffix."""
    own, upcoming = stem(directory, verifier), directory / LATER / NEXT
    vkey = upcoming.with_suffix(VERIFIER)
    waits = not own.with_suffix(VERIFIER).exists() and vkey.exists() and read_verifier(vkey) == verifier
    return upcoming if waits else own


def stem(directory: Path, verifier: Verifier) -> Path:
    """Return the files of a key, without their suffix."""
    if verifier == read_verifier(directory / (FIRST + VERIFIER)):
        return directory / FIRST
    return directory / LATER / sha256(str(verifier).encode()).hexdigest()[:16]


def make_first(directory: Path, settings: Settings, default_name: str) -> Verifier:
    """Make or look up the key that a log begins with; its public half comes last, so that a crash begins anew.

    Args:
        directory: the state directory.
        settings: origin, and the key's URI and passphrase.
        default_name: the log's name without `-` and the hash of the key, where no origin is set.

    Raises:
        UsageError: the key that is named cannot be used.
    """
    path = directory / FIRST
    for suffix in (PRIVATE, URI):  # of a beginning that was stopped
        path.with_suffix(suffix).unlink(missing_ok=True)
    if settings["key.uri"]:
        public = open_key(settings["key.uri"], "any", settings.secret("key.passphrase")).verifier.public
        durable.write(path.with_suffix(URI), f"{settings['key.uri']}\n".encode())
    else:
        from forwarder.keys.file import generate  # noqa: PLC0415 - keys are made rarely

        pem, public = generate(settings.secret("key.passphrase"))
        durable.write(path.with_suffix(PRIVATE), pem, mode=0o600)
    # cloned machines cannot meet in one log, because the key's hash is in its name
    verifier = Verifier(settings["origin"] or f"{default_name}-{sha256(public).hexdigest()[:8]}", public)
    durable.write(path.with_suffix(VERIFIER), f"{verifier}\n".encode())
    return verifier


def read_verifier(path: Path) -> Verifier:
    """Return the public key in a file.

    Raises:
        FileNotFoundError: there is none.
        UsageError: it is no verifier key.
    """
    try:
        return Verifier.parse(path.read_text(encoding="ascii", errors="replace"))
    except NoteError as error:
        raise UsageError(f"{path}: {error}") from None
