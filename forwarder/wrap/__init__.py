"""Runs nmap (or another tool) as the user would, and writes down who ran it, where, when, how and why.

Imports nothing outside the standard library, and little of that: who calls nmap through the shim waits for all of it.
"""

from __future__ import annotations

import os

SPOOL = "/var/spool/nmap-forwarder"
"""Where the shim's entries go, whatever the configuration says; `enroll` makes it."""
SOCKET = "/run/nmap-forwarder/receive"
"""Where entries are sent to before that, so that their owners cannot reach them; systemd makes it."""
CONFIG = "/etc/nmap-forwarder/config.toml"
"""What the shim's policy is read from; nothing that a user could set."""
MARK = b"nmap-forwarder shim"
"""Stands in the first 512 bytes of every shim, so that `run` finds the tool behind it."""
GUARD = "NMAP_FORWARDER_WRAPPED"
"""Environment variable by which a shim knows that its parent (the process id in it) records already."""

PRIVATE = "nmap-forwarder-of-"
"""Beginning of the name of a directory that a wrapper, whose process id follows, has sudo's nmap write to."""
REASON, TICKET = "NMAP_FORWARDER_REASON", "NMAP_FORWARDER_TICKET"
"""Environment variables by which scripts say why they scan."""


def main(
    tool: str,
    argv: list[str],
    *,
    source: str = "shim",
    spool: str = SPOOL,
    receiver: str = SOCKET,
    config: str = CONFIG,
) -> int:
    """Run a tool and record its execution; nothing that fails here keeps the tool from running.

    Args:
        tool: absolute path of the real program, never of a shim.
        argv: all words, with the name that it was called by: `["nmap", "-sS", "192.0.2.1"]`.
        source: "shim" or "run".
        spool: directory that entries are written to, if
        receiver: the socket that they are sent to, does not take them.
        config: configuration file of the policy; it may be missing.

    Returns:
        The tool's exit code, 77 when the policy refused it. A signal that ended the tool ends this process, too.
    """
    try:
        if os.environ.get(GUARD) == str(os.getppid()) or _below_sudo(argv):
            os.execv(tool, argv)  # noqa: S606
        from signal import SIGINT  # noqa: PLC0415 - what cannot be imported must not keep nmap from running

        from forwarder.wrap.child import end_like  # noqa: PLC0415
        from forwarder.wrap.recorder import Request  # noqa: PLC0415
        from forwarder.wrap.run import finish, run  # noqa: PLC0415
    except Exception:  # noqa: BLE001
        os.execv(tool, argv)  # noqa: S606
    reason, ticket = (os.environ.get(name, "") for name in (REASON, TICKET))
    request = Request(
        tool, argv, source=source, spool=spool, receiver=receiver, config=config, reason=reason, ticket=ticket
    )
    try:
        return finish(run(request), source)
    except KeyboardInterrupt:  # before there was a tool that it could have meant
        return end_like(SIGINT)


def _below_sudo(argv: list[str]) -> bool:
    """Tell whether a wrapper above sudo, which lets no variable through, records already."""
    pids = [word.partition(PRIVATE)[2].partition("-")[0] for word in argv if PRIVATE in word]
    if not pids:
        return False
    from forwarder.wrap.process import ancestors  # noqa: PLC0415

    return bool({str(process.pid) for process in ancestors(os.getppid())}.intersection(pids))
