"""Fuzzes a target with atheris: run.py TARGET CORPUS… [-max_total_time=SECONDS and other options of libFuzzer].

Besides libFuzzer's own mutations of bytes there are some that know what nmap's XML is made of.
"""

from __future__ import annotations

import random
import re
import sys
import warnings

import atheris

with atheris.instrument_imports(include=["forwarder"], exclude=["forwarder.ecs.check"]):
    import targets

MARKUP = re.compile(rb"<[^<>]*>|[^<>]+|[<>]")
ELEMENT = re.compile(rb"<(host|port|ports|script|table|elem|os|osmatch|trace|service|scaninfo|runstats)\b[^<>]*>")
TOKENS = (
    b"<host>|</host>|<host |<ports>|</ports>|<port |</port>|<port/>|<nmaprun>|</nmaprun>|<nmaprun |<?xml version='1.0'?>"
    b"|<!DOCTYPE nmaprun>|<!DOCTYPE nmaprun [|<!--|-->|<![CDATA[|]]>|<taskprogress task='x'/>|<hosthint>|</hosthint>"
    b"|<runstats>|<finished exit='success' time='1700000000'/>|</runstats>|<script id='ssl-cert' output=''>|</script>"
    b"|<table key='k'>|</table>|<elem key='k'>|</elem>|<cpe>|</cpe>|<prescript>|</prescript>|<hostscript>|</hostscript>"
    b"|<extraports state='closed' count='3'>|</extraports>|<address addr='192.0.2.1'/>|<status state='up'/>|&#x1;|&#xc3;&#xa9;"
    b'|&amp;|&x;|\xff|\xc3|\x00|"|\'| >|/>| portid="80"| protocol="ip"| state="open|filtered"| rtt="--"| starttime="0"'
    b'| endtime="99999999999999999999"| services="1-65535"| services="9-1"| ports="1,2,4-5"|<osclass/>|<osmatch/>|<hop/>'
).split(b"|")


def mutate(data: bytes, limit: int, seed: int) -> bytes:
    """Move, double, drop or damage pieces of markup; every third time, bytes as libFuzzer does."""
    chance = random.Random(seed)
    if seed % 3 == 0:
        return atheris.Mutate(data, limit)
    pieces = MARKUP.findall(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randint(0, len(pieces))
        what = chance.randrange(7)
        if what == 0 or not pieces:
            pieces.insert(place, chance.choice(TOKENS))
        elif what == 1:
            del pieces[place : place + chance.randint(1, 3)]
        elif what == 2:
            start = chance.randrange(len(pieces))
            pieces[place:place] = pieces[start : start + chance.randint(1, 12)]
        elif what == 3:
            piece = pieces[place % len(pieces)]
            cut = chance.randint(0, len(piece))
            pieces[place % len(pieces)] = piece[:cut] + chance.choice(TOKENS) + piece[cut:]
        elif what == 4:
            del pieces[place:]
        elif what == 5:
            pieces = MARKUP.findall(_another_value(b"".join(pieces), chance))
        else:
            pieces[place:place] = _element(b"".join(pieces), chance)
    return b"".join(pieces)[:limit]


def _another_value(data: bytes, chance: random.Random) -> bytes:
    """Give one attribute the value of another."""
    values = list(re.finditer(rb'"[^"<]*"', data))
    if not values:
        return data
    to, source = chance.choice(values), chance.choice(values)
    return data[: to.start()] + source[0] + data[to.end() :]


def _element(data: bytes, chance: random.Random) -> list[bytes]:
    """Take a copy of one element, from its start tag to the next end tag of its name."""
    starts = list(ELEMENT.finditer(data))
    if not starts:
        return []
    start = chance.choice(starts)
    end = data.find(b"</" + start[1] + b">", start.end())
    return MARKUP.findall(data[start.start() : end + len(start[1]) + 3 if end > 0 else start.end()])


def main() -> None:
    """Run until libFuzzer's options say that it is enough, or an input fails."""
    name, *options = sys.argv[1:]
    warnings.simplefilter("ignore")
    if name == "hosts":
        atheris.Setup([sys.argv[0], *options], targets.hosts)
    else:
        atheris.Setup([sys.argv[0], *options], targets.TARGETS[name], custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
