"""Forward-and-seal beside other readers of the same generated scan: CPU seconds, ratios in one run, peak memory.

Sides: nmap-forwarder with its compiled reader and without; a bare pass of lxml (iterparse, clear) that reads nothing;
python-libnmap with the standard library's parser and with defusedxml, which makes it safe, both writing one JSON line
for each port and taking its SHA-256; python-nmap. A side that is not installed, or would not fit into memory, is named.

Usage: forward.py [MEGABYTES | ports]…   (`ports`: one host with 65,535 ports; without arguments: 10 ports 100)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from generate import generate, generate_ports

DUMP = """
import hashlib, json
out = open(sys.argv[2], "w")
for host in NmapParser.parse(open(sys.argv[1]).read()).hosts:
    for port in host.services:
        line = json.dumps({"ip": host.address, "port": port.port, "protocol": port.protocol, "state": port.state,
                           "service": port.service, "banner": port.banner, "scripts": str(port.scripts_results)})
        hashlib.sha256(line.encode()).hexdigest()
        out.write(line + "\\n")
"""
BASELINE = "libnmap"
SIDES = {
    "forward": "",
    "forward in Python": "",
    BASELINE: f"import sys, defusedxml\nfrom libnmap.parser import NmapParser\n{DUMP}",
    "libnmap stdlib": f"import sys\nsys.modules['defusedxml'] = None\nfrom libnmap.parser import NmapParser\n{DUMP}",
    "python-nmap": "import sys, nmap\nnmap.PortScanner().analyse_nmap_xml_scan(open(sys.argv[1]).read())",
    "lxml, bare": (
        "import sys\nfrom lxml import etree\n"
        "for _, element in etree.iterparse(sys.argv[1], events=('end',), tag='host', huge_tree=True): element.clear()"
    ),
    "verify": "",
}
"""Name → program; none for our own commands."""
NEEDS = {BASELINE: 14, "libnmap stdlib": 14, "python-nmap": 14}
"""Bytes of memory for each byte of XML of sides that hold all of it."""


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float] | None:
    """Return (CPU seconds, peak memory in MB) of a command; None when it fails."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    return None if status else (usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def available() -> int:
    """Return the bytes of memory that can be had."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def compare(scan: Path, directory: Path) -> None:
    """Print the comparison on one scan."""
    (directory / "config.toml").touch()
    environment = os.environ | {"NMAP_FORWARDER_CONFIG": str(directory / "config.toml")}
    found: dict[str, tuple[float, float] | str] = {}
    for side, program in SIDES.items():
        state = directory / ("pure" if side == "forward in Python" else "state")
        own = environment | {"NMAP_FORWARDER_STATE_DIR": str(state)}
        if NEEDS.get(side, 0) * scan.stat().st_size > available():
            found[side] = "not run: needs more memory than there is"
            continue
        if program:
            command = [sys.executable, "-c", program, str(scan), str(directory / "out")]
        elif side == "verify":
            command = [sys.executable, "-m", "forwarder", "verify"]
        else:
            command = [sys.executable, "-m", "forwarder", "forward", str(scan)]
            own |= {"NMAP_FORWARDER_PURE": "1"} if side == "forward in Python" else {}
        found[side] = measure(command, own) or "not run: not installed here, or it failed"
    base = found[BASELINE]
    for side, figures in found.items():
        if isinstance(figures, str):
            print(f"  {side:18} {figures}")
            continue
        ratio = f"{figures[0] / base[0]:.2f} of libnmap" if not isinstance(base, str) else ""
        print(f"  {side:18} {figures[0]:8.2f} s CPU {figures[1]:8.0f} MB peak  {ratio}")


def main() -> None:
    """Print the comparisons."""
    for size in sys.argv[1:] or ["10", "ports", "100"]:
        with tempfile.TemporaryDirectory() as name:
            scan = Path(name) / "scan.xml"
            hosts, ports = generate_ports(scan) if size == "ports" else generate(scan, float(size))
            print(f"{scan.stat().st_size / 1e6:.0f} MB, {hosts} hosts, {ports} ports", flush=True)
            compare(scan, Path(name))


if __name__ == "__main__":
    main()
