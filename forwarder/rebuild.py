"""Makes the ledger's table of assets again from the sealed records: after an upgrade, or when somebody asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from forwarder.archive import records
from forwarder.archive.interface import Archive
from forwarder.assets import Assets
from forwarder.ecs import changes
from forwarder.history import Seen, gone, see
from forwarder.ledger import ANCHORED, Ledger


def catch_up(
    ledger: Ledger,
    archive: Archive,
    advance: Callable[[int], object] = lambda _: None,
    leave: Callable[[dict[str, Any]], bool] = lambda _: False,
) -> int:
    """Have the assets reflect all batches that are in the archive; return how many were read for it.

    Args:
        ledger: its table of assets may reflect fewer batches.
        archive: holds the batches.
        advance: called after each batch.
        leave: tells of a record whether to leave it out.

    Raises:
        IntegrityError: the archive does not have a batch as it was sealed.
    """
    last = ledger.last_batch(*ANCHORED)
    size = last.sequence + 1 if last else 0
    if ledger.assets.batches >= size:
        return 0
    with ledger.transaction():
        ledger.assets.clear()  # not only what is missing is read: a host may have begun in the batch before
        replay = _Replay(ledger.assets)
        for batch in ledger.batches(*ANCHORED):
            manifest = records.manifest(archive, batch.sequence, batch.manifest_sha256)
            for line in records.lines(archive, manifest):
                record = orjson.loads(line)
                if not leave(record):
                    replay.add(record)
            advance(1)
        ledger.assets.reflect(size)
    return size


class _Replay:
    """Takes sealed records in their order, and does with each host what was done when it was read."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets
        self._host: tuple[str, int] = ("", 0)
        self._ports: dict[str, Seen] = {}

    def add(self, record: dict[str, Any]) -> None:
        """Take one record."""
        dataset, nmap = record["event"]["dataset"], record["nmap"]
        if dataset == "nmap.port":
            self._port(record, nmap)
        elif dataset == "nmap.host":
            self._add_host(record, nmap)
        elif (
            dataset == "nmap.change"
            and record["event"]["action"] == "host-gone"
            and "ordinal" not in nmap.get("host", {})
        ):
            asset = self._assets.get(nmap["scan"]["vantage"], record["host"]["id"])
            if asset:
                self._assets.put([gone(asset, record["@timestamp"], nmap["scan"]["id"])[0]])

    def _of(self, nmap: dict[str, Any]) -> None:
        """Forget the ports of another host: it was cut, or is known by now."""
        host = (nmap["scan"]["id"], nmap["host"]["ordinal"])
        if host != self._host:
            self._host, self._ports = host, {}

    def _port(self, record: dict[str, Any], nmap: dict[str, Any]) -> None:
        self._of(nmap)
        if nmap["port"].get("tombstone"):
            return
        port = nmap["port"] | ({"script": nmap["script"]} if "script" in nmap else {})
        if found := changes.seen(port, record["@timestamp"], nmap["scan"]["id"]):
            self._ports[found[0]] = found[1]

    def _add_host(self, record: dict[str, Any], nmap: dict[str, Any]) -> None:
        self._of(nmap)
        ports, self._host = self._ports, ("", -1)
        scan, body = nmap["scan"], nmap["host"]
        scanned = body.get("port", {}).get("scanned", [])
        time, facts = record["@timestamp"], record["host"]
        network = next(iter(nmap.get("target", {}).get("network", ())), "")
        sight = changes.sight(scan["vantage"], scan["id"], time, facts, body, network, scanned, ports)
        if sight:
            self._assets.put(see(lambda host_id: self._assets.get(scan["vantage"], host_id), sight)[0])
