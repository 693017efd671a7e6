"""What a scan's hosts add up to; kept with the scan's progress, so that an interrupted reading ends the same."""

from __future__ import annotations

from typing import Any, Final

MAX_NETWORKS: Final = 1000
"""Networks kept of one scan."""


class Tally:
    """Totals over the hosts read so far.

    Args:
        values: what `dump` gave earlier.
    """

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        values = values or {}
        self.hosts: int = values.get("hosts", 0)
        self.up: int = values.get("up", 0)
        self.damaged: int = values.get("damaged", 0)
        self.open_ports: int = values.get("open_ports", 0)
        self.last_end: str = values.get("last_end", "")
        """Latest end time of a host."""
        self.networks: tuple[str, ...] = tuple(values.get("networks", ()))
        """Target networks in order of appearance."""
        self._known = set(self.networks)

    def dump(self) -> dict[str, Any]:
        """Return the totals as JSON values; called for every host, so nothing is copied."""
        return {
            "hosts": self.hosts,
            "up": self.up,
            "damaged": self.damaged,
            "open_ports": self.open_ports,
            "last_end": self.last_end,
            "networks": self.networks,
        }

    def add(self, network: str, end: str, *, up: bool, damaged: bool, open_ports: int) -> None:
        """Count one host."""
        self.hosts += 1
        self.up += up
        self.damaged += damaged
        self.open_ports += open_ports
        self.last_end = max(self.last_end, end)
        if network and network not in self._known and len(self._known) < MAX_NETWORKS:
            self._known.add(network)
            self.networks = (*self.networks, network)
