"""A scan of any size that repeats no small pool of hosts or ports; the same for the same seed."""

from __future__ import annotations

import random
import sys
from pathlib import Path

SERVICES = (
    ("ssh", "OpenSSH"),
    ("http", "nginx"),
    ("http", "Apache httpd"),
    ("smtp", "Postfix smtpd"),
    ("mysql", "MySQL"),
    ("domain", "BIND"),
    ("ftp", "vsftpd"),
)
START = 1_700_000_000
RANGES = ",".join(f"{n}-{n + 2}" if n % 3 else str(n) for n in range(1, 4000, 8))

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE nmaprun>\n'
    f'<nmaprun scanner="nmap" args="nmap -sS -sV -oX x 10.0.0.0/8" start="{START}" version="7.93" '
    'xmloutputversion="1.05">\n<scaninfo type="syn" protocol="tcp" numservices="1000" services="{ranges}"/>\n'
)
TAIL = (
    f'<runstats><finished time="{START + 99999}" elapsed="99999.00" exit="success"/>'
    '<hosts up="{hosts}" down="0" total="{hosts}"/>\n</runstats>\n</nmaprun>\n'
)


def generate(path: Path, megabytes: float, seed: int = 7) -> tuple[int, int]:
    """Write a scan of about that size; return (hosts, ports)."""
    rng = random.Random(seed)
    words = _words(rng)
    hosts = ports = 0
    with path.open("w", encoding="utf-8") as out:
        out.write(HEAD.format(ranges=RANGES))
        while out.tell() < megabytes * 1e6:
            listed = sorted(rng.sample(range(1, 65536), rng.randint(3, 12)))
            out.write(_host(rng, words, hosts, listed))
            hosts, ports = hosts + 1, ports + len(listed)
        out.write(TAIL.format(hosts=hosts))
    return hosts, ports


def generate_ports(path: Path, ports: int = 65535, seed: int = 7) -> tuple[int, int]:
    """Write a scan of one host with all of its ports open; return (hosts, ports)."""
    rng = random.Random(seed)
    with path.open("w", encoding="utf-8") as out:
        out.write(HEAD.format(ranges=f"1-{ports}"))
        out.write(_host(rng, _words(rng), 1, list(range(1, ports + 1))))
        out.write(TAIL.format(hosts=1))
    return 1, ports


def _words(rng: random.Random) -> list[str]:
    return ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(4000)]


def _host(rng: random.Random, words: list[str], n: int, listed: list[int]) -> str:
    mac = ":".join(f"{rng.randrange(256):02X}" for _ in range(6))
    left = max(1000 - len(listed), 0)
    return (
        f'<host starttime="{START + n}" endtime="{START + n + rng.randint(5, 500)}">'
        f'<status state="up" reason="arp-response" reason_ttl="{rng.randint(30, 255)}"/>\n'
        f'<address addr="10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" addrtype="ipv4"/>\n'
        f'<address addr="{mac}" addrtype="mac" vendor="{rng.choice(words).title()}"/>\n'
        f'<hostnames>\n<hostname name="{rng.choice(words)}.{rng.choice(words)}.example" type="PTR"/>\n</hostnames>\n'
        f'<ports><extraports state="closed" count="{left}">\n<extrareasons reason="reset" count="{left}" proto="tcp" '
        f'ports="1-{rng.randint(900, 1000)}"/>\n</extraports>\n'
        + "".join(_port(rng, words, port) for port in listed)
        + f'</ports>\n<os><portused state="open" proto="tcp" portid="{listed[0]}"/>'
        f'<osmatch name="Linux {rng.randint(2, 6)}.{rng.randint(0, 20)}" accuracy="{rng.randint(85, 100)}" line="1">'
        '<osclass type="general purpose" vendor="Linux" osfamily="Linux" osgen="5.X" accuracy="95">'
        f"<cpe>cpe:/o:linux:linux_kernel:5</cpe></osclass></osmatch></os>\n"
        f'<uptime seconds="{rng.randrange(10**7)}"/><distance value="{rng.randint(1, 20)}"/>\n'
        f'<times srtt="{rng.randrange(10**5)}" rttvar="{rng.randrange(10**5)}" to="100000"/>\n</host>\n'
    )


def _port(rng: random.Random, words: list[str], port: int) -> str:
    name, product = rng.choice(SERVICES)
    version = f"{rng.randint(0, 9)}.{rng.randint(0, 30)}.{rng.randint(0, 99)}"
    text = (
        f'<port protocol="tcp" portid="{port}">'
        f'<state state="open" reason="syn-ack" reason_ttl="{rng.randint(30, 255)}"/>'
        f'<service name="{name}" product="{product}" version="{version}" extrainfo="{rng.choice(words)}" '
        'ostype="Linux" '
        f'method="probed" conf="10"><cpe>cpe:/a:{rng.choice(words)}:{rng.choice(words)}:{version}</cpe></service>'
    )
    if rng.random() < 0.45:  # noqa: PLR2004
        title = " ".join(rng.choices(words, k=5))
        text += f'<script id="http-title" output="{title}"><elem key="title">{title}</elem></script>'
    if rng.random() < 0.3:  # noqa: PLR2004
        keys = [f"{rng.getrandbits(128):032x}" for _ in range(2)]
        text += f'<script id="ssh-hostkey" output="&#xa;  {keys[0]}&#xa;  {keys[1]}">' + "".join(
            f'<table><elem key="bits">2048</elem><elem key="key">{key}</elem></table>' for key in keys
        )
        text += "</script>"
    return text + "</port>\n"


if __name__ == "__main__":
    print(*generate(Path(sys.argv[1]), float(sys.argv[2])))
