"""Attribute values of nmap's XML as typed values; what does not fit its type is kept as it was written."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from time import gmtime, strftime
from typing import Any, Final
from xml.etree.ElementTree import Element, tostring

LAST_SECOND: Final = 253402300799
"""9999-12-31T23:59:59Z, the last second that RFC 3339 can write."""
MAX_UNPARSED: Final = 100
"""Oddities kept for one record; evidence holds all."""
MAX_UNPARSED_LENGTH: Final = 1000
"""Characters kept of one oddity."""
LARGEST_PORT: Final = 65535

MAC = re.compile(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5,19}")
"""Of Ethernet, or longer ones."""
IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}")
"""An IPv4 address in its usual form; ten times faster than taking it apart."""
FRACTION = re.compile(r"-?[0-9]{1,10}(\.[0-9]{1,9})?")
DECIMALS: Final = 4
"""Decimals kept of a fraction: nmap writes two, and from 1e-5 on JSON writers differ in their use of exponents."""

Convert = Callable[[str], Any]
Table = dict[str, tuple[str, Convert | None]]
"""XML attribute → (our name, conversion or None for text)."""


def integer(text: str) -> int:
    """Return a decimal integer of up to 15 digits.

    Raises:
        ValueError: it is none.
    """
    digits = text.removeprefix("-")
    if digits.isdigit() and digits.isascii() and len(digits) <= 15:  # noqa: PLR2004 - within 2^53
        return int(text)
    raise ValueError(text)


def natural(text: str) -> int:
    """Return a decimal integer that is not negative.

    Raises:
        ValueError: it is none.
    """
    if text.isdigit():
        return integer(text)
    raise ValueError(text)


def port_number(text: str) -> int:
    """Return a port or IP protocol number.

    Raises:
        ValueError: it is none.
    """
    number = natural(text)
    if number > LARGEST_PORT:
        raise ValueError(text)
    return number


def number(text: str) -> float:
    """Return a decimal fraction, an int where it is integral (RFC 8785 writes 7.0 as 7).

    Raises:
        ValueError: it is none.
    """
    if not FRACTION.fullmatch(text):
        raise ValueError(text)
    value = round(float(text), DECIMALS)
    return int(value) if value.is_integer() else value


def boolean(text: str) -> bool:
    """Return nmap's `true`, `1`, `false` or `0`.

    Raises:
        ValueError: it is neither.
    """
    if text not in {"true", "false", "1", "0"}:
        raise ValueError(text)
    return text in {"true", "1"}


def address(text: str) -> str:
    """Return an IPv4 or IPv6 address in its usual form, without the zone of a link-local one.

    Raises:
        ValueError: it is none.
    """
    return text if IPV4.fullmatch(text) else str(ip_address(text.partition("%")[0]))


def moment(text: str) -> str:
    """Return seconds since 1970 as RFC 3339 in UTC with milliseconds; zero means unknown.

    Raises:
        ValueError: it is no such time.
    """
    seconds = natural(text)
    if not 0 < seconds <= LAST_SECOND:
        raise ValueError(text)
    return f"{_minute(seconds // 60)}{seconds % 60:02}.000Z"


@lru_cache(maxsize=1024)
def _minute(minutes: int) -> str:
    """Return the part of a time that thousands of hosts have in common."""
    return strftime("%Y-%m-%dT%H:%M:", gmtime(minutes * 60))


def mac(text: str) -> str:
    """Return a MAC address as ECS writes it: upper-case, with dashes.

    Raises:
        ValueError: it is none.
    """
    if not MAC.fullmatch(text):
        raise ValueError(text)
    return text.upper().replace(":", "-")


def take(element: Element, table: Table, into: dict[str, Any], odd: list[str]) -> None:
    """Put an element's attributes into a dict under our names; unknown or ill-typed ones into `odd`.

    The most called function of all; most attributes are text, so that is looked at first.
    """
    for key, text in element.attrib.items():
        name, convert = table.get(key, UNKNOWN)
        if convert is None:
            if text:
                into[name] = text
        elif text:
            try:
                into[name] = convert(text)
            except ValueError:
                note(odd, f"{element.tag}/@{key}={text}")


def _refuse(text: str) -> Any:
    raise ValueError(text)


UNKNOWN: Final[tuple[str, Convert]] = ("", _refuse)
"""What an attribute is that no table has."""


def take_markup(element: Element, odd: list[str]) -> None:
    """Keep an element that we do not know as its markup."""
    if len(odd) > MAX_UNPARSED:  # writing it would be for nothing
        return
    try:
        markup = tostring(element, encoding="unicode").strip()
    except RecursionError:  # nested deeper than Python's stack
        markup = f"<{element.tag}> is nested too deeply to write"
    note(odd, markup)


def note(odd: list[str], text: str) -> None:
    """Add one oddity, within bounds; what goes beyond them is said to."""
    if len(odd) < MAX_UNPARSED:
        rest = len(text) - MAX_UNPARSED_LENGTH
        odd.append(text if rest <= 0 else f"{text[:MAX_UNPARSED_LENGTH]}… and {rest} characters more")
    elif len(odd) == MAX_UNPARSED:
        odd.append("and more, only in the evidence")
