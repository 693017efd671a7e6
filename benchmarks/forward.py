"""Forward-and-seal beside python-libnmap on the same generated scan: CPU seconds, ratio, peak memory.

The other side parses the scan with python-libnmap (and defusedxml, which makes it safe), writes one JSON line for
each port and takes its SHA-256. Usage: forward.py [MEGABYTES]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from generate import generate

LIBNMAP = """
import hashlib, json, sys
from libnmap.parser import NmapParser
out = open(sys.argv[2], "w")
for host in NmapParser.parse(open(sys.argv[1]).read()).hosts:
    for port in host.services:
        line = json.dumps({"ip": host.address, "port": port.port, "protocol": port.protocol, "state": port.state,
                           "service": port.service, "banner": port.banner, "scripts": str(port.scripts_results)})
        hashlib.sha256(line.encode()).hexdigest()
        out.write(line + "\\n")
"""


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return (CPU seconds, peak memory in MB) of a command."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * resource.getpagesize() / 4096 / 1024


def main() -> None:
    """Print the comparison."""
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        scan = directory / "scan.xml"
        hosts, ports = generate(scan, megabytes)
        (directory / "config.toml").touch()
        environment = os.environ | {
            "NMAP_FORWARDER_STATE_DIR": str(directory / "state"),
            "NMAP_FORWARDER_CONFIG": str(directory / "config.toml"),
        }
        ours = measure([sys.executable, "-m", "forwarder", "forward", str(scan)], environment)
        theirs = measure([sys.executable, "-c", LIBNMAP, str(scan), str(directory / "out")], environment)
        verify = measure([sys.executable, "-m", "forwarder", "verify"], environment)
    print(f"{megabytes:g} MB, {hosts} hosts, {ports} ports")
    for label, (seconds, memory) in (("forward", ours), ("libnmap", theirs), ("verify", verify)):
        print(f"{label:8} {seconds:6.2f} s CPU {memory:7.0f} MB peak  {seconds / theirs[0]:.2f} of libnmap")


if __name__ == "__main__":
    main()
