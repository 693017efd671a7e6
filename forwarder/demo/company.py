"""The company: its machines as nmap sees them on a day, and the people who scan them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha512
from html import escape
from random import Random
from typing import Final

SERVICES: Final = {
    21: ("ftp", "vsftpd", "3.0.3"),
    22: ("ssh", "OpenSSH", "9.2p1"),
    25: ("smtp", "Postfix smtpd", "3.7.11"),
    53: ("domain", "ISC BIND", "9.18.24"),
    80: ("http", "nginx", "1.24.0"),
    443: ("http", "nginx", "1.24.0"),
    445: ("microsoft-ds", "Samba smbd", "4.17.12"),
    631: ("ipp", "CUPS", "2.4.2"),
    3389: ("ms-wbt-server", "Microsoft Terminal Services", ""),
    5432: ("postgresql", "PostgreSQL DB", "15.6"),
    8080: ("http", "Apache Tomcat", "9.0.70"),
    9100: ("jetdirect", "", ""),
}
"""Port → nmap's name of the service, product, version."""
ROLES: Final = {
    "web": (22, 80, 443),
    "app": (22, 443, 8080),
    "mail": (22, 25, 443),
    "db": (22, 5432),
    "file": (21, 22),
    "dns": (22, 53),
    "desk": (3389,),
    "print": (80, 631, 9100),
}
NETWORKS: Final = {
    "10.20.1.0/24": ("internal", ("web", "app", "db", "db", "dns", "file")),
    "10.20.2.0/24": ("internal", ("desk", "desk", "desk", "desk", "print")),
    "10.30.1.0/24": ("branch", ("desk", "print", "file")),
    "203.0.113.0/28": ("internet", ("web", "mail", "app")),
}
"""Network → vantage that it is scanned from, roles of its machines."""
OWNERS: Final = """\
network,owner,criticality
10.20.1.0/24,platform team,high
10.20.2.0/24,workplace team,low
10.30.1.0/24,branch office,medium
203.0.113.0/28,web team,critical
"""
"""The list of owners that the company keeps."""
USERS: Final = {"svc-scan": "990", "alice": "1000", "bob": "1001", "carol": "1002", "dana": "1003", "erik": "1004"}
"""People of the scanners' group and the account of scheduled scans, with their numbers."""
CVES: Final = (("CVE-2023-44487", "7.5"), ("CVE-2021-23017", "6.8"))
"""What vulners concludes of the web servers' version."""

EXPLOITED: Final = frozenset({"CVE-2021-23017"})
"""Those that an exploit is known of."""
WEAK: Final = """\
<script id="ssl-enum-ciphers" output="TLSv1.0"><table key="TLSv1.0"><table key="ciphers"><table>\
<elem key="strength">C</elem><elem key="kex_info">secp256r1</elem>\
<elem key="name">TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA</elem></table></table></table>\
<elem key="least strength">C</elem></script>"""
"""What nmap says of a server with old TLS."""
ANONYMOUS: Final = '<script id="ftp-anon" output="Anonymous FTP login allowed (FTP code 230)"/>'


@dataclass
class Machine:
    """One machine."""

    ip: str
    name: str
    role: str
    ports: dict[int, tuple[str, str, str]]
    certificate_end: datetime
    mac: str
    cves: tuple[tuple[str, str], ...] = ()
    tested: str = ""
    """CVE that a script of nmap finds present."""


def machines(rng: Random, start: datetime) -> list[Machine]:
    """Return the company's machines on its first day."""
    found = []
    for network, (_, roles) in NETWORKS.items():
        base = network.rpartition(".")[0]
        for number, role in enumerate(roles, 1):
            name = f"{role}-{base.split('.')[1]}-{number}.example.com"
            ports = {port: SERVICES[port] for port in ROLES[role]}
            end = start + timedelta(days=rng.randint(200, 380))
            mac = ":".join(f"{byte:02X}" for byte in (0x00, 0x50, 0x56, *rng.randbytes(3)))
            cves = CVES if role in {"web", "app"} else ()
            found.append(Machine(f"{base}.{number + 9}", name, role, ports, end, mac, cves))
    return found


def xml(
    args: str,
    start: datetime,
    finish: datetime,
    found: list[Machine],
    total: int,
    *,
    scripts: bool,
    version: str,
    error: str = "",
) -> str:
    """Return what nmap writes of a scan.

    Args:
        args: command line.
        start: when it began.
        finish: when it was done.
        found: machines that are up.
        total: addresses that were scanned.
        scripts: whether scripts ran.
        version: of nmap.
        error: why nmap failed, if it did.
    """
    how = f'exit="error" errormsg="{error}"' if error else 'exit="success"'
    first, last = int(start.timestamp()), int(finish.timestamp())
    done = finish.strftime("%a %b %d %H:%M:%S %Y")
    summary = f"Nmap done at {done}; {total} IP addresses ({len(found)} hosts up) scanned in {last - first}.00 seconds"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE nmaprun>\n'
        f'<nmaprun scanner="nmap" args="{escape(args)}" start="{first}" version="{version}" '
        'xmloutputversion="1.05">\n<scaninfo type="syn" protocol="tcp" numservices="10000" services="1-10000"/>\n'
        + "".join(_host(machine, first, last, scripts=scripts) for machine in found)
        + f'<runstats><finished time="{last}" elapsed="{last - first}.00" summary="{summary}" {how}/>'
        f'<hosts up="{len(found)}" down="{total - len(found)}" total="{total}"/>\n</runstats>\n</nmaprun>\n'
    )


