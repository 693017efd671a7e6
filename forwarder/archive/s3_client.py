"""The one place that makes a connection to S3, tries again, and says in one line what is wrong with one.

boto's own retries are off, for they know nothing of our patience; tenacity alone retries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from forwarder.archive.interface import UndecryptableError
from forwarder.archive.place import Bucket
from forwarder.errors import ForwarderError, TemporaryError, UsageError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

FIRST_WAIT: Final = 0.3
LONGEST_WAIT: Final = 20.0
"""Seconds between attempts, doubled each time, and less by chance."""
AGAIN: Final = "run it again, nothing is lost"
RIGHTS: Final = "nmap-forwarder setup s3 --print shows the policies that are needed"
MISSING: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NotFound"})
CONFLICT: Final = frozenset({"ConditionalRequestConflict", "OperationAborted"})
"""409: somebody else writes the same key at this moment (Amazon S3 API Reference, PutObject)."""
LATER: Final = frozenset({"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling"}) | CONFLICT
STRANGER: Final = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"})
ELSEWHERE: Final = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
FORBIDDEN: Final = (401, 403)
GONE: Final = 404
NOT_ALLOWED: Final = 405
FAILED: Final = 412
TOO_MANY: Final = 429
SERVER_ERROR: Final = 500
NOT_IMPLEMENTED: Final = 501
SHOWN: Final = 300
"""Characters shown of what a server says."""


class PreconditionError(Exception):
    """412: the key is not in the state that was required."""


class RefusedError(UsageError):
    """The server does not do what was asked, and would not next time.

    Args:
        what: what happened.
        hint: what to do.
        code: S3's code of the error.
    """

    def __init__(self, what: str, hint: str, code: str) -> None:
        super().__init__(what, hint)
        self.code = code


class Client:
    """Requests to one bucket.

    Args:
        boto: a client of boto3 for S3.
        bucket: where to.
        patience: seconds for which a request is tried again.
    """

    def __init__(self, boto: Any, bucket: Bucket, patience: float) -> None:
        self._boto = boto
        self._patience = patience
        self.bucket = bucket
        self.date: datetime | None = None
        """The server's clock when it answered last, UTC."""

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Make a request of the bucket and return its answer.

        Args:
            operation: name of boto's method.
            arguments: what it takes, but the bucket.

        Raises:
            FileNotFoundError: there is no such object or version.
            PreconditionError: the object is not in the state that was required.
            TemporaryError: the server is away, overloaded, or its clock is not ours.
            UndecryptableError: the object's key is gone or refused.
            RefusedError: the server does not do this, or not for us, or does not know us or the bucket.
            UsageError: the request could not be sent as the settings are.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        from tenacity import (  # noqa: PLC0415
            Retrying,
            retry_if_exception_type,
            stop_before_delay,
            wait_random_exponential,
        )

        def once() -> dict[str, Any]:
            if hasattr(arguments.get("Body"), "seek"):
                arguments["Body"].seek(0)
            try:
                answer: dict[str, Any] = getattr(self._boto, operation)(Bucket=self.bucket.name, **arguments)
            except ClientError as error:
                self._see(error.response)
                raise self._explain(error, operation, arguments.get("Key", "")) from None
            except BotoCoreError as error:
                raise unanswered(error, str(self.bucket)) from None
            self._see(answer)
            return answer

        attempts = Retrying(
            retry=retry_if_exception_type(TemporaryError),
            wait=wait_random_exponential(FIRST_WAIT, LONGEST_WAIT),
            stop=stop_before_delay(self._patience),
            reraise=True,
        )
        return attempts(once)

    def _see(self, answer: Mapping[str, Any]) -> None:
        """Keep the server's clock."""
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        try:
            self.date = parsedate_to_datetime(headers["date"]).astimezone(UTC)
        except (KeyError, ValueError):
            self.date = None

    def _explain(self, error: ClientError, operation: str, key: str) -> Exception:
        """Return what an answer that is an error means."""
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        why = f"{code}: {' '.join(error.response.get('Error', {}).get('Message', '').split())[:SHOWN]}"
        where = f"s3://{self.bucket.name}/{key}".rstrip("/")
        if code in MISSING or (status == NOT_ALLOWED and operation in {"get_object", "head_object"}):
            return FileNotFoundError(GONE, "no such object", where)  # 405: the version is a delete marker
        if status == FAILED:
            return PreconditionError(where)
        if code in LATER or status == TOO_MANY or (status >= SERVER_ERROR and status != NOT_IMPLEMENTED):
            return TemporaryError(f"{where}: the server answered {status} ({why})", AGAIN)
        return self._refusal(code, status, why, where, operation)

    def _refusal(self, code: str, status: int, why: str, where: str, operation: str) -> ForwarderError:
        """Return what an answer means that would be the same next time."""
        if code == "NoSuchBucket":
            what, hint = (
                f"there is no bucket {self.bucket.name}",
                f"nmap-forwarder setup s3 --archive {self.bucket} makes one",
            )
        elif code == "RequestTimeTooSkewed":
            what, hint = "the server's clock is not this machine's", "set the clock (NTP)"
        elif code.startswith(("KMS.", "kms:")):  # Amazon's, MinIO's
            return UndecryptableError(f"{where} cannot be decrypted ({why})", "its KMS key is needed")
        elif code in STRANGER:
            what, hint = f"the server refuses our credentials ({code})", "check AWS_… or the profile"
        elif code in ELSEWHERE:
            what, hint = f"the bucket is in another region ({why})", "set s3.region or AWS_REGION"
        elif status in FORBIDDEN:
            what, hint = f"the server does not let us {_words(operation)} ({why})", RIGHTS
        else:
            what, hint = f"the server does not {_words(operation)} ({status}, {why})", RIGHTS
        return RefusedError(f"{where}: {what}", hint, code)

    def pages(self, operation: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Yield the answers of a listing, each asked for when it is needed."""
        following = {
            "list_objects_v2": {"ContinuationToken": "NextContinuationToken"},
            "list_object_versions": {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"},
        }[operation]
        while True:
            answer = self.call(operation, **arguments)
            yield answer
            if not answer.get("IsTruncated"):
                return
            arguments |= {name: answer[from_] for name, from_ in following.items() if answer.get(from_)}

    def directories(self, below: str) -> list[str]:
        """Return the names before the next slash in keys below a directory, hidden objects' too."""
        prefix = f"{below}/" if below else ""
        found = {
            common["Prefix"][len(prefix) :].rstrip("/")
            for page in self.pages("list_object_versions", Prefix=prefix, Delimiter="/")
            for common in page.get("CommonPrefixes", ())
        }
        return sorted(found - {""})


def _words(operation: str) -> str:
    return operation.replace("_", " ")


def unanswered(error: Exception, where: str) -> ForwarderError:
    """Return what it means for people that a request got no answer, or was never sent."""
    from botocore import exceptions  # noqa: PLC0415

    why = " ".join(str(error).split())[:SHOWN]
    if isinstance(error, exceptions.SSLError):
        return UsageError(f"{where}: its certificate is not trusted ({why})", "name its CA by AWS_CA_BUNDLE")
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return UsageError(f"{where}: no credentials ({why})", "set AWS_ACCESS_KEY_ID and the like, or s3.profile")
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError | exceptions.IncompleteReadError):
        return TemporaryError(f"{where}: cannot be reached ({why})", AGAIN)
    return UsageError(f"{where}: {why}", "check the keys s3.… and AWS_…")


