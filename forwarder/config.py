"""Settings: flag > environment > TOML file > default. One table of keys; every value is checked once, here."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from forwarder import policy_settings as policy
from forwarder.audit.interface import TOOLS
from forwarder.errors import UsageError
from forwarder.nmap.mask import NAMES

ENVIRONMENT: Final = "NMAP_FORWARDER_"


@dataclass(frozen=True, slots=True)
class Key:
    """One setting."""

    name: str
    """In the file, with its table before a dot."""
    default: Any
    check: Callable[[Any], Any]
    """Returns the value as it is used; raises ValueError with what it should be."""
    help: str
    secret: bool = False
    """Only taken from the environment; a file with it is named by the key of the same name and `_file`."""

    @property
    def variable(self) -> str:
        """Name of its environment variable."""
        return ENVIRONMENT + self.name.replace(".", "_").upper()

    @property
    def attribute(self) -> str:
        """Name of its flag's value among parsed arguments."""
        return self.name.replace(".", "_")


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("a text")
    return value


def _path(value: Any) -> Path | None:
    return Path(_text(value)).expanduser() if value else None


def _seconds(value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < float("inf") or isinstance(value, bool):
        raise ValueError("a number that is not negative")
    return seconds


def _count(value: Any) -> int:
    if isinstance(value, bool) or not str(value).isdigit():
        raise ValueError("a whole number")
    return int(value)


def _positive(value: Any) -> int:
    if (count := _count(value)) < 1:
        raise ValueError("a whole number above 0")
    return count


def _boolean(value: Any) -> bool:
    if str(value).lower() not in {"true", "false"}:
        raise ValueError("true or false")
    return str(value).lower() == "true"


def _percent(value: Any) -> int:
    if (percent := _count(value)) > 100:  # noqa: PLR2004
        raise ValueError("a percentage from 0 to 100")
    return percent


def _one_of(*values: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in values:
            raise ValueError(" or ".join(f'"{text}"' for text in values))
        return str(value)

    return check


def _archive(value: Any) -> Any:
    from forwarder.archive.place import place  # noqa: PLC0415 - here and below: nmap's wrapper waits for every import

    return place(_text(value)) if value else None


def _endpoint(value: Any) -> str:
    parts = urlsplit(_text(value).strip())
    if value and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.username):
        raise ValueError("a URL such as https://s3.example")
    return str(value).strip()


def _origin(value: Any) -> str:
    from forwarder.seal.manifest import origin_fits  # noqa: PLC0415

    text = _text(value)
    if text and not origin_fits(text):
        raise ValueError("parts of a-z 0-9 . _ - joined by /")
    return text


def _key_uri(value: Any) -> str:
    from forwarder.keys import choose  # noqa: PLC0415

    text = _text(value)
    if text and not choose.fits(text):
        raise ValueError("file: and an absolute path, or awskms: and a key's id, ARN or alias/name")
    return text


def _namespace(value: Any) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.]{0,99}", _text(value)):
        raise ValueError("a data stream namespace (a-z 0-9 _ . only)")
    return str(value)


def _address(value: Any) -> str:
    try:
        return str(ipaddress.ip_address(_text(value))) if value else ""
    except ValueError:
        raise ValueError("an IP address") from None


