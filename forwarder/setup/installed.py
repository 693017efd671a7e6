"""What is installed on this machine: made so that it can be taken back, whatever happens in between.

A manifest says what was made, and with which content. It is written before anything is, so that after a crash it names
at least what is there; files are made whole or not at all. What is not in the manifest is never changed or removed, and
what somebody has changed since is left to him.
"""

from __future__ import annotations

import difflib
import json
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from forwarder import dropbox, durable
from forwarder.errors import UsageError

MANIFEST: Final = "/var/lib/nmap-forwarder-enrolled.json"
"""In a directory that every Debian has, so that nothing is left when it goes."""
LINES: Final = "# Set by nmap-forwarder enroll.\n"
"""Our lines in a file of somebody else's begin with this one."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that is to be there."""

    kind: str
    """directory, spool, file, link, or text: some lines in a file of somebody else's."""
    path: str
    """Absolute, as it is called once the machine runs."""
    content: str = ""
    """Of a file; where a link leads; the lines."""
    whole: str = ""
    """Of kind text: the file with the lines in it."""
    mode: int = 0o644


class Installed:
    """What is installed below a root directory.

    Args:
        root: / or the root of an image.
        say: takes a line for each thing that is done, or would be.
        dry: change nothing, and say everything: files as differences.

    Raises:
        UsageError: the manifest cannot be read.
    """

    def __init__(self, root: Path, say: Callable[[str], None], *, dry: bool) -> None:
        self._root = root
        self._say = say
        self._dry = dry
        self._records: dict[str, dict[str, Any]] = {}
        self.changed = 0
        """Things that were made or removed, or would be."""
        manifest = self.at(MANIFEST)
        try:
            self._records = {record["path"]: record for record in json.loads(manifest.read_bytes())["made"]}
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"{manifest}: is no manifest of enroll", "restore it, or remove it and what it named"
            ) from None

    def at(self, path: str) -> Path:
        """Return where something is now."""
        return self._root / path.lstrip("/")

    def install(self, items: Iterable[Item]) -> None:
        """Make what is not there, renew what is ours and old, remove what is ours and no longer wanted.

        Raises:
            UsageError: something of another origin is in the way; then nothing was changed.
            OSError: a directory cannot be written.
        """
        items = list(items)
        for item in items:
            self._check(item)
        wanted = {item.path for item in items}
        for path in [path for path in reversed(self._records) if path not in wanted]:
            self._take_back(path)
        for item in items:
            self._make(item)
        self._save()

    def undo(self) -> None:
        """Remove what was made, the last first; say what is left because it was changed since, or holds something.

        Raises:
            OSError: a directory cannot be written.
        """
        for path in reversed(list(self._records)):
            self._take_back(path)
        self._save()

    def _save(self) -> None:
        if self._dry:
            return
        manifest = self.at(MANIFEST)
        if self._records:
            text = json.dumps({"version": 1, "made": list(self._records.values())}, indent=1)
            if not manifest.exists() or manifest.read_text(encoding="utf-8") != text:
                durable.write(manifest, text.encode())
            return
        for path in (manifest, manifest.with_name(manifest.name + durable.PART)):
            with suppress(FileNotFoundError):
                path.unlink()
                durable.sync_directory(path.parent)

    def _record(self, item: Item, *marks: str) -> None:
        """Write down that something is, or may be, ours from now on, with each of these contents."""
        kept = self._records.get(item.path, {})
        self._records[item.path] = kept | {"kind": item.kind, "path": item.path, "marks": list(dict.fromkeys(marks))}
        self._save()

    def _check(self, item: Item) -> None:
        path = self.at(item.path)
        if item.kind in {"directory", "spool"}:
            if os.path.lexists(path) and (not path.is_dir() or (item.kind == "spool" and path.is_symlink())):
                raise UsageError(f"{path}: is no directory", "move it away, and enroll again")
        elif item.kind != "text" and item.path not in self._records and _mark(path) not in {"", _digest(item)}:
            raise UsageError(f"{path}: is there, and not from us", "move it away, and enroll again")

    def _make(self, item: Item) -> None:
        path = self.at(item.path)
        if item.kind in {"directory", "spool"}:
            self._make_directory(item, path)
            return
        ours = self._records.get(item.path, {}).get("marks", [])
        found, new = ("", _added(item, path)) if item.kind == "text" else (_mark(path), _digest(item))
        if item.kind == "text":
            if not item.whole:
                return
        elif found == new:
            if ours:
                self._record(item, new)
            return
        elif found and found not in ours:
            self._say(f"left {path}: it was changed since; remove it, and enroll again")
            return
        self.changed += 1
        if self._dry:
            self._show(item, path)
            return
        self._record(item, *ours, new)
        if item.kind == "link":
            path.unlink(missing_ok=True)
            path.symlink_to(item.content)
        elif item.kind == "text":
            _rewrite(path, item.whole)
        else:
            durable.write(path, item.content.encode(), item.mode)
        self._record(item, new)
        self._say(f"made {path}" if item.kind != "text" else f"changed {path}")

    def _make_directory(self, item: Item, path: Path) -> None:
        if path.is_dir() and (item.kind == "directory" or _is_whole(path)):
            return
        self.changed += 1
        if self._dry:
            self._say(f"make directory {path}" + (" (1733: a drop box)" if item.kind == "spool" else ""))
            return
        if not path.is_dir():
            self._record(item)
        if item.kind == "spool":
            dropbox.make(path)
        else:
            path.mkdir(mode=0o755)
        durable.sync_directory(path.parent)
        self._say(f"made {path}")

    def _show(self, item: Item, path: Path) -> None:
        """Say a change as a difference."""
        if item.kind == "link":
            self._say(f"make link {path} -> {item.content}")
            return
        before = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        after = (item.whole or item.content).splitlines()
        origin = str(path) if before else "/dev/null"
        mode = f" (mode {item.mode:o})" if not before else ""
        for line in difflib.unified_diff(before, after, origin, str(path) + mode, lineterm=""):
            self._say(line)

    def _take_back(self, path: str) -> None:
        """Remove one thing, if it is still as it was made."""
        record, where = self._records[path], self.at(path)
        kind, marks = record["kind"], record["marks"]
        done = True
        if kind in {"directory", "spool"}:
            done = self._take_back_directory(where, kind)
        elif kind == "text":
            self._take_back_text(where, marks)
        elif found := _mark(where):
            if found in marks:
                self._removed(where, where.unlink)
            else:
                self._say(f"left {where}: it was changed since")
        if not self._dry:
            where.with_name(where.name + durable.PART).unlink(missing_ok=True)
            if done:
                del self._records[path]
            self._save()

    def _removed(self, where: Path, action: Callable[[], object]) -> None:
        self.changed += 1
        if self._dry:
            self._say(f"remove {where}")
            return
        action()
        durable.sync_directory(where.parent)
        self._say(f"removed {where}")

    def _take_back_directory(self, where: Path, kind: str) -> bool:
        """Remove a directory with nothing in it; tell whether to forget that it is ours."""
        if not where.is_dir():
            return True
        inner = [where / name for name in dropbox.OURS] if kind == "spool" else []
        if kind == "spool" and any(
            item not in inner or (item.is_dir() and any(item.iterdir())) for item in where.iterdir()
        ):
            self._say(f"left {where}: entries in it are not sealed yet; forward them, and undo again")
            if not self._dry:
                where.chmod(dropbox.PRIVATE)
            return False
        if kind == "directory" and not self._dry and any(where.iterdir()):
            self._say(f"left {where}: there is something else in it")
            return True

        def remove() -> None:
            for item in inner:
                with suppress(FileNotFoundError):
                    item.rmdir()
            where.rmdir()

        self._removed(where, remove)
        return True

    def _take_back_text(self, where: Path, marks: list[str]) -> None:
        text = where.read_text(encoding="utf-8") if where.is_file() else ""
        for mark in marks:
            if text.endswith(mark):  # with the header that we added, for nothing has come below it
                self._removed_lines(where, text.removesuffix(mark), mark)
                return
        for mark in marks:
            if text.count(lines := mark[mark.rfind(LINES) :]) == 1:
                self._removed_lines(where, text.replace(lines, ""), lines)
                return
        if text:
            self._say(f"left {where}: our lines in it were changed since")

    def _removed_lines(self, where: Path, text: str, mark: str) -> None:
        self.changed += 1
        for line in mark.splitlines() if self._dry else ():
            self._say(f"remove from {where}: {line}")
        if not self._dry:
            _rewrite(where, text)
            self._say(f"changed {where} back")


