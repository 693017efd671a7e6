"""What nmap's caller sees is what it sees without us."""

import subprocess

import pytest
import wrapped
from wrapped import NMAP, steady

wrapper = wrapped.wrapper

CALLS = [
    [],
    ["--version"],
    ["-h"],
    ["-sL", "127.0.0.1"],
    ["-sT", "-p", "1-20", "127.0.0.1"],
    ["-sT", "-p", "1-20", "-oG", "-", "127.0.0.1"],
    ["-sT", "-p", "1-20", "-oN", "-", "127.0.0.1"],
    ["-sT", "-p", "1-20", "--reason", "-v", "-n", "127.0.0.1"],
    ["--no-such-option"],
    ["-p"],
    ["-p", "70000", "127.0.0.1"],
    ["-sL", "--", "127.0.0.1"],
    ["-sL", "-iL", "/no/such/list"],
    ["-sL", "-oX"],
    ["-sL", "-oXx.xml", "127.0.0.1"],
    ["-sL", "-oN", "/no/such/directory/x", "127.0.0.1"],
    ["-sL", "-oX", "/no/such/directory/x", "127.0.0.1"],
    ["-sX", "-oX", "-", "--resume", "x"],
    ["--resume", "/no/such/log"],
    ["--script-help", "http-title"],
    ["--script", "no-such-script", "127.0.0.1"],
    ["-sL", "no.such.host.invalid"],
    ["--iflist"],
    ["-sZZ", "127.0.0.1"],
    ["-sL", "\x1b[31m\n", "127.0.0.1"],
]


@pytest.mark.parametrize("args", CALLS, ids=lambda args: " ".join(args).encode("unicode_escape").decode() or "nothing")
def test_output_and_exit_code_are_those_of_nmap(wrapper, args, tmp_path):
    bare = subprocess.run(["nmap", *args], executable=NMAP, capture_output=True, cwd=tmp_path, check=False)
    ours = wrapper.run(*args, cwd=tmp_path)
    assert ours.returncode == bare.returncode
    assert steady(ours.stdout) == steady(bare.stdout)
    assert steady(ours.stderr) == steady(bare.stderr)
    entry = wrapper.entry()
    assert entry["argv"] == ["nmap", *args]
    assert entry["exit_code"] == bare.returncode
    assert "problems" not in entry


def test_standard_input_reaches_nmap(wrapper):
    ran = wrapper.run("-sL", "-n", "-iL", "-", input=b"127.0.0.7\n")
    assert b"127.0.0.7" in ran.stdout
    assert b"127.0.0.7" in wrapper.xml().read_bytes()


def test_the_environment_reaches_nmap(wrapper, tmp_path):
    ran = wrapper.run("127.0.0.1", env={"NMAP_ARGS": "-sL -n", "PATH": "/usr/bin"})
    assert b"scanned in" in ran.stdout
    assert wrapper.entry()["environment"] == ["NMAP_ARGS=-sL -n"]


def test_a_program_that_is_not_there_is_told_as_a_shell_does(wrapper, tmp_path):
    ran = wrapper.run("-sL", tool=str(tmp_path / "nmap"))
    assert ran.returncode == 127
    assert ran.stderr.count(b"\n") == 1
    assert wrapper.entry()["problems"] == ["program could not be started"]
    (tmp_path / "nmap").write_text("")
    assert wrapper.run("-sL", tool=str(tmp_path / "nmap")).returncode == 126


def test_an_inner_shim_leaves_recording_to_the_outer_one(wrapper, tmp_path):
    shim = tmp_path / "nmap"
    inner = wrapper.command()
    code = inner[4].replace("'", '"')
    shim.write_text(f"#!/bin/sh\nexec {inner[0]} -I -S -c '{code}' {NMAP} nmap \"$@\"\n")
    shim.chmod(0o755)
    assert wrapper.run("-sL", "127.0.0.1", tool=str(shim)).returncode == 0
    assert wrapper.entry()["executable"] == str(shim)


def test_a_broken_installation_still_runs_nmap(wrapper, tmp_path):
    command = wrapper.command("-sL", "127.0.0.1")
    broken = "import sys; sys.modules['json'] = None\n" + command[4]
    ran = subprocess.run([*command[:4], broken, *command[5:]], capture_output=True, check=False)
    assert ran.returncode == 0
    assert b"Nmap done" in ran.stdout
    assert not wrapper.entries()
