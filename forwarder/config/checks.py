"""What values may be: each function returns a value as it is used, or raises ValueError with what it should be.

A value is what TOML holds, or a text from the command line or the environment. What only one kind of value needs is
imported there: nmap's wrapper waits for every import.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forwarder.audit import TOOLS

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from forwarder.archive.place import Place

ELASTICSEARCH_PORT: Final = 9200
"""Where a URL names none, as for Elastic's own programs."""
A_URL: Final = "a URL such as https://elasticsearch.example:9200"
AUDIT_KINDS: Final = ("auditd", "laurel", "sudo", "sudo-io", "history")


def text(value: Any) -> str:
    """Check a text."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("a text")
    return value


def texts(value: Any, separator: str = ",") -> tuple[str, ...]:
    """Check a list of texts, or one text that holds several; white space around them and empty ones are left out."""
    items = value.split(separator) if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) and "\0" not in item for item in items):
        raise ValueError("a list of texts")
    return tuple(item.strip() for item in items if item.strip())


def path(value: Any) -> Path | None:
    """Check a path; an empty one is None."""
    return Path(text(value)).expanduser() if value else None


def seconds(value: Any) -> float:
    """Check a time or a period."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = -1.0
    if not 0 <= found < float("inf") or isinstance(value, bool):
        raise ValueError("a number that is not negative")
    return found


def count(value: Any) -> int:
    """Check a whole number."""
    if isinstance(value, bool) or not str(value).isdigit():
        raise ValueError("a whole number")
    return int(value)


def positive(value: Any) -> int:
    """Check a whole number above 0."""
    if (found := count(value)) < 1:
        raise ValueError("a whole number above 0")
    return found


def percent(value: Any) -> int:
    """Check a percentage."""
    if (found := count(value)) > 100:  # noqa: PLR2004
        raise ValueError("a percentage from 0 to 100")
    return found


def boolean(value: Any) -> bool:
    """Check true or false."""
    if str(value).lower() not in {"true", "false"}:
        raise ValueError("true or false")
    return str(value).lower() == "true"


def one_of(*values: str) -> Callable[[Any], str]:
    """Return the check of a key that takes some words only."""

    def check(value: Any) -> str:
        if value not in values:
            raise ValueError(" or ".join(f'"{word}"' for word in values))
        return str(value)

    return check


def archive(value: Any) -> Place | None:
    """Check the place of an archive."""
    from forwarder.archive.place import place  # noqa: PLC0415

    return place(text(value)) if value else None


def origin(value: Any) -> str:
    """Check the name of a log."""
    from forwarder.seal.manifest import origin_fits  # noqa: PLC0415

    if text(value) and not origin_fits(value):
        raise ValueError("parts of a-z 0-9 . _ - joined by /")
    return str(value)


def key_uri(value: Any) -> str:
    """Check the URI of a signing key."""
    from forwarder.keys import choose  # noqa: PLC0415

    if text(value) and not choose.fits(value):
        raise ValueError("file: and an absolute path, or awskms: and a key's id, ARN or alias/name")
    return str(value)


def namespace(value: Any) -> str:
    """Check the namespace of data streams."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.]{0,99}", text(value)):
        raise ValueError("a data stream namespace (a-z 0-9 _ . only)")
    return str(value)


def space(value: Any) -> str:
    """Check the identifier of a space of Kibana's."""
    if not re.fullmatch(r"[a-z0-9_-]{1,128}", text(value)):
        raise ValueError("the identifier of a space (a-z 0-9 _ - only)")
    return str(value)


def fingerprint(value: Any) -> str:
    """Check the SHA-256 of a certificate; return it in lower case without colons."""
    found = text(value).replace(":", "").lower()
    if found and not re.fullmatch(r"[0-9a-f]{64}", found):
        raise ValueError("the SHA-256 of a certificate in hexadecimal")
    return found


def address(value: Any) -> str:
    """Check an IP address."""
    if not value:
        return ""
    from ipaddress import ip_address  # noqa: PLC0415

    try:
        return str(ip_address(text(value)))
    except ValueError:
        raise ValueError("an IP address") from None


def networks(value: Any) -> tuple[str, ...]:
    """Check networks."""
    if value == ():  # the default
        return ()
    from ipaddress import ip_network  # noqa: PLC0415

    try:
        return tuple(str(ip_network(item)) for item in texts(value))
    except ValueError:
        raise ValueError("networks in CIDR notation") from None


def patterns(value: Any) -> tuple[str, ...]:
    """Check the patterns of secrets' names."""
    try:
        return texts(value)
    except ValueError:
        raise ValueError("a list of patterns; an empty one masks nothing") from None


def sources(value: Any) -> tuple[str, ...]:
    """Check logs that tell who ran nmap."""
    found = texts(value)
    for item in found:
        kind, _, name = item.partition(":")
        if kind not in AUDIT_KINDS or not name.startswith(("/", "~/")):
            raise ValueError(f"KIND:PATH, with an absolute path or pattern; kinds are {', '.join(AUDIT_KINDS)}")
    return tuple(dict.fromkeys(found))


def tools(value: Any) -> tuple[str, ...]:
    """Check programs whose executions become records; nmap's always do."""
    found = {*texts(value), "nmap"}
    if not found <= set(TOOLS):
        raise ValueError(f"some of {', '.join(TOOLS)}")
    return tuple(name for name in TOOLS if name in found)


def endpoint(value: Any) -> str:
    """Check the URL of an S3."""
    found, should = text(value).strip(), "a URL such as https://s3.example"
    if found and _http(found, should).username:
        raise ValueError(should)
    return found


def kibana(value: Any) -> str:
    """Check the URL of a Kibana."""
    found, should = text(value).strip(), "a URL such as https://kibana.example:5601, without a user"
    if found and ((parts := _http(found, should)).query or "@" in parts.netloc):
        raise ValueError(should)
    return found


def authorities(value: Any) -> tuple[str, ...]:
    """Check the URLs of time-stamp authorities."""
    should = "URLs such as https://tsa.example/tsr"
    found = texts(value)
    if any("@" in _http(url, should).netloc for url in found):
        raise ValueError(should)
    return found


def urls(value: Any) -> tuple[str, ...]:
    """Check the URLs of Elasticsearch's nodes; each is returned with a port."""
    return tuple(_node(item) for item in texts(value))


def _node(item: str) -> str:
    parts = _http(item, A_URL)
    try:
        port = parts.port
    except ValueError:
        raise ValueError(A_URL) from None
    if "," in item or parts.query or parts.fragment:
        raise ValueError(A_URL)
    if "@" in item:
        raise ValueError("a URL without a user in it (there are keys for user and password)")
    netloc = parts.netloc if port else f"{parts.netloc.removesuffix(':')}:{ELASTICSEARCH_PORT}"
    return parts._replace(netloc=netloc).geturl()


def _http(url: str, should: str) -> SplitResult:
    """Return the parts of a URL of HTTP."""
    from urllib.parse import urlsplit  # noqa: PLC0415

    try:
        parts = urlsplit(url)
    except ValueError:  # such as an unfinished IPv6 address
        raise ValueError(should) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(should)
    return parts
