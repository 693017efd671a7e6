"""Who runs a tool, where, and by what: members of an Execution (forwarder/audit/interface.py) known at its start."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable
from typing import Any, Final

from forwarder.wrap import container, login
from forwarder.wrap.process import Process, ancestors, link, read, words

UNSET: Final = 0xFFFFFFFF
"""Login uid and session id of what no login started (Linux, AUDIT_UID_UNSET)."""
ENVIRONMENT: Final = (
    "NMAPDIR",
    "NMAP_ARGS",
    "NMAP_PRIVILEGED",
    "NMAP_UNPRIVILEGED",
    "LUA_PATH",
    "LUA_PATH_5_3",
    "LUA_PATH_5_4",
    "LUA_CPATH",
    "LUA_CPATH_5_3",
    "LUA_CPATH_5_4",
    "LUA_INIT",
    "LD_PRELOAD",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "RES_OPTIONS",
    "POSIXLY_CORRECT",
    "TZ",
)
"""Variables that change what nmap does: its own, Lua's, the loader's, OpenSSL's, the resolver's, getopt's."""
LONGEST: Final = 4096
"""Characters of a variable or a parent's command line that are kept."""
NOT_BELIEVED: Final = "SUDO_USER set without sudo"


def now() -> str:
    """Return the time: RFC 3339, UTC, milliseconds."""
    return timestamp(time.time_ns())


def timestamp(nanoseconds: int) -> str:
    """Return a time since 1970 in the same form."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction // 10**6:03d}Z"


def gather(mask: Callable[[list[str]], list[str]]) -> tuple[dict[str, Any], list[str]]:
    """Return what is known of this process by member, and what is wrong with it in our fixed words.

    Args:
        mask: replaces the secrets in the words of a command line.
    """
    problems: list[str] = []
    above = ancestors(os.getppid())
    me = ancestors(os.getpid())[:1]
    terminal = me[0].terminal if me else ""
    remote, problem = login.remote({terminal, *(process.terminal for process in above)} - {""}, above)
    if problem:
        problems.append(problem)
    found: dict[str, Any] = {
        "host": os.uname().nodename,
        "cwd": _cwd(problems),
        "ppid": os.getppid(),
        "login": _login(),
        "real": user(os.getuid()),
        "effective": user(os.geteuid()),
        "sudo_user": _sudo_user(above, problems),
        "terminal": terminal,
        "session": _number("/proc/self/sessionid"),
        "remote_ip": remote,
        "interactive": bool(terminal) and os.isatty(0),
        "parent_executable": link(f"/proc/{os.getppid()}/exe"),
        "parent_command_line": " ".join(mask(words(read(f"/proc/{os.getppid()}/cmdline"))))[:LONGEST],
        "environment": _environment(mask),
        **container.facts(),
    }
    if not found["parent_executable"] and above:
        found["parent_executable"] = above[0].name
        problems.append("parent's path unreadable")
    return found, problems


def user(uid: int) -> dict[str, str]:
    """Return a user's number, as it is outside of a user namespace, and, if the machine knows one, name."""
    uid = _outside(uid)
    try:
        return {"id": str(uid), "name": pwd.getpwuid(uid).pw_name}
    except KeyError:
        return {"id": str(uid)}


def _outside(uid: int) -> int:
    """Return a user's number where the user namespace that we are in was made: uid_map of user_namespaces(7)."""
    for line in read("/proc/self/uid_map").splitlines():
        inside, outside, count = map(int, line.split())
        if 0 <= uid - inside < count:
            return outside + uid - inside
    return uid


def _environment(mask: Callable[[list[str]], list[str]]) -> list[str]:
    values = {name: os.environ[name][:LONGEST] for name in ENVIRONMENT if name in os.environ}
    if "NMAP_ARGS" in values:
        values["NMAP_ARGS"] = " ".join(mask(["nmap", *values["NMAP_ARGS"].split(" ")])[1:])
    return [f"{name}={value}" for name, value in values.items()]


def _number(path: str) -> str:
    text = read(path, 32).decode("ascii", "replace").strip()
    return text if text.isdigit() and int(text) != UNSET else ""


def _login() -> dict[str, str]:
    number = _number("/proc/self/loginuid")
    return user(int(number)) if number else {}


def _called_by(sudo: Process, name: str) -> bool:
    """Tell whether a process with root's rights was called by a user: his number is its real one, or it took root's."""
    try:
        caller = pwd.getpwnam(name).pw_uid
    except KeyError:
        caller = 0
    return sudo.effective_uid == 0 and sudo.real_uid in {0, caller}


def _cwd(problems: list[str]) -> str:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        problems.append("working directory is gone")
        return ""


def _sudo_user(above: list[Process], problems: list[str]) -> str:
    """Return who called sudo: anybody may set SUDO_USER, so only root, or a process below sudo, is believed."""
    name = os.environ.get("SUDO_USER", "")[:256]
    if not name:
        return ""
    if _outside(os.getuid()) == 0 or any(process.name == "sudo" and _called_by(process, name) for process in above):
        return name
    problems.append(NOT_BELIEVED)
    return ""
