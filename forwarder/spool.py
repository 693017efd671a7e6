"""The spool that the wrapper writes to for every user, and only the service reads: a drop box full of hostile files.

Ordinary users may make files in the directory (root:root 1733), and nobody but the service can list it. What is
complete is moved at once into `taken`, which only the service may enter: from then on its owner can neither change nor
remove it by name, and no path that we hand on can be turned into a link. It stays there until what was made of it is
sealed and the caller calls `remove`; a run after one that was killed finds it again.

An entry's owner is who the file system says. Whatever else an entry tells, he could have written as he likes.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from forwarder import dropbox
from forwarder.audit.entry import EntryError, name_of, parse
from forwarder.audit.interface import Execution, Finding
from forwarder.dropbox import DropBox, RefusedError, make
from forwarder.intake import Writers
from forwarder.seal.manifest import timestamp

__all__ = ["Entry", "make", "read", "remove"]

NAME: Final = re.compile(r"([0-9a-f]{32})\.(start\.json|end\.json|xml)(\.part)?", re.ASCII)
MOST_NAMES: Final = 200_000
"""Files of one run; the others are for the next."""
LARGEST_JSON: Final = 16 << 20
"""Bytes: of a command line as long as Linux takes, with every byte escaped. How large a result may be, intake knows."""
SETTLE: Final = 60.0
"""Seconds that an entry whose process is gone must have been left alone before it is read without its end."""
ABANDONED: Final = 3600.0
"""Seconds after which the beginning of a file, or a result without an entry, is no longer waited for."""
SAME_START: Final = 60.0
"""Seconds by which a process may have started apart from its entry's start, for the clock may have been set since."""
ACTION: Final = "spool-entry-refused"
NO_END: Final = "end unknown"
NO_RESULT: Final = "result in the spool refused"
DIFFERENT: Final = "start and end of the entry differ"
REPEATED: Final = ("source", "argv", "start", "cwd", "ppid")
"""Members that are the same at the start and at the end."""
Names = dict[str, os.stat_result]
"""Files of an entry by what follows its id and a dot."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one execution left in the spool, or why it was refused."""

    identity: str
    """What it is known by, of all entries: `<id>.end`, or `<id>.start` where there is no end (that may come later); of
    what was refused `refused-<hash>`. The same at every reading."""
    evidence: Execution | Finding
    """With the JSON as it was as `raw`. Several entries of one execution have the same `Execution.identity`, its id."""
    xml: Path | None = None
    """nmap's result: a regular file of the same owner, where nobody but the service can replace it. He may still have
    it open for writing; what counts is what was read."""
    uid: int = -1
    """Owner of the files."""
    names: tuple[str, ...] = field(default=())
    """What to `remove` once the evidence, and the result's, are sealed."""


def read(directory: Path) -> Iterator[Entry]:
    """Take what is complete from the spool and yield it, in the order of names; what still runs stays for later.

    Nothing is yielded if the directory is missing or another user's: then it is not ours to forward. Callers hold the
    state directory's lock, forget nothing that they sealed under an `identity`, and `remove` the names then.

    Raises:
        UsageError: the directory is a link, or what should be only ours in it is not.
        TemporaryError: another process reads it.
    """
    with dropbox.opened(directory) as box:
        if box is not None:
            yield from _Spool(box).entries()


def remove(directory: Path, names: Iterable[str]) -> None:
    """Remove what was taken, once it is sealed; what is gone already is no error.

    Args:
        directory: the spool.
        names: `Entry.names`.

    Raises:
        OSError: the disk does not let us.
    """
    with dropbox.opened(directory, lock=False) as box:
        if box is not None:
            for name in names:
                box.remove(name)
            box.sync()


