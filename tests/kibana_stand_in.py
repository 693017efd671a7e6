"""Stands in for Kibana where none can run: keeps saved objects and rules as its API does, and nothing else of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import loopback


class StandIn:
    """What it keeps, by space, and how it behaves."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict] = {}
        self.rules: dict[tuple[str, str], dict] = {}
        self.spaces = {"default", "soc"}
        self.version = "8.12.2"
        self.key = "a2V5"
        self.away = 0
        """Requests that are answered with 503 first."""
        self.writes = 0
        self.refused = ""
        """Id of what an import does not take."""
        self.port = 0


@contextlib.contextmanager
def serving() -> Iterator[StandIn]:  # noqa: C901 - a server in one piece
    kibana = StandIn()

    class Handler(loopback.Handler):
        def answer(self, status: int, body: object) -> None:
            self.reply(status, "application/json", body if isinstance(body, bytes) else json.dumps(body).encode())

        def route(self) -> tuple[str, str, dict]:
            parts = urlsplit(self.path)
            path, space = parts.path, "default"
            if path.startswith("/s/"):
                _, _, space, rest = path.split("/", 3)
                path = "/" + rest
            return space, path, parse_qs(parts.query)

        def ready(self) -> bool:
            if kibana.away:
                kibana.away -= 1
                self.answer(503, {"message": "Kibana server is not ready yet"})
                return False
            if self.headers.get("authorization") != f"ApiKey {kibana.key}":
                self.answer(401, {"message": "Unauthorized"})
                return False
            return True

        def do_GET(self) -> None:
            space, path, query = self.route()
            if not self.ready():
                return
            if path == "/api/status":
                self.answer(200, {"version": {"number": kibana.version}})
            elif path.startswith("/api/spaces/space/"):
                known = path.rpartition("/")[2] in kibana.spaces
                self.answer(*(200, {}) if known else (404, {"message": "Not Found"}))
            elif found := kibana.rules.get((space, query["rule_id"][0])):
                self.answer(200, found)
            else:
                self.answer(404, {"message": "rule_id not found", "status_code": 404})

        def do_POST(self) -> None:
            space, path, _ = self.route()
            body = self.body()
            if not self.ready():
                return
            if not self.headers.get("kbn-xsrf"):
                self.answer(400, {"message": "Request must contain a kbn-xsrf header."})
            elif path.endswith("_export"):
                (wanted,) = json.loads(body)["objects"]
                found = kibana.objects.get((space, wanted["type"], wanted["id"]))
                self.answer(200, json.dumps(found).encode()) if found else self.answer(400, {"message": "Bad Request"})
            else:
                self.take(space, [json.loads(line) for line in body.splitlines() if line.startswith(b"{")])

        def take(self, space: str, lines: list[dict]) -> None:
            kibana.writes += 1
            errors = []
            for line in lines:
                name = line.get("rule_id") or line["id"]
                if name == kibana.refused:
                    errors.append(line | {"error": {"type": "unknown", "message": "no such\nthing"}})
                elif "rule_id" in line:
                    before = kibana.rules.get((space, name), {"revision": -1})
                    more = {"id": f"id of {name}", "immutable": False, "revision": before["revision"] + 1}
                    kibana.rules[space, name] = line | more
                else:
                    if any(key[1:] == (line["type"], name) and key[0] != space for key in kibana.objects):
                        name = f"another id than {name}"  # an id is one space's
                    kibana.objects[space, line["type"], name] = line | {"updated_at": "now", "version": "x"}
            self.answer(200, {"success": not errors, "errors": errors})

    with loopback.serving(Handler) as kibana.port:
        yield kibana
