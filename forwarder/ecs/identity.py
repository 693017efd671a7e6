"""Ids of records and hosts; docs/SEALED_ARCHIVE.md, section 10."""

from __future__ import annotations

from hashlib import sha256

SCHEME = "nmap-forwarder/id/v1"
HOST_SCHEME = "nmap-forwarder/host/v1"


def event_prefix(scan_id: str, dataset: str) -> bytes:
    """Return what is hashed first for event.id."""
    return f"{SCHEME}\n{scan_id}\n{dataset}\n".encode()


def host_prefix(vantage: str) -> bytes:
    """Return what is hashed first for host.id."""
    return f"{HOST_SCHEME}\n{vantage}\n".encode()


class EventId:
    """Makes event.id for the records of one dataset of a scan.

    The same content has the same id, whenever and wherever it is read.
    """

    def __init__(self, scan_id: str, dataset: str) -> None:
        self._begun = sha256(event_prefix(scan_id, dataset))

    def __call__(self, ordinal: int | str = "", port: str = "", n: int = 0) -> str:
        """Return the id, hex."""
        state = self._begun.copy()
        state.update(f"{ordinal}\n{port}\n{n}".encode())
        return state.hexdigest()


def host_id(vantage: str, ip: str, mac: str = "") -> str:
    """Return host.id, 32 hex digits.

    nmap knows a MAC address only of a host on its own link, where it identifies the host better than an address
    does; private addresses name different hosts from different vantage points.
    """
    subject = f"mac:{mac}" if mac else f"ip:{ip}"
    return sha256(host_prefix(vantage) + subject.encode()).hexdigest()[:32]
