"""The one place that makes a connection to Elasticsearch, and that says in one line what is wrong with one."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import orjson

from forwarder.config import Settings
from forwarder.errors import ForwarderError, TemporaryError, UsageError

if TYPE_CHECKING:  # the client takes longer to import than all of ours together
    from elasticsearch import Elasticsearch

OLDEST: Final = (8, 12)
"""First version that has all that setup installs."""
JSON: Final = "application/vnd.elasticsearch+json"
NDJSON: Final = "application/vnd.elasticsearch+x-ndjson"
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
REQUEST_TIMEOUT: Final = 408
TOO_MANY: Final = 429
SERVER_ERROR: Final = 500
SHOWN: Final = 300
"""Characters shown of what a server says."""


def configured(settings: Settings) -> bool:
    """Tell whether there is an Elasticsearch to deliver to."""
    return bool(settings["elasticsearch.url"] or settings["elasticsearch.cloud_id"])


def place(settings: Settings) -> str:
    """Return where Elasticsearch is, as people are told."""
    return ", ".join(settings["elasticsearch.url"]) or "Elastic Cloud"


def connect(settings: Settings) -> Elasticsearch:
    """Make a client; nothing is sent yet.

    The client's own retries are off: it would try again at once, without waiting for as long as the server asks.

    Raises:
        UsageError: the settings do not go together, or a file that they name cannot be read.
    """
    from elastic_transport import JsonSerializer, Serializer, TextSerializer  # noqa: PLC0415
    from elasticsearch import Elasticsearch, ElasticsearchWarning  # noqa: PLC0415

    class Json(JsonSerializer):
        """Replies are read by orjson."""

        def json_loads(self, data: bytes) -> Any:
            """Read a reply."""
            return orjson.loads(data)

    class Bytes(Serializer):
        """Bulk bodies are sent as they are, compressed by us; the client's own way costs ten times as much."""

        def dumps(self, data: Any) -> bytes:
            """Pass a body on."""
            return bytes(data)

    warnings.simplefilter("ignore", ElasticsearchWarning)  # what a server thinks of its own setup
    options: dict[str, Any] = {
        "request_timeout": settings["elasticsearch.timeout"] or None,
        "max_retries": 0,
        "retry_on_status": (),
        "connections_per_node": settings["elasticsearch.connections"],
        "serializers": {JSON: Json(), NDJSON: Bytes(), "application/*": TextSerializer()},  # of a proxy's own pages
    }
    options |= _who(settings)
    if settings["elasticsearch.cloud_id"]:
        options["cloud_id"] = settings["elasticsearch.cloud_id"]
    else:
        options["hosts"] = list(settings["elasticsearch.url"])
    if all(url.startswith("https:") for url in settings["elasticsearch.url"]):
        options |= _trust(settings)
    elif settings["elasticsearch.ca_file"] or settings["elasticsearch.fingerprint"]:
        raise UsageError(
            "elasticsearch.ca_file and fingerprint need a URL with https", "http proves no server's identity"
        )
    try:
        return Elasticsearch(**options)
    except (ValueError, TypeError, OSError) as error:
        raise UsageError(f"{place(settings)}: {error}", "see the elasticsearch keys of the configuration") from None


def _who(settings: Settings) -> dict[str, Any]:
    """Return the credentials."""
    api_key = settings.secret("elasticsearch.api_key")
    password = settings.secret("elasticsearch.password")
    user = settings["elasticsearch.user"]
    if api_key and user:
        raise UsageError("there is an API key and a user for Elasticsearch", "keep one of them")
    if bool(user) != bool(password):
        raise UsageError(
            "elasticsearch.user and its password need each other",
            "give the password by NMAP_FORWARDER_ELASTICSEARCH_PASSWORD or elasticsearch.password_file",
        )
    if any(not "!" <= character <= "~" for character in api_key):
        raise UsageError(
            "the API key for Elasticsearch holds a space, or what is no ASCII", "give it as one line, Base64 of id:key"
        )
    return {"api_key": api_key} if api_key else {"basic_auth": (user, password)} if user else {}


def _trust(settings: Settings) -> dict[str, Any]:
    """Return what makes a server's certificate trusted."""
    if settings["elasticsearch.fingerprint"]:
        return {"ssl_assert_fingerprint": settings["elasticsearch.fingerprint"]}
    path = settings["elasticsearch.ca_file"]
    if path and not path.is_file():
        raise UsageError(f"{path}: no such file", "elasticsearch.ca_file names the certificates to trust")
    return {"ca_certs": str(path)} if path else {}


