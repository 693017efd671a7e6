"""Real nmap on 127.0.0.1 through the wrapper, as the shim calls it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import need

ROOT = Path(__file__).resolve().parents[2]
NMAP = shutil.which("nmap") or ""
SLOW = ("-sT", "-n", "-Pn", "-p", "1-1000", "--scan-delay", "500ms", "127.0.0.1")
"""Arguments of a scan that takes minutes."""
CALL = """
import sys
sys.path.insert(0, {root!r})
from forwarder.wrap import main
sys.exit(main(sys.argv[1], sys.argv[2:], spool={spool!r}, config={config!r}))
"""


class Wrapper:
    """Calls nmap through the wrapper, with a spool of its own."""

    def __init__(self, spool):
        self.spool = spool
        self.config = ""
        self.python = sys.executable

    def command(self, *args, tool=NMAP, name="nmap"):
        code = CALL.format(root=str(ROOT), spool=str(self.spool), config=str(self.config))
        return [self.python, "-I", "-S", "-c", code, tool, name, *args]

    def run(self, *args, tool=NMAP, **options):
        return subprocess.run(self.command(*args, tool=tool), capture_output=True, timeout=120, check=False, **options)

    def start(self, *args, **options):
        """Start nmap and wait until it runs."""
        process = subprocess.Popen(self.command(*args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        assert process.stdout.readline().startswith(b"Starting Nmap")
        return process

    def entries(self, kind="end.json"):
        return [json.loads(path.read_text()) for path in sorted(self.spool.glob(f"*.{kind}"))]

    def entry(self, kind="end.json"):
        (found,) = self.entries(kind)
        return found

    def xml(self):
        (found,) = self.spool.glob("*.xml")
        return found

    def child(self, wrapper_pid):
        """Return nmap's process id."""
        (entry,) = [entry for entry in self.entries("start.json") if entry["wrapper_pid"] == wrapper_pid]
        return entry["pid"]


@pytest.fixture
def wrapper(tmp_path):
    need("nmap")
    spool = tmp_path / "spool"
    spool.mkdir()
    spool.chmod(0o1733)
    return Wrapper(spool)


def steady(output):
    """Return nmap's output without what differs from run to run, and without the option that we add, where it shows that."""
    text = re.sub(
        rb" -oX \S+/[0-9a-f]{32}\.xml|\d{4}-\d\d-\d\d \d\d:\d\d \S+|\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}|at \d\d:\d\d"
        rb"|\d+\.\d+s (latency|elapsed)|in \d+\.\d+ seconds",
        b"",
        output,
    )
    return re.sub(rb"(Elapsed|latency|rtt|RTTVAR|took).*", b"", text)
