"""From a frame's bytes to an element tree: strictly first, then repaired, then as much as there is."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree  # noqa: ICN001 - the name says what it is
from xml.etree.ElementTree import Element, ParseError

ESCAPED = re.compile(rb"&#(?:x[89a-fA-F][0-9a-fA-F]|1[2-9]\d|2[0-5]\d);")
"""How nmap writes a byte above 127."""
ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
REFERENCE = re.compile(r"&(#\d{1,9};|#x[0-9a-fA-F]{1,8};|(?:amp|lt|gt|quot|apos);)?")
CHARACTERS = ((0x9, 0xA, 0xD), range(0x20, 0xD800), range(0xE000, 0xFFFE), range(0x10000, 0x110000))
"""What an XML 1.0 document may hold (production 2, Char)."""
EMPTY = re.compile(r"</([A-Za-z_][\w.-]*)(\s+[\w.-]+\s*=[^<>]*)>")
"""How nmap 2.54 wrote an empty element."""
INTERLEAVED = re.compile(r"<task(?:begin|progress|end)\b[^<>]*>")


def parse(data: bytes, *, partial: bool = True) -> tuple[Element | None, str]:
    """Return (root element, what is wrong with the frame).

    A frame that strict parsing accepts comes with an empty second part; another is repaired at the level of
    characters. What is still not well-formed is read up to its first error when `partial`, else not at all.
    """
    wrong = ""
    try:
        root: Element | None = ElementTree.XML(data)
    except ParseError as error:
        wrong = str(error)
        text = repair(data)
        try:
            root = ElementTree.XML(text)
        except ParseError:
            root = beginning(text) if partial else None
    if root is not None and (not data.isascii() or ESCAPED.search(data)):
        demojibake(root)
    return root, wrong


def repair(data: bytes) -> str:
    r"""Make text well-formed at the level of characters, losing nothing.

    Bytes that are not UTF-8 become U+FFFD; control characters, and references to them, become `\x1b`, as nmap
    writes them in script output; `&` that starts no reference that XML has becomes `&amp;`; an end tag with attributes
    becomes an empty element; task elements that nmap wrote into the middle of another tag go.
    """
    text = data.decode(errors="replace")
    text = ILLEGAL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    text = REFERENCE.sub(_reference, text)
    text = EMPTY.sub(r"<\1\2/>", text)
    if text.count("<task") > text.startswith("<task"):
        text = text[:1] + INTERLEAVED.sub("", text[1:])
    return text


def _reference(found: re.Match[str]) -> str:
    body = found[1]
    if not body:
        return "&amp;"
    if not body.startswith("#"):
        return found[0]
    code = int(body[2:-1], 16) if body[1] == "x" else int(body[1:-1])
    if any(code in characters for characters in CHARACTERS):
        return found[0]
    return f"\\x{code:02x}"


def beginning(text: str) -> Element | None:
    """Return the tree of what precedes the first error; None when there is not even a root."""
    parser: Any = ElementTree.XMLPullParser(events=("start",))
    root: Element | None = None
    try:
        parser.feed(text)
        for _, element in parser.read_events():
            root = element if root is None else root
    except ParseError:
        pass
    return root


def demojibake(root: Element) -> None:
    """Put UTF-8 together again that nmap escaped byte by byte (é as &#xc3;&#xa9;)."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if not value.isascii():
                element.attrib[key] = utf8(value)
        if element.text and not element.text.isascii():
            element.text = utf8(element.text)


def utf8(text: str) -> str:
    """Return text whose characters are the bytes of UTF-8 as that UTF-8, any other text as it is."""
    try:
        return text.encode("latin-1").decode()
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text