def other_nodes(client: Elasticsearch) -> Elasticsearch:
    """Return a client that asks each node before it gives up, for requests that can be sent twice."""
    return client.options(max_retries=len(client.transport.node_pool) - 1)


def check(client: Elasticsearch, where: str) -> None:
    """Make sure that what answers is an Elasticsearch that is new enough.

    Raises:
        ForwarderError: it is not, or cannot be asked; see `explain`.
    """
    from elastic_transport import TransportError  # noqa: PLC0415
    from elasticsearch import ApiError  # noqa: PLC0415
    from elasticsearch.exceptions import UnsupportedProductError  # noqa: PLC0415

    try:
        reply = other_nodes(client).perform_request(
            "GET", "/_nodes/_local?filter_path=nodes.*.version", headers={"accept": f"{JSON}; compatible-with=8"}
        )
        versions = [(node["version"], _major_minor(node["version"])) for node in reply.body["nodes"].values()]
    except (ApiError, TransportError, UnsupportedProductError) as error:
        raise explain(error, where) from None
    except (KeyError, TypeError, AttributeError, ValueError):
        versions = []
    if not versions:
        raise UsageError(f"{where} does not answer like Elasticsearch", "check elasticsearch.url")
    for version, number in versions:
        if number < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise UsageError(f"{where} is Elasticsearch {version}", f"nmap-forwarder needs {oldest} or later")


def _major_minor(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split("-", maxsplit=1)[0].split(".")[:2]))


def explain(error: Exception, where: str) -> ForwarderError:
    """Return what a client's exception means for people: temporary, or something to be set right first."""
    from elastic_transport import ConnectionError as Unreachable  # noqa: PLC0415
    from elastic_transport import ConnectionTimeout, SerializationError, TlsError  # noqa: PLC0415
    from elasticsearch import ApiError  # noqa: PLC0415
    from elasticsearch.exceptions import UnsupportedProductError  # noqa: PLC0415

    if isinstance(error, ApiError) and not isinstance(error, UnsupportedProductError):
        return explain_status(error.meta.status, reason(error.body), where)
    if isinstance(error, TlsError) or "CERTIFICATE_VERIFY" in str(error) or "ingerprint" in str(error):
        return UsageError(
            f"{where}: its certificate is not trusted ({_short(error)})",
            "name its CA by elasticsearch.ca_file, or its SHA-256 by elasticsearch.fingerprint",
        )
    if isinstance(error, ConnectionTimeout):
        return TemporaryError(f"{where} did not answer in time", "run it again, nothing is lost")
    if isinstance(error, Unreachable):
        return TemporaryError(f"{where} cannot be reached ({_short(error)})", "run it again, nothing is lost")
    if isinstance(error, SerializationError):
        return UsageError(f"{where} does not answer like Elasticsearch", "check elasticsearch.url")
    return UsageError(f"{where} is not Elasticsearch", "check elasticsearch.url")


def explain_status(status: int, why: str, where: str) -> ForwarderError:
    """Return what the status of a request, or of one item in it, means for people."""
    if status == UNAUTHORIZED:
        return UsageError(f"{where} refuses our credentials (401)", "check the API key, or user and password")
    if status == FORBIDDEN:
        return UsageError(
            f"{where} does not let us (403: {why})", "setup elasticsearch --print shows the privileges that are needed"
        )
    if status in {REQUEST_TIMEOUT, TOO_MANY} or status >= SERVER_ERROR:
        return TemporaryError(f"{where} answered {status} ({why})", "run it again, nothing is lost")
    if status == NOT_FOUND:
        return UsageError(f"{where} has no such thing (404: {why})", "check elasticsearch.url")
    return UsageError(f"{where} answered {status} ({why})", "is it an Elasticsearch 8.12 or later?")


def reason(body: Any) -> str:
    """Return the innermost reason that a reply or an item of one gives, in one line."""
    error = body.get("error", body) if isinstance(body, dict) else body
    while isinstance(error, dict):
        inner = error.get("caused_by") if isinstance(error.get("caused_by"), dict) else None
        said = f"{error.get('type', 'error')}: {error.get('reason', '')}"
        error = inner if inner and inner.get("reason") else said
    return " ".join(str(error).split())[:SHOWN]


def _short(error: Exception) -> str:
    """Return an exception's own words in one line."""
    text = " ".join(str(getattr(error, "message", error)).split())  # as a text, a transport's error hides its cause
    return text.rpartition("object at ")[2].partition(">: ")[2] or text[:SHOWN]
