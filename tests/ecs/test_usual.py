"""Compiled code makes the records of a host as Python does, or leaves them to it."""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import md5, sha256
from io import BytesIO
from itertools import count, product
from pathlib import Path
from time import process_time
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from orjson import Fragment, loads

from forwarder.assets import _asset, _row
from forwarder.ecs.context import Attributed, Context, Options, Origin
from forwarder.ecs.hosts import HostMapper
from forwarder.ecs.tally import Tally
from forwarder.ecs.usual import Lines
from forwarder.history import NETWORK, Asset
from forwarder.nmap import fast, ranges
from forwarder.nmap.framing import Frame, Framer
from forwarder.nmap.reader import Host
from forwarder.nmap.survey import Survey
from forwarder.nse import registry
from forwarder.seal.manifest import MAX_RECORD_BYTES

FIXTURES = sorted((Path(__file__).parent.parent / "fixtures/nmap").iterdir())

if not fast.COMPILED and os.environ.get("CI") != "true":
    pytest.skip("no Rust compiler built the compiled reader here", allow_module_level=True)

ORIGIN = Origin("scan.xml", "ab" * 32, 1, "2023-01-01T00:00:00.000Z")
WHO = Attributed(shared={"labels": Fragment(b'{"ticket":"T-1"}'), "user": Fragment(b'{"name":"alice"}')})


def scan(info: str = '<scaninfo type="syn" protocol="tcp" services="1-100,443,8000-8010"/>', run: str = "") -> bytes:
    """A scan without hosts."""
    run = run or 'scanner="nmap" args="nmap -sV 10.0.0.0/8" start="1700000000" version="7.95"'
    return f"<nmaprun {run}>{info}<runstats/></nmaprun>".encode()


@dataclass
class Side:
    """One of the two ways from hosts to records, with what it says beside them."""

    context: Context
    mapped: bool
    known: dict[str, tuple[Any, ...]] | None = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        known = self.known
        self.mapper = HostMapper(self.context, self.tally, None if known is None else self.get)

    def get(self, host_id: str) -> Asset | None:
        assert self.known is not None
        row = self.known.get(host_id)
        return _asset(row) if row else None

    def records(self, data: bytes, ordinal: int) -> tuple[list[bytes], list[tuple[Any, ...]], dict[str, Any]]:
        """Records, assets and totals once a host was read."""
        host = Host(ordinal, Frame("host", 0, len(data), data), iter(()))
        made = self.mapper._mapped(host) if self.mapped else self.mapper.records(host)
        lines = list(made)
        assert not isinstance(made, Lines) or made.count == len(lines)
        rows = [_row(asset)[:-1] for asset in self.mapper.observed]
        if self.known is not None:
            self.known |= {row[1]: row for row in rows}
        return lines, [(*row[:-1], loads(row[-1])) for row in rows], self.tally.dump()


class Both:
    """Compiled code beside Python, host after host.

    Args:
        look: the options.
        document: the scan.
        who: made it.
        known: what is known of assets, as rows; None for no history.
    """

    def __init__(
        self,
        look: Options | None = None,
        document: bytes | None = None,
        who: Attributed | None = None,
        known: dict[str, tuple[Any, ...]] | None = None,
        *,
        history: bool = True,
    ) -> None:
        found = next(iter(Survey(BytesIO(document or scan()))))
        self.context = Context(found, ORIGIN, look or Options(), found.scan_id, who or Attributed())
        known = (known or {}) if history else None
        self.compiled, self.python = (Side(self.context, mapped, deepcopy(known)) for mapped in (False, True))
        self.ordinal = 0

    def same(self, data: bytes) -> bool:
        """Hold the two against each other; tell whether compiled code gave anything."""
        made = self.compiled.mapper._usual.records(Host(self.ordinal, Frame("host", 0, len(data), data), iter(())))
        found, expected = (side.records(data, self.ordinal) for side in (self.compiled, self.python))
        assert found == expected
        self.ordinal += 1
        return made is not None


