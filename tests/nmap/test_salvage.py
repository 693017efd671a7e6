"""A damaged frame gives all that is in it; a sound one exactly what a strict parser gives."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.nmap import salvage


def text_of(data: bytes) -> tuple[str | None, str]:
    element, wrong = salvage.parse(data)
    assert element is not None
    return element.get("a"), wrong


def test_a_sound_frame_has_nothing_wrong():
    assert text_of(b"<x a='&lt;&#233;>'/>") == ("<é>", "")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"nmap -oX &#x1;", "nmap -oX \\x01"),
        (b"&#0;&#55296;&#xFFFF;&#x110000;&#99999999;", "\\x00\\xd800\\xffff\\x110000\\x5f5e0ff"),
        (b"\x01\x1f\x7f", "\\x01\\x1f\x7f"),
        (b"\xff ok \xc3", "\ufffd ok \ufffd"),
        (b"a & b &nbsp; &#x; &amp; &lt;", "a & b &nbsp; &#x; & <"),
        (b"&bomb; &#10;&#x9;&#65;&#x1F600;", "&bomb; \n\tA\U0001f600"),
    ],
)
def test_characters_that_xml_forbids_are_written_out(written, read):
    found, wrong = text_of(b'<x a="' + written + b'"/>')
    assert found == read
    assert wrong


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("&#xc3;&#xa9;", "é"),
        ("&#195;&#169;", "é"),
        ("&#xe2;&#x82;&#xac;", "€"),
        ("&#xe9;", "é"),
        ("é", "é"),
        ("&#x20ac; &#xc3;&#xa9;", "€ Ã©"),
    ],
)
def test_text_escaped_byte_by_byte_is_put_together(written, read):
    assert text_of(f'<x a="{written}"/>'.encode()) == (read, "")
    element, _ = salvage.parse(f'<x><y b="plain">{written}</y></x>'.encode())
    assert element is not None
    assert element[0].text == read


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters='<>&"')))
def test_any_text_that_nmap_escapes_is_read_as_it_was(text):
    escaped = "".join(chr(byte) if byte < 128 else f"&#x{byte:x};" for byte in text.encode())
    assert text_of(f'<x a="{escaped}"/>'.encode())[0] == text


def test_a_task_inside_another_tag_is_taken_out():
    task = b'<taskprogress task="a > b" time="1" percent="1"/>'
    found, wrong = text_of(b"<x " + task.replace(b" > ", b" ") + b' a="1"/>')
    assert (found, bool(wrong)) == ("1", True)
    element, _ = salvage.parse(b'<taskend task="a & b" />')
    assert element is not None
    assert element.get("task") == "a & b"


def test_what_stays_broken_is_read_up_to_the_break_or_not_at_all():
    data = b'<host><a x="1"/><b>te</c></host>'
    element, wrong = salvage.parse(data)
    assert element is not None
    assert [child.tag for child in element] == ["a", "b"]
    assert "mismatched" in wrong
    assert salvage.parse(data, partial=False)[0] is None


@pytest.mark.parametrize("data", [b"", b"text", b"<", b"<x a='1", b"\x00"])
def test_what_has_no_element_gives_none(data):
    element, wrong = salvage.parse(data)
    assert element is None
    assert wrong


@given(
    st.binary()
    | st.lists(st.sampled_from([b"<x>", b"</x>", b"<x ", b"a='", b"'", b"&#", b"x1;", b"<task ", b">", b"\xff"])).map(
        b"".join
    )
)
def test_no_bytes_raise(data):
    salvage.parse(data)
    salvage.parse(b"<x>" + data + b"</x>")


# --- large frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "written"),
    [("a", b"a"), ("€", "€".encode()), ("&", b"&amp;"), ("\n", b"&#xa;"), (">'", b">&apos;")],
)
@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("form", [b'<x a="%s" b="2"/>', b"<x b='2' a='%s'/>", b'<x b="2">%s</x>'])
def test_a_long_text_keeps_its_beginning_and_what_stands_behind_it(text, written, shift, form):
    count = salvage.LARGE * 3 // len(written)
    element, wrong = salvage.parse(form.replace(b"%s", b"s" * shift + written * count))
    assert element is not None
    kept = element.get("a") or element.text
    assert ("s" * shift + text * count).startswith(kept)
    assert 0.8 < len(kept) * len(written) / len(text) / salvage.LARGE <= 1
    assert element.get("b") == "2"
    assert "is too large to read and only in the evidence" in wrong


def test_of_too_many_parts_the_first_are_kept():
    data = b"<x>" + b"<elem>1</elem>" * salvage.LARGE + b"</x>"
    element, wrong = salvage.parse(data, partial=False)
    assert element is not None
    assert len(element) - (salvage.LARGE - 3) // 14 in {0, 1}
    assert f"part of its {len(data)} bytes" in wrong


def test_long_texts_are_shortened_by_their_share_and_short_ones_not_at_all():
    texts = [b"a" * salvage.LARGE, b"b" * salvage.LARGE * 3, b"c" * salvage.PIECE]
    element, _ = salvage.parse(b"<x>" + b"".join(b"<s o='%s'/>" % text for text in texts) + b"</x>")
    assert element is not None
    lengths = [len(child.get("o")) for child in element]
    assert lengths[2] == salvage.PIECE
    assert lengths[1] == pytest.approx(3 * lengths[0], rel=0.01)


@given(
    st.lists(
        st.sampled_from([b"<x ", b"a='", b'"', b"'", b">", b"<", b"&amp;", b"\xe2\x82\xac", b"=", b"z" * 30]),
        max_size=30,
    )
)
def test_shortening_takes_any_bytes(tokens):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(salvage, "LARGE", 60)
        patch.setattr(salvage, "PIECE", 10)
        patch.setattr(salvage, "LONG", re.compile(rb"<[^<]{10,}"))
        salvage.parse(b"".join(tokens))
