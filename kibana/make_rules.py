"""Makes kibana/rules.ndjson from kibana/rules/*.toml, and kibana/etc/fields.json: `python kibana/make_rules.py`.

The sources have the layout of elastic/detection-rules' custom rules; each line of the result is what Kibana's detection
engine takes (Kibana 8.12, POST /api/detection_engine/rules/_import). The fields are a custom schema, by which
detection-rules checks that queries name fields that exist.
"""

from __future__ import annotations

import json
import re
import tomllib
import uuid
from pathlib import Path
from typing import Any

from forwarder.ecs.fields import fields

HERE = Path(__file__).parent
SOURCES, RESULT = HERE / "rules", HERE / "rules.ndjson"
FIELDS = HERE / "etc" / "fields.json"
INDEX = "logs-nmap.*"
TYPES = {"constant_keyword": "keyword", "integer": "long", "match_only_text": "text", "wildcard": "keyword"}
"""Type → what detection-rules knows it as."""
ALWAYS: dict[str, Any] = {"actions": [], "exceptions_list": [], "to": "now", "version": 1}
"""What every rule has, and no source says."""
PROSE = frozenset({"description", "note", "setup"})
"""Texts that are wrapped in the sources."""


def rule_id(slug: str) -> str:
    """Return the id of a rule, made from its file's name; it never changes."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"nmap-forwarder:{slug}"))


def rule(source: Path) -> dict[str, Any]:
    """Return a rule as Kibana takes it.

    Raises:
        ValueError: its id is not made from the file's name.
    """
    found: dict[str, Any] = tomllib.loads(source.read_text(encoding="utf-8"))["rule"]
    if found["rule_id"] != rule_id(source.stem):
        raise ValueError(f"{source}: rule_id must be {rule_id(source.stem)}")
    terms = found.pop("new_terms", None)
    if terms:
        found[terms["field"]] = terms["value"]
        found |= {window["field"]: window["value"] for window in terms["history_window_start"]}
    for name, value in found.items():
        if isinstance(value, str):
            found[name] = unwrapped(value.strip()) if name in PROSE else value.strip()
    return ALWAYS | found


def unwrapped(text: str) -> str:
    """Return Markdown with each paragraph and each item of a list in one line: Kibana shows all line breaks."""
    return re.sub(r"(?<=[^\n])\n *(?=[^\n# -])", " ", text)


def rules() -> dict[str, dict[str, Any]]:
    """Return all rules by slug, in its order."""
    return {source.stem: rule(source) for source in sorted(SOURCES.glob("*.toml"))}


def ndjson() -> str:
    """Return the result: a line for each rule."""
    return "".join(json.dumps(found, ensure_ascii=False, sort_keys=True) + "\n" for found in rules().values())


def schema() -> str:
    """Return the custom schema: our fields beyond ECS."""
    own = {name: field.type for name, field in fields().items() if name.startswith(("nmap.", "labels."))}
    found = {INDEX: {name: TYPES.get(kind, kind) for name, kind in sorted(own.items())}}
    return json.dumps(found, indent=1) + "\n"


if __name__ == "__main__":
    FIELDS.write_text(schema(), encoding="utf-8")
    RESULT.write_text(ndjson(), encoding="utf-8")
