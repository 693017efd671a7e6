"""A machine that is enrolled, in namespaces of its own: nothing of it is left."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import need

REPOSITORY = Path(__file__).parents[1]
PRELUDE = """
set -e
for directory in /etc /usr/local /var /opt; do
    mkdir -p {scratch}/up$directory {scratch}/work$directory
    mount -t overlay overlay -o lowerdir=$directory,upperdir={scratch}/up$directory,workdir={scratch}/work$directory $directory
done
mount -t tmpfs none /run                        # no systemd, and no audit daemon: rules would be the kernel's own
! test -e /usr/sbin/auditctl || mount --bind /bin/false /usr/sbin/auditctl
rm -rf /etc/nmap-forwarder /usr/local/bin/nmap
cp -r {repository}/forwarder {repository}/ecs_mappings {repository}/deploy /opt/
chown -R root:root /opt; chmod -R u=rwX,go=rX /opt
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/
cd /tmp
set +e
forwarder() {{ PYTHONPATH=/opt {python} -m forwarder "$@"; }}
as() {{ user=$1; shift; setpriv --reuid=$user --regid=$user --clear-groups -- "$@"; }}
nap() {{ PYTHONPATH=/opt {python} "$@"; }}
forwarder enroll >/dev/null || exit 99
"""
"""Functions of it: `forwarder ARGS` and `nap SCRIPT` as root, `as UID COMMAND` as that user, without any group."""


@contextmanager
def machine() -> Iterator[Callable[[str], subprocess.CompletedProcess[str]]]:
    """Yield what runs a shell script there, after `enroll`."""
    for program in ("nmap", "unshare", "setpriv"):
        need(program)
    scratch = Path("/dev/shm") / f"nmap-forwarder-{os.getpid()}"
    scratch.mkdir()

    def call(script: str) -> subprocess.CompletedProcess[str]:
        values = {"scratch": scratch, "repository": REPOSITORY, "python": shlex.quote(sys.executable)}
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-c", PRELUDE.format(**values) + script],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode != 99, done.stderr
        return done

    try:
        yield call
    finally:
        shutil.rmtree(scratch)
