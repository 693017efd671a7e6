"""Cuts a stream of nmap XML into frames: documents, hosts and the small elements between them.

Works on bytes, before any XML parser: in well-formed XML a `<` cannot stand inside an attribute value, so element
boundaries are found exactly, and what is not well-formed damages one frame instead of the rest of the file. Memory
is bounded by the largest frame; a host above SPLIT bytes comes port by port.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from forwarder.nmap import fast

CHUNK: Final = 1 << 20
"""Bytes read at a time."""
SPLIT: Final = 3 << 19
"""A host longer than this is handed over port by port."""
LIMIT: Final = 16 << 20
"""Longest frame that is parsed; a longer one is passed over and said to be `too large`."""

TAG_END = re.compile(rb"""[^"'<>]*(?:(?:"[^"<]*(?:"|(?=<))|'[^'<]*(?:'|(?=<)))[^"'<>]*)*(?P<end>[<>])""")
"""From inside a tag to its `>`, quotes respected; stops at a `<`, which only broken XML has there."""
NAME = re.compile(rb"</?([A-Za-z_][\w.-]*)")
STOP = rb"!--|!\[CDATA\[|\?xml(?=\W)|!DOCTYPE|/?nmaprun(?=\W)|host(?=[\s>])"
"""What follows the `<` of marks inside an element: of something opaque, or of a sign that the element was cut and
something else begins. `(?=\\W)`, not `\\b`, which holds where the buffer ends, too.
The `<` stands once, before all alternatives: so it is looked for alone, which takes a tenth of the time."""
HOST_MARK = re.compile(rb"<(?:(?P<own>/host\s*>)|" + STOP + rb")")
SKELETON_MARK = re.compile(rb"<(?:(?P<own>/host\s*>)|" + STOP + rb"|port(?=[\s/>]))")
PORT_MARK = re.compile(rb"<(?:(?P<own>/port\s*>)|/ports\s*>|/host\s*>|port(?=[\s/>])|" + STOP + rb")")
DOCUMENT_MARK = re.compile(rb"<(?:(?P<own>/nmaprun\s*>)|!--|!\[CDATA\[|\?xml(?=\W)|!DOCTYPE|nmaprun(?=\W))")
DOCUMENT_START = (b"<?xml", b"<!DOCTYPE", b"<nmaprun")
OPAQUE = {b"<!--": re.compile(rb"(?P<own>-->)|<!--"), b"<![CDATA[": re.compile(rb"(?P<own>]]>)|<!\[CDATA\[")}
"""Constructs whose content is no markup, and how they end. One that begins again before its end was cut: to look for
an end behind that would pass over whole hosts, and take quadratic time where nothing but beginnings comes."""
HOST = re.compile(rb"<host[\s>]")
NOT_IN_PORT = re.compile(rb"<(?:/ports|/?host|port)[\s/>]")
"""What shows that a port was cut, whose end tag then is another's."""
LIKE_NMAPRUN = re.compile(rb"""<[^<>]*\s(?:scanner\s*=\s*["'](?:nmap|masscan)|xmloutputversion\s*=)""")
"""A start tag that is nmaprun's by its attributes, whatever became of its name."""
LIKE_CHILD = re.compile(
    rb"<(?:host(?:\s{1,9}(?:start|end)time\s*=|[^<>]{0,99}>\s{0,40}<(?:status\s[^<>]{0,40}\bstate|address\s[^<>]{0,40}\baddr)=)"
    rb"|scaninfo\s[^<>]{0,99}\bprotocol=)"
)
"""A child of nmaprun that is nmap's by what it begins with; other formats have elements of that name, too. It matches
within OVERLAP bytes."""
CHILDREN: Final = frozenset({b"host", b"scaninfo"})
DECLARATION_END = re.compile(rb"[^<>\[]*(?:(?P<own>>)|\[|<)")
SUBSET_END = re.compile(rb"(?P<own>\]\s*>)|<!DOCTYPE|<\?xml(?=\W)")
"""The end of a declaration without and with an internal subset, or what shows that it was cut."""
OVERLAP: Final = 256
"""Bytes that may be the beginning of a mark or name whose rest was not read yet."""