def connect(settings: Mapping[str, Any], bucket: Bucket) -> Client:
    """Make a client; nothing is sent yet. What the settings leave open, boto takes from its usual places.

    Raises:
        UsageError: boto3 is missing, or the settings do not go together.
    """
    try:
        import boto3  # noqa: PLC0415
        import botocore.session  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    except ImportError:
        raise UsageError(f"{bucket} needs boto3", "pip install 'nmap-forwarder[s3]'") from None
    timeout = settings["s3.timeout"] or None
    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=timeout,
        read_timeout=timeout,
        request_checksum_calculation="when_required",  # a put brings the SHA-256 that is in the ledger
        response_checksum_validation="when_required",  # what is read is judged by us
        s3={"addressing_style": settings["s3.addressing"]},
    )
    try:
        base = botocore.session.Session(profile=settings["s3.profile"] or None)
        base.register_component("data_loader", _loader(base.get_config_variable("data_path")))
        session = boto3.session.Session(botocore_session=base, region_name=settings["s3.region"] or None)
        boto = session.client("s3", endpoint_url=settings["s3.endpoint"] or None, config=config)
    except (BotoCoreError, ValueError) as error:
        raise unanswered(error, str(bucket)) from None
    return Client(boto, bucket, settings["s3.retry_seconds"])


@cache
def _loader(path: str | None) -> Any:
    """Return what reads boto's descriptions of services and keeps them: that takes longer than the rest of a client."""
    from botocore.loaders import create_loader  # noqa: PLC0415

    return create_loader(path)
