"""Installs dashboards and detection rules into Kibana, and leaves alone what a person changed there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from forwarder import durable
from forwarder.errors import UsageError
from forwarder.setup.elasticsearch import differences
from forwarder.setup.kibana_api import Kibana

FILES: Final = ("dashboards.ndjson", "rules.ndjson")
PLACES: Final = (
    Path(__file__).parents[1] / "_data" / "kibana",  # an installed wheel
    Path(__file__).parents[2] / "kibana",  # a source checkout
)
MEMORY: Final = "kibana.json"
"""In the state directory: what was installed where."""
ID: Final = re.compile(r'(?:(?<!\w)id\\*": ?\\*"|#/view/)nmap-[a-z-]+')
"""Where a line names a saved object: a member `id`, also of JSON within JSON, and links to dashboards."""
LINK: Final = "](/app/"
"""How links to Kibana begin in notes."""
OBJECT: Final = ("attributes", "references")
"""Members of a saved object that people change."""
THEIRS: Final = ("actions", "enabled", "exceptions_list")
"""Members of a rule that belong to whoever runs it; they are kept."""
KIBANA: Final = frozenset(
    {
        "created_at",
        "created_by",
        "execution_summary",
        "id",
        "immutable",
        "revision",
        "rule_source",
        "updated_at",
        "updated_by",
        "version",
        *THEIRS,
    }
)
"""Members of a rule that Kibana or its operators set."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A saved object or a detection rule."""

    kind: str
    """`rule`, or the saved object's type."""
    id: str
    title: str
    body: dict[str, Any]

    @property
    def label(self) -> str:
        """What people are told."""
        return f"{self.kind} {self.title}"

    @property
    def key(self) -> str:
        """Its name in the memory."""
        return f"{self.kind}:{self.id}"


def things(space: str = "default", path: str = "") -> list[Thing]:
    """Return what is installed, in the order of installation.

    Args:
        space: where to. Kibana gives saved objects another id where another space has theirs already, so in any but the
            default one ours have names of their own.
        path: of the space in its Kibana, such as `/s/soc`, which links in rules' notes must begin with.

    Raises:
        UsageError: the files are not where the program was installed.
    """
    own = "" if space == "default" else f"-{space}"
    found = (ID.sub(rf"\g<0>{own}", line) for line in lines() if "exportedCount" not in line[:40])
    return [_thing(json.loads(line), path) for line in found]


def lines() -> Iterator[str]:
    """Yield the lines of the files that a person can import by hand, too."""
    home = next((place for place in PLACES if (place / FILES[1]).is_file()), None)
    if home is None:
        raise UsageError("kibana/rules.ndjson is missing", "install nmap-forwarder again")
    for name in FILES:
        if (home / name).is_file():
            yield from filter(str.strip, (home / name).read_text(encoding="utf-8").splitlines())


def _thing(body: dict[str, Any], path: str) -> Thing:
    if "rule_id" in body:
        body["note"] = body["note"].replace(LINK, f"]({path}/app/")
        return Thing("rule", body["rule_id"], body["name"], body)
    attributes = body.get("attributes", {})
    return Thing(body["type"], body["id"], attributes.get("title") or attributes.get("name") or body["id"], body)


class Installer:
    """Installs things, each unless it is there already.

    Args:
        kibana: the space.
        directory: the state directory, which remembers what was installed; without it, whatever differs from what
            this version installs counts as changed by a person.
        say: told a line about each thing that is not as it should be.
    """

    def __init__(self, kibana: Kibana, directory: Path, say: Callable[[str], object]) -> None:
        self._kibana, self._file, self._say = kibana, directory / MEMORY, say
        self._all = self._remembered()
        self._memory: dict[str, list[str]] = self._all.setdefault(kibana.place, {})

    def install(self, wanted: list[Thing], *, overwrite: bool = False, dry: bool = False) -> int:
        """Install what is missing or old.

        Args:
            wanted: what is to be there.
            overwrite: replace what a person changed, too.
            dry: only say what would be done.

        Returns:
            How many things were installed, or would be.

        Raises:
            ForwarderError: Kibana is not there, or refuses.
        """
        todo: list[tuple[Thing, dict[str, Any] | None]] = []
        for thing in wanted:
            current = self._current(thing)
            what = self._judge(thing, current)
            if what == "changed" and not overwrite:
                self._say(f"{thing.label}: left as it is, somebody changed it; --overwrite replaces it")
            elif what:
                todo.append((thing, current))
                self._say(f"{thing.label}: {'would be ' if dry else ''}{'replaced' if current else 'installed'}")
        if not dry:
            objects = [(thing, current) for thing, current in todo if thing.kind != "rule"]
            rules = [(thing, current) for thing, current in todo if thing.kind == "rule"]
            if objects:
                self._kibana.import_objects([thing.body for thing, _ in objects])
                self._remember(objects)  # at once: the rules may be refused
            if rules:
                self._kibana.import_rules([_kept(thing.body, current) for thing, current in rules])
                self._remember(rules)
        return len(todo)

    def _current(self, thing: Thing) -> dict[str, Any] | None:
        if thing.kind == "rule":
            return self._kibana.rule(thing.id)
        return self._kibana.saved_object(thing.kind, thing.id)

    def _judge(self, thing: Thing, current: dict[str, Any] | None) -> str:
        """Return what is wrong with a thing: missing, old, changed; empty for nothing."""
        if current is None:
            return "missing"
        sent, became = self._memory.get(thing.key, ["", ""])
        untouched = _digest(_view(thing, current)) == became
        if untouched:
            return "" if sent == _digest(thing.body) else "old"
        return "changed" if differences(_view(thing, thing.body), _view(thing, current)) else ""

    def _remembered(self) -> dict[str, Any]:
        try:
            found = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _remember(self, installed: list[tuple[Thing, dict[str, Any] | None]]) -> None:
        for thing, _ in installed:
            self._memory[thing.key] = [_digest(thing.body), _digest(_view(thing, self._current(thing) or {}))]
        if not self._file.parent.is_dir():
            self._say(f"{self._file.parent} is not there: what was installed is not remembered")
            return
        durable.write(self._file, json.dumps(self._all, indent=1, sort_keys=True).encode())


def _kept(body: dict[str, Any], current: dict[str, Any] | None) -> dict[str, Any]:
    """Return a rule with what its operators decided about the one that is there."""
    return body | {name: current[name] for name in THEIRS if name in (current or {})} if current else body


def _view(thing: Thing, body: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a thing that is compared."""
    if thing.kind == "rule":
        return {name: value for name, value in body.items() if name not in KIBANA}
    return {name: body[name] for name in OBJECT if name in body}


def _digest(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
