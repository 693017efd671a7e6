"""One `port` element as a plain dict."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from xml.etree.ElementTree import Element

from forwarder.nmap.script import scripts
from forwarder.nmap.values import Table, address, integer, natural, port_number, take, take_markup

PORT: Table = {
    "protocol": ("protocol", str.lower),
    "portid": ("number", port_number),
    "id": ("number", port_number),  # nmap 2.54
    "owner": ("owner", None),  # nmap 2.54
}
STATE: Table = {
    "state": ("state", None),
    "reason": ("reason", None),
    "reason_ttl": ("reason_ttl", natural),
    "reason_ip": ("reason_ip", address),
}
SERVICE: Table = {
    "name": ("name", None),
    "product": ("product", None),
    "version": ("version", None),
    "extrainfo": ("extra_info", None),
    "tunnel": ("tunnel", None),
    "method": ("method", None),
    "conf": ("confidence", integer),
    "hostname": ("hostname", None),
    "ostype": ("os_type", None),
    "devicetype": ("device_type", None),
    "proto": ("rpc_protocol", None),
    "rpcnum": ("rpc_number", integer),
    "lowver": ("low_version", integer),
    "highver": ("high_version", integer),
    "servicefp": ("fingerprint", None),
    "banner": ("banner", None),  # masscan
}
OWNER: Table = {"name": ("owner", None)}


@lru_cache(maxsize=1024)
def _state(attributes: tuple[tuple[str, str], ...]) -> tuple[dict[str, Any], list[str]]:
    """Return what a `state` says and what is odd in it; a scan has few different ones."""
    state: dict[str, Any] = {}
    odd: list[str] = []
    take(Element("state", dict(attributes)), STATE, state, odd)
    return state, odd


def port(element: Element) -> dict[str, Any]:
    """Return a port.

    Returns:
        `protocol`, `number`, `state`, `reason`, `reason_ttl`, `reason_ip`, `owner` and `service` (name, product,
        version, extra_info, tunnel, method, confidence, cpe, …), each where nmap gives it; `script` as `scripts`
        returns it; `id`, `<protocol>/<portid>` as written; `unparsed`, a list of what fits none of these.
    """
    odd: list[str] = []
    found: dict[str, Any] = {
        "id": f"{element.get('protocol', '')}/{element.get('portid') or element.get('id', '')}",
    }
    take(element, PORT, found, odd)
    results = []
    for child in element:
        tag = child.tag
        if tag == "state":
            state, strange = _state(tuple(child.attrib.items()))
            found |= state
            odd += strange
        elif tag == "service" and "service" not in found:  # of several, the others are kept as their markup
            service: dict[str, Any] = {}
            take(child, SERVICE, service, odd)
            if len(child):
                service["cpe"] = [cpe.text for cpe in child if cpe.tag == "cpe" and cpe.text]
            found["service"] = service
        elif tag == "script":
            results.append(child)
        elif tag == "owner":
            take(child, OWNER, found, odd)
        else:
            take_markup(child, odd)
    if results:
        found["script"] = scripts(results)
    if odd:
        found["unparsed"] = odd
    return found
