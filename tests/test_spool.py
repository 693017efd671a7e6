"""The drop box that all users write to: whatever they put there, the service reads entries, and nothing else happens."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from forwarder import dropbox, spool
from forwarder.audit.interface import Execution, Finding, Output, User
from forwarder.errors import TemporaryError, UsageError

ALICE, BOB = 20001, 20002
ID = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32
START = "2026-03-02T08:00:00.000Z"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of several users can only be made by root")


def said(identity=ID, uid=ALICE, **more):
    """What the wrapper writes."""
    members = {
        "version": 1,
        "id": identity,
        "source": "shim",
        "argv": ["nmap", "-sS", "192.0.2.1"],
        "start": START,
        "real": {"id": str(uid), "name": "?"},
    }
    return json.dumps(members | more).encode()


def ended(identity=ID, uid=ALICE, **more):
    return said(identity, uid, end="2026-03-02T08:01:00.000Z", exit_code=0, pid=4711, **more)


class Box:
    """A spool, and users who do things in it by processes of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        dropbox.make(directory)

    def user(self, uid: int, action) -> None:
        """Run an action as a user; it fails the test when it fails."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
                os.umask(0o077)
                os.chdir(self.directory)
                action()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0

    def put(self, uid: int, files: dict[str, bytes], mode: int = 0o600) -> None:
        def write() -> None:
            for name, data in files.items():
                Path(name + ".part").write_bytes(data)
                Path(name + ".part").chmod(mode)
                Path(name + ".part").rename(name)

        self.user(uid, write)

    def read(self) -> list[spool.Entry]:
        return list(spool.read(self.directory))

    def one(self) -> spool.Entry:
        (entry,) = self.read()
        return entry

    def refused(self, why: str) -> spool.Entry:
        """The one entry there is, which is refused for that reason; removed, nothing is left."""
        entry = self.one()
        assert isinstance(entry.evidence, Finding)
        assert entry.evidence.action == "spool-entry-refused"
        assert why in entry.evidence.message
        assert entry.evidence.message.isprintable()
        assert self.one().identity == entry.identity == entry.evidence.identity  # the same until it is removed
        spool.remove(self.directory, entry.names)
        assert self.read() == []
        return entry

    def left(self) -> list[str]:
        return sorted(str(path.relative_to(self.directory)) for path in self.directory.rglob("*") if path.is_file())


@pytest.fixture
def box(tmp_path, monkeypatch):
    for parent in [tmp_path, *tmp_path.parents][:4]:  # pytest's and its workers' directories are their user's alone
        parent.chmod(parent.stat().st_mode | 0o011)
    monkeypatch.setattr(spool, "SETTLE", -60.0)  # nothing is too young
    return Box(tmp_path / "spool")


def test_an_entry_becomes_an_execution_of_its_owner_with_its_result(box):
    raw = ended(
        effective={"id": str(ALICE)},
        login={"id": str(ALICE)},
        tool_version="7.95",
        interactive=True,
        environment=["NMAPDIR=/opt"],
        outputs=[{"path": "/tmp/x", "format": "xml", "state": "present", "sha256": "a" * 64, "size": 5}],
    )
    box.put(ALICE, {f"{ID}.start.json": said(), f"{ID}.xml": b"<nmaprun/>", f"{ID}.end.json": raw})
    entry = box.one()
    assert entry.identity == f"{ID}.end"
    assert entry.uid == ALICE
    assert entry.xml.read_bytes() == b"<nmaprun/>"
    assert entry.evidence == Execution(
        source="shim",
        identity=ID,
        argv=("nmap", "-sS", "192.0.2.1"),
        start=START,
        end="2026-03-02T08:01:00.000Z",
        pid=4711,
        exit_code=0,
        login=User(str(ALICE)),
        real=User(str(ALICE)),
        effective=User(str(ALICE)),
        version="7.95",
        interactive=True,
        environment=("NMAPDIR=/opt",),
        outputs=(Output("/tmp/x", "xml", "present", "a" * 64, 5),),
        raw=raw,
    )


def test_what_was_read_stays_until_it_is_removed_so_that_a_kill_loses_nothing(box):
    box.put(ALICE, {f"{ID}.start.json": said(), f"{ID}.xml": b"<nmaprun/>", f"{ID}.end.json": ended()})
    first = box.one()
    assert box.one() == first
    spool.remove(box.directory, first.names)
    assert box.read() == []
    assert box.left() == []
    spool.remove(box.directory, first.names)  # killed before it was noted


def denied(action, *arguments) -> None:
    with pytest.raises(PermissionError):
        action(*arguments)


def test_an_owner_cannot_change_or_remove_what_was_taken(box):
    box.put(ALICE, {f"{ID}.start.json": said()})
    first = box.one()
    box.put(ALICE, {f"{ID}.start.json": said(argv=["nmap", "innocent"])})
    assert box.one() == first
    box.user(ALICE, lambda: denied(os.unlink, f"taken/{ID}.start.json"))
    box.user(ALICE, lambda: denied(os.listdir, "."))
    box.user(ALICE, lambda: denied(os.rename, "taken", "mine"))
    box.user(BOB, lambda: denied(os.unlink, f"{ID}.start.json"))


def test_bytes_that_are_no_utf_8_come_back_as_they_were(box):
    box.put(ALICE, {f"{ID}.end.json": ended(argv=["nmap", "\udcff\n\x1b[2J", "x" * 100_000])})
    assert box.one().evidence.argv[1:] == ("\udcff\n\x1b[2J", "x" * 100_000)


def began(pid: int) -> str:
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19])
    boot = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if "btime" in line)
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(boot + ticks / os.sysconf("SC_CLK_TCK")))


def test_what_still_runs_is_taken_from_its_owner_but_not_told_before_it_ends(box):
    wrapper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = began(wrapper.pid)
    box.put(ALICE, {f"{ID}.start.json": said(start=start, wrapper_pid=wrapper.pid), f"{ID}.xml": b"<nmap"})
    assert box.read() == []
    assert box.left() == [f"{ID}.xml", f"taken/{ID}.start.json"]
    box.put(ALICE, {f"{ID}.end.json": ended(start=start)})
    entry = box.one()
    assert (entry.identity, entry.xml.name) == (f"{ID}.end", f"{ID}.xml")
    wrapper.communicate(b"\n")


def test_what_died_without_an_end_is_told_with_the_result_so_far_and_a_late_end_is_an_entry_of_its_own(box):
    wrapper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = began(wrapper.pid)
    wrapper.kill()
    wrapper.wait()
    box.put(ALICE, {f"{ID}.start.json": said(start=start, wrapper_pid=wrapper.pid), f"{ID}.xml": b"<nmap"})
    entry = box.one()
    assert entry.identity == f"{ID}.start"
    assert entry.evidence.problems == ("end unknown",)
    assert entry.xml.read_bytes() == b"<nmap"
    spool.remove(box.directory, entry.names)
    box.put(ALICE, {f"{ID}.end.json": ended(start=start)})
    late = box.one()
    assert (late.identity, late.evidence.identity) == (f"{ID}.end", ID)


def test_a_process_of_the_same_number_that_started_at_another_time_is_another(box):
    box.put(ALICE, {f"{ID}.start.json": said(start="2020-01-01T00:00:00.000Z", wrapper_pid=os.getpid())})
    assert box.one().identity == f"{ID}.start"


@contextmanager
def written_to(path):
    """Have another process hold a file open for writing."""
    holder = "import sys; f = open(sys.argv[1], 'a'); print(flush=True); input()"
    arguments = [sys.executable, "-c", holder, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        try:
            yield
        finally:
            writer.communicate(b"\n")


def test_a_result_that_nmap_still_writes_is_waited_for(box):
    box.put(ALICE, {f"{ID}.start.json": said(), f"{ID}.xml": b"<nmap"})
    with written_to(box.directory / f"{ID}.xml"):
        assert box.read() == []
    assert box.one().xml


def test_an_entry_without_an_end_is_left_alone_for_a_while(box, monkeypatch):
    monkeypatch.setattr(spool, "SETTLE", 60.0)
    box.put(ALICE, {f"{ID}.start.json": said()})
    assert box.read() == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff", "no JSON"),
        (b"[]", "no JSON object"),
        (said(version=2), "version"),
        (said(version=True), "version"),
        (said(OTHER), "id"),
        (said(identity=ID, source="auditd"), "source"),
        (said(argv=[]), "argv is missing"),
        (said(argv="nmap"), "argv is no list"),
        (said(argv=["nmap", 1]), "argv is no text"),
        (said(argv=["a\0b"]), "NUL"),
        (said(start=""), "start is missing"),
        (said(start="yesterday"), "start is not of its form"),
        (said(end="2026-13-45T00:00:00Z"), "end is not of its form"),
        (said(uid=BOB), "real user"),
        (said(pid=-5), "pid"),
        (said(pid=True), "pid"),
        (said(pid=10**30), "pid"),
        (said(exit_code=256), "exit_code"),
        (said(signal="\x1b[2J"), "signal"),
        (said(interactive="yes"), "interactive"),
        (said(sha256="0"), "sha256"),
        (said(remote_ip="evil\n"), "remote_ip"),
        (said(login={"id": "root"}), "login"),
        (said(login=[]), "login"),
        (said(outputs=[{"state": "fine"}]), "outputs"),
        (said(outputs=["x"]), "outputs"),
        (said(reason={}), "reason is no text"),
    ],
)
def test_what_is_no_entry_is_refused_with_a_reason_and_its_bytes_as_evidence(box, data, why):
    box.put(ALICE, {f"{ID}.end.json": data})
    assert box.refused(why).evidence.raw == data


def test_a_result_is_handed_over_even_if_its_entry_is_refused(box):
    box.put(ALICE, {f"{ID}.end.json": said(version=2), f"{ID}.xml": b"<nmaprun/>"})
    entry = box.one()
    assert isinstance(entry.evidence, Finding)
    assert entry.xml.read_bytes() == b"<nmaprun/>"
    spool.remove(box.directory, entry.names)
    assert box.left() == []


def test_what_began_is_told_even_if_its_end_is_refused(box):
    box.put(ALICE, {f"{ID}.start.json": said(), f"{ID}.end.json": b"{", f"{ID}.xml": b"<nmaprun/>"})
    refused, entry = box.read()
    assert (refused.names, refused.xml) == ((f"{ID}.end.json",), None)
    assert (entry.identity, entry.evidence.problems) == (f"{ID}.start", ("end unknown",))
    assert entry.xml.read_bytes() == b"<nmaprun/>"


def test_what_an_ordinary_user_claims_beyond_himself_is_marked_and_his_names_are_not_believed(box):
    claims = {"login": {"id": str(BOB), "name": "root"}, "effective": {"id": "0", "name": "x"}, "sudo_user": "bob"}
    box.put(ALICE, {f"{ID}.end.json": ended(**claims)})
    evidence = box.one().evidence
    assert evidence.problems == ("login user only claimed", "effective user only claimed", "sudo's caller only claimed")
    assert (evidence.login.name, evidence.effective.name) == ("", "root")


def test_root_below_sudo_tells_who_called(box):
    box.put(0, {f"{ID}.end.json": ended(uid=0, login={"id": str(ALICE), "name": "alice"}, sudo_user="alice")})
    evidence = box.one().evidence
    assert (evidence.problems, evidence.real, evidence.sudo_user) == ((), User("0", "root"), "alice")


def test_links_are_not_followed(box, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(ended())
    box.user(ALICE, lambda: Path(f"{ID}.end.json").symlink_to(secret))
    assert box.refused("no regular file").evidence.raw == b""
    assert secret.exists()


def test_a_result_that_is_a_link_is_refused_and_the_execution_is_told_all_the_same(box, tmp_path):
    secret = tmp_path / "secret.xml"
    secret.write_bytes(b"<nmaprun/>")
    box.put(ALICE, {f"{ID}.end.json": ended()})
    box.user(ALICE, lambda: Path(f"{ID}.xml").symlink_to(secret))
    finding, entry = box.read()
    assert "no regular file" in finding.evidence.message
    assert entry.xml is None
    assert entry.evidence.problems == ("result in the spool refused",)
    spool.remove(box.directory, [*finding.names, *entry.names])
    assert secret.exists()
    assert box.left() == []


def test_files_with_other_names_are_refused(box, tmp_path):
    box.put(ALICE, {f"{ID}.end.json": ended()})
    os.link(box.directory / f"{ID}.end.json", tmp_path / "kept")
    box.refused("other names")


def test_a_fifo_does_not_block(box):
    box.user(ALICE, lambda: os.mkfifo(f"{ID}.end.json"))
    box.refused("no regular file")


def test_directories_are_put_aside_with_all_that_is_in_them(box):
    box.user(ALICE, lambda: Path(f"{ID}.end.json/in/it").mkdir(parents=True))
    box.refused("no regular file")
    assert [path for path in (box.directory / "refused").iterdir() if path.is_dir()]


def test_what_others_may_write_to_is_refused(box):
    box.put(ALICE, {f"{ID}.end.json": ended()}, mode=0o666)
    box.refused("others than its owner")


def test_what_is_too_large_is_refused_unread(box, monkeypatch):
    monkeypatch.setattr(spool, "LARGEST_ENTRY", 1000)
    box.user(ALICE, lambda: os.truncate(os.open(f"{ID}.end.json", os.O_CREAT | os.O_WRONLY, 0o600), 1 << 40))
    assert box.refused("larger than").evidence.raw == b""


def test_a_user_who_writes_into_anothers_entry_is_refused_and_does_not_harm_it(box):
    box.put(ALICE, {f"{ID}.start.json": said()})
    box.put(BOB, {f"{ID}.end.json": ended(uid=BOB), f"{ID}.xml": b"<nmaprun/>"})
    *findings, entry = box.read()
    assert [(found.uid, found.names) for found in findings] == [(BOB, (f"{ID}.end.json",)), (BOB, (f"{ID}.xml",))]
    assert all("another user" in found.evidence.message for found in findings)
    assert (entry.uid, entry.evidence.problems, entry.xml) == (ALICE, ("end unknown",), None)


def test_an_end_that_contradicts_its_start_is_marked(box):
    box.put(ALICE, {f"{ID}.start.json": said(), f"{ID}.end.json": ended(argv=["nmap", "innocent"])})
    assert box.one().evidence.problems == ("start and end of the entry differ",)


@pytest.mark.parametrize("name", ["x\n\x1b[2Jy", "..json", f"{ID}.end.json\n", "é", f"{ID.upper()}.end.json"])
def test_names_that_no_entry_has_are_refused_and_printed_safely(box, name):
    box.put(ALICE, {name: b"x"})
    box.refused("a name that no entry has")


def test_what_nobody_finishes_is_given_time_and_then_refused(box, monkeypatch):
    box.put(ALICE, {f"{ID}.xml": b"<nmaprun/>"})
    box.user(ALICE, lambda: Path(f"{OTHER}.start.json.part").write_bytes(b"{"))
    assert box.read() == []
    monkeypatch.setattr(spool, "ABANDONED", -60.0)
    result, start = box.read()
    assert (result.names, result.xml.read_bytes()) == ((f"{ID}.xml",), b"<nmaprun/>")
    assert (start.names, start.xml) == ((f"{OTHER}.start.json.part",), None)


def test_what_nobody_finishes_but_a_process_still_writes_to_stays(box, monkeypatch):
    monkeypatch.setattr(spool, "ABANDONED", -60.0)
    box.put(ALICE, {f"{ID}.xml": b"<nmaprun>"})
    with written_to(box.directory / f"{ID}.xml"):
        assert box.read() == []
    assert box.one().xml


def test_a_link_that_nobody_finishes_leads_nowhere(box, monkeypatch, tmp_path):
    monkeypatch.setattr(spool, "ABANDONED", -60.0)
    box.user(ALICE, lambda: Path(f"{ID}.xml").symlink_to(tmp_path))
    assert box.one().xml is None


def test_thousands_of_entries_are_read_in_bounded_runs(box, monkeypatch):
    box.put(ALICE, {f"{n:032x}.end.json": ended(f"{n:032x}") for n in range(3000)})
    monkeypatch.setattr(spool, "MOST_NAMES", 2000)
    seen = set()
    for _ in range(2):
        for entry in box.read():
            seen.add(entry.identity)
            spool.remove(box.directory, entry.names)
    assert len(seen) == 3000
    assert box.left() == []


def test_a_spool_that_is_missing_or_anothers_is_not_ours_to_read(box, tmp_path):
    assert list(spool.read(tmp_path / "none")) == []
    box.put(ALICE, {f"{ID}.end.json": ended()})
    os.chown(box.directory, BOB, BOB)
    assert box.read() == []


def test_a_spool_that_is_a_link_or_was_prepared_by_a_user_is_not_read(box, tmp_path):
    (tmp_path / "link").symlink_to(box.directory)
    with pytest.raises(UsageError, match=r"audit\.spool"):
        list(spool.read(tmp_path / "link"))
    (box.directory / "taken").rmdir()
    box.user(ALICE, lambda: Path("taken").mkdir())
    with pytest.raises(UsageError, match="others may get at it"):
        box.read()


def test_a_spool_of_an_older_version_gets_what_it_lacks_but_nothing_that_a_user_prepared(box, tmp_path):
    (box.directory / "received").rmdir()
    assert not dropbox.is_whole(box.directory)
    box.user(ALICE, lambda: Path("received").mkdir())
    assert not dropbox.is_whole(box.directory)
    with pytest.raises(UsageError, match="others may get at it"):
        dropbox.make(box.directory)
    (box.directory / "received").rmdir()
    box.user(ALICE, lambda: Path("received").symlink_to(tmp_path))
    with pytest.raises(UsageError, match="received"):
        dropbox.make(box.directory)
    (box.directory / "received").unlink()
    dropbox.make(box.directory)
    assert dropbox.is_whole(box.directory)


def test_two_processes_do_not_read_one_spool(box):
    box.put(ALICE, {f"{ID}.end.json": ended()})
    reading = spool.read(box.directory)
    next(reading)
    with pytest.raises(TemporaryError, match="another process"):
        box.read()
    reading.close()
    assert box.one()
