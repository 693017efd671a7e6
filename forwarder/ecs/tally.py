"""What a scan's hosts add up to; kept with the scan's progress, so that an interrupted reading ends the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

MAX_NETWORKS: Final = 1000
"""Networks kept; a scan of more says how many it had at least."""


@dataclass(slots=True)
class Tally:
    """Totals over the hosts read so far."""

    hosts: int = 0
    up: int = 0
    damaged: int = 0
    open_ports: int = 0
    last_end: str = ""
    """Latest end time of a host."""
    networks: list[str] = field(default_factory=list)
    """Target networks in order of appearance."""

    @classmethod
    def load(cls, values: dict[str, Any]) -> Tally:
        """Return a tally from what `dump` gave."""
        return cls(**values)

    def dump(self) -> dict[str, Any]:
        """Return the totals as JSON values."""
        return asdict(self)

    def add(self, network: str, end: str, *, up: bool, damaged: bool, open_ports: int) -> None:
        """Count one host."""
        self.hosts += 1
        self.up += up
        self.damaged += damaged
        self.open_ports += open_ports
        self.last_end = max(self.last_end, end)
        if network and network not in self.networks and len(self.networks) < MAX_NETWORKS:
            self.networks.append(network)
