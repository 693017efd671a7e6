"""Times of logs as RFC 3339 in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from forwarder.nmap.values import LAST_SECOND

SLACK: Final = timedelta(minutes=1)
"""How far a line may be ahead of its file's last change: clocks are set back by seconds."""
OLDEST: Final = 8
"""Years that are tried for a day without a year; 29 February needs up to eight."""
MONTHS: Final = {
    name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)
}
TRADITIONAL = re.compile(
    rb"(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) (?P<clock>\d\d:\d\d:\d\d)(?: (?P<year>\d{4})(?= ))?"
)
"""Of syslog (RFC 3164) and of sudo's own log, which may have a year."""
RFC3339 = re.compile(rb"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)([.,]\d{1,9})?([Zz]|[+-]\d\d:?\d\d)")


def utc(seconds: int, nanoseconds: int = 0) -> str:
    """Return a POSIX time as RFC 3339, in milliseconds or finer; empty when out of range."""
    if not 0 <= seconds <= LAST_SECOND or not 0 <= nanoseconds < 10**9:
        return ""
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000)
    return _text(moment)


def rfc3339(text: bytes) -> str:
    """Return a time that RFC3339 matches, in UTC; empty when it is none."""
    found = RFC3339.fullmatch(text)
    if not found:
        return ""
    day, clock, fraction, zone = (part.decode() if part else "" for part in found.groups())
    zone = "+00:00" if zone in "Zz" else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{('.' + fraction[1:7]) if fraction else ''}{zone}")
        return _text(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return ""


def traditional(found: re.Match[bytes], latest: float, zone: tzinfo | None = None) -> tuple[str, bool]:
    """Return the time of a TRADITIONAL match in UTC, and whether its year was inferred; empty when it is none.

    A missing year is the last one in which the time was not after `latest`.

    Args:
        found: match of TRADITIONAL.
        latest: POSIX time of the file's last change.
        zone: the log's time zone; None for this machine's.
    """
    try:
        month, clock = MONTHS[found["month"]], found["clock"].decode()
        limit = datetime.fromtimestamp(latest, UTC)
        years = [int(found["year"])] if found["year"] else [limit.year + 1 - back for back in range(OLDEST + 2)]
    except (KeyError, ValueError, OverflowError, OSError):
        return "", False
    for year in years:
        try:
            local = datetime.fromisoformat(f"{year:04}-{month:02}-{int(found['day']):02}T{clock}")
            moment = (local.replace(tzinfo=zone) if zone else local).astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            continue
        if found["year"] or moment <= limit + SLACK:
            return _text(moment), not found["year"]
    return "", False


def _text(moment: datetime) -> str:
    short = moment.microsecond % 1000 == 0
    return moment.isoformat(timespec="milliseconds" if short else "microseconds").replace("+00:00", "Z")
