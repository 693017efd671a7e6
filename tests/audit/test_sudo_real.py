"""What a real sudo writes, read back: its log file, JSON, I/O logs and what it sends to syslog.

Sudo reads its policy and finds the syslog daemon at fixed places, so each run has mounts of its own in which ours stand
there; the machine's are not touched.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import need
from loglines import numbered

from forwarder.audit import problems, sudo, sudo_io
from forwarder.audit.interface import Execution

ARGUMENTS = ("-sL", "-n", "a b", "it's", "back\\slash", "new\nline", "\udcff", "é", "x" * 1500, "127.0.0.1")
SETTINGS = {
    "logfile": "!syslog, logfile={dir}/sudo.log, log_host, log_year",
    "json": "!syslog, logfile={dir}/sudo.log, log_format=json, log_exit_status",
    "io": "!syslog, log_output, iolog_dir={dir}/io",
    "syslog": "syslog=authpriv, log_exit_status",
    "syslog-json": "syslog=authpriv, log_format=json",
}

DEVICES = """
mkdir {dev}/dev && mount -t tmpfs dev {dev}/dev -o mode=755
mkdir {dev}/dev/pts; touch {dev}/dev/log {dev}/dev/null {dev}/dev/urandom {dev}/dev/tty
mount --bind {dev}/log {dev}/dev/log
for device in null urandom tty pts; do mount --bind /dev/$device {dev}/dev/$device; done
mount --move {dev}/dev /dev; mount --bind {policy} /etc/sudoers
"""
"""Devices of our own, with our syslog among them, and our policy."""
END = b"end"
TIMEOUT = 30
"""Seconds for all commands of a test."""
CANNOT = 77


def take(daemon: socket.socket, sent: list[bytes]) -> None:
    """Take messages as a syslog daemon writes them: it adds the host."""
    while (message := daemon.recv(1 << 16)) != END:
        sent.append(message.partition(b">")[2].replace(b" sudo:", b" box sudo:", 1) + b"\n")


def can(*words: str) -> bool:
    return not subprocess.run(words, check=False, capture_output=True, timeout=TIMEOUT).returncode


@pytest.fixture
def run(tmp_path: Path):
    """Run commands where sudo has a policy with some Defaults."""
    need("sudo")  # fails where CI must have it
    need("nmap")
    if os.geteuid() or not can("unshare", "-m", "true"):
        pytest.skip("only root, with the right to mount, can give sudo another policy")
    outside = tmp_path / "mounted"
    outside.mkdir()

    def run(kind: str, *commands: str) -> bytes:
        policy = tmp_path / "sudoers"
        policy.write_text(f"Defaults {SETTINGS[kind].format(dir=tmp_path)}\nroot ALL=(ALL:ALL) NOPASSWD: ALL\n")
        policy.chmod(0o440)
        sent: list[bytes] = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.settimeout(2 * TIMEOUT)
            daemon.bind(str(outside / "log"))
            (outside / "log").chmod(0o666)
            taking = threading.Thread(target=take, args=(daemon, sent), daemon=True)
            taking.start()
            mounts = DEVICES.format(dev=outside, policy=policy)
            script = f"trap 'exit {CANNOT}' ERR{mounts}sudo -n -l >/dev/null\ntrap - ERR; " + "; ".join(commands)
            try:
                done = subprocess.run(
                    ["unshare", "-m", "bash", "-c", script],
                    check=False,
                    capture_output=True,
                    stdin=subprocess.DEVNULL,
                    cwd=tmp_path,
                    timeout=TIMEOUT,
                )
            except subprocess.TimeoutExpired:
                pytest.skip(f"sudo does not end here in {TIMEOUT} s")
            finally:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                    last.sendto(END, str(outside / "log"))
                taking.join(TIMEOUT)
        if done.returncode == CANNOT:
            pytest.skip("sudo does not work here: " + done.stderr.decode(errors="replace")[-200:])
        return b"".join(sent)

    return run


def command(*arguments: str) -> str:
    return os.fsencode("sudo -n -u nobody nmap " + shlex.join(arguments)).decode(errors="surrogateescape")


def read(data: bytes, path: str = "p") -> list[Execution]:
    return list(sudo.parse(numbered(data), path, mtime=time.time(), private=True))


@pytest.mark.parametrize("kind", ["logfile", "json", "syslog", "syslog-json"])
def test_arguments_come_back(run, tmp_path, kind):
    sent = run(kind, command(*ARGUMENTS), "sudo -n id", "echo nmap")
    data = sent if kind.startswith("syslog") else (tmp_path / "sudo.log").read_bytes()
    (one,) = read(data)
    assert one.argv[1:] == ARGUMENTS
    assert one.tool == "nmap"
    assert (one.login.name, one.sudo_user, one.effective.name) == ("root", "root", "nobody")
    assert one.cwd == str(tmp_path)
    assert abs(time.time() - time.mktime(time.strptime(one.start[:19], "%Y-%m-%dT%H:%M:%S")) + time.timezone) < 60
    assert one.strong is (not kind.startswith("syslog"))
    if kind in {"json", "syslog"}:
        assert one.exit_code == 0
        assert one.end >= one.start


@pytest.mark.parametrize("kind", ["logfile", "json", "syslog", "syslog-json"])
def test_refusals(run, tmp_path, kind):
    sent = run(kind, "sudo -n -D /tmp -u nobody nmap -sL 127.0.0.1")  # a directory is not theirs to choose by default
    (one,) = read(sent if kind.startswith("syslog") else (tmp_path / "sudo.log").read_bytes())
    assert one.policy_action == "refused"
    assert "directory" in one.policy_reasons[0]
    assert one.argv[1:] == ("-sL", "127.0.0.1")


def test_forged_lines_are_not_strong(run):
    text = "root : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/nmap forged"
    sent = run("syslog", f"runuser -u nobody -- logger -t sudo {shlex.quote(text)}")
    (one,) = read(sent)
    assert one.argv[1] == "forged"
    assert not one.strong
    assert problems.ANYONE in one.problems


def test_sessions(run, tmp_path):
    run("io", command(*ARGUMENTS))
    (header,) = (tmp_path / "io").rglob("log.json")
    for name in ("log.json", "log"):
        path = header.with_name(name)
        (one,) = sudo_io.parse(numbered(path.read_bytes()), str(path), private=True)
        assert one.start[:10] == one.end[:10]
        assert one.start <= one.end
        assert (one.login.name, one.effective.name, one.strong) == ("root", "nobody", True)
        if name == "log.json":
            assert one.argv[1:] == ARGUMENTS
        else:
            assert " ".join(one.argv[1:]) == " ".join(ARGUMENTS)
            assert problems.ARGUMENTS_SPLIT in one.problems
