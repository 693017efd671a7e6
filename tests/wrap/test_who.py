"""Who, where and by what: by the kernel where it tells, marked where somebody only claims it."""

import os
import pwd
import shutil
import struct
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
import wrapped
from conftest import need

from forwarder.audit.interface import Execution
from forwarder.wrap import container, facts, login, process

wrapper = wrapped.wrapper
LIST = ("-sL", "-n", "127.0.0.1")
ID = "0123456789abcdef" * 4


@pytest.fixture
def users(wrapper):
    """The wrapper for several users: with a Python and a spool that all of them reach."""
    if os.geteuid() != 0:
        pytest.skip("only root can be several users")
    wrapper.python = "/usr/bin/python3"
    if not os.access(wrapper.python, os.X_OK):
        pytest.skip("no Python that every user may start")
    with tempfile.TemporaryDirectory() as place:  # pytest's own directories are its user's alone
        Path(place).chmod(0o755)
        wrapper.spool = Path(place) / "spool"
        wrapper.spool.mkdir()
        wrapper.spool.chmod(0o1733)
        yield wrapper


def test_each_user_is_told_by_the_kernel_and_owns_the_entry(users):
    for uid in (12345, 12346, 0):
        users.run(*LIST, user=uid, group=uid, extra_groups=[], cwd="/", env={"SUDO_USER": "forged", "USER": "forged"})
    owners = {path.stat().st_uid for path in users.spool.glob("*.end.json")}
    assert owners == {12345, 12346, 0}
    for path in users.spool.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    by_uid = {entry["real"]["id"]: entry for entry in users.entries()}
    assert by_uid["12345"]["effective"]["id"] == "12345"
    assert "SUDO_USER set without sudo" in by_uid["12345"]["problems"]
    assert "sudo_user" not in by_uid["12345"]
    assert by_uid["12345"]["outputs"][0]["state"] == "present"
    assert by_uid["0"]["real"] == {"id": "0", "name": "root"}


def test_no_user_reads_or_changes_anothers_entry(users):
    users.run(*LIST, user=12345, group=12345, extra_groups=[], cwd="/")
    (path,) = users.spool.glob("*.end.json")
    for attempt in (["cat", path], ["ls", path.parent], ["rm", "-f", path], ["sh", "-c", f"echo x >> {path}"]):
        other = {"user": 12346, "group": 12346, "extra_groups": []}
        assert subprocess.run(attempt, capture_output=True, check=False, **other).returncode
    assert path.exists()


def test_sudos_caller_is_told(users):
    need("sudo")
    command = users.command(*LIST)
    script = users.spool.parent / "call"
    script.write_text(
        "exec sudo -n -u daemon -- " + " ".join(f"'{word.replace(chr(39), chr(34))}'" for word in command)
    )
    ran = subprocess.run(["sh", script], capture_output=True, cwd="/", check=False)
    if ran.returncode and b"sudo" in ran.stderr:
        pytest.skip(f"sudo does not work here: {ran.stderr.decode()}")
    entry = users.entry()
    assert entry["real"]["name"] == "daemon"
    assert entry["sudo_user"] == "root"


def test_a_sudo_that_belongs_to_its_caller_is_believed_on_that_caller_alone(monkeypatch):
    """sudo without a terminal keeps its caller's number as its real one; other setuid programs may have its name."""
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    caller, other = (pwd.getpwnam(name).pw_uid for name in ("daemon", "bin"))
    monkeypatch.setenv("SUDO_USER", "daemon")
    for uids, told in (((caller, 0), "daemon"), ((0, 0), "daemon"), ((other, 0), ""), ((caller, caller), "")):
        problems = []
        assert facts._sudo_user([process.Process(2, "sudo", 1, "", *uids)], problems) == told
        assert bool(problems) is not bool(told)


def test_root_of_a_user_namespace_is_who_made_it(users):
    unshare = need("unshare")
    command = [unshare, "-r", *users.command(*LIST)]
    ran = subprocess.run(command, capture_output=True, cwd="/", check=False, user=12345, group=12345, extra_groups=[])
    if ran.returncode and b"unshare" in ran.stderr:
        pytest.skip(f"no user namespaces here: {ran.stderr.decode()}")
    entry = users.entry()
    assert (entry["real"]["id"], entry["effective"]["id"]) == ("12345", "12345")


def test_members_are_those_of_an_execution(wrapper):
    wrapper.run(*LIST)
    entry = wrapper.entry()
    known = set(Execution.__slots__) - {"version"} | {"version", "id", "tool_version"}
    assert entry.keys() <= known
    assert Execution(source=entry["source"], identity=entry["id"], argv=tuple(entry["argv"])).tool == "nmap"
    assert entry["host"] == os.uname().nodename
    assert entry["ppid"] == os.getpid()
    assert entry["parent_executable"] == str(Path("/proc/self/exe").readlink())
    assert entry["parent_command_line"] == Path("/proc/self/cmdline").read_text()[:-1].replace("\0", " ")
    assert entry["cwd"] == str(Path.cwd())
    assert entry["sha256"] == sha256(Path(wrapped.NMAP).read_bytes()).hexdigest()
    assert entry["executable"] == wrapped.NMAP
    assert entry["interactive"] is False


