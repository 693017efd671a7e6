"""Port lists against sets of ports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.nmap import ranges

PORTS = st.sets(st.integers(0, 65535) | st.integers(0, 40), max_size=60)


def ports_of(text: str) -> set[int]:
    found = ranges.parse(text) if text else ranges.Ranges((), (), ())
    assert found is not None
    return {port for low, high in zip(found.first, found.last, strict=True) for port in range(low, high + 1)}


@given(PORTS)
def test_what_is_written_is_read_back(ports):
    assert ports_of(ranges.write(ports)) == ports


@given(st.lists(st.integers(0, 40)))
def test_order_and_repetition_do_not_matter(ports):
    assert ranges.write(ports) == ranges.write(sorted(set(ports), reverse=True))


@given(PORTS.filter(bool), PORTS)
def test_ports_taken_away_are_gone_and_no_other(ports, gone):
    text = ranges.write(ports)
    whole = ranges.parse(text)
    assert whole is not None
    assert ports_of(ranges.without(whole, gone)) == ports - gone
    assert ranges.without(whole, gone - ports) == text
    assert ranges.without(whole, [*gone, *gone]) == ranges.write(ports - gone)


def test_ranges_are_as_long_as_they_can_be():
    assert ranges.write([7, 1, 3, 4, 6, 65535, 0]) == "0-1,3-4,6-7,65535"
    assert ranges.write([]) == ""


@pytest.mark.parametrize(
    "text",
    ["", "a", "1,", ",1", "3-1", "2,1", "1,1", "1-3,3", "65536", "1-65536", "T:80", "-5", "1-", "٣", "1 "],
)
def test_what_is_no_ascending_port_list_is_none(text):
    assert ranges.parse(text) is None
