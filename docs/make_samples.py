"""Makes docs/samples: one record of each dataset, as the reader makes them from a small scan.

Usage: python docs/make_samples.py
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from forwarder.ecs import scans
from forwarder.ecs.context import Context, Options, Origin
from forwarder.ecs.hosts import HostMapper
from forwarder.ecs.tally import Tally
from forwarder.nmap.reader import Reader
from forwarder.nmap.survey import Survey

SAMPLES = Path(__file__).with_name("samples")
SCAN = Path(__file__).parents[1] / "tests" / "fixtures" / "nmap" / "sample.xml"
OPTIONS = Options(observer="scanner-1", observer_ip="192.0.2.7", vantage="dmz", networks=("192.0.2.0/24",))


def samples() -> dict[str, str]:
    """Return the first record of each dataset as indented JSON, by the name of its file."""
    data = SCAN.read_bytes()
    origin = Origin("/var/spool/nmap/scan.xml", sha256(data).hexdigest(), len(data), "2026-03-02T09:14:31.000Z")
    with SCAN.open("rb") as file:
        document = next(iter(Survey(file)))
    context = Context(document, origin, OPTIONS, document.scan_id)
    tally = Tally()
    mapper = HostMapper(context, tally)
    with SCAN.open("rb") as file:
        lines = [line for host in Reader(file).hosts(document) for line in mapper.records(host)]
    lines.append(scans.record(context, tally)[1])
    found: dict[str, str] = {}
    for record in map(json.loads, lines):
        name = f"{record['event']['dataset'].removeprefix('nmap.')}.json"
        found.setdefault(name, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return found


if __name__ == "__main__":
    SAMPLES.mkdir(exist_ok=True)
    for name, text in samples().items():
        (SAMPLES / name).write_text(text, encoding="utf-8")
