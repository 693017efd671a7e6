"""The receiver keeps what users send where they cannot reach it, and nothing that they send harms it or others."""

import hashlib
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
import receiver
import wrapped
from receiver import ALICE, BOB, ID, as_user, message, say

from forwarder import spool
from forwarder.wrap import receive
from forwarder.wrap.submit import submit

wrapper = wrapped.wrapper
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="several users' processes can only be made by root")
ENTRY = b'{"x": "\\udcff"}'
LIST = ("-sL", "-n", "127.0.0.1")


@pytest.fixture
def running(tmp_path):
    for parent in [tmp_path, *tmp_path.parents][:4]:  # pytest's and its workers' directories are their user's alone
        parent.chmod(parent.stat().st_mode | 0o011)
    with receiver.running(tmp_path / "spool", tmp_path / "socket") as started:
        yield started


def accepted(entry: bytes = ENTRY) -> str:
    return f"accepted {hashlib.sha256(entry).hexdigest()}"


def test_an_entry_is_kept_with_what_the_kernel_says_of_its_sender(running):
    before = time.time()
    assert as_user(ALICE, lambda: [os.getpid(), say(running.path, message(ENTRY, b"<nmaprun/>"))][1]) == accepted()
    assert running.files() == [f"{ALICE}.{ID}.end.json", f"{ALICE}.{ID}.xml"]
    peer, entry = running.content(f"{ALICE}.{ID}.end.json")
    assert entry == ENTRY
    assert (running.spool / "received" / f"{ALICE}.{ID}.xml").read_bytes() == b"<nmaprun/>"
    assert (peer["uid"], peer["gid"], peer["real"]) == (ALICE, ALICE, ALICE)
    assert peer["pid"] > 1
    assert peer["started"] <= peer["received"]
    for moment in (peer["started"], peer["received"]):
        assert abs(time.mktime(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone - before) < 60


def test_its_owner_can_neither_read_nor_change_nor_remove_nor_replace_it(running):
    as_user(ALICE, lambda: say(running.path, message(ENTRY)))
    path = running.spool / "received" / f"{ALICE}.{ID}.end.json"
    before = path.read_bytes()
    for action in (path.read_bytes, path.unlink, lambda: path.write_bytes(b""), lambda: list(path.parent.iterdir())):
        assert as_user(ALICE, action).startswith("PermissionError")
    assert as_user(ALICE, lambda: say(running.path, message(b"{}"))) == "refused it is here already"
    assert path.read_bytes() == before


def test_nobody_is_in_anothers_way_by_the_same_id(running):
    assert as_user(BOB, lambda: say(running.path, message(b"{}"))) == accepted(b"{}")
    assert as_user(ALICE, lambda: say(running.path, message(ENTRY))) == accepted()
    assert running.files() == [f"{ALICE}.{ID}.end.json", f"{BOB}.{ID}.end.json"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"x" * receive.LENGTH, "no message of this version"),
        (message(ENTRY).replace(b" 1 ", b" 2 "), "no message of this version"),
        (message(ENTRY, identity="../" + ID[3:]), "no message of this version"),
        (message(ENTRY, identity="\udcff".encode(errors="surrogateescape").decode("latin1") * 16), "no message"),
        (message(ENTRY, kind="fatal"), "no message of this version"),
        (message(b""), "too large"),
        (receive.HEADER.format(kind="end", identity=ID, entry=100 << 20, result=0).encode(), "too large"),
        (receive.HEADER.format(kind="end", identity=ID, entry=9, result=10**11).encode(), "too large"),
        (message(ENTRY, b"<x/>", kind="start"), "a result at the start"),
        (message(ENTRY)[:-1], "it ends early"),
        (message(ENTRY, b"<nmaprun/>")[:-1], "it ends early"),
        (b"", "it ends early"),
    ],
)
def test_what_is_no_whole_message_is_refused_and_leaves_nothing(running, data, why):
    assert as_user(ALICE, lambda: say(running.path, data, shut=True)).startswith(f"refused {why}")
    assert running.files() == []
    assert as_user(ALICE, lambda: say(running.path, message(ENTRY))) == accepted()