LOOKS = {
    "defaults": Options(),
    "all ports, any system": Options(all_ports=True, os_accuracy=0),
    "only sure systems": Options(os_accuracy=100, observer="scanner1", observer_ip="10.9.9.9"),
    "networks": Options(networks=("10.0.0.0/8", "10.0.0.0/30", "2001:db8::/32"), vantage='d"m\\z é\n', namespace="x"),
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_every_host_of_the_fixtures_gives_the_same_records(path, look):
    data = path.read_bytes()
    both = Both(LOOKS[look], data)
    hosts = [frame.data for frame in Framer(BytesIO(data)) if frame.kind == "host"]
    for host in hosts * 2:  # new ones, then known ones
        both.same(host)


def test_hosts_as_nmap_writes_them_are_not_left_to_python():
    demo = next(path for path in FIXTURES if path.name == "demo.xml").read_bytes()
    both = Both(document=demo)
    assert all(both.same(frame.data) for frame in Framer(BytesIO(demo)) if frame.kind == "host")


def host(body: str = "", attributes: str = 'endtime="1700000100"', name: str = "", ip: str = "10.0.0.1") -> str:
    """A host that is up."""
    name = f"<hostnames>{name}</hostnames>" if name else ""
    address = f'<address addr="{ip}" addrtype="ipv{6 if ":" in ip else 4}"/>' if ip else ""
    return f'<host {attributes}><status state="up" reason="syn-ack"/>{address}{name}{body}</host>'


def port(
    body: str = "", number: object = 80, state: str = 'state="open" reason="syn-ack"', protocol: str = "tcp"
) -> str:
    """A port."""
    return f'<port protocol="{protocol}" portid="{number}"><state {state}/>{body}</port>'


def ports(*parts: str) -> str:
    return f"<ports>{''.join(parts)}</ports>"


def script(name: str, table: str = "", output: str = "x") -> str:
    return f"<script id={quoteattr(name)} output={quoteattr(output)}>{table}</script>"


def title(text: str, redirect: str = "", name: str = "http-title") -> str:
    table = f'<elem key="title">{text}</elem>' if text else ""
    return script(name, table + (f'<elem key="redirect_url">{redirect}</elem>' if redirect else ""), text)


def table(*said: tuple[str, object]) -> str:
    """A table of values."""
    return f"<table>{''.join(f'<elem key={quoteattr(key)}>{escape(str(value))}</elem>' for key, value in said)}</table>"


def host_keys(*tables: str, output: str = "x") -> str:
    return script("ssh-hostkey", "".join(tables), output)


def server(*names: str) -> str:
    return script("http-server-header", "".join(f"<elem>{name}</elem>" for name in names))


def blob(kind: bytes = b"ssh-rsa", rest: bytes = b"x" * 32) -> str:
    """A key of the second protocol, in base64."""
    return b64encode(len(kind).to_bytes(4, "big") + kind + rest).decode()


def system(*matches: str) -> str:
    return f"<os>{''.join(matches)}</os>"


def match(
    accuracy: str, name: str = "Linux 5", classes: str = '<osclass osfamily="Linux" osgen="5.X" vendor="L"/>'
) -> str:
    return (
        f"<osmatch {f'accuracy={quoteattr(accuracy)}' if accuracy else ''} name={quoteattr(name)}>{classes}</osmatch>"
    )


def extra(count: str = 'count="3"', reasons: str = "", state: str = "closed") -> str:
    return f'<extraports state="{state}" {count}>{reasons}</extraports>'


DER = b64encode(b"\x30\x03\x02\x01\x05").decode()
CERTIFICATE = f"-----BEGIN CERTIFICATE-----\n{DER}\n-----END CERTIFICATE-----"
CERT = script(
    "ssl-cert", f'<table key="subject"><elem key="commonName">a</elem></table><elem key="pem">{CERTIFICATE}</elem>'
)
VULNERABLE = script(
    "http-vuln-x",
    '<table key="CVE-2020-1"><elem key="title">t</elem><elem key="state">VULNERABLE</elem></table>',
    "VULNERABLE",
)
SERVICE = '<service name="http" product="A" version="1" method="probed"/>'
PTR = '<hostname name="%s" type="PTR"/>'
ED25519 = blob(b"ssh-ed25519", b"\0\0\0\x20" + bytes(range(32)))
"""The kinds of keys are those that servers have; none is a secret."""
RSA = blob(b"ssh-rsa", b"\0\0\0\x03\x01\0\x01\0\0\1\1\0" + bytes(range(256)))
HASH = "0123456789abcdef" * 2
ALL = {
    "service": "name product version extrainfo tunnel method hostname ostype devicetype proto servicefp=SF "
    "conf=3 rpcnum=100000 lowver=2 highver=4",
    "state": "state=open reason=syn-ack reason_ttl=64 reason_ip=10.0.0.9",
    "status": "state=up reason=syn-ack reason_ttl=64 reason_ip=10.0.0.9",
    "osmatch": "name accuracy=99 line=7",
    "osclass": "vendor osfamily=Linux osgen type accuracy=98",
    "portused": "state proto portid=22",
    "hop": "ttl=1 ipaddr=10.0.0.3 rtt=0.12 host",
    "trace": "proto port=80",
    "uptime": "seconds=12 lastboot",
    "tcpsequence": "index=-7 class difficulty values",
    "ipidsequence": "class values",
    "tcptssequence": "class values",
    "times": "srtt=1 rttvar=2 to=3",
    "smurf": "responses=2",
    "distance": "value=3",
}
"""Attributes that nmap gives elements."""


def full(name: str, children: str = "") -> str:
    """An element with all its attributes."""
    said = (attribute.partition("=") for attribute in ALL[name].split())
    return f"<{name} {' '.join(f'{key}={quoteattr(value or key)}' for key, _, value in said)}>{children}</{name}>"


CPE = "<cpe>cpe:/a:b</cpe><cpe>cpe:/o:c</cpe>"
EVERYTHING = (
    '<host starttime="1700000001" endtime="1700000002" timedout="false" comment="c">'
    + full("status")
    + '<address addr="10.0.0.1" addrtype="ipv4" vendor="v"/>'
    + ports(f'<port protocol="tcp" portid="22">{full("service", CPE)}{full("state")}<owner name="root"/></port>')
    + system(
        full("portused"),
        full("osclass", CPE),
        full("osmatch", full("osclass", CPE)),
        '<osfingerprint fingerprint="f"/>',
    )
    + "".join(map(full, ("uptime", "distance", "tcpsequence", "ipidsequence", "tcptssequence", "times", "smurf")))
    + full("trace", full("hop") + '<error errorstr="e"/>')
    + "</host>"
)
HOST_KEYS = {
    "as nmap 7 writes them": host_keys(
        table(("type", "ssh-rsa"), ("bits", 2048), ("key", RSA), ("fingerprint", HASH)),
        table(("fingerprint", HASH), ("key", ED25519), ("bits", 256), ("type", "ssh-ed25519")),
    ),
    "with a title": title("a", "/b") + host_keys(table(("key", ED25519))) + script("x"),
    "without a type": host_keys(table(("key", RSA))),
    "an empty type": host_keys(table(("type", ""), ("key", RSA))),
    "another type": host_keys(table(("type", " a  b "), ("key", RSA))),
    "a long type": host_keys(table(("type", "ab " * 700), ("key", RSA))),
    "text before the key": host_keys(table(("key", f"ssh-ed25519 {ED25519}")), table(("key", f"a b  {RSA}"))),
    "text behind the key": host_keys(table(("key", f"{ED25519} me"), ("fingerprint", HASH), ("type", "t"))),
    "no blob": host_keys(table(("key", HASH)), table(("key", ""))),
    "a fingerprint": host_keys(table(("key", HASH), ("fingerprint", HASH)), table(("fingerprint", HASH), ("bits", 1))),
    "fingerprints that are none": host_keys(
        *(table(("fingerprint", said)) for said in (HASH.upper(), HASH + "0", HASH[1:], "g" + HASH[1:], "x" * 32))
    ),
    "bits": host_keys(
        *(
            table(("key", ED25519), ("bits", said))
            for said in ("2048.0", "0", "007", "", "-1", "x", "1.0.0", ".0", "1.5", "9" * 15, "9" * 16, "1.00", " 1")
        )
    ),
    "a value twice": host_keys(
        table(("key", HASH), ("key", ED25519), ("fingerprint", ""), ("fingerprint", HASH)),
        table(("type", "a"), ("type", "b"), ("bits", 1), ("bits", 2), ("key", ED25519), ("key", RSA)),
    ),
    "a key twice": host_keys(table(("key", ED25519)) * 2),
    "values beside tables": host_keys('<elem key="key">x</elem>', table(("key", ED25519)), "<elem>&quot;</elem>"),
    "tables in a table": host_keys(
        f'<table key="a"><table key="key"><elem key="type">x</elem></table>{table()}<elem key="key">{RSA}</elem></table>'
    ),
    "no values": host_keys("<table/>", '<table key="x"></table>'),
    "only a value": host_keys('<elem key="key">x</elem>'),
    "blobs that are too short": host_keys(
        *(
            table(("key", b64encode(bytes(3) + data).decode()), ("fingerprint", HASH))
            for data in (b"", b"\0", b"\0x", b"\1", b"\1x", b"\1xy", b"\2xy", b"\2xyz")
        )
    ),
    "types in blobs": host_keys(
        *(table(("key", blob(b"x" * n)), ("fingerprint", HASH)) for n in (0, 1, 126, 127, 128))
    ),
    "as many as are kept": host_keys(table(("fingerprint", HASH)) * 500),
}
"""What servers say of their keys."""
ODD_HOST_KEYS = {
    "only text": host_keys(output=f"\n  2048 {':'.join(['ab'] * 16)} (RSA)\n  256 SHA256:{'A' * 43} (ECDSA)"),
    "no text": host_keys(output=""),
    "two results": host_keys(table(("key", RSA))) + host_keys(table(("key", ED25519))),
    "algorithms, too": host_keys(table(("key", RSA)))
    + script("ssh2-enum-algos", '<table key="encryption_algorithms"><elem>arcfour</elem></table>'),
    "a finding, too": host_keys(table(("key", RSA))) + VULNERABLE,
    "a reference in the script's name": host_keys(table(("key", RSA))).replace("hostkey", "hostke&#121;"),
    "a reference in a name": host_keys(table(("key", RSA))).replace('"key"', '"ke&#121;"'),
    "a reference in a type": host_keys(table(("key", RSA), ("type", "s&sh"))),
    "an escape in a type": host_keys(table(("key", RSA), ("type", "\\xC3\\xA4"))),
    "a line's end": host_keys(table(("key", RSA + "\n"), ("fingerprint", HASH))),
    "base64 that is invalid": host_keys(table(("key", "AAAA!" + RSA[5:]), ("fingerprint", HASH))),
    "base64 without its end": host_keys(table(("key", RSA[:-1]), ("fingerprint", HASH))),
    "base64 with too much at its end": host_keys(table(("key", ED25519 + "===="), ("fingerprint", HASH))),
    "padding within": host_keys(table(("key", ED25519 + "AA==" + ED25519), ("fingerprint", HASH))),
    "bits that are lost": host_keys(table(("key", blob(rest=b"xxx")[:-3] + "B=="))),
    "a type in a blob with a control character": host_keys(table(("key", blob(b"a\x1cb")))),
    "a type in a blob that is not ASCII": host_keys(table(("key", blob(b"\xff")), ("fingerprint", HASH))),
    "more than are kept": host_keys(table(("fingerprint", HASH)) * 501),
}
"""Likewise, left to Python."""
SERVERS = {
    "a name": server("Apache/2.4 (Debian)"),
    "several, and one twice": server("nginx", " A\tb  c ", "", "nginx", "&lt;x&gt;"),
    "names with keys": script("http-server-header", '<elem key="Server">a</elem><elem key="&quot;">b</elem>'),
    "a name in a table, too": script("http-server-header", "<table><elem>x</elem></table><elem>y</elem>"),
    "nothing": server(""),
    "long names": server("a" * 999 + " b", "ä" * 1000 + "b", "ab " * 700, "\u4e2d" * 1999 + " x"),
    "white space of all kinds": server("\xa0a\x85\u2028b\u3000", "\u200bx\ufeff", "a b"),
    "a title, too": title("ä \u2003 b", "/\xa0") + server("S"),
    "no title, too": title(" ") + server("S"),
    "host keys, too": server("S") + host_keys(table(("key", ED25519))),
    "as many as are kept": server(*map(str, range(500))),
}
"""What web servers call themselves."""
ODD_SERVERS = {
    "only text": script("http-server-header", output="nginx"),
    "a table": script("http-server-header", '<table key="Server"><elem>a</elem></table>'),
    "a name that is escaped": server("\\xC3\\xA4"),
    "two results": server("a") + server("b"),
    "more than are kept": server(*map(str, range(501))),
}
"""Likewise, left to Python."""
CASES = {
    "everything": EVERYTHING,
    "nothing": "<host/>",
    "no attributes": host(attributes=""),
    "empty attributes": host('<distance value=""/><uptime seconds="" lastboot=""/>', 'starttime="" endtime=""'),
    "no state": '<host><address addr="10.0.0.1" addrtype="ipv4"/></host>',
    "only listed": '<host><status state="unknown" reason="user-set"/><address addr="10.0.0.1" addrtype="ipv4"/></host>',
    "down": '<host><status state="down" reason="no-response"/><address addr="10.0.0.1" addrtype="ipv4"/></host>',
    "with -Pn": '<host><status state="up" reason="user-set"/><address addr="10.0.0.1" addrtype="ipv4"/></host>',
    "timed out": host(ports(port()), 'timedout="true" starttime="1700000001" endtime="1700000002"'),
    "a state with quotes": host().replace('"up"', "'u\"p'"),
    "a state with references": host().replace('"up"', '"u&#112;"'),
    "IPv6": host(ports(port()), ip="2001:DB8:0:0:1:0:0:1"),
    "no address": host(ip=""),
    "MAC only": host('<address addr="aa:bb:cc:dd:ee:ff" addrtype="mac"/>', ip=""),
    "MAC, too": host('<address addr="aa-bb:cc:dd:ee:ff" addrtype="mac" vendor="V"/>' * 2),
    "addresses twice": host(
        '<address addr="10.0.0.1" addrtype="ipv4"/><address addr="2001:db8::1" addrtype="ipv6"/>' * 2
    ),
    "names": host(name=PTR % "A.Example.." + PTR % "a.example" + PTR % "b" + '<hostname name="c.d" type="user"/>'),
    "a name that is a dot": host(name=PTR % "." + PTR % ".."),
    "a name of the user": host(name='<hostname name="X.y" type="user"/><hostname name="z" type=""/>'),
    "a name without type after one of the user": host(name='<hostname name="x.y" type="user"/><hostname name="a.b"/>'),
    "a name without type": host(name='<hostname name="x.y"/>'),
    "a long name": host(name=PTR % ("a." * 128) + PTR % ("b." * 127 + "b")),
    "a name with a quote": host(name=PTR % "a&quot;.b"),
    "a name that is the address": host(ports(port(SERVICE + VULNERABLE)), name=PTR % "10.0.0.1"),
    "protocols": host(ports(*(port(number=9, protocol=name) for name in ("tcp", "udp", "sctp", "ip", "dccp", "")))),
    "IP protocols": host(ports(port(number=47, protocol="ip"), port(SERVICE, 6, protocol="ip"))),
    "a port twice": host(ports(port(), port(SERVICE))),
    "ports outside": host(ports(port(number="080"), port(number=""), port(number=0), port(number=65535))),
    "states": host(
        ports(*(port(number=n, state=f'state="{state}"') for n, state in enumerate(("open|filtered", "", "x"))))
    ),
    "a port's state with references": host(
        ports(port(state='state="op&#101;n"'), port(number=1, state='state="clos&#101;d"'))
    ),
    "a reason with references": host(
        ports(*(port(number=n, state=f'state="closed" reason="{r}"') for n, r in ((1, "ab"), (2, "a&#98;"))))
    ),
    "closed with a script": host(
        ports(port(script("x"), state='state="closed" reason="r"'), port(number=81, state='state="filtered"'))
    ),
    "groups": host(
        ports(
            *(
                port(number=n, state=f'state="{"closed" if n % 3 else "filtered"}" reason="{n % 2}"')
                for n in range(65490, 65536)
            )
        )
    ),
    "a method with references": host(ports(port(SERVICE.replace("probed", "prob&#101;d")))),
    "an empty service": host(ports(port("<service/>"), port('<service name="" product="P"/>', 81))),
    "a service in capitals": host(ports(port(SERVICE.replace("http", "HTTP")))),
    "a service with a quote": host(ports(port(SERVICE.replace("http", "ht&quot;tp")))),
    "a product with references": host(ports(port(SERVICE.replace('"A"', '"A &amp; &#9;&#10;&#13;\\ &quot;"')))),
    "a long product": host(ports(port(SERVICE.replace('"A"', f'"{"a" * 990} b"'))), name=PTR % "x.example"),
    "extra ports": host(ports(extra(), port())),
    "extra ports of which all are listed": host(
        ports(extra(), *(port(number=n) for n in [*range(1, 101), 443, *range(8000, 8011)]))
    ),
    "extra ports and listed ones": host(
        ports(extra(), *(port(number=n, protocol=p) for n in (1, 50, 100, 443, 8005) for p in ("tcp", "udp")))
    ),
    "two groups of extra ports": host(ports(extra(), extra('count="4"', state="filtered"))),
    "extra ports, one reason": host(ports(extra('count="3"', '<extrareasons reason="r" count="3"/>'), port())),
    "extra ports, another count": host(ports(extra('count="3"', '<extrareasons reason="r" count="2"/>'), port())),
    "extra ports, no count": host(ports(extra("", '<extrareasons reason="r"/>', ""), port())),
    "extra ports, two reasons": host(
        ports(extra('count="3"', '<extrareasons reason="r" count="2"/><extrareasons count="1"/>'))
    ),
    "extra ports that are named": host(
        ports(extra('count="3"', '<extrareasons reason="r" count="3" proto="tcp" ports="1-3"/>'))
    ),
    "a script": host(ports(port(script("banner", '<elem key="a">b</elem>')))),
    "a title": host(ports(port(title("A  page&#10;of &quot;mine&quot;", "/x\\y")))),
    "a title without table": host(ports(port(script("http-title", output="A page\nRequested resource was /x")))),
    "a title with an empty table": host(ports(port(script("http-title", '<elem key="title"/>')))),
    "a title in a table": host(
        ports(port(script("http-title", '<table key="title"/><elem key="title">x</elem><elem key="title">y</elem>')))
    ),
    "a title in an inner table": host(
        ports(port(script("http-title", '<table key="x"><elem key="title">y</elem></table>')))
    ),
    "a key with references": host(ports(port(script("http-title", '<elem key="titl&#101;">x</elem>')))),
    "another key in the table": host(ports(port(script("http-title", '<elem>x</elem><elem key="">y</elem>')))),
    "several titles": host(ports(port(title("a") + title("b", "/")))),
    "titles of two scripts": host(ports(port(title("a") + title("b", "/", "html-title")))),
    "an old title": host(ports(port(title("a", name="html-title")))),
    "a title with a reference in its name": host(ports(port(title("a").replace("http-title", "http-titl&#101;")))),
    "a title that is escaped": host(ports(port(title("\\xC3\\xA4 \\x00\\x1B \\xFF")))),
    "a long title": host(
        ports(
            port(title("a" * 999 + " b")),
            port(title("ab " * 700 + "c" * 9), 81),
            port(title("a" + " " * 1500 + "b"), 83),
            port(title("a" * 1999 + " " * 9), 82),
        )
    ),
    "a title with much white space": host(ports(port(title("a" + " " * 2500 + "b")))),
    "a title of white space": host(ports(port(title(" \n\t ")))),
    "a title beside others": host(ports(port(title("a") + script("ftp-anon", "<elem>S</elem>") + script("x")))),
    "titles beyond ASCII": host(
        ports(port(title("ä\u2003 b")), port(title("é" * 1001), 81), port(title("\u4e2d " * 2000, "\x85ü"), 82))
    ),
    "words beyond ASCII": host(ports(port(f'<service name="x" product="{"ä" * 990}" version="\u4e2d\U0001f600"/>'))),
    "a service beyond ASCII": host(ports(port('<service name="Ä"/>'))),
    "a name beyond ASCII": host(name=PTR % "Ä.example"),
    "a character that XML has not": host(ports(port(title("\ufffe")))),
    "a server of a host": host(f"<hostscript>{server('a')}</hostscript>"),
    **{f"servers: {what}": host(ports(port(said))) for what, said in SERVERS.items()},
    **{f"servers that are odd: {what}": host(ports(port(said))) for what, said in ODD_SERVERS.items()},
    **{f"host keys: {what}": host(ports(port(said, 22))) for what, said in HOST_KEYS.items()},
    **{f"host keys that are odd: {what}": host(ports(port(said, 22))) for what, said in ODD_HOST_KEYS.items()},
    "host keys of a host": host(f"<hostscript>{host_keys(table(('key', ED25519)))}</hostscript>"),
    "a certificate": host(ports(port(SERVICE + CERT))),
    "a certificate without a service": host(ports(port(CERT))),
    "a certificate on a closed port": host(ports(port(SERVICE + CERT, state='state="closed"'))),
    "a finding": host(
        ports(port(SERVICE + VULNERABLE), port(SERVICE + VULNERABLE, 81), port(SERVICE, 82)), name=PTR % "x.y"
    ),
    "a host's scripts": host(ports(port()) + f"<hostscript>{VULNERABLE}{title('a')}</hostscript>"),
    "a host's script": host(f"<hostscript>{script('x')}</hostscript>"),
    "a host without scripts": host("<hostscript/>"),
    "a system": host(system(match("98", "a"), match("98", "b"), match("100", "c"))),
    "two systems alike": host(system(match("100", "a"), match("100", "b"))),
    "systems around the threshold": host(system(match("94", "a"), match("95", "b", ""))),
    "an unsure system": host(system(match("94"))),
    "a system without accuracy": host(system(match(""), match("96"))),
    "a system without name": host(system(match("96", ""))),
    "a system without anything": host(system(match("96", "", "<osclass/>"))),
    "iOS": host(system(match("99", "a", '<osclass osfamily="iOS" vendor="Apple"/>'))),
    "IOS": host(system(match("99", "a", '<osclass osfamily="IOS" vendor="Cisco"/>'))),
    "a vendor with references": host(system(match("100", "a", '<osclass osfamily="iOS" vendor="&#65;pple"/>'))),
    "a family with an equals sign": host(system(match("99", "a", '<osclass osfamily="ios=ios" vendor="Apple"/>'))),
    "a system in capitals": host(system(match("99", "a", '<osclass osfamily="HP-UX"/><osclass osfamily="Linux"/>'))),
    "uptime": host('<uptime seconds="007" lastboot="Mon"/>'),
    "uptime without seconds": host('<uptime lastboot="Mon"/>'),
    "trace": host('<trace><hop ttl="1" rtt="0.03125"/><hop ttl="2" rtt="0.00005"/><hop ttl="3" rtt="--"/></trace>'),
}


ODD = {
    "nothing",
    "a state with quotes",
    "no address",
    "MAC only",
    "a name with a quote",
    "a name that is the address",
    "protocols",
    "a port twice",
    "ports outside",
    "a port's state with references",
    "a reason with references",
    "a method with references",
    "a service with a quote",
    "a system without accuracy",
    "a vendor with references",
    "a service beyond ASCII",
    "a name beyond ASCII",
    "a character that XML has not",
}
"""Cases that are left to Python."""


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("case", CASES)
def test_every_case_gives_the_same_records(case, look):
    data = CASES[case].encode()
    both = Both(LOOKS[look], who=WHO if look == "networks" else None)
    assert both.same(data) == (case not in ODD)
    both.same(data)  # now it is known
    Both(LOOKS[look], history=False).same(data)


def asked(data: str) -> object:
    """Places of the records of a host that compiled code leaves to Python."""
    made = Both().compiled.mapper._usual.records(Host(0, Frame("host", 0, len(data), data.encode()), iter(())))
    assert made
    return made.said.get("asked")


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith(("host keys:", "servers:"))])
def test_no_python_is_asked_for_usual_results(case):
    assert asked(CASES[case]) is None


