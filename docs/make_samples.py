"""Makes docs/samples: one delivered document of each dataset, as it is made from a small scan.

Usage: python docs/make_samples.py
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from forwarder import __version__, commanding
from forwarder.archive.interface import Receipt
from forwarder.attribute.model import Answer, known
from forwarder.audit.interface import Execution, Output, User
from forwarder.deliver.document import Splicer
from forwarder.ecs import attribution, audit, scans, seals
from forwarder.ecs.context import Context, Options, Origin
from forwarder.ecs.hosts import HostMapper
from forwarder.ecs.tally import Tally
from forwarder.history import Asset, Seen
from forwarder.ledger import Batch
from forwarder.nmap.reader import Reader
from forwarder.nmap.survey import Survey
from forwarder.seal.manifest import Manifest, Records, manifest_name

SAMPLES = Path(__file__).with_name("samples")
SCAN = Path(__file__).parents[1] / "tests" / "fixtures" / "nmap" / "sample.xml"
ORIGIN, BUCKET = "example.com/nmap/scanner1", "example-archive"
OPTIONS = Options(observer="scanner-1", observer_ip="192.0.2.7", vantage="dmz", networks=("192.0.2.0/24",))
SEEN = Execution(
    source="auditd",
    identity="1772442776.123:4567",
    argv=("nmap", "-sS", "-sV", "-sC", "-O", "-p", "1-1000", "-oX", "scan.xml", "192.0.2.10-11"),
    start="2026-03-02T09:12:56.123Z",
    host="scanner-1",
    cwd="/var/spool/nmap",
    executable="/usr/bin/nmap",
    pid=2291,
    ppid=2204,
    login=User("1000", "alice"),
    real=User("1000", "alice"),
    effective=User("0", "root"),
    terminal="pts0",
    session="12",
    outputs=(Output("/var/spool/nmap/scan.xml", "xml"),),
    log_path="/var/log/audit/audit.log",
    log_offset=1_048_576,
)
"""The execution that made the scan, as the kernel's log tells of it."""


def samples() -> dict[str, str]:
    """Return the first document of each dataset as indented JSON, by the name of its file."""
    data = SCAN.read_bytes()
    found_at = "2026-03-02T09:14:31.000Z"
    origin = Origin("/var/spool/nmap/scan.xml", sha256(data).hexdigest(), len(data), found_at, "1000", "alice")
    with SCAN.open("rb") as file:
        document = next(iter(Survey(file)))
    run = known(SEEN)
    answer = Answer("exact", ("arguments", "output-path", "host", "time"), (run.entity_id,), 1)
    policy = commanding.understood(run.whole, OPTIONS).policy
    who = attribution.attributed(audit.Link("final", "met", answer), [run], policy)
    context = Context(document, origin, OPTIONS, document.scan_id, who)
    tally = Tally()
    mapper = HostMapper(context, tally, _known)
    with SCAN.open("rb") as file:
        lines = [line for host in Reader(file).hosts(document) for line in mapper.records(host)]
    lines += [scans.record(context, tally)[1], _execution(), _anchor()]
    manifest = Manifest(
        origin=ORIGIN,
        sequence=41,
        previous="9" * 64,
        type="records",
        created="2026-03-02T09:15:02.117Z",
        software=f"nmap-forwarder/{__version__}",
        first_record=52_000,
        records=Records(len(lines), ""),
    )
    splicer = Splicer(manifest, "3" * 64, f"s3:{BUCKET}", ("9a1c6f0e52d84b7f", "scanner-1"))
    found: dict[str, str] = {}
    for index, line in enumerate(lines):
        delivered = splicer.document(line, index)
        name = f"{delivered.stream.split('.')[1].partition('-')[0]}.json"
        found.setdefault(name, json.dumps(json.loads(delivered.body), indent=2, ensure_ascii=False) + "\n")
    return found


def _execution() -> bytes:
    """Return the record of the execution that made the scan, as it is before the scan is read."""
    run = known(SEEN)
    identity = audit.event_id(SEEN.source, SEEN.host, SEEN.identity)
    return audit.record(OPTIONS, run, commanding.understood(run.whole, OPTIONS), audit.Link(), identity, ["5" * 64])


def _anchor() -> bytes:
    """Return the record of the anchor of the batch before."""
    batch = Batch(40, "9" * 64, 51_188, 812, "2026-03-02T08:15:01.004Z", "delivered")
    key = f"nmap/{ORIGIN}/{manifest_name(batch.sequence)}"
    receipt = Receipt(BUCKET, key, "3HL4kqtJlcpXroDTDmJ", "COMPLIANCE", datetime(2027, 4, 6, 8, 15, 2, tzinfo=UTC))
    return seals.record(OPTIONS, ORIGIN, batch, bytes.fromhex("4c" * 32), receipt, "2026-03-02T08:15:03.219Z")


def _known(host_id: str) -> Asset | None:
    """Return a past in which a port was open that is not any more."""
    if host_id.startswith("network "):
        return Asset("dmz", host_id, "", "", up=True, time="2026-01-01T00:00:00.000Z", scan_id="7" * 64)
    port = Seen("open", "http", "nginx", "1.22.1", "", "2026-02-23T09:14:30.000Z", "7" * 64)
    asset = Asset("dmz", host_id, "", "", up=True, time=port.time, scan_id=port.scan_id)
    asset.ports = {"tcp/443": port, "tcp/22": port}
    return asset


if __name__ == "__main__":
    SAMPLES.mkdir(exist_ok=True)
    for name, text in samples().items():
        (SAMPLES / name).write_text(text, encoding="utf-8")
