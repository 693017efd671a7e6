"""What a setting is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

ENVIRONMENT: Final = "NMAP_FORWARDER_"


@dataclass(frozen=True, slots=True)
class Key:
    """One setting."""

    name: str
    """In the file, with its table before a dot."""
    default: Any
    check: Callable[[Any], Any]
    """Returns the value as it is used; raises ValueError with what it should be."""
    help: str
    secret: bool = False
    """Only taken from the environment; a file with it is named by the key of the same name and `_file`."""

    @property
    def variable(self) -> str:
        """Name of its environment variable."""
        return ENVIRONMENT + self.name.replace(".", "_").upper()

    @property
    def attribute(self) -> str:
        """Name of its flag's value among parsed arguments."""
        return self.name.replace(".", "_")