@pytest.mark.parametrize("case", [case for case in CASES if " that are odd: " in case])
def test_python_is_asked_for_odd_results(case):
    assert asked(CASES[case]) == [0]


def test_host_keys_are_what_they_are_in_python():
    record = loads(Both().compiled.records(CASES["host keys: as nmap 7 writes them"].encode(), 0)[0][0])
    digest = md5(b64decode(ED25519), usedforsecurity=False).digest().hex(":")
    sha = b64encode(sha256(b64decode(ED25519)).digest()).decode().rstrip("=")
    key = {"bits": 256, "md5": digest, "sha256": f"SHA256:{sha}", "type": "ssh-ed25519"}
    assert record["nmap"]["ssh"]["host_key"][1] == key


def test_keys_of_any_length_are_hashed_and_decoded_alike():
    said = [table(("key", blob(b"k", bytes(n * m & 255 for m in range(1, n + 1))))) for n in range(1, 330)]
    both = Both()
    for some in (said[:200], said[200:]):
        data = host(ports(port(host_keys(*some), 22)))
        assert asked(data) is None
        assert both.same(data.encode())


WORD = st.one_of(
    st.builds(blob, st.sampled_from([b"ssh-rsa", b"ecdsa-sha2-nistp256", b"", b"x", b"\n"]), st.binary(max_size=150)),
    st.text("AB+/=z09", max_size=9).map("AAAA".__add__),
    st.sampled_from([HASH, "x", "", "2048", "256.0", ED25519[:-1], ED25519 + "=", RSA]),
)
HOST_KEY = st.lists(
    st.tuples(
        st.sampled_from(["key", "key", "type", "bits", "fingerprint", "x"]),
        st.lists(WORD, min_size=1, max_size=2).map(" ".join),
    ),
    max_size=5,
).map(lambda said: table(*said))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(HOST_KEY, st.just("<elem>x</elem>")), max_size=4), st.booleans())
def test_whatever_a_server_says_of_its_keys_it_gives_the_same_records(said, page):
    data = host(ports(port((title("a") if page else "") + host_keys(*said), 22)))
    assert Both().same(data.encode())


