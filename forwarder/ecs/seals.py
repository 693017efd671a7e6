"""Seal records: what keeps a batch that was put into an archive which locks it."""

from __future__ import annotations

from typing import Any, Final

from forwarder.archive.interface import Receipt
from forwarder.ecs.context import ECS_VERSION, Options
from forwarder.ecs.identity import EventId
from forwarder.ledger import Batch
from forwarder.seal.canonical import encode
from forwarder.seal.manifest import timestamp

DATASET: Final = "nmap.seal"


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
    observer: dict[str, Any] = {"name": look.observer, "type": "scanner"}
    if look.observer_ip:
        observer["ip"] = [look.observer_ip]
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
    return encode(
        {
            "@timestamp": time,
            "data_stream": {"dataset": DATASET, "namespace": look.namespace, "type": "logs"},
            "ecs": {"version": ECS_VERSION},
            "event": {
                "action": "batch-anchored",
                "category": ["configuration"],
                "dataset": DATASET,
                "id": EventId(batch.manifest_sha256, "seal")(),
                "kind": "event",
                "module": "nmap",
                "outcome": "success",
                "provider": "nmap-forwarder",
                "type": ["creation"],
            },
            "message": f"batch {batch.sequence} of {origin} is locked in bucket {receipt.bucket} until {until}",
            "nmap": {"anchor": anchor},
            "observer": observer,
            "related": {"hash": [batch.manifest_sha256]},
        }
    )
