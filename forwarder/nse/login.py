"""Services that let anybody in, or anybody who knows the maker's password (nmap 5 to 7).

Only what a script tried counts. smb-security-mode names the account that scripts *would* use, which is `guest` for
almost every host, so that it says nothing here; nor does ldap-rootdse, which servers answer without a login (RFC 4513).
Scripts may be given passwords by `--script-args`; the scan's command line tells.
"""

from __future__ import annotations

from typing import Final

from forwarder.nse.results import Facts, Result, element, elements, inner, tables

MOST: Final = 100_000
"""Characters of a text that are looked at."""
REFUSALS: Final = (
    "not authorized",
    "unauthorized",
    "requires authentication",
    "need to login",
    "authentication required",
    "error:",
)
"""Words in the answer of a database that wants a login, in lower case."""


def _in(result: Result, *, anonymous: bool = False, default: bool = False) -> Facts:
    found = {name: True for name, fact in (("anonymous", anonymous), ("default", default)) if fact}
    return {"login": found | {"script": [result.id]}} if found else {}


def ftp(result: Result) -> Facts:
    """Read ftp-anon."""
    return _in(result, anonymous=result.text.lstrip().startswith("Anonymous FTP login allowed"))


def shares(result: Result) -> Facts:
    """Read smb-enum-shares: a share that can be used without a login."""
    access = [element(table, "Anonymous access") for _, table in tables(result.table)]
    if not result.table:
        access = [line.strip() for line in result.text[:MOST].split("Anonymous access:")[1:]]
    return _in(result, anonymous=any(text.startswith(("READ", "WRITE")) for text in access))


def accounts(result: Result) -> Facts:
    """Read http-default-accounts; it names applications without credentials, too, when it is verbose."""
    text = result.text[:MOST]
    found = any(inner(table, "credentials") for _, table in tables(result.table))
    if not result.table:
        found = "credentials found ->" in text or any(_is_pair(line) for line in text.split("\n"))
    return _in(result, default=found)


def _is_pair(line: str) -> bool:
    return line.startswith("    ") and ":" in line and "(no valid" not in line


def mysql(result: Result) -> Facts:
    """Read mysql-empty-password."""
    text = result.text[:MOST]
    return _in(
        result,
        anonymous="anonymous account has empty password" in text,
        default="root account has empty password" in text,
    )


def mssql(result: Result) -> Facts:
    """Read ms-sql-empty-password."""
    return _in(result, default="Login Success" in result.text[:MOST])


def mongodb(result: Result) -> Facts:
    """Read mongodb-info and mongodb-databases: figures that a server with access control keeps to its users."""
    text = result.text[:MOST].lower()
    return _in(result, anonymous=("connections" in text or "totalsize" in text) and not _is_refused(text))


def redis(result: Result) -> Facts:
    """Read redis-info."""
    text = result.text[:MOST].lower()
    return _in(result, anonymous=bool(element(result.table, "Version") or "version " in text) and not _is_refused(text))


def _is_refused(text: str) -> bool:
    return any(words in text for words in REFUSALS)


def memcached(result: Result) -> Facts:
    """Read memcached-info."""
    said = dict(elements(result.table)).get("Authentication")
    return _in(result, anonymous=said == "no" if said else "Authentication: no\n" in f"{result.text[:MOST]}\n")


def vnc(result: Result) -> Facts:
    """Read vnc-info; its warning is older than its structured output."""
    kinds = {element(table, "type") for _, table in tables(inner(result.table, "Security types"))}
    return _in(result, anonymous="1" in kinds or "Server does not require authentication" in result.text[:MOST])


def x11(result: Result) -> Facts:
    """Read x11-access."""
    return _in(result, anonymous="X server access is granted" in result.text[:MOST])
