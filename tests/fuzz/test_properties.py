"""What holds for any input, with inputs that Hypothesis makes: over intake, framing, mapping and records."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import tempfile
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
import targets
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from forwarder import intake
from forwarder.errors import InputError

FIXTURES = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "fixtures/nmap").glob("*.xml"))]
TOKENS = (
    b"<host>|</host>|<ports>|</ports>|<port protocol='tcp' portid='80'>|</port>|<port/>|<nmaprun>|</nmaprun>|<nmaprun "
    b"|<?xml version='1.0'?>|<!DOCTYPE nmaprun>|<!DOCTYPE x [<!ENTITY a 'b'>]>|<!--|-->|<![CDATA[|]]>|<status state='up'/>"
    b"|<address addr='192.0.2.1'/>|<state state='open'/>|<script id='ssl-cert' output='x'>|</script>|<table>|</table>"
    b"|<elem key='k'>|</elem>|<taskprogress |<scaninfo protocol='tcp' services='1-9'/>|&#x1;|&x;|\xff|<|>|\"|'| "
).split(b"|")
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
PACK = {"as it is": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress}


def taken(data: bytes, limit: int = targets.LIMIT) -> tuple[intake.Copy, bytes]:
    """What the spool has of an input, and what the reader sees of it."""
    with tempfile.TemporaryDirectory() as name:
        copy = intake.copy(io.BufferedReader(io.BytesIO(data)), Path(name), limit)
        path = intake.spooled(Path(name), copy.raw_sha256)
        stored = path.read_bytes()
        assert (copy.stored_bytes, copy.stored_sha256) == (len(stored), sha256(stored).hexdigest())
        raw = zstandard.ZstdDecompressor().decompressobj().decompress(stored) if copy.raw_bytes else b""
        assert (copy.raw_bytes, copy.raw_sha256) == (len(raw), sha256(raw).hexdigest())
        with closing(intake.Utf8(path)) as stream:
            return copy, b"".join(iter(lambda: stream.read(7), b""))


@SLOW
@given(
    st.binary(max_size=300).filter(lambda data: not data.startswith(tuple(intake.OPENERS))),
    st.sampled_from(sorted(PACK)),
)
def test_the_copy_of_an_input_is_its_content_however_it_is_compressed(data, pack):
    copy, _ = taken(PACK[pack](data))
    assert copy.raw_sha256 == sha256(data).hexdigest()
    assert copy.note == ""


@SLOW
@given(st.binary(min_size=1, max_size=300), st.sampled_from(sorted(PACK)), st.floats(0, 1), st.integers(0, 255))
def test_compressed_data_that_is_cut_or_damaged_gives_what_is_there(data, pack, place, byte):
    packed = bytearray(PACK[pack](data))
    at = int(place * (len(packed) - 1))
    taken(bytes(packed[:at]))
    packed[at] = byte
    try:
        taken(bytes(packed), 10_000)
    except InputError as error:
        assert "larger than 10000 bytes" in str(error)  # noqa: PT017 - it may also be taken


@SLOW
@given(
    st.text(st.characters(codec="latin-1", exclude_characters='<>&"\x1a'), max_size=200),
    st.sampled_from(
        [
            "utf-8",
            "utf-8-sig",
            "utf-16",
            "utf-16-le",
            "utf-16-be",
            "iso-8859-1",
            "iso-8859-15",
            "cp1252",
            "windows-1251",
            "gbk",
            "Shift_JIS",
        ]
    ),
)
def test_the_reader_sees_utf_8_whatever_the_encoding(text, encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?><nmaprun args="{text}"/>'.encode(encoding, "replace").decode(
        encoding
    )
    _, seen = taken(text.encode(encoding))
    assert seen.removeprefix(codecs.BOM_UTF8) == text.encode()


@SLOW
@given(st.binary(max_size=400))
@example(b"<nmaprun><host>")
def test_any_bytes(data):
    targets.scan(data)


@SLOW
@given(st.binary(min_size=1, max_size=1), st.lists(st.sampled_from(TOKENS), max_size=40))
def test_any_sequence_of_marks_in_a_scan(sizes, tokens):
    targets.small(sizes + b"<nmaprun>" + b"".join(tokens))


@SLOW
@given(
    st.sampled_from(FIXTURES),
    st.integers(0, 3),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from(TOKENS)), max_size=4),
)
def test_scans_with_marks_put_anywhere(data, sizes, put):
    for place, token in put:
        at = int(place * len(data))
        data = data[:at] + token + data[at:]
    targets.small(bytes([sizes]) + data)


@SLOW
@given(
    st.integers(0, 6),
    st.integers(0, 255),
    st.binary(max_size=30) | st.lists(st.sampled_from(TOKENS), max_size=5).map(b"".join),
)
def test_whatever_happens_to_one_host_the_others_are_in_the_records(place, gone, put):
    targets.hosts(bytes([place, gone]) + put)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_inputs_around_the_sizes_of_buffers_are_copied_whole(size):
    copy, seen = taken(b"x" * size)
    assert (copy.raw_bytes, len(seen)) == (size, size)
