"""What the wrapper adds to a call of nmap: the shim without more, with a receiver or a policy, `nmap-forwarder run`.

Each is called in turn, so that other load on the machine meets all of them alike; medians of wall and CPU time.

Usage: wrap.py [CALLS [PYTHON]] (by default 50, and the Python that runs this; a shim uses the system's)
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from forwarder import dropbox
from forwarder.wrap.receive import Receiver

ROOT = Path(__file__).resolve().parents[1]
CALL = """
import sys
sys.path.insert(0, {root!r})
from forwarder.wrap import main
sys.exit(main({nmap!r}, ["nmap", *sys.argv[1:]], spool={spool!r}, receiver={receiver!r}, config={config!r}))
"""
POLICY = '[policy]\nrequire_ticket = "flag"\nscopes = ["127.0.0.0/8"]\nforbid = ["script:exploit"]\n'
KINDS = {
    "--version": ["--version"],
    "one host": ["-sT", "-n", "-p", "1-100", "127.0.0.1"],
}


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return milliseconds (wall, CPU) that a command takes."""
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {command}")
    return (time.monotonic() - started) * 1000, (usage.ru_utime + usage.ru_stime) * 1000


def commands(directory: Path, python: str, nmap: str) -> dict[str, list[str]]:
    """Return what is compared, by name."""
    spool, policy = directory / "spool", directory / "policy.toml"
    policy.write_text(POLICY)

    def through(config: str, receiver: str = "") -> list[str]:
        code = CALL.format(root=str(ROOT), nmap=nmap, spool=str(spool), receiver=receiver, config=config)
        return [python, "-I", "-S", "-c", code]

    return {
        "nmap itself": [nmap],
        "Python that does nothing": [python, "-I", "-S", "-c", "pass"],
        "shim": through(""),
        "shim, with a receiver": through("", str(directory / "socket")),
        "shim, with a policy": through(str(policy)),
        "nmap-forwarder run, and forwarding": [sys.executable, "-m", "forwarder", "run", "--", "nmap"],
    }


@contextmanager
def receiving(spool: Path, path: Path) -> Iterator[None]:
    """Have entries be received."""
    dropbox.make(spool)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        Thread(target=Receiver(str(spool / "received")).serve, args=(listener,), daemon=True).start()
        yield


def main() -> None:
    """Print a table for each kind of call."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    python = sys.argv[2] if len(sys.argv) > 2 else sys.executable  # noqa: PLR2004
    nmap = shutil.which("nmap") or sys.exit("nmap is not installed")
    for title, args in KINDS.items():
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place)
            (directory / "config.toml").touch()
            environment = os.environ | {
                "NMAP_FORWARDER_STATE_DIR": str(directory / "state"),
                "NMAP_FORWARDER_CONFIG": str(directory / "config.toml"),
            }
            found: dict[str, list[tuple[float, float]]] = {}
            compared = commands(directory, python, nmap)
            with receiving(directory / "spool", directory / "socket"):
                for _ in range(calls):
                    for name, command in compared.items():
                        found.setdefault(name, []).append(measure([*command, *args], environment))
        base = statistics.median(wall for wall, _ in found["nmap itself"])
        print(f"nmap {title}, medians of {calls} calls")
        for name, times in found.items():
            wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
            print(f"  {name:36} {wall:7.1f} ms, {wall - base:+7.1f} ms, {cpu:6.1f} ms CPU")


if __name__ == "__main__":
    main()
