"""An answer as one tar file: the same answer always gives the same bytes."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path


def bundle(folder: Path, file: Path, name: str, time: int) -> None:
    """Write a POSIX tar of a folder.

    Names are sorted, owners are 0 without names, modes 644 and 755; what does not fit into ustar's fields (files from
    8 GiB on) gets pax headers.

    Args:
        folder: what goes in.
        file: the tar.
        name: what the folder is called in it.
        time: modification time of all members, in seconds since 1970.
    """
    with file.open("wb") as out:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in (folder, *_below(folder)):
                member = tarfile.TarInfo(f"{name}/{path.relative_to(folder).as_posix()}".removesuffix("/."))
                member.mtime = time
                if path.is_dir():
                    member.type, member.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(member)
                else:
                    member.size, member.mode = path.stat().st_size, 0o644
                    with path.open("rb") as data:
                        tar.addfile(member, data)
                tar.members = []  # type: ignore[attr-defined]  # they would only be gathered
        out.flush()
        os.fsync(out.fileno())


def _below(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder, sorted, each directory before what is in it."""
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir():
            yield from _below(path)
