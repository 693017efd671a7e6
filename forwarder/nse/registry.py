"""Which scripts are understood, and by what; the one way into this room."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from forwarder.nmap.script import Table
from forwarder.nse import certificate, databases, http, login, smb, ssh, tls, vulns
from forwarder.nse.results import MAX_VALUES, Facts, Result

Reader = Callable[[Result], Facts]

LIBRARY: Final = (
    "clamav-exec",
    "ftp-libopie",
    "ftp-vsftpd-backdoor",
    "http-avaya-ipoffice-users",
    "http-cross-domain-policy",
    "http-dlink-backdoor",
    "http-frontpage-login",
    "http-iis-short-name-brute",
    "http-method-tamper",
    "http-phpmyadmin-dir-traversal",
    "http-phpself-xss",
    "http-sap-netweaver-leak",
    "http-shellshock",
    "http-slowloris-check",
    "http-tplink-dir-traversal",
    "ipmi-cipher-zero",
    "qconn-exec",
    "realvnc-auth-bypass",
    "smb-double-pulsar-backdoor",
    "ssl-ccs-injection",
    "ssl-dh-params",
    "ssl-heartbleed",
    "ssl-poodle",
    "sslv2-drown",
    "supermicro-ipmi-conf",
    "tls-ticketbleed",
)
"""Scripts that use nmap's library `vulns`, beside those with names that say so."""
READERS: Final[dict[str, Reader]] = {
    "ftp-anon": login.ftp,
    "http-default-accounts": login.accounts,
    "html-title": http.title,  # of nmap 4 and 5.00
    "http-server-header": http.server,
    "http-title": http.title,
    "memcached-info": login.memcached,
    "mongodb-databases": login.mongodb,
    "mongodb-info": login.mongodb,
    "ms-sql-empty-password": login.mssql,
    "mysql-empty-password": login.mysql,
    "nbstat": smb.netbios,
    "redis-info": login.redis,
    "smb-check-vulns": vulns.smb_check,
    "smb-enum-shares": login.shares,
    "smb-os-discovery": smb.os,
    "smb-protocols": smb.protocols,
    "smb-security-mode": smb.security,
    "smb2-security-mode": smb.security2,
    "ssh-hostkey": ssh.hostkey,
    "ssh2-enum-algos": ssh.algorithms,
    "ssl-cert": certificate.read,
    "ssl-enum-ciphers": tls.ciphers,
    "sslv2": tls.sslv2,
    "tls-alpn": tls.alpn,
    "vnc-info": login.vnc,
    "vulners": databases.vulners,
    "vulscan": databases.vulscan,
    "x11-access": login.x11,
}
"""Script → what understands it."""
READERS.update(dict.fromkeys(LIBRARY, vulns.library))
TITLES: Final = tuple(name for name, read in READERS.items() if read is http.title)
SERVERS: Final = tuple(name for name, read in READERS.items() if read is http.server)
HOST_KEYS: Final = tuple(name for name, read in READERS.items() if read is ssh.hostkey)
LIKELY = re.compile(r"vuln|cve-?[0-9]{4}|ms[0-9]{2}-[0-9]{3}")
"""In the names of most scripts that use that library, of nmap and of others."""
PARTS: Final = ("vuln", "cve", "ms")
"""Of what LIKELY finds, one is in each: what has none of them is quickly told."""
MOST_NAMES: Final = 4096
"""Names of scripts that are remembered."""


@lru_cache(maxsize=MOST_NAMES)
def reader(name: str) -> Reader | None:
    """Return what understands a script; None for a script that nothing does."""
    return READERS.get(name) or (vulns.library if LIKELY.search(name[:200]) else None)


def read(script: dict[str, Any]) -> Facts:
    """Return what scripts found, by family.

    Never raises for what a script says. What is not understood is left out: the scripts' own words are kept anyway.

    Args:
        script: as `forwarder.nmap.script.scripts` returns it.

    Returns:
        `certificate`, `tls`, `ssh`, `http`, `smb`, `netbios`, `login`, `vulnerability`, each as the module of its
        family says, where there is something. Of a list that scripts fill together MAX_VALUES are kept, and one more
        when there were more; of two other values that contradict each other, the first.
    """
    found: Facts = {}
    for result, understand in _understood(script):
        said = understand(result)
        if not found:
            found = said  # as it is with nearly all ports
            continue
        for family, facts in said.items():
            known = found.setdefault(family, facts)
            if known is facts:
                continue
            for name, value in facts.items():
                if isinstance(value, list) and name in known:
                    known[name] = list(dict.fromkeys([*known[name], *value]))[: MAX_VALUES + 1]
                else:
                    known.setdefault(name, value)
    return found


def _understood(script: dict[str, Any]) -> list[tuple[Result, Reader]]:
    """Return the results that something understands."""
    names, texts = script.get("id"), script.get("output")
    found: list[tuple[Result, Reader]] = []
    tables: dict[str, Table] = {}
    for place, name in enumerate(names if isinstance(names, list) else ()):
        understand = reader(name) if isinstance(name, str) else None
        if understand:
            if not found:
                tables = _tables(script)
            text = texts[place] if isinstance(texts, list) and place < len(texts) else ""
            found.append((Result(name, tables.get(name, []), text if isinstance(text, str) else ""), understand))
    return found


def _tables(script: dict[str, Any]) -> dict[str, Table]:
    """Return structured output by script; of a script that ran twice, the first."""
    found: dict[str, Table] = {}
    results = script.get("result")
    for result in results if isinstance(results, list) else ():
        if isinstance(result, dict) and isinstance(result.get("id"), str):
            table = result.get("table")
            found.setdefault(result["id"], table if isinstance(table, list) else [])
    return found


def certificate_sha256(script: dict[str, Any]) -> str:
    """Return the SHA-256 of the certificate (DER) that scripts found, hex; empty for none."""
    names = script.get("id")
    if isinstance(names, list) and "ssl-cert" in names:
        for result, understand in _understood(script):
            if understand is certificate.read and (data := certificate.der(result)):
                return sha256(data).hexdigest()
    return ""
