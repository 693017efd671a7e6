"""Positions in logs that grow, rotate, are compressed, cut and replaced; a kill at any point."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import time
from pathlib import Path

import pytest
import zstandard
from audit_lines import event, text
from audit_runs import Runs, age, name
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forwarder.audit.interface import Finding

OTHER = text(*(event(n, [b"ls"], exe=b"/bin/ls", comm=b"ls", key='"x"') for n in range(5000, 5100)))


@pytest.fixture
def log(tmp_path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs/audit.log"


@pytest.fixture
def runs(tmp_path, log) -> Runs:
    return Runs(tmp_path, f"auditd:{log}")


def ours(*serials: int) -> bytes:
    return text(*(event(n) for n in serials))


def append(path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def rotate(log, keep: int = 9) -> None:
    """As auditd does: audit.log → audit.log.1 → audit.log.2."""
    for number in range(keep, 0, -1):
        source = log if number == 1 else log.with_name(f"{log.name}.{number - 1}")
        if source.exists():
            source.rename(log.with_name(f"{log.name}.{number}"))
    log.touch()


def test_growth(log, runs):
    log.write_bytes(ours(1, 2) + OTHER)
    assert runs.ids() == ["1", "2"]
    assert runs.ids() == []
    append(log, OTHER + ours(3))
    assert runs.ids() == ["3"]


def test_a_log_is_not_opened_again_while_it_is_unchanged(log, runs, monkeypatch):
    log.write_bytes(ours(1))
    runs.run()
    monkeypatch.setattr("forwarder.audit.follow.Content", None)
    assert runs.ids() == []


@pytest.mark.parametrize("cut", [1, 50, 300, 600, -60, -1])
def test_an_event_that_is_not_whole_yet_waits(log, runs, cut):
    data = ours(2)
    log.write_bytes(ours(1) + data[:cut])
    assert runs.ids() == ["1"]
    assert runs.ids() == []
    append(log, data[cut:] + ours(3))
    assert runs.ids() == ["2", "3"]


def test_an_event_that_will_not_become_whole_is_read_as_it_is(log, runs):
    log.write_bytes(ours(1) + text(event(2, without=["PROCTITLE"])))
    assert runs.ids() == ["1"]
    age(log)
    assert runs.ids() == ["2"]
    assert runs.ids() == []


def test_rotation_in_the_middle_of_an_event(log, runs):
    lines = event(2)
    log.write_bytes(ours(1) + text(lines[:2]))
    assert runs.ids() == ["1"]
    rotate(log)
    append(log, text(lines[2:]) + ours(3))
    (second, third) = runs.run()
    assert (second.problems, name(second), name(third)) == ((), "2", "3")
    assert second.log_path.endswith(".1")
    assert runs.ids() == []


def test_growth_before_a_rotation(log, runs):
    log.write_bytes(ours(1))
    assert runs.ids() == ["1"]
    append(log, ours(2))
    rotate(log)
    append(log, ours(3))
    assert runs.ids() == ["2", "3"]


def test_several_rotations_between_runs(log, runs):
    log.write_bytes(ours(1))
    assert runs.ids() == ["1"]
    for serial in range(2, 6):
        append(log, ours(serial))
        rotate(log)
    append(log, ours(6))
    assert runs.ids() == ["2", "3", "4", "5", "6"]
    rotate(log)
    assert runs.ids() == []


def test_the_oldest_files_may_go(log, runs):
    for serial in range(1, 6):
        append(log, ours(serial))
        rotate(log)
    assert runs.ids() == ["1", "2", "3", "4", "5"]
    append(log, ours(6))
    assert runs.ids() == ["6"]
    log.with_name("audit.log.5").unlink()
    log.with_name("audit.log.4").unlink()
    assert runs.ids() == []


def test_what_was_read_last_rotated_away_unseen(log, runs):
    log.write_bytes(ours(1))
    assert runs.ids() == ["1"]
    for serial in range(2, 6):
        append(log, ours(serial))
        rotate(log, keep=2)
    assert runs.ids() == ["audit-log-truncated", "4", "5"]


def test_a_file_taken_out_of_the_middle(log, runs):
    for serial in (1, 2, 3):
        append(log, ours(serial))
        rotate(log)
    append(log, ours(4))
    assert runs.ids() == ["1", "2", "3", "4"]
    log.with_name("audit.log.2").unlink()
    assert runs.ids() == ["audit-log-truncated"]
    assert runs.ids() == []


def test_copy_and_truncate(log, runs):
    log.write_bytes(ours(1))
    assert runs.ids() == ["1"]
    append(log, ours(2))
    shutil.copy(log, log.with_name("audit.log.1"))
    assert runs.ids() == ["2"]  # between the copy and the cut
    log.write_bytes(b"")
    assert runs.ids() == []
    append(log, ours(3))
    assert runs.ids() == ["3"]


PACK = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("grown", [False, True])
def test_compression_of_a_rotated_log(log, runs, ending, grown):
    log.write_bytes(OTHER + ours(1))
    assert runs.ids() == ["1"]
    if grown:
        append(log, ours(2))
    rotated = log.with_name(f"audit.log.1.{ending}")
    rotated.write_bytes(PACK[ending](log.read_bytes()))
    log.write_bytes(ours(3))
    assert runs.ids() == (["2", "3"] if grown else ["3"])
    assert runs.ids() == []
    rotated.rename(log.with_name(f"audit.log-20260101.{ending}"))
    assert runs.ids() == []


def test_a_log_that_is_being_compressed(log, runs):
    log.write_bytes(os.urandom(200_000).hex().encode() + b"\n" + ours(1))
    assert runs.ids() == ["1"]
    log.rename(log.with_name("audit.log.1"))
    log.write_bytes(ours(2))
    packed = gzip.compress(log.with_name("audit.log.1").read_bytes())
    log.with_name("audit.log.1.gz").write_bytes(packed[: len(packed) // 2])
    assert runs.ids() == ["2"]
    log.with_name("audit.log.1.gz").write_bytes(packed)
    assert runs.ids() == []
    log.with_name("audit.log.1").unlink()
    assert runs.ids() == []


def test_first_reading_of_many_files(log, runs):
    log.with_name("audit.log-20251230.xz").write_bytes(lzma.compress(ours(1)))
    log.with_name("audit.log-20251231").write_bytes(ours(2))
    log.with_name("audit.log.2.gz").write_bytes(gzip.compress(ours(3)))
    log.with_name("audit.log.1").write_bytes(ours(4))
    log.write_bytes(ours(5))
    log.with_name("audit.log.bak").write_bytes(ours(6))
    assert runs.ids() == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda log: log.write_bytes(b""), "shrank to 0 bytes"),
        (lambda log: os.truncate(log, 500), "shrank to 500 bytes"),
        (lambda log: log.write_bytes(b"x" * 100_000 + b"\n"), "holds something else now"),
        (lambda log: log.write_bytes(log.read_bytes().replace(b"-sS", b"-sT")), "holds something else now"),
        (lambda log: log.unlink(), "is gone"),
    ],
)
def test_a_log_that_was_altered_is_a_finding_once(log, runs, change, what):
    log.write_bytes(ours(1, 2))
    runs.run()
    change(log)
    found = [item for item in runs.run() if isinstance(item, Finding)]
    assert [(item.action, item.path) for item in found] == [("audit-log-truncated", str(log))]
    assert what in found[0].message
    assert not [item for item in runs.run() if isinstance(item, Finding)]


def test_a_log_that_was_replaced_is_read_from_its_beginning(log, runs):
    log.write_bytes(ours(1))
    runs.run()
    log.write_bytes(ours(7, 8) * 3)
    assert runs.ids() == ["audit-log-truncated", "7", "8"]


def test_the_same_content_under_another_inode_is_known(log, runs):
    log.write_bytes(ours(1))
    runs.run()
    copy = log.with_name("copy")
    copy.write_bytes(log.read_bytes())
    copy.rename(log)
    assert runs.ids() == []


def test_what_cannot_be_read_is_said_and_no_finding(log, runs, monkeypatch):
    log.write_bytes(ours(1))
    runs.run()
    log.rename(log.with_name("audit.log.1"))
    log.mkdir()
    assert runs.ids() == []
    log.rmdir()
    os.mkfifo(log)
    assert runs.ids() == []
    assert "no regular file" in runs.said[-1]
    log.unlink()
    log.write_bytes(ours(2))
    assert runs.ids() == ["2"]


def test_a_source_without_a_log_is_said(runs, log):
    assert runs.ids() == []
    assert runs.said == [f"auditd:{log}: there is no such log"]


def test_patterns(tmp_path, log):
    for machine in ("a", "b"):
        (log.parent / machine).mkdir()
        (log.parent / machine / "audit.log").write_bytes(ours(1))
        (log.parent / machine / "audit.log.1").write_bytes(ours(2))
    runs = Runs(tmp_path, f"auditd:{log.parent}/*/audit.log*")
    assert sorted(runs.ids()) == ["1", "1", "2", "2"]
    shutil.rmtree(log.parent / "a")
    assert runs.ids() == ["audit-log-truncated"]


def test_a_line_longer_than_any_is_read_in_bounded_memory(log, runs, monkeypatch):
    monkeypatch.setattr("forwarder.audit.follow.MAX_LINE", 1 << 20)
    log.write_bytes(b"type=SYSCALL nmap" + b"x" * (3 << 20) + b"\n" + ours(1))
    assert runs.ids() == ["1"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_happens_between_runs_and_kills_nothing_is_lost_or_comes_twice(tmp_path_factory, data):
    """Writes, rotations, compression and kills in any order; each execution arrives exactly once."""
    directory = tmp_path_factory.mktemp("runs")
    (directory / "logs").mkdir()
    log = directory / "logs/audit.log"
    log.touch()
    runs, got, written, half = Runs(directory, f"auditd:{log}"), [], 0, b""
    for step in data.draw(
        st.lists(st.sampled_from(["write", "half", "other", "rotate", "pack", "run", "kill"]), max_size=25)
    ):
        if step == "write":
            count = data.draw(st.integers(1, 3))
            append(log, half + ours(*range(written, written + count)))
            written, half = written + count, b""
        elif step == "half" and not half:
            lines = ours(written)
            at = data.draw(st.integers(1, len(lines) - 1))
            append(log, lines[:at])
            half, written = lines[at:], written + 1
        elif step == "other" and not half:
            append(log, OTHER[: data.draw(st.sampled_from([len(OTHER), OTHER.index(b"\n") + 1]))])
        elif step == "rotate" and (not half or log.read_bytes().endswith(b"\n")):
            for number in range(30, 0, -1):
                for ending in ("", ".gz"):
                    source = log.with_name(f"audit.log.{number}{ending}")
                    if source.exists():
                        source.rename(log.with_name(f"audit.log.{number + 1}{ending}"))
            log.rename(log.with_name("audit.log.1"))
            log.touch()
        elif step == "pack" and (first := log.with_name("audit.log.1")).exists():
            log.with_name("audit.log.1.gz").write_bytes(gzip.compress(first.read_bytes()))
            first.unlink()
        elif step == "run":
            got += runs.run()
        elif step == "kill":
            got += runs.interrupted(data.draw(st.integers(1, 3)))
    append(log, half)
    got += runs.run()
    future = time.time() + 7200
    os.utime(log, (future, future))
    got += runs.run()
    assert sorted(map(name, got), key=str) == sorted(map(str, range(written)), key=str)
