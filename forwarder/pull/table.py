"""Records as CSV: which columns each dataset has, and how a cell is written. The same again as a jq program.

What scanned hosts said is in these cells, and a spreadsheet takes what begins with = + - or @ for a formula. So a cell
that does gets a ' in front; control and direction characters become spaces; and a semicolon becomes a comma, because a
spreadsheet that separates cells at semicolons would begin a new cell there. Records themselves are never changed.
"""

from __future__ import annotations

import re
from typing import Any, Final

from forwarder.pull.question import values

JOINED: Final = " | "
"""Between the values of a list."""
UNPRINTABLE: Final = (
    r"[\x00-\x1f\x{7f}-\x{a0}\x{ad}\x{61c}\x{200b}-\x{200f}\x{2028}-\x{202f}\x{2060}-\x{206f}\x{3000}\x{feff}]"
)
"""Becomes a space. As Oniguruma, jq's library of regular expressions, writes it."""
FORMULA: Final = "^[ \"'|,]*[-=+@＝＋－＠]"
"""How a cell begins that would be taken for a formula; full-width signs count as well."""

_UNPRINTABLE: Final = re.compile(re.sub(r"\\x\{(\w+)\}", lambda code: f"\\u{code[1]:0>4}", UNPRINTABLE))
_FORMULA: Final = re.compile(FORMULA)

ABOUT: Final = (
    ("scan_id", "nmap.scan.id"),
    ("scanner", "observer.name"),
    ("user", "user.name"),
    ("ticket", "labels.ticket"),
    ("event_id", "event.id"),
)
"""Columns at the end of every table; `event_id` finds the record."""
TARGET: Final = (("time", "@timestamp"), ("host", "host.name"), ("ip", "host.ip"))
PORT: Final = (("protocol", "nmap.port.protocol"), ("port", "nmap.port.number"))
COLUMNS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "scan": (
        ("time", "@timestamp"),
        ("start", "nmap.scan.start"),
        ("finish", "nmap.scan.finish"),
        ("outcome", "event.outcome"),
        ("complete", "nmap.scan.complete"),
        ("command_line", "process.command_line"),
        ("reason", "event.reason"),
        ("effective_user", "user.effective.name"),
        ("hosts_up", "nmap.scan.hosts.up"),
        ("hosts_total", "nmap.scan.hosts.total"),
        ("open_ports", "nmap.scan.open_ports"),
        ("vantage", "nmap.scan.vantage"),
        ("networks", "nmap.target.network"),
        ("nmap_version", "nmap.scan.version"),
        ("file", "file.path"),
        ("file_owner", "file.owner"),
        ("evidence_sha256", "file.hash.sha256"),
    ),
    "host": (
        *TARGET,
        ("mac", "host.mac"),
        ("state", "nmap.host.state"),
        ("open_tcp", "nmap.host.port.open.tcp"),
        ("open_udp", "nmap.host.port.open.udp"),
        ("os", "host.os.full"),
        ("reason", "nmap.host.reason"),
        ("network", "nmap.target.network"),
        ("host_id", "host.id"),
    ),
    "port": (
        *TARGET,
        *PORT,
        ("state", "nmap.port.state"),
        ("tombstone", "nmap.port.tombstone"),
        ("service", "nmap.port.service.name"),
        ("product", "nmap.port.service.product"),
        ("version", "nmap.port.service.version"),
        ("extra_info", "nmap.port.service.extra_info"),
        ("cpe", "nmap.port.service.cpe"),
        ("tls_subject", "tls.server.subject"),
        ("tls_not_after", "tls.server.not_after"),
        ("http_title", "nmap.http.title"),
        ("scripts", "nmap.script.id"),
        ("host_id", "host.id"),
    ),
    "vulnerability": (
        *TARGET,
        *PORT,
        ("id", "vulnerability.id"),
        ("severity", "vulnerability.severity"),
        ("score", "vulnerability.score.base"),
        ("state", "nmap.vulnerability.state"),
        ("exploit", "nmap.vulnerability.exploit"),
        ("title", "nmap.vulnerability.title"),
        ("product", "nmap.vulnerability.product"),
        ("script", "nmap.vulnerability.script"),
        ("reference", "vulnerability.reference"),
        ("host_id", "host.id"),
    ),
    "change": (
        *TARGET,
        *PORT,
        ("action", "event.action"),
        ("state_before", "nmap.change.before.state"),
        ("state_after", "nmap.change.after.state"),
        ("service_before", "nmap.change.before.service"),
        ("service_after", "nmap.change.after.service"),
        ("product_before", "nmap.change.before.product"),
        ("product_after", "nmap.change.after.product"),
        ("version_before", "nmap.change.before.version"),
        ("version_after", "nmap.change.after.version"),
        ("seen_before", "nmap.change.before.time"),
        ("host_id", "host.id"),
    ),
    "other": (
        ("time", "@timestamp"),
        ("dataset", "event.dataset"),
        ("action", "event.action"),
        ("host", "host.name"),
        ("command_line", "process.command_line"),
        ("effective_user", "user.effective.name"),
        ("reason", "event.reason"),
        ("message", "message"),
    ),
}
"""Table → its columns and the fields they show; records of other datasets are in `other`."""


def table_of(record: dict[str, Any]) -> str:
    """Return the table that a record belongs to."""
    name = str(record["event"]["dataset"]).removeprefix("nmap.")
    return name if name in COLUMNS else "other"


def columns(table: str) -> tuple[tuple[str, str], ...]:
    """Return the names of a table's columns and the fields they show."""
    return COLUMNS[table] + ABOUT


def header(table: str) -> str:
    """Return the first line."""
    return ",".join(f'"{name}"' for name, _ in columns(table)) + "\n"


def row(record: dict[str, Any], table: str) -> str:
    """Return a record's line."""
    return ",".join(_cell(record, field) for _, field in columns(table)) + "\n"


def _cell(record: dict[str, Any], field: str) -> str:
    text = JOINED.join(_text(value) for value in values(record, field))
    text = _UNPRINTABLE.sub(" ", text).replace(";", ",")
    if _FORMULA.match(text):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"'


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def jq(table: str) -> str:
    """Return a jq program that makes a table's lines of records, the first line apart; it holds no single quote."""
    mine = f'"nmap.{table}"'
    others = ", ".join(f'"nmap.{name}"' for name in COLUMNS if name != "other")
    chosen = f"select(.event.dataset == {mine})"
    if table == "other":
        chosen = f"select(.event.dataset as $d | any({others}; . == $d) | not)"
    formula = FORMULA.replace('"', '\\"').replace("'", "\\u0027")
    fields = ",\n  ".join("." + ".".join(_name(part) for part in field.split(".")) for _, field in columns(table))
    return (
        f'def cell: (arrays // [.]) | map(select(. != null) | tostring) | join("{JOINED}")\n'
        f'  | gsub("{UNPRINTABLE.replace(chr(92), chr(92) * 2)}"; " ") | gsub(";"; ",")\n'
        f'  | if test("{formula}") then "\\u0027" + . else . end;\n'
        f"{chosen} | [{fields}]\n  | map(cell) | @csv"
    )


def _name(part: str) -> str:
    return part if part.isidentifier() else f'"{part}"'
