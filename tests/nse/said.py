"""Script results for the tests, from XML as nmap writes it."""

from xml.etree import ElementTree as ET

from forwarder.nmap.script import scripts
from forwarder.nse.registry import read


def script(xml: str) -> dict:
    """`nmap.script` of some script elements."""
    return scripts(ET.fromstring(f"<port>{xml}</port>"))


def structured(name: str, inside: str) -> dict:
    """What a script's structured output says; its text says nothing."""
    return read(script(f'<script id="{name}" output="">{inside}</script>'))


def written(name: str, text: str) -> dict:
    """What a script's text says, of a version of nmap that had no structured output for it."""
    return read({"id": [name], "output": [text]})


def both(name: str, inside: str, text: str) -> dict:
    """What a script says in both ways, which must be the same."""
    found = structured(name, inside)
    assert found == written(name, text)
    return found
