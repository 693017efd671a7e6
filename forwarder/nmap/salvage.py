"""From a frame's bytes to an element tree: strictly first, then repaired, then as much as there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from xml.etree import ElementTree  # noqa: ICN001 - the name says what it is
from xml.etree.ElementTree import Element, ParseError

LARGE: Final = 3 << 19
"""Bytes of a frame that are parsed; a longer one is shortened first. A record holds two thirds of that."""
PIECE: Final = 4096
"""Bytes of a tag and the text behind it that are never shortened."""

ESCAPED = re.compile(rb"&#(?:x[89a-fA-F][0-9a-fA-F]|1[2-9]\d|2[0-5]\d);")
"""How nmap writes a byte above 127."""
ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
REFERENCE = re.compile(r"&(#\d{1,9};|#x[0-9a-fA-F]{1,8};|(?:amp|lt|gt|quot|apos);)?")
CHARACTERS = ((0x9, 0xA, 0xD), range(0x20, 0xD800), range(0xE000, 0xFFFE), range(0x10000, 0x110000))
"""What an XML 1.0 document may hold (production 2, Char)."""
EMPTY = re.compile(r"</([A-Za-z_][\w.-]*)(\s+[\w.-]+\s*=[^<>]*)>")
"""How nmap 2.54 wrote an empty element."""
LONG = re.compile(rb"<[^<]{%d,}" % PIECE)
"""A tag with the text behind it; a `<` stands in neither."""
TAG = re.compile(rb"""<[^<>"']*+(?:(?:"[^"<]*+"|'[^'<]*+')[^<>"']*+)*+>""")
VALUE = re.compile(rb"""=\s*+("[^"<]*+"|'[^'<]*+')""")
PARTIAL = re.compile(rb"(?:&[^;]{0,12}|[\xc0-\xff][\x80-\xbf]{0,2})\Z")
"""A reference or character whose rest was cut off, or may have been."""
INTERLEAVED = re.compile(r"<task(?:begin|progress|end)\b[^<>]*>")


def parse(data: bytes, *, partial: bool = True) -> tuple[Element | None, str]:
    """Return (root element, what is wrong with the frame).

    A frame that strict parsing accepts comes with an empty second part; another is repaired at the level of
    characters. What is still not well-formed is read up to its first error when `partial`, else not at all.
    """
    cut = ""
    if len(data) > LARGE:
        data, cut = shorten(data)
    root, wrong = _strict(data)
    if root is None:
        text = repair(data)
        root, _ = _strict(text)
        if root is None and (partial or cut):
            root = beginning(text)
    if root is not None and (not data.isascii() or ESCAPED.search(data)):
        demojibake(root)
    return root, cut or wrong


def _strict(data: bytes | str) -> tuple[Element | None, str]:
    """Return (root element, what is wrong); the error itself would keep what was read before it."""
    try:
        return ElementTree.XML(data), ""
    except ParseError as error:
        return None, str(error)


def shorten(data: bytes) -> tuple[bytes, str]:
    """Return (a large frame as at most LARGE bytes, what was done to it).

    Its long texts and attributes keep as much as is their share; what is still too long, for it has too many parts,
    loses its end.
    """
    size, kept, done = len(data), [], 0
    for start, end in _texts(data):
        keep = max(PIECE, (end - start) * (LARGE // 6 * 5) // size)
        if end - start > keep:
            kept += [data[done:start], PARTIAL.sub(b"", data[start : start + keep])]
            done = end
    kept.append(data[done : done + LARGE])
    return b"".join(kept)[:LARGE], f"part of its {size} bytes is too large to read and only in the evidence"


def _texts(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the attribute values and texts in long pieces of a frame."""
    for piece in LONG.finditer(data):
        start, end = piece.span()
        tag = TAG.match(data, start, end)
        if tag:
            yield from ((value.start(1) + 1, value.end(1) - 1) for value in VALUE.finditer(data, start, tag.end()))
        yield tag.end() if tag else start, end


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