def test_a_hundred_megabytes_are_refused_without_being_read(running):
    def send() -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(running.path))
            sent = 0
            try:
                connection.sendall(message(b"x").replace(b" 000000000001 ", b" 000104857600 ")[: receive.LENGTH])
                while sent < 100 << 20:
                    sent += connection.send(b"x" * (1 << 20))
            except OSError:
                return f"stopped {sent >> 20}"
        return f"all {sent >> 20}"

    assert as_user(ALICE, send) in {"stopped 0", "stopped 1"}
    assert running.files() == []


def test_one_who_is_slow_keeps_nobody_else_waiting(running):
    """Of one user only some are let in; another's entry is taken at once."""
    slow = [os.fork() for _ in range(3)]
    if 0 in slow:
        os.setuid(BOB)
        held = []
        for _ in range(receive.MOST_OF_ONE):
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].connect(str(running.path))
            held[-1].send(b"nmap-")
        time.sleep(60)
        os._exit(0)
    try:
        time.sleep(1)
        began = time.monotonic()
        assert as_user(ALICE, lambda: say(running.path, message(ENTRY))) == accepted()
        assert time.monotonic() - began < 5
        assert as_user(BOB, lambda: say(running.path)) == "refused too many connections"
    finally:
        for pid in slow:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert [name for name in running.files() if not name.startswith(str(ALICE))] == []


def test_a_message_has_its_time(running):
    """Byte by byte, each well before a timeout of its own, it is refused all the same."""
    data = message(ENTRY)
    pieces = [data[at : at + 1] for at in range(40)]
    began = time.monotonic()
    assert as_user(ALICE, lambda: say(running.path, *pieces, pause=0.4)) == "refused too slow"
    assert time.monotonic() - began < receive.TIME + 10
    assert running.files() == []


def test_a_user_has_room_for_so_much_and_others_still_have_theirs(running, tmp_path, monkeypatch):
    received = receive.Receiver(str(running.spool / "received"))
    monkeypatch.setattr(receive, "MOST_FILES", 2)

    def send(uid: int, identity: str) -> str:
        here, there = socket.socketpair()
        with here, there:
            here.sendall(message(ENTRY, identity=identity))
            return received.receive(there, {"uid": uid})

    send(ALICE, "1" * 32)
    send(ALICE, "2" * 32)
    with pytest.raises(receive.RefusedError, match="too much of this user"):
        send(ALICE, "3" * 32)
    send(BOB, "3" * 32)
    monkeypatch.setattr(receive, "MOST_BYTES", 2 * len(ENTRY))
    with pytest.raises(receive.RefusedError, match="too much of this user"):
        send(BOB, "4" * 32)


DEADLY = [(os, name) for name in ("open", "fsync", "rename", "unlink")]


def test_killed_at_any_step_it_has_all_of_an_entry_or_none_that_would_be_read(running, monkeypatch):
    monkeypatch.setattr(spool, "SETTLE", -60.0)
    monkeypatch.setattr(spool, "ABANDONED", -60.0)
    entry = json.dumps(
        {"version": 1, "id": ID, "source": "shim", "argv": ["nmap"], "start": "2026-03-02T08:00:00.000Z"}
    ).encode()
    step = 1
    while True:
        here, there = socket.socketpair()
        here.sendall(message(entry, b"<nmaprun/>"))
        if (child := os.fork()) == 0:
            left = [step]

            def deadly(function, left=left):
                def called(*arguments, **options):
                    left[0] -= 1
                    if not left[0]:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return function(*arguments, **options)

                return called

            received = receive.Receiver(str(running.spool / "received"))
            for owner, name in DEADLY:
                setattr(owner, name, deadly(getattr(owner, name)))
            received.receive(there, {"uid": ALICE, "gid": 1, "pid": 0, "received": "2026-03-02T08:00:01.000Z"})
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        here.close()
        there.close()
        found = [item for item in spool.read(running.spool) if item.names != (f"received/{ALICE}.{ID}.xml",)]
        assert all(item.xml for item in found), step
        assert len(found) == 1 or status, step
        for item in spool.read(running.spool):
            spool.remove(running.spool, item.names)
        assert running.files() == [], step  # nor is anything left of what was half written
        if not status:
            break
        step += 1
    assert step > 6


