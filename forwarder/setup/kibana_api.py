"""Kibana's HTTP API, as far as setting it up needs it: saved objects and detection rules (Kibana 8.12 and later)."""

from __future__ import annotations

import json
import ssl
from typing import Any, Final
from urllib.parse import quote

import requests
import tenacity

from forwarder.config import Settings
from forwarder.errors import ForwarderError, TemporaryError, UsageError

OLDEST: Final = (8, 12)
LATER: Final = frozenset({429, 502, 503, 504})
"""Statuses that may be other in a moment; 503 is a Kibana that starts."""
OK: Final = 200
BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
SERVER_ERROR: Final = 500
SHOWN: Final = 300
"""Characters shown of what a server says."""


class _LaterError(Exception):
    """Worth another try; holds what to say when there is none left."""

    def __init__(self, problem: TemporaryError) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Kibana:
    """One space of a Kibana.

    Args:
        settings: the keys `kibana.*`.

    Raises:
        UsageError: they do not go together, or a file that they name cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._space: str = settings["kibana.space"]
        usual = self._space == "default"
        self.place: str = settings["kibana.url"].rstrip("/") + ("" if usual else f"/s/{quote(self._space)}")
        self._timeout: int = settings["kibana.timeout"]
        self._patience: int = settings["kibana.retry_seconds"]
        self._session = requests.Session()
        self._session.headers.update({"kbn-xsrf": "nmap-forwarder", "accept": "application/json"})
        self._session.trust_env = False  # no credentials of ~/.netrc; proxies are not for a Kibana next door
        if key := settings.secret("kibana.api_key"):
            if any(not "!" <= character <= "~" for character in key):
                raise UsageError("the API key for Kibana holds a space, or what is no ASCII", "give it as one line")
            self._session.headers["authorization"] = f"ApiKey {key}"
        if path := settings["kibana.ca_file"]:
            if not path.is_file():
                raise UsageError(f"{path}: no such file", "kibana.ca_file names the certificates to trust")
            try:
                ssl.create_default_context(cafile=path)
            except (ssl.SSLError, OSError) as error:
                raise UsageError(f"{path} holds no certificates that can be read", "give them as PEM") from error
            self._session.verify = str(path)

    def check(self) -> None:
        """Make sure that a Kibana that is new enough answers, and has the space.

        Raises:
            ForwarderError: it does not.
        """
        found = self._ask("GET", "/api/status")
        try:
            version = str(found["version"]["number"])
            number = tuple(map(int, version.split("-", maxsplit=1)[0].split(".")[:2]))
        except (KeyError, TypeError, ValueError):
            raise UsageError(f"{self.place} does not answer like Kibana", "check kibana.url") from None
        if number < OLDEST:
            raise UsageError(f"{self.place} is Kibana {version}", "nmap-forwarder needs 8.12 or later")
        path = f"/api/spaces/space/{quote(self._space)}"
        if self._space != "default" and self._ask("GET", path, missing=NOT_FOUND) is None:
            raise UsageError(f"{self.place}: there is no such space", "make it in Kibana, or correct kibana.space")

    def saved_object(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return a saved object; None if there is none."""
        body = {"objects": [{"type": kind, "id": name}], "excludeExportDetails": True}
        text = self._ask("POST", "/api/saved_objects/_export", body=body, missing=BAD_REQUEST, parse=False)
        lines = [json.loads(line) for line in (text or "").splitlines() if line.strip()]
        return next((one for one in lines if (one.get("type"), one.get("id")) == (kind, name)), None)

    def import_objects(self, objects: list[dict[str, Any]]) -> None:
        """Put saved objects, over those of the same ids."""
        found = self._upload("/api/saved_objects/_import?overwrite=true", "objects.ndjson", objects)
        if not found.get("success"):
            errors = [f"{one.get('type')} {one.get('id')}: {_why(one.get('error'))}" for one in found.get("errors", [])]
            raise UsageError(f"{self.place} did not take {_some(errors)}", "see the saved objects in Kibana")

    def rule(self, rule_id: str) -> dict[str, Any] | None:
        """Return a detection rule; None if there is none."""
        path = f"/api/detection_engine/rules?rule_id={quote(rule_id)}"
        found: dict[str, Any] | None = self._ask("GET", path, missing=NOT_FOUND)
        return found

    def import_rules(self, rules: list[dict[str, Any]]) -> None:
        """Put detection rules, over those of the same rule_id."""
        found = self._upload("/api/detection_engine/rules/_import?overwrite=true", "rules.ndjson", rules)
        if not found.get("success"):
            errors = [f"rule {one.get('rule_id')}: {_why(one.get('error'))}" for one in found.get("errors", [])]
            raise UsageError(f"{self.place} did not take {_some(errors)}", "see the detection rules in Kibana")

    def _upload(self, path: str, name: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        found: dict[str, Any] = self._ask("POST", path, files={"file": (name, data, "application/ndjson")})
        return found

    def _ask(
        self, method: str, path: str, *, body: Any = None, files: Any = None, missing: int = 0, parse: bool = True
    ) -> Any:
        """Send a request, again while that may help; the status `missing` gives None."""
        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_LaterError),
            stop=tenacity.stop_after_delay(self._patience),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
            reraise=True,
        )
        try:
            reply = again(self._send, method, path, body, files)
        except _LaterError as error:
            raise error.problem from None
        if missing and reply.status_code == missing:
            return None
        if reply.status_code != OK:
            raise self._explain(reply)
        try:
            return reply.json() if parse else reply.text
        except ValueError:
            raise UsageError(f"{self.place} does not answer like Kibana", "check kibana.url") from None

    def _send(self, method: str, path: str, body: Any, files: Any) -> requests.Response:
        url, hint = self.place + path, "run it again, what is installed stays"
        try:
            reply = self._session.request(
                method, url, json=body, files=files, timeout=self._timeout or None, allow_redirects=False
            )
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise UsageError(
                    f"{self.place}: its certificate is not trusted", "kibana.ca_file names its CA"
                ) from None
            raise UsageError(f"{self.place} does not speak TLS as we do", "is it https?") from None
        except (requests.ConnectionError, requests.Timeout):
            raise _LaterError(TemporaryError(f"{self.place} cannot be reached", hint)) from None
        except (requests.RequestException, ValueError) as error:
            raise UsageError(f"{self.place}: {type(error).__name__}", "check kibana.url") from None
        if reply.status_code in LATER:
            raise _LaterError(TemporaryError(f"{self.place} answered {reply.status_code}", hint))
        return reply

    def _explain(self, reply: requests.Response) -> ForwarderError:
        if reply.status_code == UNAUTHORIZED and "authorization" not in self._session.headers:
            return UsageError(f"{self.place} wants credentials (401)", "give an API key by --kibana-key-file")
        if reply.status_code == UNAUTHORIZED:
            return UsageError(f"{self.place} refuses our credentials (401)", "check the API key")
        if reply.status_code == FORBIDDEN:
            return UsageError(
                f"{self.place} does not let us (403)",
                "the key needs all rights on saved objects and on Security's rules in this space",
            )
        try:
            why = _why(reply.json())
        except ValueError:
            why = ""
        if reply.status_code >= SERVER_ERROR:
            return TemporaryError(f"{self.place} answered {reply.status_code} ({why})", "run it again")
        return UsageError(
            f"{self.place} answered {reply.status_code} ({why})", "is it a Kibana, and does the space exist?"
        )


def _why(error: Any) -> str:
    """Return what an error of Kibana says, in one line."""
    text = error
    if isinstance(error, dict):
        text = next((error[name] for name in ("message", "reason", "error", "type") if error.get(name)), error)
    return " ".join(str(text).split())[:SHOWN]


def _some(errors: list[str]) -> str:
    return errors[0] + (f", and {len(errors) - 1} more" if len(errors) > 1 else "") if errors else "what was sent"