def _added(item: Item, path: Path) -> str:
    """Return what is put into a file of somebody else's: our lines, and what goes before them at its end."""
    before = path.read_text(encoding="utf-8")
    return item.whole.removeprefix(before) if item.whole.startswith(before) else item.content


def _digest(item: Item) -> str:
    """Return what tells the content of something: a file's hash, where a link leads, the lines themselves."""
    return item.content if item.kind != "file" else sha256(item.content.encode()).hexdigest()


def _mark(path: Path) -> str:
    """Return what tells the content of what is there now; empty if nothing is."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return ""
    if stat.S_ISLNK(found.st_mode):
        return str(path.readlink())
    return sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(found.st_mode) else "neither file nor link"


def _is_whole(path: Path) -> bool:
    """Tell whether a spool was made to its end."""
    inner = all((path / name).is_dir() for name in dropbox.OURS)
    return inner and stat.S_IMODE(path.stat().st_mode) == dropbox.MODE


def _rewrite(path: Path, text: str) -> None:
    """Replace a file of somebody else's: same owner, same rights; the file itself where the path is a link."""
    real = path.resolve()
    before = real.stat()
    durable.write(real, text.encode(), stat.S_IMODE(before.st_mode))
    os.chown(real, before.st_uid, before.st_gid)
    real.chmod(stat.S_IMODE(before.st_mode))
