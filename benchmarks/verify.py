"""`verify` beside sha256sum over the same files: MB/s, batches/s, ratios and peak memory, in one run.

Two archives: one of large batches, where hashing records counts, one of many small ones, where signatures and tiles do.
sha256sum reads the stored bytes; where records are compressed well, verify hashes many times as many (their
content, twice), so the ratio to sha256sum over stored and decompressed bytes is printed, too.

Usage: verify.py [LARGE_BATCHES [SMALL_BATCHES]] (by default 40 and 100000)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from archive import ORIGIN

JOBS = (1, 2)


def measure(command: list[str] | str, environment: dict[str, str] | None = None) -> tuple[float, float, float]:
    """Return (seconds, CPU seconds, largest memory of one of its processes in MB) of a command."""
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, shell=isinstance(command, str))
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {command}")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def compare(directory: Path, batches: int, records: int, kilobytes: int) -> None:
    """Make an archive, and print the comparison."""
    archive, state = directory / "archive", directory / "state"
    maker = [sys.executable, str(Path(__file__).with_name("archive.py")), str(archive)]
    subprocess.run([*maker, str(batches), str(records), str(kilobytes)], check=True)  # its memory is not to be ours
    log = archive / ORIGIN
    stored = sum((Path(below) / name).stat().st_size for below, _, names in os.walk(log) for name in names)
    print(
        f"{batches} batches of {records} records and {kilobytes} kB of evidence: {stored / 1e6:.0f} MB stored",
        flush=True,
    )
    sums = measure(f"find {log} -type f -print0 | xargs -0 sha256sum")
    content = f"find {log} -name '*.zst' -print0 | xargs -0 zstd -dcq | sha256sum"
    both = [a + b for a, b in zip(sums, measure(content), strict=True)]
    print(f"  sha256sum, stored bytes     {sums[0]:7.2f} s {sums[1]:7.2f} s CPU")
    print(f"  sha256sum, and content      {both[0]:7.2f} s {both[1]:7.2f} s CPU")
    base = [sys.executable, "-m", "forwarder", "verify", str(archive), "--key", str(directory / "key.vkey")]
    environment = os.environ | {
        "NMAP_FORWARDER_STATE_DIR": str(state),
        "NMAP_FORWARDER_CONFIG": str(directory / "none"),
    }
    (directory / "none").touch()
    for jobs in JOBS:
        seconds, cpu, memory = measure([*base, "--jobs", str(jobs)], environment)
        print(
            f"  verify --jobs {jobs}             {seconds:7.2f} s {cpu:7.2f} s CPU {memory:4.0f} MB peak "
            f"{stored / seconds / 1e6:6.1f} MB/s {batches / seconds:6.0f} batches/s "
            f"{seconds / sums[0]:5.2f} of sha256sum, {seconds / both[0]:5.2f} with content",
            flush=True,
        )
    subprocess.run(  # a state directory, so that there is something to go on from
        [sys.executable, "-m", "forwarder", "init"], env=environment, check=True, stdout=subprocess.DEVNULL
    )
    measure([*base, "--jobs", "2"], environment)
    seconds, cpu, memory = measure([*base, "--new"], environment)
    print(f"  verify --new, nothing new   {seconds:7.2f} s {cpu:7.2f} s CPU {memory:4.0f} MB peak", flush=True)


def main() -> None:
    """Print both comparisons."""
    large = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    small = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000  # noqa: PLR2004
    for batches, records, kilobytes in ((large, 10_000, 4096), (small, 3, 1)):
        with tempfile.TemporaryDirectory() as name:
            compare(Path(name), batches, records, kilobytes)


if __name__ == "__main__":
    main()
