"""Makes the ledger's tables of executions and claims again from the sealed records, when a log is adopted.

What records do not hold, secrets that were masked and sightings one by one, is not known again: such an execution is
not matched with scans that come later, but no evidence of it is taken for new.
"""

from __future__ import annotations

from typing import Any

import orjson

from forwarder.archive import records
from forwarder.archive.interface import Archive
from forwarder.attribute.model import Answer, Claim, Known, Subject, seconds
from forwarder.attribute.words import written
from forwarder.audit.interface import Execution, Output, Peer, User
from forwarder.ecs import attribution, audit
from forwarder.executions import OPEN
from forwarder.ledger import Ledger
from forwarder.pending import Pending

AT_A_TIME = 1000
"""Executions and claims that are held before they are put into the ledger."""


def catch_up(ledger: Ledger, archive: Archive) -> None:
    """Fill a ledger's executions and claims from the records of all batches.

    Args:
        ledger: knows nothing of either.
        archive: holds the batches.

    Raises:
        IntegrityError: the archive does not have a batch as it was sealed.
    """
    pending = Pending(ledger)
    for manifest in records.batches(archive):
        for line in records.lines(archive, manifest) if manifest.records.count else ():
            if b'"dataset":"nmap.audit"' in line:
                _execution(orjson.loads(line), pending)
            elif b'"dataset":"nmap.scan"' in line and b'"attribution":' in line:
                _claim(orjson.loads(line), line, pending)
        if len(pending.executions) + len(pending.claims) >= AT_A_TIME:
            _save(ledger, pending)
    _save(ledger, pending)


def _save(ledger: Ledger, pending: Pending) -> None:
    with ledger.transaction():
        pending.save()


def _execution(record: dict[str, Any], pending: Pending) -> None:
    """Take an audit record: of an execution, or of what is remarkable about the evidence."""
    identity, process, nmap = record["event"]["id"], record.get("process", {}), record["nmap"]
    pending.sightings[identity] = entity_id = process.get("entity_id", "")
    if not entity_id:
        return
    host = record.get("host", {}).get("name", "")
    seen = nmap["audit"]
    for name in seen.get("identity", ()):
        for source in seen.get("source", ()):
            for told in {host, ""}:
                for ending in ("", ".start", ".end"):
                    pending.sightings[audit.event_id(source, told, name + ending)] = entity_id
    link = nmap.get("attribution", {})
    known = pending.execution(entity_id) or Known(entity_id, [])
    known.parts = [_part(record, source) for source in seen.get("source", ())]
    known.record_id, known.output = identity, link.get("output", "none")
    if scan_id := nmap.get("scan", {}).get("id"):
        known.scans = (*(other for other in known.scans if other != scan_id), scan_id)
    elif known.output == OPEN:
        known.scans = ()
    pending.put(known)


def _part(record: dict[str, Any], source: str) -> Execution:
    """Return an execution as its record tells of it."""
    event, process, seen = record["event"], record["process"], record["nmap"]["audit"]
    user = record.get("user", {})
    login = User(user.get("id", ""), user.get("name", ""))
    return Execution(
        source,
        next(iter(seen.get("identity", ())), ""),
        tuple(process.get("args", ())),
        start=event.get("start", ""),
        end=event.get("end", ""),
        host=record.get("host", {}).get("name", ""),
        cwd=process.get("working_directory", ""),
        executable=process.get("executable", ""),
        pid=process.get("pid", -1),
        ppid=process.get("parent", {}).get("pid", -1),
        login=login,
        real=login,
        effective=User(**user.get("effective", {})),
        sudo_user=seen.get("sudo", {}).get("user", ""),
        peer=_peer(seen["peer"]) if "peer" in seen else None,
        exit_code=process.get("exit_code"),
        signal=seen.get("signal", ""),
        reason=event.get("reason", ""),
        ticket=record.get("labels", {}).get("ticket", ""),
        outputs=tuple(_output(output) for output in seen.get("output", ())),
        problems=tuple(seen.get("problem", ())),
        log_path=seen.get("log", {}).get("path", ""),
        log_offset=seen.get("log", {}).get("offset", -1),
    )


def _peer(found: dict[str, Any]) -> Peer:
    login, pid = int(found.get("login", -1)), found.get("pid", 0)
    return Peer(int(found["uid"]), -1, pid, found["received"], found.get("started", ""), login=login)


def _output(found: dict[str, Any]) -> Output:
    return Output(
        found["path"], found.get("format", ""), found.get("state", ""), found.get("hash", ""), found.get("size", -1)
    )


def _claim(record: dict[str, Any], line: bytes, pending: Pending) -> None:
    """Take a scan record, or a link record of one."""
    scan, link, event = record["nmap"]["scan"], record["nmap"]["attribution"], record["event"]
    file = record.get("file", {})
    subject = Subject(
        scan["id"],
        written(scan.get("args", "")),
        seconds(event.get("start", "")),
        seconds(event.get("end", "")),
        file.get("hash", {}).get("sha256", ""),
        file.get("path", ""),
        file.get("uid", ""),
    )
    answer = Answer(
        link.get("confidence", "none"),
        tuple(link.get("reason", ())),
        tuple(link.get("execution", ())),
        link.get("candidates", 0),
    )
    known = pending.claim(scan["id"])
    summary = known.summary if known else attribution.summary(line)
    deadline = (subject.finish or 0.0) if link["status"] == "pending" else 0.0
    pending.claims[scan["id"]] = Claim(subject, answer, event["id"], link["status"], deadline, summary)
