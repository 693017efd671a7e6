"""Delivery by Elasticsearch's bulk API: every document gets an outcome of its own, none is sent for nothing.

What a status means, of a request or of one item in it:

    201             created; with `failure_store: used` it went elsewhere, and counts as rejected
    409             there already: ours if an attempt before may have brought it, else somebody planted it
    413             too large: the request is split
    400             of a request: split until the document is found; of an item: rejected
    429, 5xx        later: the same again, with backoff, and no sooner than Retry-After says
    no whole reply  the same again; what it says is there already was brought by the lost attempt
    401, 403, 404   not before somebody sets it right: stop
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from threading import Event
from time import time
from typing import TYPE_CHECKING, Any, Final

from forwarder import elastic
from forwarder.deliver.interface import Document, Outcome, Output, Rejected
from forwarder.errors import ForwarderError, TemporaryError, UsageError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch
    from tenacity import RetryCallState

PATH: Final = "/_bulk?require_data_stream=true&filter_path=items.*.status,items.*.error,items.*.failure_store"
"""Never a plain index, which a missing template would make; of the reply only what is needed, since without a filter it
is a third as long as what was sent."""
HEADERS: Final = {
    "content-type": f"{elastic.NDJSON}; compatible-with=8",
    "accept": f"{elastic.JSON}; compatible-with=8",
}
GZIP_LEVEL: Final = 1
"""Takes a fifth of the time of the usual level, for a quarter more bytes."""
CREATED: Final = 201
BAD_REQUEST: Final = 400
CONFLICT: Final = 409
TOO_LARGE: Final = 413
STOP: Final = frozenset({elastic.UNAUTHORIZED, elastic.FORBIDDEN})
FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 30.0
"""Seconds between attempts: doubled each time, and less by chance, so that many forwarders do not come at once."""
LOCAL: Final = ("://localhost:", "://127.", "://[::1]")


class _LaterError(Exception):
    """The rest of a part has to be sent again.

    Args:
        problem: what to say if there is no time left.
        after: seconds that the server asks us to wait.
    """

    def __init__(self, problem: ForwarderError, after: float = 0.0) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.after = after


class _SplitError(Exception):
    """A request was refused as a whole, for its size or for one of its documents."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


@dataclass(slots=True)
class _Part:
    """Documents that are sent in one request."""

    documents: list[Document]
    maybe: bool
    """They may be there already, brought by an attempt of ours."""