def opaque(data: bytes, start: int, end: int) -> bool:
    """Tell whether there is a comment, a CDATA section, a declaration or a processing instruction in a part of data."""
    # A single byte is found in a tenth of the time that two take, and is rare.
    return (data.find(b"!", start, end) >= 0 and data.find(b"<!", start, end) >= 0) or (
        data.find(b"?", start, end) >= 0 and data.find(b"<?", start, end) >= 0
    )


class Stream(Protocol):
    """What frames are cut from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""


@dataclass(slots=True)
class Frame:
    """One piece of a document.

    Kinds, in the order they can come: `document` (the start tag of nmaprun; without data and `cut` where hosts come
    without one), then any of `element` (a child that is no host), `host` (a whole host), `host-start`, `port`…,
    `host-end` (a large host: what precedes its first port; each port; the host without its ports), `cut-host` (the
    input ends inside it), and last `end`.
    `refused` stands for a whole document that declares entities.
    """

    kind: str
    start: int
    """Offset of the first byte in the stream."""
    end: int
    """Offset after the last byte."""
    data: bytes = b""
    problem: str = ""
    """What is wrong with it: `cut` (its end tag is missing), `too large`."""
    lost: int = 0
    """Ports of a large host that were too large to keep (host-end only)."""


class Framer:
    """Iterates over the frames of a stream.

    Args:
        stream: UTF-8 bytes.
        consumed: called with all bytes of the stream, in order, as they are passed; when a frame is yielded, every
            byte up to its end has been.
    """

    def __init__(self, stream: Stream, consumed: Callable[[bytes], object] | None = None) -> None:
        self._stream = stream
        self._consumed = consumed
        self._buffer = b""
        self._position = 0
        self._base = 0
        self._ended = False
        self._open = False
        self._entities = False
        self.root = ""
        """Name of the first element, to tell what a file is that holds no nmaprun."""
        self.external = ""
        """System identifier of a document type that is not nmap's; never fetched."""

    @property
    def offset(self) -> int:
        """Bytes of the stream passed so far."""
        return self._base + self._position

    def parts_of_host(self) -> Iterator[Frame]:
        """Yield the parts of a stream that holds one host and nothing else, as for a large host."""
        self._fill()
        yield from self._large_host(0)

    def __iter__(self) -> Iterator[Frame]:
        while self._seek(b"<"):
            if self._open and HOST.match(self._buffer, self._position):  # first, as hardly anything else comes
                yield from self._hosts()
            elif self._starts(*OPAQUE):
                self._pass_opaque()
            elif self._starts(*DOCUMENT_START) and self._open:
                yield self._close("cut")
            elif self._starts(b"<?") or (self._open and self._starts(b"<!")):
                self._take(2)  # inside a document there are no declarations, only damaged comments
            elif self._starts(b"<!"):
                self._declaration()
            else:
                yield from self._tag()
        if self._open:
            yield self._close("cut")

    # --- the buffer ---------------------------------------------------------------------------------------

    def _fill(self) -> bool:
        """Read on; False at the end of the stream. Positions in the buffer become invalid."""
        if self._ended:
            return False
        chunk = self._stream.read(CHUNK)
        self._ended = not chunk
        self._base += self._position
        rest, self._buffer = self._buffer[self._position :], b""  # which may be large: not to be held thrice
        self._buffer, self._position = rest + chunk, 0
        return not self._ended

    def _starts(self, *prefixes: bytes) -> bool:
        """Tell whether the next bytes are one of the prefixes."""
        longest = max(map(len, prefixes))
        while len(self._buffer) - self._position < longest and self._fill():
            pass
        return self._buffer.startswith(prefixes, self._position)

    def _take(self, length: int) -> bytes:
        """Pass over bytes in the buffer and return them."""
        data = self._buffer[self._position : self._position + length]
        self._position += len(data)
        if self._consumed:
            self._consumed(data)
        if length > CHUNK:  # as much would stay in the buffer until more is read
            self._base, self._buffer, self._position = self.offset, self._buffer[self._position :], 0
        return data

    def _seek(self, token: bytes) -> bool:
        """Pass over everything before a token, in bounded memory; False (all passed) when it does not come."""
        while (found := self._buffer.find(token, self._position)) < 0:
            self._take(max(0, len(self._buffer) - self._position - len(token) + 1))
            if not self._fill():
                self._take(len(self._buffer) - self._position)
                return False
        self._take(found - self._position)
        return True

    def _rest(self) -> int:
        return len(self._buffer) - self._position

    # --- markup -------------------------------------------------------------------------------------------

    def _tag_length(self) -> tuple[int, bool]:
        """Return (length of the tag at hand, whether it is well-formed); a broken tag ends before a `<`."""
        while True:
            found = TAG_END.match(self._buffer, self._position + 1)
            if found:
                whole = found["end"] == b">"
                return found.end() - self._position - (not whole), whole
            if self._rest() > LIMIT or not self._fill():
                return self._rest(), False

    def _declaration(self) -> None:
        """Pass over `<!DOCTYPE …>`; nmap's own has no internal subset, and nobody's may declare entities."""
        # Entities of an earlier document type, whose nmaprun never came, are not this one's.
        declares = self._starts(b"<!ENTITY") or (self._entities and not self._starts(b"<!DOCTYPE"))
        while (end := self._declaration_end()) < 0 and self._rest() <= LIMIT and self._fill():
            pass
        data = self._take(end if end > 0 else 2)
        self._entities = declares or b"<!ENTITY" in data
        external = re.match(rb"""<!DOCTYPE\s+(\S+)\s+(?:SYSTEM|PUBLIC\s+["'][^"']*["'])\s+["']([^"']*)""", data)
        if external and not (external[1] == b"nmaprun" and external[2].endswith(b"nmap.dtd")):
            self.external = external[2].decode(errors="replace")

    def _declaration_end(self) -> int:
        """Return the length of the declaration at hand: 0 when broken, -1 while its end is not in the buffer."""
        found = DECLARATION_END.match(self._buffer, self._position + 2)
        if found and found[0].endswith(b"["):
            found = SUBSET_END.search(self._buffer, found.end())
        if found:
            return found.end() - self._position if found["own"] else 0
        return -1

    def _tag(self) -> Iterator[Frame]:
        """Handle the start or end tag at hand."""
        while self._rest() < OVERLAP and self._fill():
            pass
        found = NAME.match(self._buffer, self._position)
        if not found:
            self._take(1)
            return
        name = found[1]
        closing = found[0].startswith(b"</")
        self.root = self.root or name.decode(errors="replace")
        if name == b"nmaprun" and closing:
            length, whole = self._tag_length()
            self._take(length)
            if self._open:
                yield self._close("" if whole else "cut")
        elif not self._open and not closing and self._begins_scan(name):
            yield from self._start_scan(name)
        elif closing or not self._open:
            start, (length, _) = self.offset, self._tag_length()
            data = self._take(max(length, 1))
            if self._open and b"=" in data:  # nmap 2.54 wrote empty elements so
                yield Frame("element", start, self.offset, data)
        elif name == b"host":
            yield from self._host()
        else:
            yield self._element(name)

    def _begins_scan(self, name: bytes) -> bool:
        """Tell whether the start tag at hand, outside of any document, is nmaprun's, or of a child that lost it."""
        if name == b"nmaprun":
            return True
        if name in CHILDREN:
            return bool(LIKE_CHILD.match(self._buffer, self._position))
        self._tag_length()  # reads on to its end
        return bool(LIKE_NMAPRUN.match(self._buffer, self._position))

    def _start_scan(self, name: bytes) -> Iterator[Frame]:
        """Handle the tag that begins a scan: nmaprun's, or that of a child, which stays."""
        start = self.offset
        if self._entities:
            self._entities = False
            self._pass_over(DOCUMENT_MARK, 5)
            yield Frame("refused", start, self.offset)
            return
        self._open = True
        length, whole = (0, False) if name in CHILDREN else self._tag_length()
        data = self._take(length)
        yield Frame("document", start, self.offset, data, "" if whole else "cut")
        if data.endswith(b"/>"):
            yield self._close("")

    def _close(self, problem: str) -> Frame:
        self._open = False
        return Frame("end", self.offset, self.offset, b"", problem)

    def _element(self, name: bytes) -> Frame:
        """Return the child of nmaprun at hand, which is no host."""
        start = self.offset
        length, whole = self._tag_length()
        tag = self._buffer[self._position : self._position + length]
        if length > LIMIT:
            self._take(length)
            if not whole:
                self._seek(b"<")  # which no tag holds, so that this is past it
            return Frame("element", start, self.offset, b"", "too large")
        if not whole or tag.endswith(b"/>"):  # broken, or empty
            return Frame("element", start, start + length, self._take(length), "" if whole else "cut")
        marks = re.compile(rb"<(?:(?P<own>/" + re.escape(name) + rb"\s*>)|" + STOP + rb")")
        length, mark = self._find_end(marks, length)
        if length > LIMIT:
            self._pass_over(marks, length, mark)
            return Frame("element", start, self.offset, b"", "too large")
        data = self._take(length)
        return Frame("element", start, start + length, data, "" if mark.startswith(b"</" + name) else "cut")

    def _find_end(self, marks: re.Pattern[bytes], length: int, limit: int | None = None) -> tuple[int, bytes]:
        """Look for the end of the element at hand from `length` bytes on.

        Returns:
            (length of the element, the mark that ended it). The element's own end tag belongs to it, any other mark
            does not. The mark is empty at the end of the stream, or when more than `limit` (LIMIT) bytes went by.
        """
        limit = LIMIT if limit is None else limit
        while True:
            found = marks.search(self._buffer, self._position + length)
            if found and found[0] not in OPAQUE:
                return (found.end() if found["own"] else found.start()) - self._position, found[0]
            if found and (end := self._opaque_end(found[0], found.start())):
                length = end - self._position
                continue
            # A mark may be cut by the end of the buffer: look at the last bytes again.
            resume = found.start() - self._position if found else max(length, self._rest() - OVERLAP)
            behind = found.end() - self._position if found else 0  # before _fill, which moves the buffer
            if self._rest() <= limit and self._fill():
                length = resume
            elif found:  # a comment that never ends is no comment
                length = behind
            else:
                return self._rest(), b""

    def _pass_over(self, marks: re.Pattern[bytes], length: int, mark: bytes = b"") -> bytes:
        """Pass over `length` bytes and, without a mark, on to one; return the mark that ended the element."""
        while not mark and length:
            # Its last bytes may be the beginning of a mark; one byte at least goes, or it would find its own start.
            self._take(length if self._ended else max(length - OVERLAP, 1))
            length, mark = self._find_end(marks, 0)
        self._take(length)
        return mark

    def _pass_opaque(self) -> None:
        """Pass over the comment or CDATA section at hand; only its mark when it never ends."""
        mark = next(mark for mark in OPAQUE if self._starts(mark))
        while not (end := self._opaque_end(mark, self._position)) and self._rest() <= LIMIT and self._fill():
            pass
        self._take(end - self._position if end else len(mark))

    def _opaque_end(self, mark: bytes, position: int) -> int:
        """Return where a comment or CDATA section ends in the buffer, 0 when that is not in it."""
        found = OPAQUE[mark].search(self._buffer, position + len(mark))
        return found.end() if found and found["own"] else 0

    # --- hosts --------------------------------------------------------------------------------------------

    def _hosts(self) -> Iterator[Frame]:
        """Yield the host at hand, and those behind it that compiled code finds to be plain."""
        base, passed = self._base, self._position
        places = fast.plain_hosts(self._buffer, passed, min(CHUNK, SPLIT))
        if not places:
            yield from self._host()
        for start, end in zip(places[::2], places[1::2], strict=True):
            if start > passed:
                self._take(start - passed)
            yield Frame("host", base + start, base + end, self._take(end - start))
            passed = end

    def _host(self) -> Iterator[Frame]:
        """Yield the host at hand, whole or in parts."""
        start = self.offset
        length, mark = self._plain(b"</host>", SPLIT, HOST), b"</host>"
        if not length:
            length, mark = self._find_end(HOST_MARK, 5, SPLIT)
            if length > SPLIT or not mark.startswith(b"</host"):
                tag, whole = self._tag_length()
                if whole and self._buffer.endswith(b"/>", self._position, self._position + tag):
                    length, mark = tag, b"</host"  # an empty element
            if length > SPLIT:
                yield from self._large_host(start)
                return
        data = self._take(length)
        problem = "" if mark.startswith(b"</host") else "cut"
        yield Frame("host" if mark else "cut-host", start, self.offset, data, problem)

    def _plain(self, end_tag: bytes, limit: int, others: re.Pattern[bytes]) -> int:
        """Return the length of an element that is in the buffer and holds nothing that could hide its end, else 0.

        Args:
            end_tag: of the element.
            limit: longest length.
            others: what begins where it was cut.
        """
        start = self._position
        other = others.search(self._buffer, start + 5)  # first: where none of many has an end, each is looked at once
        end = self._buffer.find(end_tag, start, other.start() if other else len(self._buffer))
        length = end + len(end_tag) - start
        if end < 0 or length > limit:
            return 0
        return 0 if opaque(self._buffer, start, end) or self._buffer.find(b"nmaprun", start, end) >= 0 else length

    def _large_host(self, start: int) -> Iterator[Frame]:
        """Yield a large host port by port; what is not a port is gathered, up to LIMIT bytes."""
        skeleton, problem, lost, mark = bytearray(), "", 0, b"<port"
        length = 5  # past its own `<host`
        while mark.startswith(b"<port"):
            length, mark = self._find_end(SKELETON_MARK, length)
            if not mark and length > LIMIT:
                mark, problem = self._pass_over(SKELETON_MARK, length), "too large"
            elif len(skeleton) + length <= LIMIT:
                skeleton += self._take(length)
            else:
                self._take(length)
                problem = "too large"
            if start >= 0:
                yield Frame("host-start", start, self.offset, bytes(skeleton))
                first, start = start, -1
            if mark.startswith(b"<port"):
                port = self._port()
                lost += not port.data
                yield port
                del port  # it may be large, and the next is read before this name is given to it
            length = 0
        if mark:
            problem = problem if mark.startswith(b"</host") else "cut"
            yield Frame("host-end", first, self.offset, bytes(skeleton), problem, lost)
        else:
            yield Frame("cut-host", first, self.offset, bytes(skeleton), "cut")

    def _port(self) -> Frame:
        """Return the port element at hand; without data when it is too large."""
        start = self.offset
        if length := self._plain(b"</port>", LIMIT, NOT_IN_PORT):
            return Frame("port", start, start + length, self._take(length))
        length, whole = self._tag_length()
        empty = whole and self._buffer.endswith(b"/>", self._position, self._position + length)
        if empty and length <= LIMIT:
            return Frame("port", start, start + length, self._take(length))
        length, mark = (length, b"/>") if empty else self._find_end(PORT_MARK, max(length, 5))
        if length > LIMIT:
            self._pass_over(PORT_MARK, length, mark)
            return Frame("port", start, self.offset, b"", "too large")
        return Frame("port", start, start + length, self._take(length), "" if mark.startswith(b"</port>") else "cut")
