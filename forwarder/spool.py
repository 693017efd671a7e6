"""The spool that the wrapper writes to for every user, and only the service reads: what was received, and a drop box.

What the receiver took stands in `received`, out of its owner's reach. Where there was none, users put files into the
directory themselves (root:root 1733; nobody but the service can list it): hostile files. What is complete is moved
at once into `taken`, which only the service may enter: from then on its owner can neither change nor
remove it by name, and no path that we hand on can be turned into a link. All of it stays until what was made of it is
sealed and the caller calls `remove`; a run after one that was killed finds it again.

An entry's owner is who the kernel, or the file system, says. Whatever else an entry tells, he could have written as he
likes.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from forwarder import dropbox
from forwarder.audit.entry import EntryError, name_of, parse, received
from forwarder.audit.interface import Execution, Finding
from forwarder.dropbox import RECEIVED, DropBox, RefusedError, make
from forwarder.intake import Writers
from forwarder.seal.manifest import timestamp
from forwarder.wrap.submit import LARGEST_ENTRY

__all__ = ["Entry", "make", "read", "remove"]

NAME: Final = re.compile(r"([0-9a-f]{32})\.(start\.json|end\.json|xml)(\.part)?", re.ASCII)
NAME_RECEIVED: Final = re.compile(RECEIVED + r"/([0-9]{1,10})\.([0-9a-f]{32})\.(start\.json|end\.json|xml)", re.ASCII)
MOST_NAMES: Final = 200_000
"""Files of one run; the others are for the next."""
LARGEST_LINE: Final = 4096
"""Bytes of what the receiver writes before an entry."""
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
REPEATED: Final = ("source", "argv", "start", "cwd", "ppid", "wrapper_pid", "policy_action")
"""Members that are the same at the start and at the end."""
KINDS: Final = ("start.json", "end.json", "xml")
REMOVED: Final = {"start.json": 1, "end.json": 2}
"""Kinds that are removed last: what a killed process leaves of an entry must not be told as anything else."""


class _File(NamedTuple):
    """One file of an entry."""

    name: str
    """As the drop box knows it."""
    status: os.stat_result
    owner: int
    """Number of the user whose it is."""


Files = dict[str, _File]
"""Those of an entry by kind: `end.json`; `end.json.part` is not finished, `end.json.twice` was received as well."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one execution left in the spool, or why it was refused."""

    identity: str
    """What it is known by, of all entries: `<id>.end`, or `<id>.start` where there is no end (that may come later); of
    what was received, `<uid>.` is before it; of what was refused it is `refused-<hash>`. The same at every reading."""
    evidence: Execution | Finding
    """With the JSON as it was as `raw`, and before it the receiver's line. Several entries of one execution have the
    same `Execution.identity`: its id, or `<uid>.<id>`."""
    xml: Path | None = None
    """nmap's result: a regular file of the same owner, where nobody but the service can replace it. He may still have
    it open for writing; what counts is what was read. Also with evidence that was refused, for it may be a scan."""
    uid: int = -1
    """Whose it is."""
    names: tuple[str, ...] = field(default=())
    """What to `remove`, in this order, once the evidence, and the result's, are sealed."""


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
        senders: defaultdict[str, set[int]] = defaultdict(set)
        for name in self._box.names(MOST_NAMES):
            if match := NAME.fullmatch(name):
                groups[match[1]] = None
            else:
                yield from self._foreign(name)
        for name in self._box.received(MOST_NAMES, self._now - ABANDONED):
            if match := NAME_RECEIVED.fullmatch(name):
                senders[match[2]].add(int(match[1]))
        for identity in dict.fromkeys((*groups, *senders)):
            for uid in sorted(senders[identity]):
                yield from self._entry(identity, f"{uid}.{identity}", self._look_received(identity, uid))
            yield from self._entry(identity, identity, self._look(identity, senders[identity]))

    def _foreign(self, name: str) -> Iterator[Entry]:
        """Refuse what is no part of any entry."""
        if found := self._box.take(name):
            yield self._refuse(_File(name, found, found.st_uid), "a name that no entry has")

    def _entry(self, identity: str, known: str, files: Files) -> Iterator[Entry]:
        """Yield what is complete of an entry.

        Args:
            identity: its id.
            known: what its execution is known by.
            files: all that there is of it.
        """
        self._take_all(files, "start.json", "end.json")
        if not files.keys() & {"start.json", "end.json"}:
            yield from self._orphans(files)
            return
        owner = files["start.json" if "start.json" in files else "end.json"].owner
        start = self._said(identity, files["start.json"]) if "start.json" in files else ""
        if "end.json" not in files and isinstance(start, Execution) and self._may_run(start, files):
            return
        self._take_all(files, *files)
        for kind in [kind for kind, found in files.items() if found.owner != owner]:
            yield self._refuse(files.pop(kind), "written by another user than the entry")
        end = self._said(identity, files["end.json"]) if "end.json" in files else ""
        yield from self._read(known, files, start, end)

    def _look(self, identity: str, others: set[int]) -> Files:
        """Return what is in the drop box of an entry, but for the files of others."""
        found = {}
        for kind in KINDS:
            for suffix in ("", ".part"):
                name = f"{identity}.{kind}{suffix}"
                if (status := self._box.status(name)) is not None and status.st_uid not in others:
                    found[kind + suffix] = _File(name, status, status.st_uid)
        return found

    def _look_received(self, identity: str, uid: int) -> Files:
        """Return what was received of a user's entry, and what he put into the drop box of it."""
        found = {kind: file for kind, file in self._look(identity, set()).items() if file.owner == uid}
        for kind in KINDS:
            name = f"{RECEIVED}/{uid}.{identity}.{kind}"
            if (status := self._box.status(name)) is not None:
                if kind in found:
                    found[f"{kind}.twice"] = found[kind]
                found[kind] = _File(name, status, uid)
        return found

    def _take_all(self, files: Files, *kinds: str) -> None:
        for kind in kinds:
            if kind in files and (status := self._box.take(files[kind].name)):
                received = files[kind].name.startswith(RECEIVED)
                files[kind] = files[kind]._replace(
                    status=status, owner=files[kind].owner if received else status.st_uid
                )
            else:
                files.pop(kind, None)

    def _said(self, identity: str, file: _File) -> Execution | str:
        """Return what a file of an entry says; or why it is no entry, or none that the wrapper could have written."""
        try:
            if not file.name.startswith(RECEIVED):
                return parse(self._box.content(file.name, LARGEST_ENTRY), identity, file.owner)
            content = self._box.content(file.name, LARGEST_ENTRY + LARGEST_LINE)
            peer, entry = received(content, file.owner)
            return replace(parse(entry, identity, file.owner, peer), raw=content)
        except (RefusedError, EntryError) as error:
            return str(error)

    def _may_run(self, start: Execution, files: Files) -> bool:
        """Tell whether an entry without an end may still get one."""
        if alive(start.wrapper_pid, start.start) or any(self._writers(found.status) for found in files.values()):
            return True
        return self._now - max(found.status.st_ctime for found in files.values()) < SETTLE

    def _orphans(self, files: Files) -> Iterator[Entry]:
        """Refuse what nobody will finish; what could be a result is handed over all the same."""
        old = [kind for kind, file in files.items() if self._now - file.status.st_ctime >= ABANDONED]
        left = [kind for kind in old if not self._writers(files[kind].status)]
        self._take_all(files, *left)
        for kind in left:
            if file := files.get(kind):
                xml, _ = self._result(file)
                yield replace(self._refuse(file, "never finished, and no entry is with it"), xml=xml)

    def _read(self, known: str, files: Files, start: Execution | str, end: Execution | str) -> Iterator[Entry]:
        """Yield an entry whose files are all that there will be.

        Args:
            known: what its execution is known by.
            files: those of its owner.
            start: what its beginning says, or why that is refused; empty if there is none.
            end: likewise.
        """
        main, said = ("end.json", end) if "end.json" in files else ("start.json", start)
        if isinstance(said, str) and isinstance(start, Execution):  # what began is told all the same
            yield self._refuse(files.pop("end.json"), said)
            main, said = "start.json", start
        result = files.get("xml") or (files.get("xml.part") if main == "start.json" else None)
        names = tuple(files[kind].name for kind in sorted(files, key=lambda kind: REMOVED.get(kind, 0)))
        xml, refused = self._result(result) if result else (None, "")
        if result and refused:
            yield self._refuse(result, refused)
            names = tuple(name for name in names if name != result.name)
        if isinstance(said, str):
            yield replace(self._refuse(files[main], said), xml=xml, names=names)
            return
        said.identity = known
        if main == "start.json":
            said.problems += (NO_END,)
        elif "start.json" in files:
            said.problems += _compare(start, said)
        if refused:
            said.problems += (NO_RESULT,)
        yield Entry(f"{known}.{main.removesuffix('.json')}", said, xml, files[main].owner, names)

    def _result(self, file: _File) -> tuple[Path | None, str]:
        """Return where a result is, if it is one and nmap wrote to it; and why it is refused."""
        try:
            dropbox.check(file.status)
        except RefusedError as error:
            return None, str(error)
        return self._box.path(file.name) if "xml" in file.name and file.status.st_size else None, ""

    def _refuse(self, file: _File, why: str) -> Entry:
        name, found = file.name, file.status
        raw = b""
        with suppress(RefusedError):
            raw = self._box.content(name, LARGEST_ENTRY + LARGEST_LINE) if name.endswith("json") else b""
        told = f"{name!r} {file.owner} {found.st_ino} {found.st_mtime_ns} {why}"
        identity = f"refused-{sha256(told.encode()).hexdigest()[:32]}"
        who = f"uid {file.owner}" + (f" ({user})" if (user := name_of(file.owner)) else "")
        finding = Finding(
            action=ACTION,
            message=f"entry {name!a} of {who} was refused: {why}",
            time=_time(found.st_mtime),
            path=str(self._box.directory / ascii(name)[1:-1]),
            identity=identity,
            raw=raw,
        )
        return Entry(identity, finding, None, file.owner, (name,))


def _compare(start: Execution | str, end: Execution) -> tuple[str, ...]:
    """Return what is wrong with an end, by the beginning of the same entry."""
    if isinstance(start, Execution) and all(getattr(start, name) == getattr(end, name) for name in REPEATED):
        return ()
    if isinstance(start, Execution):
        end.policy_action = start.policy_action  # what began is not refused at its end
    return (DIFFERENT,)


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
