"""Settings: flag > environment > TOML file > default. Every value is checked once, when they are read.

`keys` has the table of them, `checks` and `policy` what they may be.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forwarder.config.key import ENVIRONMENT, Key
from forwarder.config.keys import BY_NAME, KEYS, MAY_HOLD_SECRETS
from forwarder.errors import UsageError


class Settings(Mapping[str, Any]):
    """The settings of one run, by key.

    Args:
        flags: values from the command line by `Key.attribute`; None where a flag was not given.
        config: the file that the user named, None for the usual one.
        environment: usually os.environ.

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
        for key in KEYS:
            self._values[key.name] = _value(key, flags, self.file, from_file, environment)
        self._values["state_dir"] = self["state_dir"] or default_state_dir(environment)
        self._values["archive"] = self["archive"] or self["state_dir"] / "archive"
        self._values["observer.name"] = self["observer.name"] or os.uname().nodename.lower()

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