# --- the wrapper ------------------------------------------------------------------------------------------


class Sending(wrapped.Wrapper):
    def __init__(self, started: receiver.Running) -> None:
        super().__init__(started.spool)
        self.receiver = started.path

    def command(self, *args, **options):
        command = super().command(*args, **options)
        code = command.index("-c") + 1
        command[code] = command[code].replace("spool=", f"receiver={str(self.receiver)!r}, spool=")
        return command


@pytest.fixture
def sending(running):
    wrapped.need("nmap")
    return Sending(running)


def boxed(running) -> list[str]:
    return [path.name for path in running.spool.iterdir() if path.is_file()]


def test_the_wrapper_sends_both_ends_and_the_result_and_leaves_nothing_in_the_drop_box(running, sending):
    assert b"Nmap done" in sending.run(*LIST).stdout
    assert boxed(running) == []
    (entry,) = spool.read(running.spool)
    assert entry.evidence.argv == ("nmap", *LIST)
    assert entry.evidence.problems == ()
    assert entry.evidence.strong
    assert entry.evidence.peer.uid == os.getuid()
    assert entry.evidence.wrapper_pid == entry.evidence.peer.pid
    assert entry.evidence.outputs[0].sha256 == hashlib.sha256(entry.xml.read_bytes()).hexdigest()
    assert len(entry.names) == 3
    spool.remove(running.spool, entry.names)
    assert running.files() == []


def test_nobody_listens(running, sending):
    running.path.unlink()
    assert b"Nmap done" in sending.run(*LIST).stdout
    assert len(boxed(running)) == 3


def test_a_receiver_that_hangs_costs_a_moment_and_no_entry(running, sending):
    os.kill(running.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    assert b"Nmap done" in sending.run(*LIST).stdout
    assert time.monotonic() - began < 10
    assert len(boxed(running)) == 3
    os.kill(running.process.pid, signal.SIGCONT)
    deadline = time.monotonic() + 20
    while not [name for name in running.files() if name.endswith("json")] and time.monotonic() < deadline:
        time.sleep(0.1)
    (entry,) = spool.read(running.spool)  # the start has come twice, and is one
    spool.remove(running.spool, entry.names)
    assert running.files() == boxed(running) == []


def test_a_receiver_whose_queue_is_full_costs_no_entry(tmp_path, running, sending):
    sending.receiver = tmp_path / "full"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(sending.receiver))
        listener.listen(0)
        waiting = []
        for _ in range(3):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].settimeout(0)
            waiting[-1].connect_ex(str(sending.receiver))
        assert b"Nmap done" in sending.run(*LIST).stdout
    assert len(boxed(running)) == 3


@pytest.mark.parametrize("answer", [b"", b"refused\n", b"accepted\n", b"\xff" * 600])
def test_what_is_no_acceptance_is_none(tmp_path, answer):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        if (child := os.fork()) == 0:
            connection = listener.accept()[0]
            connection.recv(1000)
            connection.sendall(answer)
            os._exit(0)
        with pytest.raises(OSError, match=r".*"):
            submit(str(path), "end", ID, ENTRY)
        os.waitpid(child, 0)


def test_a_result_that_is_a_link_is_not_sent(running, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    (tmp_path / "link").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic"):
        submit(str(running.path), "end", ID, ENTRY, str(tmp_path / "link"))
    assert Path(secret).exists()


def test_a_directory_that_others_may_get_at_is_not_written_to(tmp_path):
    place, link = tmp_path / "place", tmp_path / "link"
    place.mkdir()
    link.symlink_to(place)
    for path in (place, link):
        with pytest.raises(OSError, match=r"others may get at it|symbolic|Not a directory"):
            receive.Receiver(str(path))
    os.chown(place, ALICE, ALICE)
    place.chmod(0o700)
    with pytest.raises(PermissionError):
        receive.Receiver(str(place))


def test_it_ends_when_it_is_idle(running):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(running.path) + "2")
        listener.listen()
        receive.Receiver(str(running.spool / "received")).serve(listener, idle=0.1)
