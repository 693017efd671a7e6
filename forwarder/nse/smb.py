"""What Windows file servers say, by the smb-* scripts and nbstat (nmap 5 to 7)."""

from __future__ import annotations

from typing import Final

from forwarder.nse.results import Facts, Result, clean, element, elements, inner, lines, present, some, tables

SIGNING: Final = ("disabled", "supported", "required")
"""Whether messages are signed, the weakest first."""
UNKNOWN: Final = frozenset({"", "Unknown", "<unknown>", "<blank>"})
OLDEST: Final = "NT LM 0.12"
"""The dialect that is SMBv1."""


def os(result: Result) -> Facts:
    """Return `smb` with `os`; `domain`, in DNS or else of Windows, or workgroup; `name`, in DNS or else NetBIOS."""
    said = dict(elements(result.table)) or _pairs(result.text)
    system, domain, name = (
        _first(said, *keys)
        for keys in (
            ("os", "OS"),
            ("domain_dns", "Domain name", "domain", "NetBIOS domain name", "workgroup", "Workgroup"),
            ("fqdn", "FQDN", "server", "NetBIOS computer name"),
        )
    )
    if not result.table:
        system = _without_manager(system)
        if old := said.get("Name", ""):  # nmap 5 wrote DOMAIN\NAME
            domain, _, name = clean(old).rpartition("\\")
    return _facts(os=system, domain=domain, name=name)


def _without_manager(system: str) -> str:
    """Return a system without the LAN manager behind it: `Unix (Samba 4.9)`; both may hold brackets of their own."""
    depth = 0
    for place in range(len(system) - 1, 0, -1):
        depth += (system[place] == ")") - (system[place] == "(")
        if not depth:
            return system[:place].rstrip() if system.endswith(")") else system
    return system


def _pairs(text: str) -> dict[str, str]:
    return {key: value.strip() for key, colon, value in (line.partition(":") for line in lines(text)) if colon}


def _first(said: dict[str, str], *keys: str) -> str:
    return next((value for key in keys if (value := clean(said.get(key, ""))) not in UNKNOWN), "")


def security(result: Result) -> Facts:
    """Return `smb` with `signing` of SMBv1, and `account`: the one that scripts used, which may have been refused."""
    said = dict(elements(result.table)) or _pairs(result.text)
    signing = said.get("message_signing", "").partition(" ")[0]
    if not signing:  # nmap 5 wrote sentences
        words = result.text[:10_000].lower().partition("message signing ")[2]
        signing = "disabled" if words.startswith("not supported") else words.partition(" ")[0].strip(" \n")
    account = _first(said, "account_used", "Account that was used for smb scripts")
    return _facts(signing=[signing] if signing in SIGNING else [], account=account)


def security2(result: Result) -> Facts:
    """Return `smb` with `signing` of SMBv2 and later."""
    said = [text for _, table in tables(result.table) for _, text in elements(table)] or list(lines(result.text))
    return _facts(signing=some(word for text in said if (word := _signing(text))))


def _signing(text: str) -> str:
    if "enabled and required" in text:
        return "required"
    if "enabled but not required" in text:
        return "supported"
    return "disabled" if "signing is disabled" in text else ""


def protocols(result: Result) -> Facts:
    """Return `smb` with `dialect`, and `v1`: whether SMBv1 is among them."""
    said = [text for _, text in elements(inner(result.table, "dialects"))] or list(_below(result.text, "dialects"))
    named = some(text.partition(" (")[0].partition(" [")[0].replace(":", ".") for text in said)
    return {"smb": {"dialect": named, "v1": OLDEST in named}} if named else {}


def _below(text: str, heading: str) -> list[str]:
    found = list(lines(text))
    return found[1:] if found and found[0].startswith(heading) else []


def netbios(result: Result) -> Facts:
    """Return `netbios` with `name`: how the host calls itself there."""
    name = element(result.table, "server_name") or result.text.partition("NetBIOS name: ")[2].partition(",")[0][:100]
    name = clean(name)
    return {"netbios": {"name": name}} if name not in UNKNOWN else {}


def _facts(**facts: object) -> Facts:
    found = present(**facts)
    return {"smb": found} if found else {}
