"""What `nmap-forwarder verify` says of the proof of one record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from forwarder.errors import Exit, IntegrityError
from forwarder.seal.cosignature import Witness
from forwarder.seal.note import Verifier
from forwarder.seal.proof import MAX_PROOF
from forwarder.terminal import say
from forwarder.verify.proof import Proven, check_proof, seen_by


def report(file: Path, keys: list[Verifier], witnesses: Sequence[Witness], *, as_json: bool, quiet: bool) -> Exit:
    """Check a proof and print the verdict.

    Raises:
        IntegrityError: it proves nothing, and no JSON was asked for.
        OSError: it cannot be read.
    """
    with file.open("rb") as source:
        data = source.read(MAX_PROOF + 1)
    try:
        proven = check_proof(data, keys)
        rests_on = [
            f"the public key {proven.key}",
            f"the checkpoint of size {proven.checkpoint.size} that is in the proof",
            *seen_by(proven, witnesses),
        ]
    except IntegrityError as error:
        if not as_json:
            raise IntegrityError(f"{file} proves nothing: {error}") from None
        print(json.dumps({"ok": False, "proof": str(file), "problem": str(error)}))
        return Exit.INTEGRITY
    if as_json:
        print(json.dumps(_facts(file, proven, rests_on)))
    elif not quiet:
        batch = proven.manifest
        say(f"ok     {file}: record {proven.record_id or '(without an id)'}")
        say(f"       is record {proven.index} of batch {batch.sequence} of {batch.origin}, sealed {batch.created}")
        for line in rests_on:
            say(f"       rests on {line}")
        for line in _cannot_exclude():
            say(f"       cannot exclude {line}")
    return Exit.OK


def _facts(file: Path, proven: Proven, rests_on: list[str]) -> dict[str, object]:
    return {
        "ok": True,
        "proof": str(file),
        "origin": proven.manifest.origin,
        "batch": proven.manifest.sequence,
        "index": proven.index,
        "sealed": proven.manifest.created,
        "size": proven.checkpoint.size,
        "root": proven.checkpoint.root.hex(),
        "record": proven.record.decode(),
        "rests_on": rests_on,
        "cannot_exclude": _cannot_exclude(),
    }


def _cannot_exclude() -> list[str]:
    return [
        "that the holder of the private key signed another log, too: hold the checkpoint against the archive's",
        "that nmap was wrong or the forwarder's clock was: only sealed bytes are proven",
    ]
