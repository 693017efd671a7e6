"""A bucket that keeps what it is given, and the policies that go with it (IAM's JSON).

Names of actions and condition keys: Service Authorization Reference, Amazon S3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from forwarder.archive.interface import POINTER
from forwarder.archive.place import Bucket
from forwarder.archive.s3 import Locking, S3Archive
from forwarder.archive.s3_client import Client, RefusedError

VERSION: Final = "2012-10-17"
"""Of the policy language."""
WRITE_ONCE: Final = ("records", "evidence", "batches", "tile", "checkpoints", "cosignatures", "timestamps")
"""Directories of a log whose objects are never replaced."""
LOOK: Final = ("ListBucket", "ListBucketVersions", "GetBucketVersioning", "GetBucketObjectLockConfiguration")
READ: Final = ("GetObject", "GetObjectVersion", "GetObjectRetention", "GetObjectLegalHold")
WRITE: Final = ("PutObject", "PutObjectRetention")
NO_POLICY: Final = "NoSuchBucketPolicy"
REGION_OF_NONE: Final = "us-east-1"
"""The one region that a bucket must not be asked for by name."""


def policies(bucket: Bucket, locking: Locking, origin: str = "") -> dict[str, Any]:
    """Return the policies: of the bucket, and of the least that the forwarder and a read-only auditor need.

    Args:
        bucket: the archive.
        locking: how objects are kept.
        origin: the forwarder's log; empty: any.
    """
    log = _arn(bucket, f"{origin}/*" if origin else "*")
    hold = ("PutObjectLegalHold",) if locking.legal_hold else ()
    forwarder = [_allow("Look", LOOK, _arn(bucket)), _allow("ReadAndPut", READ + WRITE + hold, log)]
    auditor = [_allow("Look", LOOK, _arn(bucket)), _allow("Read", READ, _arn(bucket, "*"))]
    if locking.kms_key:
        key = {"Effect": "Allow", "Resource": locking.kms_key}
        forwarder.append(key | {"Sid": "Encrypt", "Action": ["kms:GenerateDataKey", "kms:Decrypt"]})
        auditor.append(key | {"Sid": "Decrypt", "Action": ["kms:Decrypt"]})
    return {
        "bucket": _policy([{**rule, "Principal": "*"} for rule in _rules(bucket, locking)]),
        "forwarder": _policy(forwarder),
        "auditor": _policy(auditor),
    }


def _rules(bucket: Bucket, locking: Locking) -> list[dict[str, Any]]:
    """Return what nobody may do in the bucket, whatever else they are allowed."""
    put = {"Effect": "Deny", "Action": ["s3:PutObject"], "Resource": _arn(bucket, "*")}
    days = str(locking.days - 1)  # a day that has begun no longer counts
    return [
        {
            "Sid": "NobodyDeletes",
            "Effect": "Deny",
            "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"],
            "Resource": _arn(bucket, "*"),
        },
        put | {"Sid": "PutsAreLocked", "Condition": {"StringNotEquals": {"s3:object-lock-mode": locking.mode}}},
        put
        | {
            "Sid": "PutsAreLockedForLong",
            "Condition": {"NumericLessThan": {"s3:object-lock-remaining-retention-days": days}},
        },
        put
        | {
            "Sid": "PutsReplaceNothing",
            "Resource": [_arn(bucket, f"*/{name}/*") for name in WRITE_ONCE],  # * stands for slashes, too
            "Condition": {"Null": {"s3:if-none-match": "true"}},
        },
    ]


def _arn(bucket: Bucket, key: str = "") -> str:
    return f"arn:aws:s3:::{bucket.name}/{bucket.key(key)}" if key else f"arn:aws:s3:::{bucket.name}"


def _allow(sid: str, actions: tuple[str, ...], resource: str) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": [f"s3:{name}" for name in actions], "Resource": resource}


def _policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": VERSION, "Statement": statements}


def make(client: Client, bucket: Bucket, locking: Locking, region: str, say: Callable[[str], object]) -> None:
    """Make the bucket where there is none, with Object Lock, and give it its policy where it has none.

    Args:
        client: requests to it.
        bucket: the archive.
        locking: how objects are to be kept.
        region: where to make it; empty or us-east-1: the default one.
        say: told what was done, a line each.

    Raises:
        UsageError: the bucket is there and cannot lock, or the server does not let us.
        TemporaryError: the server cannot be asked.
    """
    try:
        client.call("head_bucket")
        say(f"{bucket.name}: the bucket is there")
    except FileNotFoundError:
        there = {} if region in {"", REGION_OF_NONE} else {"LocationConstraint": region}
        where = {"CreateBucketConfiguration": there} if there else {}
        client.call("create_bucket", ObjectLockEnabledForBucket=True, **where)
        say(f"{bucket.name}: the bucket was made, with versioning and Object Lock")
    check(client, bucket, locking)
    _give_policy(client, bucket, locking, say)


def check(client: Client, bucket: Bucket, locking: Locking) -> None:
    """See that the bucket is there, keeps versions and can lock, and that its clock is ours.

    Raises:
        UsageError: it does not.
        TemporaryError: the server cannot be asked.
    """
    S3Archive(client, bucket, POINTER, locking).prepare()


def _give_policy(client: Client, bucket: Bucket, locking: Locking, say: Callable[[str], object]) -> None:
    """Give the bucket each rule that the server knows, unless it has a policy of its own."""
    try:
        client.call("get_bucket_policy")
    except RefusedError as error:
        if error.code != NO_POLICY:
            raise
    else:
        say(f"{bucket.name}: it has a policy already, which was left alone; --print shows ours")
        return
    taken: list[dict[str, Any]] = []
    for rule in policies(bucket, locking)["bucket"]["Statement"]:
        try:
            client.call("put_bucket_policy", Policy=orjson.dumps(_policy([*taken, rule])).decode())
            taken.append(rule)
        except RefusedError as error:
            say(f"{bucket.name}: the server does not take the rule {rule['Sid']} ({error.code})")
    say(f"{bucket.name}: {len(taken)} rules in its policy: {', '.join(rule['Sid'] for rule in taken) or 'none'}")
