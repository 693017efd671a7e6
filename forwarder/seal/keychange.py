"""A change of the signing key, as the manifest of a batch of type `key` says it."""

from __future__ import annotations

from dataclasses import dataclass

from forwarder.seal.canonical import TIME
from forwarder.seal.note import NoteError, Verifier


@dataclass(frozen=True, slots=True)
class KeyChange:
    """From one signing key to the next. The checkpoint of the batch that says so is signed by both."""

    action: str
    """`rotate`, or `revoke`: the old key may be in other hands."""
    old: str
    """Verifier key that signed until then, and with the new one the checkpoint of this batch."""
    new: str
    """Verifier key that signs from this batch's checkpoint on."""
    trusted_size: int | None = None
    """Of a revocation: largest size whose checkpoint is known to be from when the old key was in our hands only."""
    since: str = ""
    """Of a revocation: time from which on the key may have been in other hands; empty if that is not known."""

    @property
    def verifiers(self) -> tuple[Verifier, Verifier]:
        """The old and the new key.

        Raises:
            NoteError: one of them is no verifier key.
        """
        return Verifier.parse(self.old), Verifier.parse(self.new)

    @property
    def members(self) -> dict[str, object]:
        """What the manifest's object holds."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value is not None and value != ""}

    def problem(self, origin: str, sequence: int) -> str:  # noqa: PLR0911 - one a problem
        """Tell what is wrong with it, in a batch of a log; nothing: an empty text."""
        try:
            old, new = self.verifiers
        except (NoteError, AttributeError):
            return "a key in it is no verifier key"
        if (str(old), str(new)) != (self.old, self.new) or old.public == new.public:
            return "its keys are the same, or not in their one form"
        if {old.name, new.name} != {origin}:
            return "a key in it has another name than the log"
        if self.action == "rotate":
            asked = self.trusted_size is not None or self.since != ""
            return "a rotation takes no trust from the old key" if asked else ""
        if self.action != "revoke":
            return f"its change of keys is of the unknown kind {self.action!r}: made by a newer version?"
        if type(self.trusted_size) is not int or not 0 <= self.trusted_size <= sequence:
            return "a revocation does not say up to which size the old key is trusted"
        if self.since and not (isinstance(self.since, str) and TIME.fullmatch(self.since)):
            return "the time of a revocation is malformed"
        return ""
