"""What is asked of an archive: which records are wanted. The same question in jq is for those who check the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from forwarder.errors import UsageError
from forwarder.seal.manifest import Records, timestamp

DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
SCAN: Final = re.compile(r"[0-9a-f]{8,64}")
FIELDS: Final = {
    "scan": ("nmap.scan.id",),
    "host": ("host.name", "host.hostname", "host.ip", "host.id", "related.hosts", "related.ip"),
    "user": ("user.name", "user.effective.name", "file.owner"),
    "ticket": ("labels.ticket",),
}
"""Part of a question → the fields that answer it."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question; what is empty is not asked for, and a record has to match all the rest."""

    earliest: str = ""
    """First @timestamp, as records write it."""
    latest: str = ""
    """Last @timestamp, likewise."""
    scan: str = ""
    """Beginning of an nmap.scan.id."""
    host: str = ""
    """Name, address or host.id, in the form of `host_form`."""
    user: str = ""
    """Name of a user, in lower case."""
    ticket: str = ""
    """Ticket, in lower case."""

    @classmethod
    def ask(
        cls, earliest: str = "", latest: str = "", scan: str = "", host: str = "", user: str = "", ticket: str = ""
    ) -> Question:
        """Return the question in the words that a user asks it.

        Args:
            earliest: RFC 3339 time or date; UTC where it names no zone.
            latest: likewise; the last moment that belongs to the period, of a date the end of that day.
            scan: the first 8 or more digits of an nmap.scan.id.
            host: a name, an address in any notation, or a host.id.
            user: a user's name, in upper or lower case.
            ticket: likewise.

        Raises:
            UsageError: one of them cannot be.
        """
        if scan and not SCAN.fullmatch(scan.lower()):
            raise UsageError(f"scan {scan}: not 8 to 64 digits of an nmap.scan.id (0-9 a-f)")
        begin, end = _moment(earliest), _moment(latest, last=True)
        if begin and end and begin > end:
            raise UsageError(f"the period ends ({end}) before it begins ({begin})")
        return cls(begin, end, scan.lower(), host_form(host), user.lower(), ticket.lower())

    def overlaps(self, records: Records) -> bool:
        """Tell whether records of a batch may be of the period; the manifest's own words are enough for that."""
        return records.count > 0 and (
            (not self.earliest or records.latest >= self.earliest)
            and (not self.latest or records.earliest <= self.latest)
        )

    def matches(self, record: dict[str, Any]) -> bool:
        """Tell whether a parsed record is asked for."""
        time = record["@timestamp"]
        if (self.earliest and time < self.earliest) or (self.latest and time > self.latest):
            return False
        if self.scan and not any(value.startswith(self.scan) for value in _all(record, "scan")):
            return False
        return all(
            not wanted or wanted in map(form, _all(record, name))
            for name, wanted, form in (
                ("host", self.host, host_form),
                ("user", self.user, str.lower),
                ("ticket", self.ticket, str.lower),
            )
        )

    def as_json(self) -> dict[str, str]:
        """Return what is asked for."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name))}

    def jq(self) -> str:
        """Return a jq filter that is true for the records that match.

        It compares hosts as records write them, which is already the usual form of addresses and names.
        """
        parts = []
        if self.earliest:
            parts.append(f'."@timestamp" >= "{self.earliest}"')
        if self.latest:
            parts.append(f'."@timestamp" <= "{self.latest}"')
        for name, fields in FIELDS.items():
            if wanted := getattr(self, name):
                test = f"startswith({_jq_text(wanted)})" if name == "scan" else f"ascii_downcase == {_jq_text(wanted)}"
                paths = ", ".join(f".{field}" for field in fields)
                parts.append(f"any({paths} | (arrays[], .) | strings; {test})")
        return " and ".join(parts) or "true"


@lru_cache(1 << 14)  # records of a host, and of its neighbours, have the same few
def host_form(text: str) -> str:
    """Return the one form of a host's name or address that is compared.

    Addresses are written as RFC 5952 has it, without a zone, IPv4 in IPv6 as IPv4; names in lower case without a final
    dot, and those beyond ASCII as DNS has them (IDNA).
    """
    text = text.strip()
    try:
        address = ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        name = text.rstrip(".").lower()
        try:
            return name if name.isascii() else str(name.encode("idna"), "ascii")
        except UnicodeError:
            return name
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address)


def values(record: Any, path: str) -> Sequence[Any]:
    """Return what a record has at a path (`host.ip`), the entries of lists one by one; nothing where it has none."""
    value = record
    names = path.split(".")
    for depth, name in enumerate(names):
        if isinstance(value, list):
            rest = ".".join(names[depth:])
            return [found for part in value for found in values(part, rest)]
        value = value.get(name) if isinstance(value, dict) else None
        if value is None:
            return ()
    return value if isinstance(value, list) else (value,)


def _all(record: dict[str, Any], name: str) -> Iterator[str]:
    for field in FIELDS[name]:
        for value in values(record, field):
            if isinstance(value, str):
                yield value


def _moment(text: str, *, last: bool = False) -> str:
    """Return a time as records write it; with `last` the last millisecond that it means."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text.strip().upper())
    except ValueError:
        raise UsageError(f"{text}: not a time such as 2026-03-31 or 2026-03-31T18:00:00Z") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if last and DAY.fullmatch(text.strip()):
        moment += timedelta(days=1, milliseconds=-1)
    elif last and not moment.microsecond:
        moment += timedelta(milliseconds=999)
    try:
        return timestamp(moment)
    except OverflowError:
        raise UsageError(f"{text}: out of range") from None


def _jq_text(text: str) -> str:
    r"""Return a text as jq, and a shell between single quotes, read it: `'` and whatever is not ASCII as \u….

    A backslash before a parenthesis, jq's interpolation, cannot come of it: JSON writes backslashes doubled.
    """
    return json.dumps(text).replace("'", "\\u0027")
