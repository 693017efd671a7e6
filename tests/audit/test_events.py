"""Joining, whatever the order of lines."""

from __future__ import annotations

from audit_lines import event, text
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.audit import events
from forwarder.audit.auditd import Auditd
from forwarder.audit.follow import Block

WORDS = st.lists(st.binary(min_size=1, max_size=40).map(lambda word: word.replace(b"\0", b"0")), max_size=8)


def read(data: bytes, size: int = 1 << 20):
    reader = Auditd(("nmap",), ())
    blocks, at = [], 0
    while at < len(data):
        end = data.find(b"\n", min(len(data) - 1, at + size)) + 1 or len(data)
        blocks.append(Block(0, "log", at, data[at:end], None))
        at = end
    return [*reader.read(iter(blocks)), *reader.end(settled=True)]


def shuffled(draw, *lists):
    """The lists in one, each in its own order."""
    rest = [list(items) for items in lists if items]
    while rest:
        items = draw(st.sampled_from(rest))
        yield items.pop(0)
        rest = [items for items in rest if items]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_interleaved_events_are_what_they_are_alone(data):
    argvs = data.draw(st.lists(WORDS, min_size=1, max_size=5))
    record = data.draw(st.integers(60, 200))
    ours = [event(n, [b"nmap", *words], record=record) for n, words in enumerate(argvs)]
    # with the same serials at another time, and without mention of a tool
    others = [event(n, [b"ls"], exe=b"/bin/ls", comm=b"ls", time="1700000000.124", key='"x"') for n in range(3)]
    lines = list(shuffled(data.draw, *ours, *others))
    found = read(text(lines), data.draw(st.sampled_from([100, 1000, 1 << 20])))
    expected = {f"1700000000.123:{n}": (b"nmap", *words) for n, words in enumerate(argvs)}
    assert {
        item.identity: tuple(word.encode("utf-8", "surrogateescape") for word in item.argv) for item in found
    } == expected
    assert all(item.problems == () for item in found)


def test_lines_before_the_first_that_mentions_a_tool():
    """The program's file is renamed, so that only its arguments tell; other events lie between."""
    lines = event(1, exe=b"/opt/scanner", comm=b"scanner", key="(null)")
    other = text(*(event(n, [b"ls"], exe=b"/bin/ls", comm=b"ls", key='"x"') for n in range(2, 300)))
    for size in (500, 5000, 1 << 20):
        (found,) = read(text(lines[:1]) + other + text(lines[1:]), size)
        assert found.login.id == "1000"
        assert found.argv[0] == "nmap"


def test_clock_steps_and_one_serial_at_several_times():
    found = read(
        text(event(9, time="1700000100.000"), event(10, time="1699990000.000"), event(9, time="1699990000.001"))
    )
    assert [item.identity for item in found] == ["1700000100.000:9", "1699990000.000:10", "1699990000.001:9"]


def test_nodes_do_not_mix():
    a, b = event(1, [b"nmap", b"a"], node="a"), event(1, [b"nmap", b"b"], node="b")
    found = read(text(line for pair in zip(a, b, strict=True) for line in pair))
    assert [(item.host, item.argv[1]) for item in found] == [("a", "a"), ("b", "b")]


def test_a_late_line_makes_no_second_event():
    lines = event(1, end=True)
    far = text(*(event(n, [b"ls"], exe=b"/bin/ls", comm=b"ls", key='"x"') for n in range(2, 3000)))
    found = read(text(lines) + far + text(lines[1:2]), 100_000)
    assert [item.identity for item in found] == ["1700000000.123:1"]


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(events, "MAX_OPEN", 10)
    open_ends = [event(n, without=["PROCTITLE"]) for n in range(200)]
    found = read(text(*open_ends), 1000)
    assert len(found) == 200
    assert found[0].problems == ("too many events at once",) or found[0].problems == ()
    assert sum("too many events at once" in item.problems for item in found) >= 180

    monkeypatch.setattr(events, "MAX_EVENT", 20_000)
    (large,) = read(text(event(1, [b"nmap", b"a b" * 30_000])))
    assert "event too large" in large.problems
    assert "arguments cut" in large.problems


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_is_no_traceback_and_makes_no_second_execution(data):
    lines = [*event(1, [b"nmap", b"a b", b"x" * 200], record=120), *event(2, node="n")]
    damaged = bytearray(text(lines))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        part = data.draw(
            st.sampled_from(
                [b"", b"\n", b'"', b" ", b"=", b"\x1d", b"nmap", b"\xff", b"audit(", b" a0=", b" argc=9", b"A"]
            )
        )
        damaged[at : at + data.draw(st.sampled_from([0, 1, 3, 40]))] = part
    found = read(bytes(damaged), 300)
    names = [item.identity for item in found]
    assert len(names) == len(set(names))


def test_what_was_handed_over_is_passed_over_also_from_a_node_whose_name_is_no_text():
    data = text(event(1)).replace(b"type=", b"node=\xff type=")
    reader = Auditd(("nmap",), ())
    (first,) = [*reader.read(iter([Block(0, "log", 0, data, None)])), *reader.end(settled=True)]
    again = Auditd(("nmap",), (first.identity,))
    assert [*again.read(iter([Block(0, "log", 0, data, None)])), *again.end(settled=True)] == []
