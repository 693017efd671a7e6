"""Records of usual hosts, made in compiled code from a template of ours (forwarder/nmap/fast/record.rs)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sized
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from orjson import Fragment, loads

from forwarder.ecs import scripts
from forwarder.ecs.context import Context
from forwarder.ecs.identity import event_prefix, host_prefix
from forwarder.nmap import fast, values
from forwarder.nmap.reader import Host
from forwarder.nse import registry
from forwarder.nse.results import Facts
from forwarder.seal.canonical import encode
from forwarder.seal.manifest import MAX_RECORD_BYTES

HOLE: Final = Fragment(b"\0")
"""Stands in a template for what a host or port is asked for, as JSON."""
ID: Final = Fragment(b'"\0"')
"""Likewise for an id."""
WITHIN: Final = frozenset(scripts.PORT)
OPTIONAL: Final = ("end", "script", "service", "start")
"""Members whose hole stands for their name, too: not all records have them."""
ADDRESS = re.compile(rb' addr="([^"]{1,64})" addrtype="ipv[46]"')
"""An address as nmap and masscan write it."""
LONGEST: Final = MAX_RECORD_BYTES // 2
"""Bytes of a usual record; with what is read from its scripts, which is less than they say, it need not be cut."""
MARK: Final = b"\3"
"""Stands in a port's record, where `asked` names it, for what its scripts may add; see record.rs."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Records of one host."""

    data: bytes
    """Each as canonical JSON with a line feed."""
    count: int

    def __iter__(self) -> Iterator[bytes]:
        """Yield them without it."""
        return iter(self.data.split(b"\n")[:-1])


class Found(NamedTuple):
    """What compiled code made of a host."""

    said: dict[str, Any]
    """What counting and comparing it takes: `facts` (ECS's of the host), `time`, `open` (number of ports), `records`
    (their number); where nmap gives them `state`, `reason`, `end`, `timed_out`; where there are any, `group` (as in
    nmap.host.port), `others` (ports with records that are not open, as JSON of history.Seen) and `asked` (places of the
    records that Python finishes, as something understands their scripts)."""
    seen: bytes
    """Open ports, as Asset.packed."""
    target: dict[str, Any]
    """`nmap.target`."""
    lines: Lines
    """The records; the host's is the last."""


class Usual:
    """Has the records of one scan's hosts made.

    Args:
        context: the scan.
        port: the record of a port, with holes.
        host: that of a host.
        os_types: nmap's family of operating systems → host.os.type.
        scanned: port lists that the scan covers, as in `nmap.host.port.scanned`.
        only: (protocol, ports) of the only one.
    """

    def __init__(
        self,
        context: Context,
        port: dict[str, Any],
        host: dict[str, Any],
        os_types: dict[str, str],
        scanned: Fragment | None,
        only: tuple[str, str],
    ) -> None:
        self._context = context
        look = context.options
        facts = (
            context.scan_id,
            event_prefix(context.scan_id, "port"),
            event_prefix(context.scan_id, "host"),
            host_prefix(look.vantage),
            context.time["value"],
            context.time["source"],
            str(look.os_accuracy),
            "\n".join(f"{family}={kind}" for family, kind in os_types.items()),
            "1" if look.all_ports else "0",
            encode(scanned) if scanned else b"",
            *only,
        )
        names = registry.TITLES, registry.SERVERS, registry.HOST_KEYS, registry.READERS, registry.PARTS
        lists = facts, _pieces(port), _pieces(host), *names
        self._scan = b"".join(map(_list, lists))

    def records(self, host: Host) -> Found | None:
        """Return the records of a host; None for one that is not usual."""
        if not fast.COMPILED:
            return None
        address = ADDRESS.search(host.data)  # the first, which nearly always is the one that the host is known by
        if not address:
            return None
        try:
            ip = values.address(address[1].decode())
            target = self._context.target(ip)
        except ValueError:  # it is none
            return None
        made = fast.records(host.data, self._scan, host.ordinal, encode(target))
        if not made:
            return None
        last = made.rindex(b"\n")
        end = made.rindex(b"\n", 0, last) + 1
        said = loads(made[last:])
        lines = Lines(made[:end], said["records"])
        if said["facts"]["ip"][0] != ip or (end > LONGEST and max(map(len, lines)) > LONGEST):
            return None
        return Found(said, made[end:last], target, lines)


def template(record: dict[str, Any], nmap: dict[str, Any], context: Context) -> dict[str, Any]:
    """Return a record with the holes that ports and hosts have in common.

    Args:
        record: what is not common.
        nmap: likewise of its `nmap`.
        context: the scan.
    """
    common = {"@timestamp": HOLE, "host": HOLE, "message": HOLE, "related": HOLE}
    within = {"scan": context.scan, "script": HOLE, "target": HOLE, "time": {"source": HOLE}}
    return record | common | {"nmap": nmap | within}


def finished(line: bytes) -> tuple[bytes, Facts | None]:
    """Return a port's record with what its scripts found, if all of that goes under `nmap`.

    Else it is empty, and what they found comes with it if it was read, not to be read again.
    """
    parts = line.split(MARK)
    if len(parts) == 1:  # it is a host's
        return b"", None
    before, ports, script, after, end = parts
    facts = registry.read(loads(script))
    if not facts:
        return b"".join(parts), None
    if not facts.keys() <= WITHIN:
        return b"", facts
    found = {family: b',"%s":%s' % (family.encode(), encode(said)) for family, said in scripts.within(facts).items()}
    http, login, ssh, tls = (found.get(family, b"") for family in ("http", "login", "ssh", "tls"))
    made = b"".join((before, http, login, ports, script, ssh, after, tls, end))
    return made if len(made) <= MAX_RECORD_BYTES else b"", None


def _pieces(record: dict[str, Any]) -> list[bytes]:
    """Return what is between the holes of a template."""
    data = encode(record)
    for name in OPTIONAL:
        data = data.replace(b',"%s":\0' % name.encode(), b"\0")
    return data.split(b"\0")


def _list(parts: Collection[str | bytes]) -> bytes:
    """Return parts as compiled code takes them: before the list its length, before each part its own."""
    encoded = [part if isinstance(part, bytes) else part.encode() for part in parts]
    return _length(encoded) + b"".join(_length(part) + part for part in encoded)


def _length(of: Sized) -> bytes:
    return len(of).to_bytes(4, "little")
