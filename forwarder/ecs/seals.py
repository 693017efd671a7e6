"""Seal records: what keeps a batch, what a verification came to, and that the forwarder is alive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from forwarder.archive.interface import Receipt
from forwarder.ecs import fit
from forwarder.ecs.context import Options, frame
from forwarder.ecs.identity import EventId
from forwarder.ledger import Batch
from forwarder.seal.canonical import encode
from forwarder.seal.manifest import timestamp

DATASET: Final = "nmap.seal"
VERIFIED: Final = "archive-verified"
FAILED: Final = "verification-failed"
CHAIN: Final = """
    record-changed record-root records-changed records-damaged records-missing records-misdescribed leaves-changed
    leaves-missing leaves-misdescribed evidence-changed evidence-damaged evidence-missing evidence-misdescribed
    manifest-malformed chain-broken checkpoint-differs checkpoint-invalid tile-changed tile-missing gap batches-missing
    fork key-unknown key-changed stray"""
LOCK: Final = "lock-missing lock-short lock-weak hidden overwritten undecryptable checkpoint-missing"
ROLLBACK: Final = "cut-off rewritten pointer-put-back"
KINDS: Final = {
    code: kind for kind, codes in (("chain", CHAIN), ("lock", LOCK), ("rollback", ROLLBACK)) for code in codes.split()
}
"""Code of a finding → nmap.verification.kind; of others it is `other`."""


def record(look: Options, origin: str, batch: Batch, root: bytes, receipt: Receipt, time: str) -> bytes:
    """Make the record of one batch's anchor.

    Args:
        look: what the configuration says about records.
        origin: the log's origin.
        batch: the batch.
        root: of the log with this batch as its last, 32 bytes.
        receipt: what keeps its manifest.
        time: when it was anchored.

    Returns:
        Canonical JSON.
    """
    until = timestamp(receipt.retain_until)
    anchor: dict[str, Any] = {
        "batch": batch.sequence,
        "bucket": receipt.bucket,
        "key": receipt.key,
        "manifest": batch.manifest_sha256,
        "mode": receipt.mode,
        "origin": origin,
        "records": batch.records,
        "retain_until": until,
        "root": root.hex(),
        "version": receipt.version_id,
    }
    result = _frame(look, time, EventId(batch.manifest_sha256, "seal")(), "batch-anchored", "creation")
    return encode(
        result
        | {
            "message": f"batch {batch.sequence} of {origin} is locked in bucket {receipt.bucket} until {until}",
            "nmap": {"anchor": anchor},
            "related": {"hash": [batch.manifest_sha256]},
        }
    )


def heartbeat(look: Options, origin: str, sequence: int, time: str) -> bytes:
    """Make the record that says that the forwarder is alive and had nothing to say, as canonical JSON.

    Args:
        look: what the configuration says about records.
        origin: the log's origin.
        sequence: of the batch that the record is for.
        time: now.
    """
    result = _frame(look, time, EventId(f"{origin} {sequence}", "seal")("", "heartbeat"), "heartbeat", "info")
    return encode(result | {"message": f"{origin} is alive, and there is nothing new"})


def verification(look: Options, verdict: dict[str, Any], sequence: int) -> Iterator[bytes]:
    """Make the records of a verification: one that all is well, or one for each finding, as canonical JSON.

    Args:
        look: what the configuration says about records.
        verdict: what `forwarder.verdicts` keeps of it.
        sequence: of the batch that the records are for. It is part of their ids: a batch that is lost in a crash
            leaves the verdict to the next one.
    """
    origin, time = verdict["origin"], verdict["time"]
    identity = EventId(f"{origin} {time} {sequence}", "seal")
    findings = verdict["findings"]
    about = {"origin": origin, "batches": verdict["batches"], "warnings": verdict["warnings"]}
    about |= {"checkpoint": verdict["size"], "findings": verdict["count"]}
    for number, finding in enumerate(findings):
        result = _frame(look, time, identity("", "verification", number), FAILED, "info", "failure")
        place = {name: finding[name] for name in ("batch", "object") if name in finding}
        result["nmap"] = {"verification": about | place | {"kind": KINDS.get(finding["code"], "other")}}
        result["error"] = {"code": finding["code"], "message": finding["message"]}
        result["message"] = f"{origin} does not verify: {finding['message']}"[: fit.SHORT]
        yield encode(result)
    if not findings:
        result = _frame(look, time, identity("", "verification"), VERIFIED, "info")
        result["nmap"] = {"verification": about}
        result["message"] = f"{origin} verifies: {about['batches']} batches up to size {about['checkpoint']}"
        yield encode(result)


def _frame(look: Options, time: str, identity: str, action: str, kind: str, outcome: str = "success") -> dict[str, Any]:
    """Return what every seal record has."""
    event = {"action": action, "outcome": outcome, "type": [kind]}
    return frame(look, DATASET, time, identity, "configuration", **event) | {"observer": {"name": look.observer}}
