"""A log that auditd wrote on a machine that was enrolled, where it is known who scanned, how, and from where."""

import re
import shutil
from pathlib import Path

import pytest
from audit_runs import Runs, age

LOG = Path(__file__).parents[1] / "fixtures/audit/audit.log"
TRUTH = [  # last word; program's word; login, effective user; directory
    ("127.1.8.1", "nmap", "alice", "carol", "/home/alice"),  # sudo -u carol nmap
    ("127.1.9.1", "/usr/bin/nmap", "alice", "alice", "/home/alice"),
    ("127.1.10.1", "/usr/bin/nmap", "alice", "alice", "/home/alice"),
    ("127.1.11.1", "/usr/bin/nmap", "bob", "root", "/home/bob"),  # sudo /usr/bin/nmap
    ("127.1.12.1", "nmap", "alice", "alice", "/home/alice"),  # a script
    ("127.1.13.1", "nmap", "alice", "alice", "/home/alice"),  # a script without the shim in PATH
    ("127.1.14.1", "bin/nmap", "bob", "bob", "/usr"),
    ("127.1.15.1", "/home/bob/scanner", "bob", "bob", "/home/bob"),  # a link to it
    ("127.1.27.1", "nmap", "alice", "alice", "/home/alice"),  # root of a user namespace
    ("127.1.30.1", "nmap", "root", "bob", "/home/bob"),  # su - bob
    ("127.1.31.1", "nmap", "alice", "alice", "/home/alice"),
    ("127.1.32.1", "/usr/bin/nmap", "alice", "alice", "/home/alice"),
    ("127.1.35.1", "innocent", "alice", "alice", "/home/alice"),  # exec -a innocent
    *[("127.1.36.1", "nmap", "alice", "alice", "/home/alice")] * 3,  # xargs -P3
    *[("127.1.37.1", "/usr/bin/nmap", "alice", "alice", "/home/alice")] * 3,
    ("127.1.38.1", "/usr/bin/nmap", "root", "alice", "/root"),  # runuser
    ("127.1.38.1", "/usr/bin/nmap", "root", "bob", "/root"),
    ("127.1.39.1", "nmap", "alice", "alice", "/home/alice"),
    ("-V", "nmap", "alice", "alice", "/home/alice"),
    ("127.1.40.1", "nmap", "alice", "alice", "/home/alice"),
    ("127.1.41.1", "/usr/bin/nmap", "", "root", "/"),  # systemd-run: nobody had logged in
    ("127.1.42.1", "nmap", "alice", "alice", "/home/alice"),  # alice's line in /etc/cron.d
    ("127.1.43.1", "nmap", "root", "root", "/root"),  # root's
]
NUMBERS = {"": "", "root": "0", "alice": "1000", "bob": "1001", "carol": "1002"}


@pytest.fixture
def log(tmp_path):
    return Path(shutil.copy(LOG, tmp_path))


def read(log):
    """Return all executions that it tells of."""
    runs = Runs(log.parent, f"auditd:{log}")
    age(log)
    found = runs.run()
    assert runs.said == []
    return found


def test_each_execution_is_told_once_with_who_and_where(log):
    found = read(log)
    told = [(one.argv[-1], one.argv[0], one.login.name, one.effective.name, one.cwd) for one in found]
    assert told == TRUTH
    assert {one.executable for one in found} == {"/usr/bin/nmap"}
    assert [one.argv[-1] for one in found if one.problems] == ["127.1.41.1"]
    assert [one.session for one in found[:3]] == ["12", "13", "14"]
    odd = ('a="x y",b=é', "--stylesheet", "l1\nl2")
    assert {one.argv[-4:-1] for one in found if one.argv[-1] in {"127.1.31.1", "127.1.32.1"}} == {odd}


def test_the_same_without_enrichment_but_for_the_names(log):
    log.write_bytes(re.sub(rb"\x1d.*", b"", log.read_bytes()))
    told = [(one.argv[-1], one.argv[0], one.login.id, one.effective.id, one.cwd) for one in read(log)]
    assert told == [(*words, NUMBERS[login], NUMBERS[user], cwd) for *words, login, user, cwd in TRUTH]