class _Spool:
    """One reading of the spool."""

    def __init__(self, box: DropBox) -> None:
        self._box = box
        self._now = time.time()
        self._writers = Writers()

    def entries(self) -> Iterator[Entry]:
        """Yield what is complete."""
        groups: dict[str, None] = {}
        for name in self._box.names(MOST_NAMES):
            if match := NAME.fullmatch(name):
                groups[match[1]] = None
            else:
                yield from self._foreign(name)
        for identity in groups:
            yield from self._entry(identity)

    def _foreign(self, name: str) -> Iterator[Entry]:
        """Refuse what is no part of any entry."""
        if found := self._box.take(name):
            yield self._refuse(name, found, "a name that no entry has")

    def _entry(self, identity: str) -> Iterator[Entry]:
        files = self._look(identity)
        self._take_all(identity, files, "start.json", "end.json")
        if not files.keys() & {"start.json", "end.json"}:
            yield from self._orphans(identity, files)
            return
        owner = files["start.json" if "start.json" in files else "end.json"].st_uid
        if "end.json" not in files and self._may_run(identity, files, owner):
            return
        self._take_all(identity, files, *files)
        for kind in [kind for kind, found in files.items() if found.st_uid != owner]:
            yield self._refuse(f"{identity}.{kind}", files.pop(kind), "written by another user than the entry")
        yield from self._read(identity, files, owner)

    def _look(self, identity: str) -> Names:
        found = {}
        for kind in ("start.json", "end.json", "xml"):
            for suffix in ("", ".part"):
                if (status := self._box.status(f"{identity}.{kind}{suffix}")) is not None:
                    found[kind + suffix] = status
        return found

    def _take_all(self, identity: str, files: Names, *kinds: str) -> None:
        for kind in kinds:
            if kind in files and (found := self._box.take(f"{identity}.{kind}")):
                files[kind] = found
            else:
                files.pop(kind, None)

    def _may_run(self, identity: str, files: Names, owner: int) -> bool:
        """Tell whether an entry without an end may still get one."""
        try:
            said = parse(self._box.content(f"{identity}.start.json", LARGEST_JSON), identity, owner)
        except (RefusedError, EntryError):
            return False
        if alive(said.wrapper_pid, said.start) or any(self._writers(found) for found in files.values()):
            return True
        return self._now - max(found.st_ctime for found in files.values()) < SETTLE

    def _orphans(self, identity: str, files: Names) -> Iterator[Entry]:
        """Refuse what nobody will finish."""
        for kind, found in files.items():
            if self._now - found.st_ctime >= ABANDONED and self._box.take(f"{identity}.{kind}"):
                yield self._refuse(f"{identity}.{kind}", found, "never finished, and no entry is with it")

    def _read(self, identity: str, files: Names, owner: int) -> Iterator[Entry]:
        main = "end.json" if "end.json" in files else "start.json"
        names = tuple(f"{identity}.{kind}" for kind in files)
        try:
            execution = parse(self._box.content(f"{identity}.{main}", LARGEST_JSON), identity, owner)
        except (RefusedError, EntryError) as error:
            yield replace(self._refuse(f"{identity}.{main}", files[main], str(error)), names=names)
            return
        if main == "start.json":
            execution.problems += (NO_END,)
        elif "start.json" in files:
            execution.problems += self._compare(identity, execution, owner)
        result = "xml" if "xml" in files else "xml.part" if "xml.part" in files and main == "start.json" else ""
        xml = None
        if result:
            try:
                dropbox.check(files[result])
                xml = self._box.path(f"{identity}.{result}")
            except RefusedError as error:
                execution.problems += (NO_RESULT,)
                yield self._refuse(f"{identity}.{result}", files[result], str(error))
                names = tuple(name for name in names if name != f"{identity}.{result}")
        yield Entry(f"{identity}.{main.removesuffix('.json')}", execution, xml, owner, names)

    def _compare(self, identity: str, end: Execution, owner: int) -> tuple[str, ...]:
        try:
            start = parse(self._box.content(f"{identity}.start.json", LARGEST_JSON), identity, owner)
        except (RefusedError, EntryError):
            return (DIFFERENT,)
        return () if all(getattr(start, name) == getattr(end, name) for name in REPEATED) else (DIFFERENT,)

    def _refuse(self, name: str, found: os.stat_result, why: str) -> Entry:
        raw = b""
        with suppress(RefusedError):
            raw = self._box.content(name, LARGEST_JSON) if name.endswith("json") else b""
        told = f"{name!r} {found.st_uid} {found.st_ino} {found.st_mtime_ns} {why}"
        identity = f"refused-{sha256(told.encode()).hexdigest()[:32]}"
        who = f"uid {found.st_uid}" + (f" ({user})" if (user := name_of(found.st_uid)) else "")
        finding = Finding(
            action=ACTION,
            message=f"entry {name!a} of {who} was refused: {why}",
            time=_time(found.st_mtime),
            path=str(self._box.directory / ascii(name)[1:-1]),
            identity=identity,
            raw=raw,
        )
        return Entry(identity, finding, None, found.st_uid, (name,))


def _time(seconds: float) -> str:
    """Return a file's time, which its owner may have set to anything."""
    try:
        return timestamp(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, ValueError, OSError):
        return ""


def alive(pid: int, start: str) -> bool:
    """Tell whether the process of an entry runs: one of that number that was started at about that time.

    Args:
        pid: process id, -1 if it is not known.
        start: RFC 3339, UTC.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
        boot = re.search(rb"^btime (\d+)$", Path("/proc/stat").read_bytes(), re.MULTILINE)
        began = int(boot[1] if boot else 0) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return fields[0] != b"Z" and abs(datetime.fromisoformat(start).timestamp() - began) <= SAME_START
    except (OSError, ValueError, IndexError):
        return False
