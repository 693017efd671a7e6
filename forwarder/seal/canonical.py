"""Canonical JSON (RFC 8785) for values that stay within what orjson writes canonically.

orjson with sorted keys equals RFC 8785 for ASCII keys, integers within ±(2^53 - 1), and fractions that no JSON writer
gives an exponent (the readers keep to 1e-4 … 1e10). The tests hold it against the `rfc8785` package.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
"""A time as records and manifests write it: RFC 3339 in UTC with milliseconds."""


def encode(value: object) -> bytes:
    """Return the canonical JSON of such a value."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
