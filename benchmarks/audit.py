"""How fast audit logs are read: MB/s of CPU time, beside a pass that only reads.

Usage: audit.py [MEGABYTES]: size of each generated log. One run of nmap in so many events: none, 10,000, 100, 1.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from forwarder.audit.logs import Logs
from forwarder.ledger import Ledger

PROGRAMS = ("ls", "grep", "sed", "cat", "ps", "bash", "sh", "python3", "systemctl", "cp", "sshd", "cron", "awk", "tar")
WORDS = ("-l", "-a", "--color=auto", "/var/log/syslog", "/etc/hosts", "-n", "root", "status", "/srv/backup", "-xzf")
ENRICHED = (
    '\x1dARCH=x86_64 SYSCALL=%s AUID="alice" UID="root" GID="root" EUID="root" SUID="root" FSUID="root" EGID="root"'
)
IDS = "auid=1000 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts3 ses=7"


def events(every: int, seed: int = 7) -> Iterator[list[str]]:
    """Yield the lines of events for ever; each `every`th is a run of nmap, none if that is 0."""
    rng, serial, clock = random.Random(seed), 0, 1_700_000_000_000
    while True:
        serial, clock = serial + 1, clock + rng.randrange(40)
        head = f"msg=audit({clock // 1000}.{clock % 1000:03}:{serial}):"
        kind = rng.randrange(10)
        if every and serial % every == 0:
            yield _execution(head, rng, "nmap", ["-sS", "-oX", "scan.xml", f"10.0.{rng.randrange(256)}.0/24"])
        elif kind < 5:  # noqa: PLR2004
            yield _execution(head, rng, rng.choice(PROGRAMS), rng.choices(WORDS, k=rng.randrange(6)))
        elif kind < 8:  # noqa: PLR2004
            yield _opened(head, rng)
        else:
            yield [
                (
                    f"type=USER_ACCT {head} pid={rng.randrange(1 << 22)} uid=0 auid=4294967295 ses=4294967295 "
                    'subj=unconfined msg=\'op=PAM:accounting grantors=pam_permit acct="root" exe="/usr/sbin/cron" '
                    'hostname=? addr=? terminal=cron res=success\'\x1dUID="root" AUID="unset"'
                ),
            ]


def _execution(head: str, rng: random.Random, program: str, words: list[str]) -> list[str]:
    arguments = " ".join(f'a{number}="{word}"' for number, word in enumerate([program, *words]))
    title = "\0".join([program, *words]).encode().hex().upper()
    return [
        (
            f"type=SYSCALL {head} arch=c000003e syscall=59 success=yes exit=0 a0={rng.getrandbits(44):x} "
            f"a1={rng.getrandbits(44):x} a2={rng.getrandbits(44):x} a3=8 items=2 ppid={rng.randrange(1 << 22)} "
            f'pid={rng.randrange(1 << 22)} {IDS} comm="{program}" exe="/usr/bin/{program}" subj=unconfined key="exec"'
            f"{ENRICHED % 'execve'}"
        ),
        f"type=EXECVE {head} argc={len(words) + 1} {arguments}",
        f'type=CWD {head} cwd="/root"',
        (
            f'type=PATH {head} item=0 name="/usr/bin/{program}" inode={rng.randrange(1 << 22)} dev=fd:01 mode=0100755 '
            'ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0\x1dOUID="root"'
        ),
        f"type=PROCTITLE {head} proctitle={title}",
    ]


def _opened(head: str, rng: random.Random) -> list[str]:
    return [
        (
            f"type=SYSCALL {head} arch=c000003e syscall=257 success=yes exit=3 a0=9c a1={rng.getrandbits(40):x} "
            f'a2=0 a3=0 items=1 ppid=1 pid={rng.randrange(1 << 22)} {IDS} comm="sshd" exe="/usr/sbin/sshd" '
            f'subj=unconfined key="id"{ENRICHED % "openat"}'
        ),
        f'type=CWD {head} cwd="/"',
        f'type=PATH {head} item=0 name="/etc/shadow" inode={rng.randrange(1 << 22)} dev=fd:01 mode=0100640 ouid=0',
        f"type=PROCTITLE {head} proctitle=737368643A20616C696365205B707269765D",
    ]


def generate(path: Path, megabytes: int, every: int) -> None:
    """Write a log; the same arguments give the same bytes."""
    size = 0
    with path.open("wb") as file:
        for lines in events(every):
            size += file.write("".join(f"{line}\n" for line in lines).encode())
            if size >= megabytes << 20:
                return


def _timed(work: Callable[[], int]) -> tuple[float, int]:
    best, result = float("inf"), 0
    for _ in range(3):
        begun = time.process_time()
        result = work()
        best = min(best, time.process_time() - begun)
    return best, result


def _pass(path: Path) -> int:
    with path.open("rb") as file:
        return sum(len(block) for block in iter(lambda: file.read(1 << 20), b""))


def generate_lines(path: Path, megabytes: int, form: str) -> None:
    """Write a log of lines without sudo: syslog, or the journal as JSON."""
    rng, size = random.Random(7), 0
    with path.open("wb") as file:
        while size < megabytes << 20:
            text = f"{rng.choice(PROGRAMS)}[{rng.randrange(1 << 22)}]: session opened for {rng.choice(WORDS)}"
            line = f"2026-01-05T10:00:01.000000+00:00 scanner1 {text} {rng.getrandbits(200):x}"
            if form == "journal JSON":
                entry = {
                    "__REALTIME_TIMESTAMP": str(1_700_000_000_000_000 + size),
                    "_UID": "0",
                    "_HOSTNAME": "scanner1",
                }
                line = json.dumps(entry | {"__CURSOR": f"s={rng.getrandbits(128):x}", "MESSAGE": text})
            size += file.write(f"{line}\n".encode())


def _found(path: Path, tools: tuple[str, ...], kind: str = "auditd") -> int:
    with tempfile.TemporaryDirectory() as state:
        ledger = Ledger(Path(state) / "ledger.sqlite")
        try:
            return sum(1 for _ in Logs((f"{kind}:{path}",), tools, ledger.positions, print))
        finally:
            ledger.close()


def main() -> None:
    """Print a row for each log."""
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(f"{'one nmap in':>12} {'tools':>6} {'found':>8} {'MB/s':>8} {'plain read':>11} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "audit.log"
        for every in (0, 10_000, 100, 1):
            generate(path, megabytes, every)
            size = path.stat().st_size / 1e6
            plain, _ = _timed(lambda: _pass(path))
            for tools in (("nmap",), ("nmap", "ncat", "nping", "masscan", "zmap")) if not every else (("nmap",),):
                seconds, found = _timed(lambda tools=tools: _found(path, tools))  # type: ignore[misc]
                print(
                    f"{every or 'none':>12} {len(tools):>6} {found:>8} {size / seconds:>8.0f} {size / plain:>11.0f} "
                    f"{seconds / plain:>6.1f}"
                )
        for form in ("syslog", "journal JSON"):
            generate_lines(path, megabytes, form)
            size = path.stat().st_size / 1e6
            plain, _ = _timed(lambda: _pass(path))
            for tools in (("nmap",), ("nmap", "ncat", "nping", "masscan", "zmap")):
                seconds, found = _timed(lambda tools=tools: _found(path, tools, "sudo"))  # type: ignore[misc]
                print(
                    f"{form:>12} {len(tools):>6} {found:>8} {size / seconds:>8.0f} {size / plain:>11.0f} "
                    f"{seconds / plain:>6.1f}"
                )


if __name__ == "__main__":
    main()
