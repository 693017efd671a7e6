"""What an nmaprun says of the scan itself: its start tag and the elements between and after the hosts."""

from __future__ import annotations

import re
from typing import Any, Final
from xml.etree.ElementTree import Element

from forwarder.nmap import salvage
from forwarder.nmap.framing import Frame
from forwarder.nmap.host import host
from forwarder.nmap.script import scripts
from forwarder.nmap.values import Table, integer, moment, natural, note, number, take, take_markup

MAX_LIST: Final = 1000
"""Entries kept of each list (tasks, hints, targets, …); the rest is counted, and evidence holds all."""

RUN: Table = {
    "scanner": ("scanner", None),
    "args": ("args", None),
    "start": ("start", moment),
    "version": ("version", None),
    "profile_name": ("profile", None),
    "xmloutputversion": ("xml_version", None),
    "exit": ("exit", None),
    "errormsg": ("error", None),
}
INFO: Table = {
    "type": ("type", None),
    "scanflags": ("flags", None),
    "protocol": ("protocol", None),
    "numservices": ("count", natural),
    "services": ("ports", None),
}
TASK: Table = {
    "task": ("name", None),
    "time": ("time", moment),
    "percent": ("percent", number),
    "remaining": ("remaining", integer),
    "etc": ("etc", moment),
    "extrainfo": ("extra_info", None),
}
TARGET: Table = {
    "specification": ("specification", None),
    "status": ("status", None),
    "reason": ("reason", None),
}
OUTPUT: Table = {"type": ("type", None)}
FINISHED: Table = {
    "time": ("finish", moment),
    "elapsed": ("elapsed", number),
    "summary": ("summary", None),
    "exit": ("exit", None),
    "errormsg": ("error", None),
}
HOSTS: Table = {"up": ("up", natural), "down": ("down", natural), "total": ("total", natural)}
SAME_AS_OTHERS = frozenset({"startstr", "timestr"})
"""Attributes that say in local time what another says in seconds since 1970."""
HINT = frozenset({"unparsed", "state", "reason", "reason_ttl", "reason_ip", "address", "hostname"})
"""What is kept of a host that nmap only hints at."""
ATTRIBUTE = re.compile(rb"""([A-Za-z_][\w.-]*)\s*=\s*(?:"([^"<]*)|'([^'<]*))""")


def start_tag(data: bytes) -> tuple[Element, str]:
    """Return (nmaprun's start tag as an element without children, what was repaired)."""
    if not data:
        return Element("nmaprun"), "its start tag, <nmaprun …>, is missing or damaged"
    tag = data.rstrip()
    tag = tag if tag.endswith(b"/>") else tag.removesuffix(b">") + b"/>"
    element, repaired = salvage.parse(tag)
    if element is None:  # cut inside an attribute: take those that are whole, and the beginning of the last
        whole = {name: double or single for name, double, single in ATTRIBUTE.findall(data)}
        written = (name + b'="' + value.replace(b'"', b"&quot;") + b'"' for name, value in whole.items())
        element, _ = salvage.parse(b"<nmaprun " + b" ".join(written) + b"/>")
    if element is None:
        return Element("nmaprun"), repaired
    return element, repaired or ("" if element.tag == "nmaprun" else f"its start tag is named {element.tag}")


class Run:
    """Gathers the scan's facts while its document goes by, in bounded memory."""

    def __init__(self, frame: Frame) -> None:
        self.facts: dict[str, Any] = {}
        """nmap's facts under names of ours: `args`, `version`, `start`, `info`, `task`, `finish`, `hosts`, …"""
        self.odd: list[str] = []
        self.dropped: dict[str, int] = {}
        """Entries beyond MAX_LIST, counted by list."""
        self._scripts: list[tuple[str, Element]] = []
        element, self.damage = start_tag(frame.data)
        self._take(element, RUN, self.facts)

    def add(self, frame: Frame) -> None:
        """Take one `element` frame.

        nmap's elements are documented in nmap.dtd; one that is not known is kept as its markup.
        """
        if frame.problem == "too large":
            note(
                self.odd,
                f"an element of {frame.end - frame.start} bytes at byte {frame.start} is only in the evidence",
            )
            return
        element, damage = salvage.parse(frame.data)
        if damage:
            self.damage = self.damage or damage
        if element is None:
            note(self.odd, frame.data.decode(errors="replace"))
            return
        self._element(element)

    def _element(self, element: Element) -> None:
        tag = element.tag
        if tag == "scaninfo":
            self._append("info", element, INFO)
        elif tag in {"taskbegin", "taskprogress", "taskend"}:
            self._append("task", element, TASK, {"event": tag.removeprefix("task")})
        elif tag in {"verbose", "debugging"}:
            take(element, {"level": (tag, integer)}, self.facts, self.odd)
        elif tag == "target":
            self._append("target", element, TARGET)
        elif tag == "output":
            self._append("output", element, OUTPUT, {"text": (element.text or "").strip()})
        elif tag == "hosthint":
            hint = host(element)
            for name in hint.keys() - HINT:  # nmap gives no more there
                note(self.odd, f"hosthint/{name}: {hint.pop(name)}")
            self._list("host_hint", hint)
        elif tag in {"prescript", "postscript"}:
            for script in element.iterfind("script"):
                if len(self._scripts) < MAX_LIST:
                    self._scripts.append((tag.removesuffix("script"), script))
                else:
                    self._drop("script")
        elif tag == "runstats":
            self._runstats(element)
        else:
            take_markup(element, self.odd)

    def _runstats(self, element: Element) -> None:
        """Take nmap's own totals; after --resume they count the resumed part only."""
        for child in element:
            if child.tag == "finished":
                self._take(child, FINISHED, self.facts)
            elif child.tag == "hosts":
                take(child, HOSTS, self.facts.setdefault("hosts", {}), self.odd)
            else:
                take_markup(child, self.odd)

    def _take(self, element: Element, table: Table, into: dict[str, Any]) -> None:
        for name in SAME_AS_OTHERS & element.attrib.keys():
            del element.attrib[name]
        take(element, table, into, self.odd)

    def _append(self, name: str, element: Element, table: Table, first: dict[str, Any] | None = None) -> None:
        entry = first or {}
        take(element, table, entry, self.odd)
        self._list(name, entry)

    def _list(self, name: str, entry: dict[str, Any]) -> None:
        entries = self.facts.setdefault(name, [])
        if len(entries) < MAX_LIST:
            entries.append(entry)
        else:
            self._drop(name)

    def _drop(self, name: str) -> None:
        self.dropped[name] = self.dropped.get(name, 0) + 1

    def scripts(self) -> dict[str, Any]:
        """Return the results of pre- and postscripts."""
        found: dict[str, Any] = {}
        for phase in ("pre", "post"):
            part = scripts((element for when, element in self._scripts if when == phase), phase)
            for key, values in part.items():
                found.setdefault(key, []).extend(values)
        return found
