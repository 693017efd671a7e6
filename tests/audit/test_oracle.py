"""Our join beside that of the audit tools themselves."""

from __future__ import annotations

import os
import random
import re
import subprocess

import pytest
from audit_lines import event, text
from audit_runs import Runs
from conftest import need

from forwarder.audit.interface import Execution


@pytest.fixture
def ausearch(monkeypatch) -> str:
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    return need("ausearch")


def test_ausearch_finds_the_same_events_and_its_raw_output_reads_alike(tmp_path, ausearch):
    log = tmp_path / "audit.log"
    runs = Runs(tmp_path, f"auditd:{log}")
    rng = random.Random(7)
    events = []
    for serial in range(200):
        time = f"{1700000000 + serial // 10}.{rng.randrange(1000):03}"
        argv = [
            b"nmap",
            *rng.choices([b"-sS", b"a b", b"10.0.0.1", b"\xc3\xa9", b"x" * 9000, b"\n"], k=rng.randrange(5)),
        ]
        kind = rng.randrange(4)
        if kind == 0:
            events.append(event(serial, [b"ls", *argv], exe=b"/usr/bin/ls", comm=b"ls", time=time, key='"x"'))
        elif kind == 1:
            events.append(event(serial, argv, success="success=no exit=-13", time=time, without=["EXECVE"]))
        else:
            events.append(event(serial, argv, time=time))
    lines = []
    for first in range(0, 200, 4):  # four events at a time are interleaved
        rest = [list(item) for item in events[first : first + 4]]
        while rest:
            lines.append(rng.choice(rest).pop(0))
            rest = [item for item in rest if item]
    log.write_bytes(text(lines))

    found = {item.identity: item for item in runs.run() if isinstance(item, Execution)}
    command = [ausearch, "-if", str(log), "-x", "/usr/bin/nmap", "-sv", "yes", "--raw"]
    raw = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    theirs = set(re.findall(rb"audit\(([\d.]+:\d+)\)", raw))
    assert {identity.encode() for identity in found} == theirs
    assert len(found) > 50

    again = log.with_name("raw.log")
    again.write_bytes(raw)
    runs.sources = (f"auditd:{again}",)
    assert {item.identity: item.argv for item in runs.run()} == {name: item.argv for name, item in found.items()}