class ElasticsearchOutput(Output):
    """Sends documents to data streams.

    Args:
        client: as `forwarder.elastic.connect` makes it.
        settings: sizes, patience, and where it is.
    """

    def __init__(self, client: Elasticsearch, settings: Any) -> None:
        self._client = client
        self._place = elastic.place(settings)
        self._bytes: int = settings["elasticsearch.bulk_bytes"]
        self._documents: int = settings["elasticsearch.bulk_documents"]
        self._connections: int = settings["elasticsearch.connections"]
        self._patience: float = settings["elasticsearch.retry_seconds"]
        compression = settings["elasticsearch.compression"]
        local = bool(settings["elasticsearch.url"]) and all(
            any(mark in url for mark in LOCAL) for url in settings["elasticsearch.url"]
        )
        self._gzip = compression == "gzip" or (compression == "auto" and not local)
        self._stop = Event()

    @property
    def place(self) -> str:
        """Its URLs."""
        return self._place

    def deliver(self, documents: Iterable[Document], *, resumed: bool = False) -> Iterator[Outcome]:
        """Send documents; see `Output.deliver`."""
        waiting: set[Future[Outcome]] = set()
        self._stop.clear()
        with ThreadPoolExecutor(self._connections) as pool:
            try:
                for part in self._parts(documents, maybe=resumed):
                    waiting.add(pool.submit(self._send, part))
                    while len(waiting) > self._connections:  # the first that is done: one that waits must not hide
                        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)  # that another failed for good
                        yield from (future.result() for future in done)
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            finally:  # when one request fails for good, the others stop waiting for better times
                self._stop.set()
                for future in waiting:
                    future.cancel()

    def _parts(self, documents: Iterable[Document], *, maybe: bool) -> Iterator[_Part]:
        """Cut documents into requests."""
        part, size = _Part([], maybe), 0
        for document in documents:
            length = len(document.body)
            if part.documents and (size + length > self._bytes or len(part.documents) >= self._documents):
                yield part
                part, size = _Part([], maybe), 0
            part.documents.append(document)
            size += length
        if part.documents:
            yield part

    def _send(self, whole: _Part) -> Outcome:
        """Send a part until each of its documents has an outcome."""
        from tenacity import (  # noqa: PLC0415
            Retrying,
            retry_if_exception_type,
            sleep_using_event,
            stop_any,
            stop_before_delay,
            stop_when_event_set,
        )

        outcome = Outcome()
        parts = [whole]
        while parts and not self._stop.is_set():
            part = parts.pop()
            attempts = Retrying(
                retry=retry_if_exception_type(_LaterError),
                wait=_wait,
                stop=stop_any(stop_before_delay(self._patience), stop_when_event_set(self._stop)),
                sleep=sleep_using_event(self._stop),
                reraise=True,
            )
            try:
                attempts(self._post, part, outcome)
            except _LaterError as error:
                raise error.problem from None
            except _SplitError as error:
                middle = len(part.documents) // 2
                if middle:
                    parts += [_Part(part.documents[middle:], part.maybe), _Part(part.documents[:middle], part.maybe)]
                else:
                    outcome.rejected.append(Rejected(part.documents[0], error.status, error.why))
        return outcome

    def _post(self, part: _Part, outcome: Outcome) -> None:
        """Send a part once; what has an outcome leaves it.

        Raises:
            _LaterError: some documents are left, and can be sent again.
            _SplitError: the request was refused as a whole.
            ForwarderError: somebody has to set something right first.
        """
        from elastic_transport import SerializationError, TransportError  # noqa: PLC0415
        from elasticsearch import ApiError  # noqa: PLC0415
        from elasticsearch.exceptions import UnsupportedProductError  # noqa: PLC0415

        body, headers = b"".join(map(_lines, part.documents)), HEADERS
        if self._gzip:
            body, headers = gzip.compress(body, GZIP_LEVEL, mtime=0), HEADERS | {"content-encoding": "gzip"}
        try:
            reply = self._client.perform_request("POST", PATH, headers=headers, body=body)
            items = [item["create"] for item in reply.body["items"]]
            whole = len(items) == len(part.documents) and all(isinstance(item["status"], int) for item in items)
        except ApiError as error:
            status = error.meta.status
            if status in {BAD_REQUEST, TOO_LARGE}:
                raise _SplitError(status, elastic.reason(error.body)) from None
            problem = elastic.explain(error, self._place)
            if not isinstance(problem, TemporaryError):
                raise problem from None
            part.maybe = part.maybe or status != elastic.TOO_MANY  # it was refused before it was looked at
            raise _LaterError(problem, _retry_after(error.meta.headers.get("retry-after"))) from None
        except SerializationError:  # the reply ends too early
            items, whole = [], False
        except (TransportError, UnsupportedProductError) as error:
            problem = elastic.explain(error, self._place)
            if not isinstance(problem, TemporaryError):
                raise problem from None
            part.maybe = True
            raise _LaterError(problem) from None
        except (KeyError, TypeError):
            items, whole = [], False
        if not whole:
            part.maybe = True
            raise _LaterError(TemporaryError(f"{self._place} gave half an answer", "run it again, nothing is lost"))
        self._judge(part, items, outcome)

    def _judge(self, part: _Part, items: list[dict[str, Any]], outcome: Outcome) -> None:
        """Give each document its outcome; keep in the part what is to be sent again."""
        again: list[Document] = []
        why, broken = "", False
        for document, item in zip(part.documents, items, strict=True):
            status = item["status"]
            if status == CREATED and item.get("failure_store") != "used":
                outcome.created += 1
            elif status == CREATED:
                outcome.rejected.append(Rejected(document, status, "went to the failure store"))
            elif status == CONFLICT and part.maybe:
                outcome.known += 1
            elif status == CONFLICT:
                why_not = "a document with this id is there already, and this forwarder did not bring it"
                outcome.rejected.append(Rejected(document, status, why_not))
            elif status == elastic.TOO_MANY or status >= elastic.SERVER_ERROR:
                again.append(document)
                broken = broken or status != elastic.TOO_MANY
                why = f"{status}: {elastic.reason(item)}"
            elif status == elastic.NOT_FOUND:
                raise UsageError(
                    f"{self._place} has no template for {document.stream}",
                    "run nmap-forwarder setup elasticsearch first",
                )
            elif status in STOP:
                raise elastic.explain_status(status, elastic.reason(item), f"{self._place}: {document.stream}")
            else:
                outcome.rejected.append(Rejected(document, status, elastic.reason(item)))
        if again:
            part.documents = again
            part.maybe = part.maybe or broken  # a shard may have taken it before it failed
            problem = TemporaryError(f"{self._place} puts documents off ({why})", "run it again, nothing is lost")
            raise _LaterError(problem)


def _lines(document: Document) -> bytes:
    """Return a document as the bulk API takes it; ids and names of data streams need no escaping."""
    return b'{"create":{"_index":"%b","_id":"%b"}}\n%b\n' % (
        document.stream.encode(),
        document.id.encode(),
        document.body,
    )


def _wait(state: RetryCallState) -> float:
    """Return the seconds to wait before the next attempt."""
    longest = min(FIRST_WAIT * 2.0 ** (state.attempt_number - 1), LONGEST_WAIT)
    error = state.outcome.exception() if state.outcome else None
    asked = error.after if isinstance(error, _LaterError) else 0.0
    return max(asked, longest * (1 + random.random()) / 2)  # noqa: S311 - no secret


def _retry_after(value: str | None) -> float:
    """Return what a Retry-After header asks for (RFC 9110, 10.2.3), in seconds from now; 0 for nonsense."""
    if not value:
        return 0.0
    try:
        return float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - time()
    except (TypeError, ValueError):
        return 0.0