def _networks(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    try:
        return tuple(str(ipaddress.ip_network(str(item).strip())) for item in items if str(item).strip())
    except (TypeError, ValueError):
        raise ValueError("networks in CIDR notation") from None


def _patterns(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError("a list of patterns; an empty one masks nothing")
    return tuple(item.strip() for item in items if item.strip())


def _authorities(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    found = tuple(_text(item).strip() for item in items)
    for url in found:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise ValueError("URLs such as https://tsa.example/tsr")
    return found


A_URL: Final = "a URL such as https://elasticsearch.example:9200"


def _urls(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    found = []
    for item in items:
        try:
            parts = urlsplit(_text(item).strip())
            port = parts.port
        except ValueError:
            raise ValueError(A_URL) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or "," in item or parts.query or parts.fragment:
            raise ValueError(A_URL)
        if "@" in item:
            raise ValueError("a URL without a user in it (there are keys for user and password)")
        netloc = parts.netloc if port else f"{parts.netloc.removesuffix(':')}:{ELASTICSEARCH_PORT}"
        found.append(parts._replace(netloc=netloc).geturl())
    return tuple(found)


def _kibana(value: Any) -> str:
    if not value:
        return ""
    parts = urlsplit(_text(value).strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.query:
        raise ValueError("a URL such as https://kibana.example:5601, without a user")
    return str(value).strip()


def _space(value: Any) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{1,128}", _text(value)):
        raise ValueError("the identifier of a space (a-z 0-9 _ - only)")
    return str(value)


def _fingerprint(value: Any) -> str:
    text = _text(value).replace(":", "").lower()
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError("the SHA-256 of a certificate in hexadecimal")
    return text


AUDIT_KINDS: Final = ("auditd", "laurel", "sudo", "sudo-io", "history")


def _sources(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    found = tuple(item for item in (_text(item).strip() for item in items) if item)
    for item in found:
        kind, _, path = item.partition(":")
        if kind not in AUDIT_KINDS or not path.startswith(("/", "~/")):
            raise ValueError(f"KIND:PATH, with an absolute path or pattern; kinds are {', '.join(AUDIT_KINDS)}")
    return tuple(dict.fromkeys(found))


def _tools(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    found = {name for name in (_text(item).strip() for item in items) if name} | {"nmap"}
    if not found <= set(TOOLS):
        raise ValueError(f"some of {', '.join(TOOLS)}")
    return tuple(name for name in TOOLS if name in found)


ELASTICSEARCH_PORT: Final = 9200
"""Where a URL names none, as for Elastic's own programs."""

KEYS: Final = (
    Key("state_dir", "", _path, "Where the key, the ledger and work in progress are kept."),
    Key(
        "archive",
        "",
        _archive,
        "The sealed archive: a directory, by default `archive` in the state directory, or s3://bucket/prefix.",
    ),
    Key("origin", "", _origin, "Name of this forwarder's log. Fixed when the key is made."),
    Key("namespace", "default", _namespace, "Namespace of the data streams that records are meant for."),
    Key("lock_wait", 10, _seconds, "Seconds to wait for another process that uses the state directory."),
    Key(
        "key.uri", "", _key_uri, "Signing key that a log begins with: file:/PATH or awskms:ID; by default one is made."
    ),
    Key("key.passphrase", "", _text, "Passphrase of signing keys in files.", secret=True),
    Key("key.passphrase_file", "", _path, "File that holds the passphrase."),
    Key(
        "intake.settle",
        60,
        _seconds,
        "Seconds that a file without an end must be unchanged before it is read as cut.",
    ),
    Key("intake.max_bytes", 64 << 30, _count, "Largest input, decompressed, in bytes."),
    Key(
        "audit.sources",
        (),
        _sources,
        "Logs that tell who ran nmap, as KIND:PATH; kinds are auditd, laurel, sudo, sudo-io and history. A path may be "
        "a pattern, and the files that a log was rotated to belong to it.",
    ),
    Key(
        "audit.tools", ("nmap",), _tools, "Programs whose executions become records: nmap, ncat, nping, masscan, zmap."
    ),
    Key(
        "audit.spool",
        "",
        _path,
        "Directory that the wrapper of nmap writes to for all users; enroll makes and sets it.",
    ),
    Key(
        "audit.grace",
        3600,
        _seconds,
        "Seconds after its end for which a scan waits for evidence, and an execution for its output.",
    ),
    Key(
        "audit.mask",
        NAMES,
        _patterns,
        "Names whose values are secrets, which records have as ***; an empty list masks nothing.",
    ),
    Key("observer.name", "", _text, "Name of the machine that scans; by default this machine's host name."),
    Key("observer.ip", "", _address, "Address that it scans from."),
    Key("scan.vantage", "default", _text, "Network position of the scanner, for instance dmz or internet."),
    Key("target.networks", (), _networks, "Networks (CIDR) that targets are told apart by; else /24 and /64."),
    Key("target.owners", "", _path, "CSV with the columns network, owner, criticality: who answers for which targets."),
    Key(
        "records.ports",
        "open",
        _one_of("open", "all"),
        'Ports with a record of their own: "open" (all but closed and filtered ones) or "all" that nmap lists.',
    ),
    Key("records.os_accuracy", 95, _percent, "Least accuracy in percent at which an OS guess becomes host.os."),
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
        _seconds,
        "Hours of silence after which an empty batch is sealed; 0: never.",
    ),
    Key(
        "privacy.evidence",
        "full",
        _one_of("full", "hash-only"),
        'What the archive keeps of the raw input: "full" or "hash-only".',
    ),
    Key(
        "s3.mode",
        "compliance",
        _one_of("compliance", "governance"),
        'Object Lock of what is put: "compliance" (nobody can end it early) or "governance" (whoever may bypass it).',
    ),
    Key("s3.retention_days", 400, _positive, "Days for which objects are locked, by the server's clock."),
    Key("s3.legal_hold", False, _boolean, "Put a legal hold on each object, too; it lasts until it is lifted."),  # noqa: FBT003
    Key("s3.kms_key", "", _text, "KMS key to encrypt with (SSE-KMS). Whoever deletes it destroys the evidence."),
    Key("s3.endpoint", "", _endpoint, "URL of an S3 that is not Amazon's; else AWS_ENDPOINT_URL."),
    Key("s3.region", "", _text, "Region of the bucket; else AWS_REGION or the profile's."),
    Key("s3.profile", "", _text, "Profile in AWS's configuration files; else AWS_PROFILE."),
    Key(
        "s3.addressing", "auto", _one_of("auto", "path", "virtual"), "Whether the bucket is in the URL's path or host."
    ),
    Key("s3.timeout", 60, _seconds, "Seconds to wait for an answer."),
    Key("s3.retry_seconds", 60, _seconds, "Seconds for which a request is tried again while the server is away."),
    Key(
        "timestamps.url",
        (),
        lambda value: _authorities(value) if value else (),
        "Time-stamp authorities (RFC 3161), each of which is to stamp the newest checkpoint after a run.",
    ),
    Key("timestamps.ca_file", "", _path, "Certificates (PEM) that their tokens must lead to; else any token is kept."),
    Key("timestamps.timeout", 20, _seconds, "Seconds to wait for an answer."),
    Key("timestamps.retry_seconds", 15, _seconds, "Seconds for which one is asked again while it is away."),
    Key(
        "elasticsearch.url",
        (),
        lambda value: _urls(value) if value else (),
        "Elasticsearch to deliver to; several nodes are used in turn.",
    ),
    Key("elasticsearch.cloud_id", "", _text, "Deployment of Elastic Cloud to deliver to, instead of a URL."),
    Key("elasticsearch.api_key", "", _text, "API key, Base64 of id:key.", secret=True),
    Key("elasticsearch.api_key_file", "", _path, "File that holds the API key."),
    Key("elasticsearch.user", "", _text, "User, where there is no API key."),
    Key("elasticsearch.password", "", _text, "The user's password.", secret=True),
    Key("elasticsearch.password_file", "", _path, "File that holds the password."),
    Key("elasticsearch.ca_file", "", _path, "Certificates (PEM) that the server's is signed by."),
    Key("elasticsearch.fingerprint", "", _fingerprint, "SHA-256 of the certificate to trust, instead of a CA."),
    Key("elasticsearch.connections", 2, _positive, "Requests that are sent at the same time."),
    Key("elasticsearch.timeout", 60, _seconds, "Seconds to wait for an answer."),
    Key(
        "elasticsearch.retry_seconds",
        180,
        _seconds,
        "Seconds for which a request is tried again while the server is overloaded or away; more than the timeout.",
    ),
    Key("elasticsearch.bulk_bytes", 4 << 20, _positive, "Largest bulk request, before compression, in bytes."),
    Key("elasticsearch.bulk_documents", 2000, _positive, "Most documents in a bulk request."),
    Key(
        "elasticsearch.compression",
        "auto",
        _one_of("auto", "gzip", "none"),
        'Compression of requests: "gzip", "none", or "auto": gzip unless the server is on this machine.',
    ),
    Key(
        "elasticsearch.unanchored",
        False,  # noqa: FBT003
        _boolean,
        "Deliver also what is sealed while the archive is away; else documents wait until they are locked away.",
    ),
    Key(
        "elasticsearch.retention_days",
        400,
        _count,
        "Days that Elasticsearch keeps documents, set by setup; 0: for ever. The archive keeps everything.",
    ),
    Key("kibana.url", "", _kibana, "Kibana that setup installs dashboards and rules in."),
    Key("kibana.space", "default", _space, "Space of that Kibana."),
    Key("kibana.api_key", "", _text, "API key, Base64 of id:key.", secret=True),
    Key("kibana.api_key_file", "", _path, "File that holds the API key."),
    Key("kibana.ca_file", "", _path, "Certificates (PEM) that Kibana's is signed by."),
    Key("kibana.timeout", 60, _seconds, "Seconds to wait for an answer."),
    Key("kibana.retry_seconds", 60, _seconds, "Seconds for which a request is tried again while Kibana is away."),
)
MAY_HOLD_SECRETS: Final = frozenset({"elasticsearch.url", "kibana.url"})
"""Keys that people put a password into, although they should not; then a wrong value is not shown."""
BY_NAME: Final = {key.name: key for key in KEYS}


class Settings(Mapping[str, Any]):
    """The settings of one run, by key.

    Args:
        flags: values from the command line by `Key.attribute`; None where a flag was not given.
        config: the file that the user named, None for the usual one.
        environment: usually os.environ.

    Attributes:
        file: the configuration, which need not be there.
        given: names of the keys that the command line gave.

    Raises:
        UsageError: a value is not what its key needs, a key is unknown, or the file cannot be read.
    """

    def __init__(
        self, flags: Mapping[str, Any], config: str | None = None, environment: Mapping[str, str] = os.environ
    ) -> None:
        named = config or environment.get(ENVIRONMENT + "CONFIG")
        self.file = Path(named) if named else default_config(environment)
        from_file = _read(self.file, required=bool(named))
        self._values: dict[str, Any] = {}
        self.given = frozenset(key.name for key in KEYS if flags.get(key.attribute) is not None)
        for key in KEYS:
            self._values[key.name] = _value(key, flags, self.file, from_file, environment)
        self._values["state_dir"] = self["state_dir"] or default_state_dir(environment)
        self._values["archive"] = self["archive"] or self["state_dir"] / "archive"
        self._values["observer.name"] = self["observer.name"] or socket.gethostname().lower()

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Any:
        return iter(self._values)

    def secret(self, name: str) -> str:
        """Return a secret, from the environment or the file that is named for it; empty if there is none.

        Raises:
            UsageError: the file cannot be read.
        """
        path: Path | None = self[f"{name}_file"]
        if self[name] or path is None:
            return str(self[name])
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: {getattr(error, 'strerror', None) or 'is no text'}") from None

    def __len__(self) -> int:
        return len(self._values)


def _value(
    key: Key, flags: Mapping[str, Any], file: Path, from_file: Mapping[str, Any], environment: Mapping[str, str]
) -> Any:
    """Return a key's value from where it has the most to say, checked."""
    value, source = key.default, "default"
    if key.name in from_file:
        if key.secret:
            raise UsageError(
                f"{file}: {key.name} is a secret",
                f"put it into a file of its own, named by {key.name}_file, or into {key.variable}",
            )
        value, source = from_file[key.name], str(file)
    if key.variable in environment:
        value, source = environment[key.variable], key.variable
    if flags.get(key.attribute) is not None:
        value, source = flags[key.attribute], "command line"
    try:
        return key.check(value)
    except ValueError as error:
        shown = "…" if key.secret or (key.name in MAY_HOLD_SECRETS and "@" in str(value)) else repr(value)
        raise UsageError(f"{key.name} = {shown} ({source}) must be {error}") from None


def part(config: str, prefixes: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings whose names begin so, and look at no others: for programs that have little time.

    Raises:
        UsageError: a value of these is not what its key needs, a key is unknown, or the file cannot be read.
    """
    file = Path(config)
    from_file = _read(file, required=False)
    return {key.name: _value(key, {}, file, from_file, environment) for key in KEYS if key.name.startswith(prefixes)}


def default_config(environment: Mapping[str, str]) -> Path:
    """Return the usual configuration file: the system's, if there is one or we are root; else the user's."""
    system = Path("/etc/nmap-forwarder/config.toml")
    if os.geteuid() == 0 or system.exists():
        return system
    return _xdg(environment, "XDG_CONFIG_HOME", ".config") / "config.toml"


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """Return the usual state directory."""
    if os.geteuid() == 0:
        return Path("/var/lib/nmap-forwarder")
    return _xdg(environment, "XDG_STATE_HOME", ".local/state")


def _xdg(environment: Mapping[str, str], variable: str, below_home: str) -> Path:
    base = environment.get(variable) or ""
    return (Path(base) if base.startswith("/") else Path.home() / below_home) / "nmap-forwarder"


def _read(file: Path, *, required: bool) -> dict[str, Any]:
    """Return a file's keys with their tables before a dot."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if required:
            raise UsageError(f"{file}: no such configuration file", "nmap-forwarder init makes one") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read ({error})") from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: {error}") from None
    found: dict[str, Any] = {}
    for name, value in tables.items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": item for inner, item in value.items()}
        else:
            found[name] = value
    if unknown := sorted(found.keys() - BY_NAME.keys()):
        raise UsageError(f"{file}: unknown key {unknown[0]}", f"known are {', '.join(BY_NAME)}")
    return found


def sample() -> str:
    """Return a configuration file that says nothing, but explains every key."""
    lines = [
        "# Configuration of nmap-forwarder. Every key can also be given by its environment variable;",
        "# most have a command-line flag. What is commented out shows the default.",
    ]
    table = ""
    for key in KEYS:
        before, _, name = key.name.rpartition(".")
        if before != table:
            lines += ["", f"[{before}]"]
            table = before
        if not key.secret:
            lines += ["", f"# {key.help}", f"# {key.variable}", f"# {name} = {_toml(key.default)}"]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
