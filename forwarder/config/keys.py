"""The table of all settings: names, defaults, checks and what they are for."""

from __future__ import annotations

from typing import Final

from forwarder.config import checks, policy
from forwarder.config.key import Key
from forwarder.nmap.mask import NAMES

KEYS: Final = (
    Key("state_dir", "", checks.path, "Where the key, the ledger and work in progress are kept."),
    Key(
        "archive",
        "",
        checks.archive,
        "The sealed archive: a directory, by default `archive` in the state directory, or s3://bucket/prefix.",
    ),
    Key("origin", "", checks.origin, "Name of this forwarder's log. Fixed when the key is made."),
    Key("namespace", "default", checks.namespace, "Namespace of the data streams that records are meant for."),
    Key("lock_wait", 10, checks.seconds, "Seconds to wait for another process that uses the state directory."),
    Key(
        "key.uri",
        "",
        checks.key_uri,
        "Signing key that a log begins with: file:/PATH or awskms:ID; by default one is made.",
    ),
    Key("key.passphrase", "", checks.text, "Passphrase of signing keys in files.", secret=True),
    Key("key.passphrase_file", "", checks.path, "File that holds the passphrase."),
    Key(
        "intake.settle",
        60,
        checks.seconds,
        "Seconds that a file without an end must be unchanged before it is read as cut.",
    ),
    Key("intake.max_bytes", 64 << 30, checks.count, "Largest input, decompressed, in bytes."),
    Key(
        "audit.sources",
        (),
        checks.sources,
        "Logs that tell who ran nmap, as KIND:PATH; kinds are auditd, laurel, sudo, sudo-io and history. A path may be "
        "a pattern, and the files that a log was rotated to belong to it.",
    ),
    Key(
        "audit.tools",
        ("nmap",),
        checks.tools,
        "Programs whose executions become records: nmap, ncat, nping, masscan, zmap.",
    ),
    Key(
        "audit.spool",
        "",
        checks.path,
        "Directory that the wrapper of nmap writes to for all users; enroll makes and sets it.",
    ),
    Key(
        "audit.grace",
        3600,
        checks.seconds,
        "Seconds after its end for which a scan waits for evidence, and an execution for its output.",
    ),
    Key(
        "audit.mask",
        NAMES,
        checks.patterns,
        "Names whose values are secrets, which records have as ***; an empty list masks nothing.",
    ),
    Key("observer.name", "", checks.text, "Name of the machine that scans; by default this machine's host name."),
    Key("observer.ip", "", checks.address, "Address that it scans from."),
    Key("scan.vantage", "default", checks.text, "Network position of the scanner, for instance dmz or internet."),
    Key("target.networks", (), checks.networks, "Networks (CIDR) that targets are told apart by; else /24 and /64."),
    Key(
        "target.owners",
        "",
        checks.path,
        "CSV with the columns network, owner, criticality: who answers for which targets.",
    ),
    Key(
        "records.ports",
        "open",
        checks.one_of("open", "all"),
        'Ports with a record of their own: "open" (all but closed and filtered ones) or "all" that nmap lists.',
    ),
    Key("records.os_accuracy", 95, checks.percent, "Least accuracy in percent at which an OS guess becomes host.os."),
    Key(
        "policy.require_reason",
        "none",
        policy.CHECKS["require_reason"],
        'What happens to a scan without a reason: "none", "flag" or "refuse".',
    ),
    Key(
        "policy.require_ticket",
        "none",
        policy.CHECKS["require_ticket"],
        'What happens to a scan without a ticket: "none", "flag" or "refuse".',
    ),
    Key("policy.ticket_pattern", "", policy.CHECKS["ticket_pattern"], "Regular expression that a ticket matches."),
    Key("policy.scopes", (), policy.CHECKS["scopes"], "Networks (CIDR) and names (* is anything) that may be scanned."),
    Key(
        "policy.outside_scope",
        "flag",
        policy.CHECKS["outside_scope"],
        'What happens to a scan with targets outside of them: "flag" or "refuse".',
    ),
    Key(
        "policy.forbid",
        (),
        policy.CHECKS["forbid"],
        "What scans may not do, for instance script:exploit, evasion:decoys, option:--spoof-mac, risk:critical.",
    ),
    Key(
        "policy.forbidden",
        "flag",
        policy.CHECKS["forbidden"],
        'What happens to a scan that does: "flag" or "refuse".',
    ),
    Key("policy.scanners", (), policy.CHECKS["scanners"], "Users, and groups with a % before them, who scan."),
    Key(
        "policy.unlisted",
        "flag",
        policy.CHECKS["unlisted"],
        'What happens to a scan by another user: "none", "flag" or "refuse".',
    ),
    Key("policy.hours", (), policy.hours, 'Working hours, for instance "mon-fri 08:00-18:00"; a fact of records.'),
    Key("policy.timezone", "", policy.timezone, "Time zone of hours, for instance Europe/Berlin; by default UTC."),
    Key("policy.users", {}, policy.overrides, "What differs for a user, in tables such as [policy.users.alice]."),
    Key("policy.groups", {}, policy.overrides, "What differs for a group, in tables such as [policy.groups.pentest]."),
    Key(
        "seal.heartbeat_hours",
        24,
        checks.seconds,
        "Hours of silence after which an empty batch is sealed; 0: never.",
    ),
    Key(
        "privacy.evidence",
        "full",
        checks.one_of("full", "hash-only"),
        'What the archive keeps of the raw input: "full" or "hash-only".',
    ),
    Key(
        "s3.mode",
        "compliance",
        checks.one_of("compliance", "governance"),
        'Object Lock of what is put: "compliance" (nobody can end it early) or "governance" (whoever may bypass it).',
    ),
    Key("s3.retention_days", 400, checks.positive, "Days for which objects are locked, by the server's clock."),
    Key("s3.legal_hold", False, checks.boolean, "Put a legal hold on each object, too; it lasts until it is lifted."),  # noqa: FBT003
    Key("s3.kms_key", "", checks.text, "KMS key to encrypt with (SSE-KMS). Whoever deletes it destroys the evidence."),
    Key("s3.endpoint", "", checks.endpoint, "URL of an S3 that is not Amazon's; else AWS_ENDPOINT_URL."),
    Key("s3.region", "", checks.text, "Region of the bucket; else AWS_REGION or the profile's."),
    Key("s3.profile", "", checks.text, "Profile in AWS's configuration files; else AWS_PROFILE."),
    Key(
        "s3.addressing",
        "auto",
        checks.one_of("auto", "path", "virtual"),
        "Whether the bucket is in the URL's path or host.",
    ),
    Key("s3.timeout", 60, checks.seconds, "Seconds to wait for an answer."),
    Key("s3.retry_seconds", 60, checks.seconds, "Seconds for which a request is tried again while the server is away."),
    Key(
        "timestamps.url",
        (),
        checks.authorities,
        "Time-stamp authorities (RFC 3161), each of which is to stamp the newest checkpoint after a run.",
    ),
    Key(
        "timestamps.ca_file",
        "",
        checks.path,
        "Certificates (PEM) that their tokens must lead to; else any token is kept.",
    ),
    Key("timestamps.timeout", 20, checks.seconds, "Seconds to wait for an answer."),
    Key("timestamps.retry_seconds", 15, checks.seconds, "Seconds for which one is asked again while it is away."),
    Key(
        "elasticsearch.url",
        (),
        checks.urls,
        "Elasticsearch to deliver to; several nodes are used in turn.",
    ),
    Key("elasticsearch.cloud_id", "", checks.text, "Deployment of Elastic Cloud to deliver to, instead of a URL."),
    Key("elasticsearch.api_key", "", checks.text, "API key, Base64 of id:key.", secret=True),
    Key("elasticsearch.api_key_file", "", checks.path, "File that holds the API key."),
    Key("elasticsearch.user", "", checks.text, "User, where there is no API key."),
    Key("elasticsearch.password", "", checks.text, "The user's password.", secret=True),
    Key("elasticsearch.password_file", "", checks.path, "File that holds the password."),
    Key("elasticsearch.ca_file", "", checks.path, "Certificates (PEM) that the server's is signed by."),
    Key("elasticsearch.fingerprint", "", checks.fingerprint, "SHA-256 of the certificate to trust, instead of a CA."),
    Key("elasticsearch.connections", 2, checks.positive, "Requests that are sent at the same time."),
    Key("elasticsearch.timeout", 60, checks.seconds, "Seconds to wait for an answer."),
    Key(
        "elasticsearch.retry_seconds",
        180,
        checks.seconds,
        "Seconds for which a request is tried again while the server is overloaded or away; more than the timeout.",
    ),
    Key("elasticsearch.bulk_bytes", 4 << 20, checks.positive, "Largest bulk request, before compression, in bytes."),
    Key("elasticsearch.bulk_documents", 2000, checks.positive, "Most documents in a bulk request."),
    Key(
        "elasticsearch.compression",
        "auto",
        checks.one_of("auto", "gzip", "none"),
        'Compression of requests: "gzip", "none", or "auto": gzip unless the server is on this machine.',
    ),
    Key(
        "elasticsearch.unanchored",
        False,  # noqa: FBT003
        checks.boolean,
        "Deliver also what is sealed while the archive is away; else documents wait until they are locked away.",
    ),
    Key(
        "elasticsearch.retention_days",
        400,
        checks.count,
        "Days that Elasticsearch keeps documents, set by setup; 0: for ever. The archive keeps everything.",
    ),
    Key("kibana.url", "", checks.kibana, "Kibana that setup installs dashboards and rules in."),
    Key("kibana.space", "default", checks.space, "Space of that Kibana."),
    Key("kibana.api_key", "", checks.text, "API key, Base64 of id:key.", secret=True),
    Key("kibana.api_key_file", "", checks.path, "File that holds the API key."),
    Key("kibana.ca_file", "", checks.path, "Certificates (PEM) that Kibana's is signed by."),
    Key("kibana.timeout", 60, checks.seconds, "Seconds to wait for an answer."),
    Key("kibana.retry_seconds", 60, checks.seconds, "Seconds for which a request is tried again while Kibana is away."),
)
MAY_HOLD_SECRETS: Final = frozenset({"elasticsearch.url", "kibana.url", "s3.endpoint", "timestamps.url"})
"""Keys that people put a password into, although they should not; then a wrong value is not shown."""
BY_NAME: Final = {key.name: key for key in KEYS}
