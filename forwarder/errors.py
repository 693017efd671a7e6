"""What can go wrong, said once for people: what happened, what to do, and the exit code."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command; `worst` knows their precedence."""

    OK = 0
    INTEGRITY = 1
    USAGE = 2
    NOTHING = 3
    REJECTED = 65
    TEMPORARY = 75


PRECEDENCE = (Exit.INTEGRITY, Exit.USAGE, Exit.TEMPORARY, Exit.REJECTED, Exit.NOTHING, Exit.OK)


def worst(*codes: Exit) -> Exit:
    """Return the code that a run with several outcomes exits with."""
    return min(codes, key=PRECEDENCE.index, default=Exit.OK)


class ForwarderError(Exception):
    """Root of everything we raise on purpose; printed as one line, never as a traceback.

    Args:
        what: what happened, and to which file or object.
        hint: what the reader can do about it.
    """

    exit_code = Exit.USAGE

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}: {self.hint}" if self.hint else self.what


class UsageError(ForwarderError):
    """The command line or the configuration asks for something that cannot be."""


class InputError(ForwarderError):
    """One input cannot be read as what it should be; the others go on."""

    exit_code = Exit.REJECTED


class TemporaryError(ForwarderError):
    """Something outside (a lock, a full disk, a server) stands in the way; a later run goes on."""

    exit_code = Exit.TEMPORARY


class NothingError(ForwarderError):
    """There was nothing to do where something was required."""

    exit_code = Exit.NOTHING


class IntegrityError(ForwarderError):
    """Sealed bytes are not what they were."""

    exit_code = Exit.INTEGRITY