def test_a_working_directory_that_is_gone(wrapper, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    command = " ".join(f"'{word.replace(chr(39), chr(34))}'" for word in wrapper.command(*LIST))
    ran = subprocess.run(["sh", "-c", f"cd {gone} && rmdir {gone} && exec {command}"], capture_output=True, check=False)
    assert b"Nmap done" in ran.stdout
    assert "working directory is gone" in wrapper.entry()["problems"]


def test_variables_that_change_nmap_and_no_others(wrapper):
    wrapper.run(*LIST, env={"NMAPDIR": "/x", "NMAP_UNPRIVILEGED": "", "AWS_SECRET_ACCESS_KEY": "s", "LD_PRELOAD": ""})
    assert wrapper.entry()["environment"] == ["NMAPDIR=/x", "NMAP_UNPRIVILEGED=", "LD_PRELOAD="]


def utmp(line, address):
    entry = struct.pack("<h2xi32s4s32s256shhiii", 7, 1, line.encode(), b"", b"alice", b"", 0, 0, 0, 0, 0)
    return (entry + address.ljust(16, b"\0")).ljust(login.ENTRY, b"\0")


def test_the_address_of_a_session_is_sshds(tmp_path, monkeypatch):
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    file = tmp_path / "utmp"
    file.write_bytes(utmp("pts/1", bytes([192, 0, 2, 7])) + utmp("pts/2", bytes.fromhex("20010db8" + "00" * 11 + "01")))
    assert login.remote({"pts/1"}, [], str(file)) == ("192.0.2.7", "")
    assert login.remote({"pts/2"}, [], str(file)) == ("2001:db8::1", "")
    assert login.remote({"pts/3"}, [], str(file)) == ("", "")
    monkeypatch.setenv("SSH_CONNECTION", "198.51.100.9 1 192.0.2.1 22")
    assert login.remote({"pts/1"}, [], str(file)) == ("192.0.2.7", "")
    assert login.remote({"pts/3"}, [], str(file)) == ("198.51.100.9", login.CLAIMED + ", and no sshd above")
    sshd = process.Process(1, "sshd", 0, "", 0, 0)
    assert login.remote({"pts/3"}, [sshd], str(file)) == ("198.51.100.9", login.CLAIMED)
    monkeypatch.setenv("SSH_CONNECTION", "\x1b[2J 1 192.0.2.1 22")
    assert login.remote({"pts/3"}, [sshd], str(file)) == ("", "")


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "runtime"),
    [
        (f"0::/system.slice/docker-{ID}.scope", "", "docker"),
        (f"12:pids:/docker/{ID}\n0::/", "", "docker"),
        (f"0::/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-{ID}.scope", "", "containerd"),
        (f"0::/kubepods/besteffort/pod1-2/{ID}", "", "containerd"),
        (f"0::/machine.slice/libpod-{ID}.scope/container", "", "podman"),
        (f"0::/kubepods.slice/crio-{ID}.scope", "", "cri-o"),
        ("0::/", f"9 1 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 x rw", "docker"),
        ("0::/", f"9 1 8:1 /overlay-containers/{ID}/userdata/hosts /etc/hosts rw - ext4 x rw", "podman"),
    ],
)
def test_a_container_is_told_by_its_cgroup_or_mounts(tmp_path, cgroup, mountinfo, runtime):
    (tmp_path / "cgroup").write_text(cgroup + "\n")
    (tmp_path / "mountinfo").write_text(mountinfo + "\n")
    found = container.facts(str(tmp_path))
    assert (found["container_id"], found["container_runtime"]) == (ID, runtime)


def test_a_container_by_lxc_and_none(tmp_path, monkeypatch):
    (tmp_path / "cgroup").write_text("0::/lxc.payload.web/init.scope\n")
    assert container.facts(str(tmp_path))["container_id"] == "web"
    (tmp_path / "cgroup").write_text("0::/user.slice/user-1000.slice/session-3.scope\n")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert "container_id" not in container.facts(str(tmp_path))


def test_a_pod(tmp_path, monkeypatch):
    (tmp_path / "cgroup").write_text(f"0::/kubepods.slice/kubepods-pod11_22.slice/cri-containerd-{ID}.scope\n")
    (tmp_path / "namespace").write_text("team-a")
    monkeypatch.setattr(container, "NAMESPACE", str(tmp_path / "namespace"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    found = container.facts(str(tmp_path))
    assert (found["pod"], found["namespace"]) == (os.uname().nodename, "team-a")
    assert "pod-uid:11_22" in found["container_marks"]


def test_an_inner_process_id_namespace_is_a_mark(wrapper):
    need("unshare")
    ran = subprocess.run(["unshare", "-fp", "--mount-proc", *wrapper.command(*LIST)], capture_output=True, check=False)
    if b"unshare" in ran.stderr:
        pytest.skip("may not make a namespace")
    assert any(mark.startswith("ns:") for mark in wrapper.entry()["container_marks"])


def test_a_name_with_brackets_does_not_fool_us(tmp_path):
    """comm may be anything, also what looks like the rest of the line."""
    program = tmp_path / "x) S 1 1 1"
    shutil.copy(shutil.which("sleep"), program)
    child = subprocess.Popen([program, "60"])
    try:
        found = process.look(child.pid)
        assert (found.name, found.ppid) == ("x) S 1 1 1", os.getpid())
    finally:
        child.kill()
        child.wait()


def test_times_are_utc_with_milliseconds():
    assert len(facts.now()) == len("2026-11-24T22:50:08.697Z")
