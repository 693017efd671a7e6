"""What third parties say of a log: time-stamps and cosignatures over its checkpoints, which lie beside these."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forwarder.archive.interface import Archive
from forwarder.errors import UsageError
from forwarder.seal import token
from forwarder.seal.cosignature import Witness
from forwarder.seal.manifest import checkpoint_name, digest, timestamp
from forwarder.seal.note import NoteError, signatures, split_note
from forwarder.verify.keys import Keys
from forwarder.verify.verdict import LogVerdict

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

NAME: Final = re.compile(r"(timestamps|cosignatures)/(\d{20})/([0-9a-f]{64})(\.tsr)?")
LIMIT: Final = 1 << 16
"""Longest checkpoint, time-stamp or set of cosignatures that is read, in bytes."""


def size_in(key: str) -> int:
    """Return the size of the log that an object speaks of; 0 if it is neither time-stamp nor cosignatures."""
    match = NAME.fullmatch(key)
    return int(match[2]) if match and bool(match[4]) == (match[1] == "timestamps") else 0


@dataclass(frozen=True, slots=True)
class ThirdParties:
    """Whose word counts."""

    authorities: Sequence[Certificate] = ()
    """Certificates that time-stamps must lead to."""
    witnesses: Sequence[Witness] = ()


@dataclass(frozen=True, slots=True)
class Word:
    """Somebody else has seen the log at a size."""

    size: int
    time: datetime
    who: str

    def __str__(self) -> str:
        return f"{self.who}: it has seen the checkpoint of size {self.size} at {timestamp(self.time)}"


@dataclass(slots=True)
class Attestations:
    """Judges objects one by one, and keeps what is asked later.

    Args:
        archive: the log's objects.
        trust: whose word counts.
        verdict: takes what is found.
        moments: times of which it is asked what was seen before (RFC 3339, empty: never).
    """

    archive: Archive
    trust: ThirdParties
    verdict: LogVerdict
    moments: frozenset[str] = frozenset()
    newest: dict[str, Word] = field(default_factory=dict)
    """By who gave it, the word on the largest size."""
    before: dict[str, Word] = field(default_factory=dict)
    """By moment, the word on the largest size from before it."""
    unchecked: int = 0
    """Time-stamps whose authority is none that is trusted."""
    unread: bool = False
    """There are time-stamps, and nothing to read them with."""

    def judge(self, key: str) -> None:
        """Judge a time-stamp or cosignatures; the log has had the size that it speaks of."""
        size = size_in(key)
        where: dict[str, Any] = {"batch": size - 1, "object": key}
        data, note = self._read(key), self._read(checkpoint_name(size))
        if data is None or note is None:  # deleted meanwhile, or found missing already
            return
        match = NAME.fullmatch(key)
        if match and digest(data) != match[3]:
            self.verdict.add("attestation-changed", "it was changed", **where, expected=match[3], found=digest(data))
            return
        try:
            if key.startswith("timestamps/"):
                self._time_stamp(size, note, data)
            else:
                self.cosignatures(size, note, data)
        except (NoteError, token.TokenError) as error:
            self.verdict.add("attestation-invalid", f"it proves nothing: {error}", **where)
        except UsageError:
            self.unread = True

    def _read(self, key: str) -> bytes | None:
        try:
            return self.archive.read(key, LIMIT)
        except FileNotFoundError:
            return None

    def _time_stamp(self, size: int, note: bytes, data: bytes) -> None:
        found = token.check(data, note, list(self.trust.authorities))
        if found.trusted:
            self.keep(Word(size, found.time, f"the time-stamp authority {found.authority}"))
        else:
            self.unchecked += 1

    def cosignatures(self, size: int, note: bytes, lines: bytes) -> None:
        """Read signature lines over a checkpoint.

        Raises:
            NoteError: one of them is none, or is of a witness and does not hold.
        """
        found, (text, _) = signatures(lines), split_note(note)
        for witness in self.trust.witnesses:
            if (time := witness.cosigned(text, found)) is not None:
                self.keep(Word(size, time, f"the witness {witness}"))

    def keep(self, word: Word) -> None:
        """Remember what somebody who is trusted has seen."""
        if word.who not in self.newest or self.newest[word.who].size < word.size:
            self.newest[word.who] = word
        for moment in self.moments:
            early = bool(moment) and word.time < datetime.fromisoformat(moment)
            if early and (moment not in self.before or self.before[moment].size < word.size):
                self.before[moment] = word

    def conclude(self) -> None:
        """Say what of it the verdict rests on, and what was left aside."""
        verdict = self.verdict
        verdict.rests_on += [str(word) for word in self.newest.values()]
        if self.unchecked:
            verdict.notes.append(
                f"{self.unchecked} time-stamps count for nothing: their authority's certificate was not given"
            )
        if self.unread:
            verdict.notes.append("time-stamps count for nothing: rfc3161-client is not installed")


def of_keys(keys: Keys, found: Attestations) -> tuple[list[str], list[str]]:
    """Return what a verdict rests on, and what it cannot exclude, as far as keys go."""
    begins = keys.begins()
    rests = [f"the public key {keys.given}" + (f", which signs from size {begins} on" if begins > 1 else "")]
    cannot = []
    for change in keys.changes:
        by = "by which the key of before is known" if change.size <= begins else "signed by the key of before, too"
        rests.append(f"the change of keys in batch {change.size - 1}, {by}")
    for change in keys.changes:
        word = found.before.get(change.since)
        doubtful = change.doubtful if word is None else range(max(change.doubtful.start, word.size + 1), change.size)
        if len(doubtful) < len(change.doubtful):
            rests.append(f"{word}, which is before the key of then was in other hands")
        if doubtful:
            cannot.append(f"that batches {doubtful[0] - 1} to {doubtful[-1] - 1} are another's: their key was revoked")
    return rests, cannot


def third_parties(authorities: Sequence[Path], witnesses: Sequence[Path]) -> ThirdParties:
    """Read whose word counts from files: certificates (PEM), verifier keys of witnesses (one a line).

    Raises:
        UsageError: a file cannot be read, or holds something else.
    """
    certificates: list[Certificate] = []
    keys: list[Witness] = []
    for file in (*authorities, *witnesses):
        try:
            data = file.read_bytes()
            if file in authorities:
                certificates += token.certificates(data)
            else:
                keys += [Witness.parse(line) for line in data.decode().splitlines() if line.strip()]
        except OSError as error:
            raise UsageError(f"{file}: {error.strerror}") from None
        except (NoteError, ValueError) as error:
            what = "certificates in PEM" if file in authorities else f"witness's verifier key ({error})"
            raise UsageError(f"{file}: holds no {what}") from None
    return ThirdParties(certificates, keys)
