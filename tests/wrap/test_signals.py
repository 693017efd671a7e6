"""Signals, job control and keys: as if nmap had been called itself."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
import wrapped
from wrapped import NMAP, SLOW, steady

wrapper = wrapped.wrapper
DEADLY = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM]


def bare():
    process = subprocess.Popen(["nmap", *SLOW], executable=NMAP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout.readline().startswith(b"Starting Nmap")
    return process


def state(pid):
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1].decode()


def eventually(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize("number", DEADLY, ids=lambda number: number.name)
def test_a_signal_sent_to_us_ends_nmap_as_if_sent_to_it(wrapper, number):
    plain, ours = bare(), wrapper.start(*SLOW)
    nmap = wrapper.child(ours.pid)
    plain.send_signal(number)
    ours.send_signal(number)
    said, (told, _) = plain.communicate(timeout=30)[0], ours.communicate(timeout=30)
    assert ours.returncode == plain.returncode
    assert steady(told) == steady(said)
    assert not Path(f"/proc/{nmap}").exists()
    entry = wrapper.entry()
    ended = (
        {"signal": signal.Signals(-plain.returncode).name} if plain.returncode < 0 else {"exit_code": plain.returncode}
    )
    assert {name: entry[name] for name in ("signal", "exit_code") if name in entry} == ended


def test_a_signal_to_the_whole_group_ends_both(wrapper):
    ours = wrapper.start(*SLOW, process_group=0)
    os.killpg(ours.pid, signal.SIGINT)
    ours.communicate(timeout=30)
    assert ours.returncode == -signal.SIGINT
    assert wrapper.entry()["signal"] == "SIGINT"


def test_killing_nmap_is_seen_and_told_on(wrapper):
    ours = wrapper.start("--stats-every", "200ms", *SLOW)
    eventually(lambda: wrapper.xml().stat().st_size > 0)
    os.kill(wrapper.child(ours.pid), signal.SIGKILL)
    ours.communicate(timeout=30)
    assert ours.returncode == -signal.SIGKILL
    entry = wrapper.entry()
    assert entry["signal"] == "SIGKILL"
    assert "exit_code" not in entry
    (output,) = entry["outputs"]
    assert output["state"] == "present"
    assert b"</nmaprun>" not in wrapper.xml().read_bytes()


def test_killing_us_leaves_nmap_to_finish_its_work(wrapper):
    ours = wrapper.start("-sT", "-n", "-Pn", "-p", "1-20", "--scan-delay", "100ms", "127.0.0.1")
    nmap = wrapper.child(ours.pid)
    ours.kill()
    ours.wait()
    eventually(lambda: not Path(f"/proc/{nmap}").exists() or state(nmap) == "Z")
    assert b"Nmap done" in ours.stdout.read()
    assert wrapper.entry("start.json")["argv"][0] == "nmap"
    assert not wrapper.entries("end.json")
    assert wrapper.xml().read_bytes().rstrip().endswith(b"</nmaprun>")


def test_what_passes_through_goes_on_too_when_we_are_killed(wrapper):
    ours = subprocess.Popen(
        wrapper.command("-sT", "-n", "-Pn", "-p", "1-20", "--scan-delay", "100ms", "-oX", "-", "127.0.0.1"),
        stdout=subprocess.PIPE,
    )
    assert ours.stdout.readline().startswith(b"<?xml")
    ours.kill()
    ours.wait()
    assert ours.stdout.read().rstrip().endswith(b"</nmaprun>")
    assert wrapper.xml().read_bytes().rstrip().endswith(b"</nmaprun>")


def test_stopping_us_stops_nmap_and_going_on_goes_on(wrapper):
    ours = wrapper.start(*SLOW, process_group=0)
    nmap = wrapper.child(ours.pid)
    os.kill(ours.pid, signal.SIGTSTP)
    eventually(lambda: state(nmap) == "T" and state(ours.pid) == "T")
    os.kill(ours.pid, signal.SIGCONT)
    eventually(lambda: state(nmap) in "SR" and state(ours.pid) in "SR")
    ours.terminate()
    ours.communicate(timeout=30)


def test_stopping_nmap_alone_does_not_stop_us_in_the_background(wrapper):
    ours = wrapper.start(*SLOW)
    nmap = wrapper.child(ours.pid)
    os.kill(nmap, signal.SIGSTOP)
    eventually(lambda: state(nmap) == "T")
    time.sleep(0.2)
    assert state(ours.pid) == "S"
    os.kill(nmap, signal.SIGCONT)
    ours.terminate()
    ours.communicate(timeout=30)
    assert len(wrapper.entries()) == 1


def test_ignored_signals_stay_ignored(wrapper):
    ours = wrapper.start(*SLOW, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    nmap = wrapper.child(ours.pid)
    ours.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert ours.poll() is None
    ignored = int(re.search(rb"SigIgn:\s*(\w+)", Path(f"/proc/{nmap}/status").read_bytes())[1], 16)
    assert ignored >> (signal.SIGHUP - 1) & 1
    ours.terminate()
    ours.communicate(timeout=30)


def test_nmap_gets_the_signals_that_python_ignores_for_itself(wrapper):
    plain, ours = bare(), wrapper.start(*SLOW)
    nmap = wrapper.child(ours.pid)

    def masks(pid):
        found = re.findall(rb"(SigBlk|SigIgn):\s*(\w+)", Path(f"/proc/{pid}/status").read_bytes())
        return [(name, int(mask, 16) & ~(3 << 31)) for name, mask in found]  # 32 and 33 are glibc's own

    eventually(lambda: masks(plain.pid) == masks(nmap))  # nmap ignores some itself, a little later
    for process in (plain, ours):
        process.terminate()
        process.communicate(timeout=30)


class Terminal:
    """A shell-less session on a terminal of its own, with the wrapper in the foreground."""

    def __init__(self, command, **environment):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, dict(os.environ) | environment)
        self.said = b""

    def until(self, wanted, seconds=20):
        end = time.monotonic() + seconds
        while wanted not in self.said:
            ready, _, _ = select.select([self.master], [], [], max(end - time.monotonic(), 0))
            assert ready, f"{wanted!r} did not come, but {self.said!r}"
            try:
                self.said += os.read(self.master, 4096)
            except OSError:
                raise AssertionError(f"ended without {wanted!r}, with {self.said!r}") from None

    def type(self, keys):
        os.write(self.master, keys)

    def end(self):
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.master)
        return os.waitstatus_to_exitcode(status)


def test_keys_reach_nmap(wrapper):
    terminal = Terminal(wrapper.command(*SLOW))
    terminal.until(b"Starting Nmap")
    time.sleep(0.3)
    terminal.type(b"v")
    terminal.until(b"Verbosity Increased to 1")
    terminal.type(b"d")
    terminal.until(b"Debugging Increased to 1")
    terminal.type(b"D")
    terminal.until(b"Debugging Decreased to 0")
    terminal.type(b"p")
    terminal.until(b"Packet Tracing enabled")
    terminal.type(b" ")
    terminal.until(b"Stats: ")
    terminal.type(b"\x03")
    assert terminal.end() == -signal.SIGINT
    entry = wrapper.entry()
    assert entry["signal"] == "SIGINT"
    assert entry["interactive"] is True
    assert re.fullmatch(r"pts/\d+", entry["terminal"])


def test_a_shell_sees_it_stop_and_has_it_go_on(wrapper):
    """Control-Z in a shell with job control, `jobs`, `fg`."""
    terminal = Terminal(["/bin/bash", "--norc", "--noprofile", "-i"], PS1="shell> ")
    terminal.until(b"shell> ")
    script = wrapper.spool.parent / "scan"
    words = " ".join(f"'{word.replace(chr(39), chr(34))}'" for word in wrapper.command(*SLOW))
    script.write_text(f"exec {words}\n")
    terminal.type(f"bash {script}\n".encode())
    terminal.until(b"Starting Nmap")
    time.sleep(0.3)
    terminal.type(b"\x1a")
    terminal.until(b"Stopped")
    nmap = wrapper.entry("start.json")["pid"]
    assert state(nmap) == "T"
    terminal.type(b"fg\n")
    eventually(lambda: state(nmap) in "SR")
    time.sleep(0.3)
    terminal.type(b"\x03")
    eventually(wrapper.entries)
    terminal.type(b"echo code $?\n")
    terminal.until(b"code 130")
    terminal.type(b"exit\n")
    terminal.end()
    assert wrapper.entry()["signal"] == "SIGINT"
