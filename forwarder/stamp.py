"""Time-stamps over the log's newest checkpoint: asked for when a run is done, kept as objects of the archive.

An authority that is away stops nothing: the next run asks again, for what is the newest checkpoint then.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from forwarder import durable
from forwarder.config import Settings
from forwarder.errors import IntegrityError, TemporaryError, UsageError
from forwarder.ledger import ANCHORED
from forwarder.outcome import Listener, Outcome
from forwarder.seal import token
from forwarder.seal.manifest import checkpoint_name, digest, timestamp, token_name
from forwarder.seal.note import Checkpoint
from forwarder.state import State

if TYPE_CHECKING:
    from cryptography import x509

MAX_CHECKPOINT: Final = 1 << 16
QUERY: Final = "application/timestamp-query"
REPLY: Final = "application/timestamp-reply"
TOO_MANY: Final = 429
SERVER_ERROR: Final = 500
LATER: Final = "the next run asks again"


def stamp(state: State, settings: Settings, outcome: Outcome, listener: Listener) -> None:
    """Have each authority stamp the newest checkpoint in the archive, unless it has done so.

    Raises:
        UsageError: the settings do not work at all.
        IntegrityError: the archive is not as we left it.
        OSError: the state directory or the archive cannot be written.
    """
    if outcome.unanchored:
        return
    put(state)
    last = state.ledger.last_batch(*ANCHORED)
    size = last.sequence + 1 if last else 0
    stamped = state.ledger.stamped()
    waiting = [url for url in settings["timestamps.url"] if size and stamped.get(url, (0, ""))[0] < size]
    if not waiting:
        return
    note = _checkpoint(state, size)
    roots = _roots(settings)
    for url in waiting:
        try:
            answer, what = ask(url, note, roots, settings)
        except TemporaryError as error:
            outcome.unstamped, outcome.stamping = str(error), error.exit_code
            listener.said(str(error))
            continue
        durable.write(state.stamps / token_name(size, digest(answer)), answer)
        put(state)
        state.ledger.set_stamped(url, size, timestamp(what.time))


def put(state: State) -> None:
    """Put the time-stamps that we have into the archive: they cannot be had a second time."""
    for path in sorted(state.stamps.glob("timestamps/*/*.tsr")):
        state.archive.put(path.relative_to(state.stamps).as_posix(), path)
        path.unlink()


def ask(url: str, note: bytes, roots: list[x509.Certificate], settings: Settings) -> tuple[bytes, token.Token]:
    """Have an authority stamp bytes; return its answer, and what that says.

    Raises:
        TemporaryError: it cannot be reached, refuses, or answers with what is no time-stamp of these bytes.
        UsageError: a library is missing.
    """
    import tenacity  # noqa: PLC0415 - most runs have no authority to ask

    request = token.Request(note)
    try:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TemporaryError),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=10),
            stop=tenacity.stop_before_delay(settings["timestamps.retry_seconds"]),
            reraise=True,
        )
        answer: bytes = retrying(_post, url, request.encode(), settings["timestamps.timeout"])
        return answer, request.check(answer, roots)
    except token.TokenError as error:
        raise TemporaryError(f"{url} gives no time-stamp: {error}", LATER) from None


def _post(url: str, query: bytes, timeout: float) -> bytes:
    try:
        import requests  # noqa: PLC0415 - optional
    except ImportError:
        raise UsageError("time-stamps need requests", "pip install 'nmap-forwarder[timestamps]'") from None
    try:
        with requests.post(
            url, data=query, headers={"Content-Type": QUERY, "Accept": REPLY}, timeout=timeout or None, stream=True
        ) as response:
            status, answer = response.status_code, b""
            for chunk in response.iter_content(1 << 12):
                answer += chunk
                if len(answer) > token.MAX_TOKEN:
                    break
    except (requests.RequestException, OSError) as error:
        raise TemporaryError(f"{url} cannot be reached ({type(error).__name__})", LATER) from None
    if status == TOO_MANY or status >= SERVER_ERROR:
        raise TemporaryError(f"{url} answers with HTTP {status}", LATER)
    if status != 200 or len(answer) > token.MAX_TOKEN:  # noqa: PLR2004
        what = f"HTTP {status}" if status != 200 else f"more than {token.MAX_TOKEN} bytes"  # noqa: PLR2004
        raise token.TokenError(what)
    return answer


def _checkpoint(state: State, size: int) -> bytes:
    """Return the checkpoint as it is in the archive."""
    name = checkpoint_name(size)
    try:
        note = state.archive.read(name, MAX_CHECKPOINT)
    except FileNotFoundError:
        note = b""
    if not note.startswith(Checkpoint(state.origin, size, state.ledger.root(size)).text):
        raise IntegrityError(f"{state.archive.place}: {name} is not what was sealed", "run verify")
    return note


def _roots(settings: Settings) -> list[x509.Certificate]:
    path: Path | None = settings["timestamps.ca_file"]
    if path is None:
        return []
    try:
        return token.certificates(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "timestamps.ca_file names certificates to trust") from None
    except ValueError:
        raise UsageError(f"{path}: no certificates in PEM", "timestamps.ca_file names certificates to trust") from None
