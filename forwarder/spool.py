"""The spool that the wrapper writes to for every user, and only the service reads: a drop box full of hostile files.

Ordinary users may make files in the directory (root:root 1733), and nobody but the service can list it. What is
complete is moved at once into `taken`, which only the service may enter: from then on its owner can neither change nor
remove it by name, and no path that we hand on can be turned into a link. It stays there until what was made of it is
sealed and the caller calls `remove`; a run after one that was killed finds it again.

An entry's owner is who the file system says. Whatever else an entry tells, he could have written as he likes.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final

from forwarder.audit.entry import EntryError, name_of, parse, wrapper
from forwarder.audit.interface import Execution, Finding
from forwarder.errors import TemporaryError, UsageError
from forwarder.intake import Writers
from forwarder.seal.manifest import timestamp

TAKEN: Final = "taken"
"""Directory in the spool of what was taken from users, until it is sealed."""
REFUSED: Final = "refused"
"""Directory in the spool of what could not be deleted: directories with something in them."""
PRIVATE: Final = 0o700
DROP_BOX: Final = 0o1733
"""Everybody may make files, nobody but the owner may list them, nobody may touch another's."""
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


class _Refused(Exception):  # noqa: N818 - it never leaves this module
    """Why a file is not read, in words of ours alone."""


def read(directory: Path) -> Iterator[Entry]:
    """Take what is complete from the spool and yield it, in the order of names; what still runs stays for later.

    Nothing is yielded if the directory is missing or another user's: then it is not ours to forward. Callers hold the
    state directory's lock, forget nothing that they sealed under an `identity`, and `remove` the names then.

    Raises:
        UsageError: the directory is a link, or what should be only ours in it is not.
        TemporaryError: another process reads it.
    """
    try:
        top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror}", "audit.spool must name a directory") from None
    try:
        if os.fstat(top).st_uid != os.geteuid():
            return
        taken = _private(top, TAKEN, directory)
        try:
            yield from _Spool(directory, top, taken).entries()
        finally:
            os.close(taken)
    finally:
        os.close(top)


def remove(directory: Path, names: Iterable[str]) -> None:
    """Remove what was taken, once it is sealed; what is gone already is no error.

    Args:
        directory: the spool.
        names: `Entry.names`.

    Raises:
        OSError: the disk does not let us.
    """
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        taken = _private(top, TAKEN, directory, lock=False)
        try:
            for name in names:
                _remove(directory, top, taken, name)
            os.fsync(taken)
        finally:
            os.close(taken)
    finally:
        os.close(top)


def _remove(directory: Path, top: int, taken: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=taken)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        try:
            os.rmdir(name, dir_fd=taken)
        except OSError:  # whatever a user has nested in it is not worth walking through
            aside = _private(top, REFUSED, directory, lock=False)
            os.rename(name, f"{time.time_ns()}", src_dir_fd=taken, dst_dir_fd=aside)
            os.close(aside)


def make(directory: Path) -> None:
    """Make the spool, so that nobody else gets between.

    Raises:
        OSError: as `os.mkdir` does.
    """
    directory.mkdir(mode=PRIVATE, exist_ok=True)
    for name in (TAKEN, REFUSED):
        (directory / name).mkdir(mode=PRIVATE, exist_ok=True)
    directory.chmod(DROP_BOX)


def _private(top: int, name: str, directory: Path, *, lock: bool = True) -> int:
    """Return a descriptor of a directory in the spool that nobody else may enter; it is made if it is missing."""
    with suppress(FileExistsError):
        os.mkdir(name, PRIVATE, dir_fd=top)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    except OSError as error:
        raise UsageError(f"{directory / name}: {error.strerror}", "remove it, it must be a directory of ours") from None
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(descriptor)
        raise UsageError(f"{directory / name}: others may get at it", "remove it, it is made anew")
    if lock:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise TemporaryError(f"{directory}: another process reads this spool", "run it again later") from None
    return descriptor