def _host(machine: Machine, start: int, end: int, *, scripts: bool) -> str:
    ports = "".join(_port(machine, number, scripts=scripts) for number in sorted(machine.ports))
    closed = 10000 - len(machine.ports)
    return (
        f'<host starttime="{start}" endtime="{end}"><status state="up" reason="arp-response" reason_ttl="0"/>\n'
        f'<address addr="{machine.ip}" addrtype="ipv4"/>\n<address addr="{machine.mac}" addrtype="mac"/>\n'
        f'<hostnames><hostname name="{machine.name}" type="PTR"/></hostnames>\n'
        f'<ports><extraports state="closed" count="{closed}"><extrareasons reason="reset" count="{closed}" '
        f'proto="tcp"/></extraports>\n{ports}</ports>\n{_os(machine)}</host>\n'
    )


def _os(machine: Machine) -> str:
    family, name = ("Windows", "Microsoft Windows 11") if machine.role == "desk" else ("Linux", "Linux 5.0 - 6.2")
    return (
        f'<os><osmatch name="{name}" accuracy="98" line="1"><osclass type="general purpose" vendor="{family}" '
        f'osfamily="{family}" osgen="5.X" accuracy="98"/></osmatch></os>\n'
    )


def _port(machine: Machine, number: int, *, scripts: bool) -> str:
    service, product, version = machine.ports[number]
    tunnel = ' tunnel="ssl"' if number == 443 else ""
    facts = "".join(f' {name}="{value}"' for name, value in (("product", product), ("version", version)) if value)
    said = "".join(_scripts(machine, number)) if scripts else ""
    return (
        f'<port protocol="tcp" portid="{number}"><state state="open" reason="syn-ack" reason_ttl="64"/>'
        f'<service name="{service}"{facts}{tunnel} method="probed" conf="10"/>{said}</port>\n'
    )


def _scripts(machine: Machine, number: int) -> Iterator[str]:
    if number == 443:
        yield _certificate(machine)
        if machine.role == "app":
            yield WEAK
    if number == 21:
        yield ANONYMOUS
    if number in {80, 443, 8080}:
        yield f'<script id="http-title" output="{machine.name}"><elem key="title">{machine.name}</elem></script>'
        product, version = machine.ports[number][1].split()[-1].lower(), machine.ports[number][2]
        cpe = f"cpe:/a:example:{product}:{version}"
        rows = "".join(
            f'<table><elem key="type">cve</elem><elem key="cvss">{cvss}</elem><elem key="id">{name}</elem>'
            f'<elem key="is_exploit">{str(name in EXPLOITED).lower()}</elem></table>'
            for name, cvss in machine.cves
        )
        if rows:
            yield f'<script id="vulners" output="{cpe}"><table key="{cpe}">{rows}</table></script>'
    if number == 22:
        key = base64.b64encode(sha512(machine.name.encode()).digest()).decode()
        yield (
            f'<script id="ssh-hostkey" output="256 ED25519"><table><elem key="type">ssh-ed25519</elem>'
            f'<elem key="bits">256</elem><elem key="key">{key}</elem></table></script>'
        )
    if machine.tested and number == 443:
        yield (
            f'<script id="ssl-poodle" output="VULNERABLE"><table key="{machine.tested}"><elem key="title">SSL POODLE '
            f'information leak</elem><elem key="state">VULNERABLE</elem><table key="ids"><elem>CVE:{machine.tested}'
            "</elem></table></table></script>"
        )


def _certificate(machine: Machine) -> str:
    end = machine.certificate_end
    begin = end - timedelta(days=397)
    der = b"0\x82\x01\x00" + sha512(f"{machine.name} {end:%F}".encode()).digest() * 4
    pem = f"-----BEGIN CERTIFICATE-----&#xa;{base64.b64encode(der).decode()}&#xa;-----END CERTIFICATE-----&#xa;"
    return (
        f'<script id="ssl-cert" output="Subject: commonName={machine.name}"><table key="subject"><elem '
        f'key="commonName">{machine.name}</elem></table><table key="issuer"><elem key="commonName">Example CA</elem>'
        f'</table><table key="pubkey"><elem key="type">rsa</elem><elem key="bits">2048</elem></table>'
        f'<table key="validity"><elem key="notBefore">{begin:%FT%T}</elem><elem key="notAfter">{end:%FT%T}</elem>'
        f'</table><elem key="pem">{pem}</elem></script>'
    )
