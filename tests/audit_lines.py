"""Audit events as the kernel and auditd write them, for tests and for the benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NAMES = '\x1dARCH=x86_64 SYSCALL=execve AUID="alice" UID="root" GID="root" EUID="root" SUID="root"'
RECORD = 7500
"""Bytes of arguments that the kernel puts into one record."""


def encoded(value: bytes) -> str:
    """A text that the kernel does not trust (kernel/audit.c, audit_string_contains_control)."""
    if any(byte == 0x22 or byte < 0x21 or byte > 0x7E for byte in value):
        return value.hex().upper()
    return f'"{value.decode()}"'


def execve(argv: Sequence[bytes], record: int = RECORD, *, old: bool = False) -> list[str]:
    """The fields of EXECVE records; `old` kernels announce hexadecimal digits, not bytes."""
    records, room = [f"argc={len(argv)}"], record
    for number, word in enumerate(argv):
        text = encoded(word)
        if len(text) + 12 <= room:
            records[-1] += f" a{number}={text}"
            room -= len(text) + 12
            continue
        is_hex = not text.startswith('"')
        step = max(2, (record // 2 if is_hex else record) - 40)
        length = 2 * len(word) if old and is_hex else len(word)
        for part, at in enumerate(range(0, len(word), step)):
            if room < record:
                records.append("")
            piece = word[at : at + step]
            announced = f" a{number}_len={length}" if part == 0 else ""
            records[-1] += f"{announced} a{number}[{part}]={piece.hex().upper() if is_hex else encoded(piece)}"
            room = 0
        records.append("")
        room = record
    return [fields.strip() for fields in records if fields.strip()]


def event(
    serial: int,
    argv: Sequence[bytes] = (b"nmap", b"-sS", b"10.0.0.1"),
    *,
    time: str = "1700000000.123",
    exe: bytes = b"/usr/bin/nmap",
    comm: bytes = b"nmap",
    arch: str = "c000003e",
    syscall: int = 59,
    success: str = "success=yes exit=0",
    auid: str = "1000",
    uid: str = "0",
    pid: int = 2101,
    ppid: int = 2100,
    cwd: bytes = b"/home/alice",
    names: str = NAMES,
    node: str = "",
    key: str = '"nmap"',
    record: int = RECORD,
    old: bool = False,
    without: Iterable[str] = (),
    title: bytes | None = None,
    end: bool = False,
) -> list[bytes]:
    """The lines of an execution, without their newlines."""
    head = f"{f'node={node} ' if node else ''}type=%s msg=audit({time}:{serial}): "
    title = b"\0".join(argv)[:128] if title is None else title
    records = [
        (
            "SYSCALL",
            (
                f"arch={arch} syscall={syscall} {success} a0=55d0c8 a1=55d0d8 a2=55d0e8 a3=8 items=2 ppid={ppid} pid={pid} "
                f"auid={auid} uid={uid} gid={uid} euid={uid} suid={uid} fsuid={uid} egid={uid} sgid={uid} fsgid={uid} tty=pts3 ses=7 "
                f"comm={encoded(comm)} exe={encoded(exe)} subj=unconfined key={key}{names}"
            ),
        ),
        *(("EXECVE", fields) for fields in execve(argv, record, old=old)),
        ("CWD", f"cwd={encoded(cwd)}"),
        (
            "PATH",
            f"item=0 name={encoded(exe)} inode=401923 dev=fd:01 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL",
        ),
        (
            "PATH",
            'item=1 name="/lib64/ld-linux-x86-64.so.2" inode=404797 dev=fd:01 mode=0100755 ouid=0 nametype=NORMAL',
        ),
        ("PROCTITLE", f"proctitle={encoded(title)}"),
        *([("EOE", "")] if end else []),
    ]
    return [(head % kind + fields).encode() for kind, fields in records if kind not in set(without)]


def text(*events: Iterable[bytes]) -> bytes:
    """Lines one after the other."""
    return b"".join(line + b"\n" for lines in events for line in lines)