def test_a_port_is_as_large_as_a_record_may_be_with_all_that_is_filled_in(tmp_path):
    owners = tmp_path / "owners.csv"
    owners.write_text(f"network,owner,criticality\n10.0.0.0/8,{'ö' * 1000},high\n", encoding="utf-8")
    look = Options(owners=owners)

    def with_script(text: str, more: str = "") -> bytes:
        return host(ports(port(script("x", output=text) + more))).encode()

    (empty, *_), _, _ = Both(look).python.records(with_script(""), 0)
    for more in (-2100, -40, -1, 0, 1):
        text = "x" * (MAX_RECORD_BYTES - len(empty) + more)
        both = Both(look)
        both.same(with_script(text))
        both.same(with_script(text[50_000:], CERT + VULNERABLE))


LETTERS = "abcdefghijklmnopqrstuvwxyz_"


def many(made: Iterable[str]) -> str:
    """As many parts as fit into a host that is read as a whole."""
    found, left = [], fast.LARGE - 1000
    for part in made:
        left -= len(part)
        if left < 0:
            break
        found.append(part)
    return "".join(found)


HOSTILE = {
    "attributes": lambda: host(attributes=many(f' {"".join(name)}=""' for name in product(LETTERS, repeat=4))[1:]),
    "addresses": lambda: host(
        many(f'<address addr="10.0.{n >> 8}.{n & 255}" addrtype="ipv4"/>' for n in range(1 << 16))
    ),
    "names": lambda: host(name=many(f'<hostname name="{n}"/>' for n in count())),
    "reasons": lambda: host(ports(many(port("", n, f'state="closed" reason="{n}"') for n in range(1 << 16)))),
    "names, and findings": lambda: host(ports(port(VULNERABLE)), name="".join(PTR % f"{n:0200}" for n in range(200))),
    "names, and ports": lambda: host(
        ports(many(port("", n) for n in range(5000))), name="".join(PTR % f"{n:0200}" for n in range(200))
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_host_with_very_many_of_something_is_soon_left_to_python(what):
    data = HOSTILE[what]().encode()
    assert len(data) < fast.LARGE
    both = Both()
    start = process_time()
    assert both.compiled.mapper._usual.records(Host(0, Frame("host", 0, len(data), data), iter(()))) is None
    assert process_time() - start < 1


def test_ids_of_any_length_are_hashed_alike():
    data = host(ports(port())).encode()
    for length in range(130):
        both = Both(Options(vantage="v" * length))
        both.context.scan_id = "s" * length
        for side in (both.compiled, both.python):
            side.__post_init__()
        both.ordinal = 10 ** (length % 12)
        assert both.same(data)


SOME = settings(deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))


@settings(SOME, max_examples=100)
@given(st.sets(st.integers(0, 65535), max_size=40), st.sets(st.integers(0, 65535), max_size=40), st.integers(1, 5000))
def test_port_lists_are_written_alike(scanned, listed, size):
    numbers = sorted({number for first in scanned for number in range(first, min(first + size, 65536))})
    listed |= set(numbers[:: max(1, size // 2)][:40])
    info = f'<scaninfo protocol="tcp" services="{ranges.write(numbers)}"/>'
    both = Both(document=scan(info), history=False)
    assert both.same(host(ports(extra(), *(port("", n, 'state="filtered" reason="r"') for n in listed))).encode())


def either(*usual: str, odd: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """One of some values; seldom one of those that a host is left to Python for."""
    return st.sampled_from([*usual * (60 * len(odd) // len(usual) + 1), *odd])


def attributes(**values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Attributes, each of which may be missing."""
    each = [st.one_of(value.map(f'{name}="{{}}" '.format), st.just("")) for name, value in values.items()]
    return st.tuples(*each).map("".join)


def element(
    name: str, of: st.SearchStrategy[str], *children: st.SearchStrategy[str], always: str = ""
) -> st.SearchStrategy[str]:
    """An element with attributes and children."""
    return st.tuples(of, *children).map(lambda said: f"<{name} {always}{said[0]}>{''.join(said[1:])}</{name}>")


def parts(*kinds: st.SearchStrategy[str], most: int = 3) -> st.SearchStrategy[str]:
    """Elements, in any order."""
    return st.lists(st.one_of(*kinds), max_size=most).map("".join)


TEXT = either(
    *("x", "", "A b", "&quot;", "\\", "&#10;", "&amp;lt;", "y" * 600, "&#120;", "-", "\\xC3\\xA4", "\\x00"),
    *("ü", "\xa0\u2003x\u2028", "é" * 1100, "a \u4e2d" * 400, "\U0001f600", "\x85", "\ufeff"),
    odd=("\ufffe",),
)
NUMBER = either("1", "0", "007", "95", "100", "", odd=("-1", "x", "65536", "99999999999999999"))
ADDRESS = either("10.0.0.1", "10.0.0.2", "192.0.2.9", odd=("01.2.3.4", "", "10.0.0.&#49;"))
ADDRESS_6 = either("2001:db8::1", "2001:DB8:0::1", "fe80::1", "1:0:0:2:0:0:0:3", odd=("::1", "fe80::1%eth0"))
MAC = either("aa:bb:cc:dd:ee:ff", "AA-BB-CC-DD-EE-FF", "00:00:00:00:00:01", odd=("aa:bb",))
NAME = either("a.example", "A.example.", "b", ".", "x" * 256, "", odd=("10.0.0.1", "a&#46;b", "a&quot;b", "ä.example"))
STATE = either("open", "closed", "filtered", "open|filtered", "", "unfiltered", odd=("op&#101;n",))
REASON = either("reset", "no-response", "", odd=("res&#101;t",))
ELEM = st.tuples(attributes(key=either("title", "redirect_url", "titl&#101;", "", "state")), TEXT).map(
    lambda of: f"<elem {of[0]}>{of[1]}</elem>"
)
TABLE = element("table", st.just("key='t'"), parts(ELEM))
SCRIPT = st.one_of(
    element(
        "script",
        attributes(id=either("http-title", "html-title", "x", "http-server-header", ""), output=TEXT),
        parts(ELEM, TABLE),
    ),
    either(CERT, VULNERABLE, CERT.replace("MAMCAQU=", "MAMCAQY="), title("a", "/b")),
)
SERVICE_OF_ANY_KIND = element(
    "service",
    attributes(
        name=either("http", "HTTP", "", odd=("a&amp;b",)),
        product=TEXT,
        version=TEXT,
        method=either("probed", "table", odd=("prob&#101;d",)),
        conf=NUMBER,
    ),
    either("", "<cpe>cpe:/a:x</cpe>", odd=("<cpe/>",)),
)
PORT = element(
    "port",
    st.tuples(
        either("tcp", "udp", "sctp", "ip", odd=("", "TCP", "dccp")),
        either(*map(str, (0, 1, 22, 80, 443, 8080, 65534, 65535)), odd=("022", "")),
    ).map(lambda of: f'protocol="{of[0]}" portid="{of[1]}"'),
    element("state", attributes(state=STATE, reason=REASON, reason_ttl=NUMBER)),
    st.one_of(st.just(""), SERVICE_OF_ANY_KIND),
    parts(SCRIPT, most=2),
)
EXTRA = element(
    "extraports",
    attributes(state=STATE, count=NUMBER),
    parts(
        element(
            "extrareasons", attributes(reason=TEXT, count=NUMBER, proto=either("tcp", ""), ports=either("1-3", ""))
        ),
        most=2,
    ),
)
CLASS = element(
    "osclass",
    attributes(
        osfamily=either("Linux", "iOS", "", "=ios", odd=("L&amp;",)),
        vendor=either("Apple", "Cisco", odd=("&#65;pple",)),
        osgen=TEXT,
        accuracy=NUMBER,
    ),
)
MATCH = element(
    "osmatch", st.tuples(attributes(name=TEXT), NUMBER).map('{0[0]} accuracy="{0[1]}"'.format), parts(CLASS, most=2)
)
STATUS = element(
    "status",
    attributes(
        state=either("up", "down", "unknown", "skipped", "", "u&#112;", odd=("a&quot;",)),
        reason=either("user-set", "", "echo-reply"),
    ),
)
UP = '<status state="up" reason="syn-ack"/>'
HOST = element(
    "host",
    attributes(
        starttime=either("1700000001", "", odd=("0",)),
        endtime=either("1700000100", "1700000000", "", odd=("x",)),
        timedout=either("true", "0", odd=("no",)),
    ),
    st.one_of(st.just(UP), STATUS),
    either('<address addr="10.0.0.1" addrtype="ipv4"/>', "<address addr='2001:db8::1' addrtype='ipv6'/>", odd=("",)),
    parts(
        element("address", ADDRESS.map('addr="{}"'.format), always='addrtype="ipv4" '),
        element("address", ADDRESS_6.map('addr="{}"'.format), always='addrtype="ipv6" '),
        element("address", st.tuples(MAC, TEXT).map('addr="{0[0]}" vendor="{0[1]}"'.format), always='addrtype="mac" '),
    ),
    element(
        "hostnames", st.just(""), parts(element("hostname", attributes(name=NAME, type=either("PTR", "user", "", "A"))))
    ),
    element("ports", st.just(""), parts(PORT, PORT, PORT, EXTRA, most=5)),
    st.one_of(st.just(""), element("hostscript", st.just(""), parts(SCRIPT, most=2))),
    st.one_of(st.just(""), element("os", st.just(""), parts(MATCH))),
    st.one_of(st.just(""), element("uptime", attributes(seconds=NUMBER, lastboot=TEXT))),
    st.one_of(st.just(""), element("distance", attributes(value=NUMBER))),
)
RUNS = {
    "as usual": scan(),
    "no times": scan(run='scanner="nmap"'),
    "two protocols": scan('<scaninfo protocol="tcp" services="1-9"/><scaninfo protocol="udp" services="53"/>'),
    "no protocol": scan('<scaninfo services="22,80-90,443"/>'),
    "no ports": scan("<scaninfo/>"),
}
NETWORKS = [
    ("default", NETWORK + name, "", name, True, "2023-01-01T00:00:00.000Z", "another", b"{}")
    for name in ("10.0.0.0/24", "192.0.2.0/24", "2001:db8::/64")
]


@settings(SOME, max_examples=250)
@given(
    st.lists(HOST, min_size=1, max_size=3),
    st.sampled_from(list(LOOKS.values())),
    st.sampled_from(list(RUNS.values())),
    st.sampled_from([[], NETWORKS]),
    st.booleans(),
)
def test_whatever_a_scan_says_of_hosts_it_gives_the_same_records(hosts, look, run, networks, who):
    both = Both(look, run, WHO if who else None, {row[1]: (look.vantage, *row[1:]) for row in networks})
    for data in hosts:
        both.same(data.encode())


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
@settings(SOME, max_examples=15)
@given(data=st.data())
def test_whatever_is_done_to_a_host_of_the_fixtures_it_gives_the_same_records(path, data):
    content = path.read_bytes()
    both = Both(document=content)
    hosts = [frame.data for frame in Framer(BytesIO(content)) if frame.kind == "host"]
    pieces = MARKUP.findall(data.draw(st.sampled_from(hosts)))
    both.same(b"".join(pieces))
    for _ in range(data.draw(st.integers(1, 3))):
        at, other = (data.draw(st.integers(0, len(pieces) - 1)) for _ in range(2))
        if data.draw(st.booleans()):
            pieces[at], pieces[other] = pieces[other], pieces[at]
        else:
            pieces[at] = data.draw(
                st.sampled_from([b"", pieces[other], b'"', b'=""', b"&#101;", b"&quot;", b"0", b" "])
            )
        both.same(b"".join(pieces))


MARKUP = re.compile(rb'"[^"<]*"|[ <>=/]|[^ <>=/"]+')


@given(st.from_regex(registry.LIKELY))
def test_no_script_that_something_understands_is_taken_for_one_that_nothing_does(name):
    assert any(part in name for part in registry.PARTS)
