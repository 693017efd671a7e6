"""Where a login session comes from: sshd's entry in utmp, which users cannot write, else by what is claimed."""

from __future__ import annotations

import os
from typing import Final

from forwarder.wrap.process import Process, read

UTMP: Final = "/run/utmp"
ENTRY: Final = 384
"""Bytes of an entry on Linux with glibc, of any word size: struct utmp, utmp(5)."""
USER_PROCESS: Final = 7
LINE: Final = slice(8, 40)
ADDRESS: Final = slice(348, 364)
CLAIMED: Final = "remote address only from SSH_CONNECTION"


def remote(terminals: set[str], processes: list[Process], utmp: str = UTMP) -> tuple[str, str]:
    """Return the address that an ssh session comes from, and a problem if it is only claimed.

    Args:
        terminals: those of the process and of its ancestors; sudo may put a program on another one.
        processes: the ancestors.
        utmp: the file.
    """
    raw = read(utmp)
    for start in range(0, len(raw) - ENTRY + 1, ENTRY):
        entry = raw[start : start + ENTRY]
        line = os.fsdecode(entry[LINE].split(b"\0", 1)[0])
        if int.from_bytes(entry[:2], "little") == USER_PROCESS and line in terminals and any(entry[ADDRESS]):
            return _address(entry[ADDRESS]), ""
    claimed = os.environ.get("SSH_CONNECTION", "").split(" ", 1)[0]
    if not _is_address(claimed):
        return "", ""
    sshd = any(process.name.startswith("sshd") and process.real_uid == 0 for process in processes)
    return claimed, CLAIMED if sshd else CLAIMED + ", and no sshd above"


def _address(raw: bytes) -> str:
    from socket import AF_INET, AF_INET6, inet_ntop  # noqa: PLC0415 - only sessions from elsewhere pay for it

    return inet_ntop(AF_INET6, raw) if any(raw[4:]) else inet_ntop(AF_INET, raw[:4])


def _is_address(text: str) -> bool:
    return 0 < len(text) <= 64 and not set(text) - set("0123456789abcdefABCDEF.:%")  # noqa: PLR2004