class _Spool:
    """One reading of the spool."""

    def __init__(self, directory: Path, top: int, taken: int) -> None:
        self._directory = directory
        self._top = top
        self._taken = taken
        self._now = time.time()
        self._writers = Writers()

    def entries(self) -> Iterator[Entry]:
        """Yield what is complete."""
        groups: dict[str, None] = {}
        for descriptor in (self._taken, self._top):
            with os.scandir(descriptor) as found:
                names = [item.name for item in islice(found, MOST_NAMES)]
            for name in sorted(names):
                if match := NAME.fullmatch(name):
                    groups[match[1]] = None
                elif descriptor == self._taken or name not in {TAKEN, REFUSED}:
                    yield from self._foreign(name)
        for identity in sorted(groups):
            yield from self._entry(identity)

    def _foreign(self, name: str) -> Iterator[Entry]:
        """Refuse what is no part of any entry."""
        if found := self._take(name):
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
                if (status := self._status(f"{identity}.{kind}{suffix}")) is not None:
                    found[kind + suffix] = status
        return found

    def _status(self, name: str) -> os.stat_result | None:
        for descriptor in (self._taken, self._top):
            with suppress(FileNotFoundError):
                return os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        return None

    def _take(self, name: str) -> os.stat_result | None:
        """Move a file where its owner cannot reach it; nothing if it is gone, or one of that name was taken before."""
        with suppress(FileNotFoundError):
            return os.stat(name, dir_fd=self._taken, follow_symlinks=False)
        try:
            os.rename(name, name, src_dir_fd=self._top, dst_dir_fd=self._taken)
        except FileNotFoundError:
            return None
        return os.stat(name, dir_fd=self._taken, follow_symlinks=False)

    def _take_all(self, identity: str, files: Names, *kinds: str) -> None:
        for kind in kinds:
            if kind in files and (found := self._take(f"{identity}.{kind}")):
                files[kind] = found
            else:
                files.pop(kind, None)

    def _may_run(self, identity: str, files: Names, owner: int) -> bool:
        """Tell whether an entry without an end may still get one."""
        try:
            said = parse(self._content(f"{identity}.start.json", LARGEST_JSON), identity, owner)
        except (_Refused, EntryError):
            return False
        if alive(wrapper(said.raw), said.start) or any(self._writers(found) for found in files.values()):
            return True
        return self._now - max(found.st_ctime for found in files.values()) < SETTLE

    def _orphans(self, identity: str, files: Names) -> Iterator[Entry]:
        """Refuse what nobody will finish."""
        for kind, found in files.items():
            if self._now - found.st_ctime >= ABANDONED and self._take(f"{identity}.{kind}"):
                yield self._refuse(f"{identity}.{kind}", found, "never finished, and no entry is with it")

    def _read(self, identity: str, files: Names, owner: int) -> Iterator[Entry]:
        main = "end.json" if "end.json" in files else "start.json"
        names = tuple(f"{identity}.{kind}" for kind in files)
        try:
            execution = parse(self._content(f"{identity}.{main}", LARGEST_JSON), identity, owner)
        except (_Refused, EntryError) as error:
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
                _check(files[result])
                xml = self._directory / TAKEN / f"{identity}.{result}"
            except _Refused as error:
                execution.problems += (NO_RESULT,)
                yield self._refuse(f"{identity}.{result}", files[result], str(error))
                names = tuple(name for name in names if name != f"{identity}.{result}")
        yield Entry(f"{identity}.{main.removesuffix('.json')}", execution, xml, owner, names)

    def _compare(self, identity: str, end: Execution, owner: int) -> tuple[str, ...]:
        try:
            start = parse(self._content(f"{identity}.start.json", LARGEST_JSON), identity, owner)
        except (_Refused, EntryError):
            return (DIFFERENT,)
        return () if all(getattr(start, name) == getattr(end, name) for name in REPEATED) else (DIFFERENT,)

    def _content(self, name: str, limit: int) -> bytes:
        """Return what is in a file that was taken, if it is one that the wrapper could have written."""
        try:
            descriptor = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=self._taken
            )
        except OSError as error:
            raise _Refused(f"it cannot be opened: {error.strerror}") from None
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            _check(os.fstat(descriptor))
            content = file.read(limit + 1)
        if len(content) > limit:
            raise _Refused(f"larger than {limit} bytes")
        return content

    def _refuse(self, name: str, found: os.stat_result, why: str) -> Entry:
        raw = b""
        with suppress(_Refused):
            raw = self._content(name, LARGEST_JSON) if name.endswith("json") else b""
        told = f"{name!r} {found.st_uid} {found.st_ino} {found.st_mtime_ns} {why}"
        identity = f"refused-{sha256(told.encode()).hexdigest()[:32]}"
        who = f"uid {found.st_uid}" + (f" ({user})" if (user := name_of(found.st_uid)) else "")
        finding = Finding(
            action=ACTION,
            message=f"entry {name!a} of {who} was refused: {why}",
            time=_time(found.st_mtime),
            path=str(self._directory / ascii(name)[1:-1]),
            identity=identity,
            raw=raw,
        )
        return Entry(identity, finding, None, found.st_uid, (name,))


def _check(found: os.stat_result) -> None:
    """Refuse what the wrapper would not have made."""
    if not stat.S_ISREG(found.st_mode):
        raise _Refused("no regular file")
    if found.st_nlink != 1:
        raise _Refused("it has other names, too")
    if found.st_mode & 0o022:
        raise _Refused("others than its owner may write to it")


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
