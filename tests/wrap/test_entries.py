"""The spool cannot be written, is full, is a link; arguments are hostile. nmap runs, and what can be written is."""

import os
import subprocess
import sys

import pytest
import wrapped

from forwarder.audit.entry import parse

wrapper = wrapped.wrapper
LIST = ("-sL", "-n", "127.0.0.1")


def test_both_files_are_what_the_service_reads(wrapper):
    wrapper.run(*LIST)
    for kind in ("start.json", "end.json"):
        (path,) = wrapper.spool.glob(f"*.{kind}")
        execution = parse(path.read_bytes(), path.name.partition(".")[0], os.getuid())
        assert execution.argv == ("nmap", *LIST)
        assert execution.executable.endswith("/nmap")
        assert execution.pid > 0
    assert execution.exit_code == 0
    assert execution.version
    assert execution.start <= execution.end
    assert not execution.problems


def test_a_missing_spool_is_silent_and_harmless(wrapper):
    wrapper.spool.rmdir()
    ran = wrapper.run(*LIST)
    assert ran.returncode == 0
    assert b"Nmap done" in ran.stdout
    assert ran.stderr == b""


def test_a_full_file_system(wrapper):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=1733", "x", wrapper.spool], check=False)
    if mounted.returncode:
        pytest.skip("may not mount a file system")
    try:
        (wrapper.spool / "full").write_bytes(b"x" * 4096)
        ran = wrapper.run(*LIST)
        assert (ran.returncode, ran.stderr) == (0, b"")
        assert b"Nmap done" in ran.stdout
        assert not list(wrapper.spool.glob("*.json*"))
    finally:
        subprocess.run(["umount", wrapper.spool], check=True)


def test_a_spool_that_is_a_link_is_written_where_it_leads(wrapper, tmp_path):
    """Its parent is root's; who may change that may do anything."""
    other = tmp_path / "other"
    other.mkdir()
    wrapper.spool.rmdir()
    wrapper.spool.symlink_to(other)
    wrapper.run(*LIST)
    assert len(list(other.iterdir())) == 3


def test_a_file_that_is_there_is_not_written_over(tmp_path):
    from forwarder.wrap.entry import Entry

    entry = Entry(str(tmp_path))
    target = tmp_path / "target"
    target.write_text("kept")
    (tmp_path / f"{entry.identity}.xml").symlink_to(target)
    (tmp_path / f"{entry.identity}.start.json.part").symlink_to(target)
    for attempt in (lambda: entry.create(entry.path("xml")), lambda: entry.write("start.json", {})):
        with pytest.raises(FileExistsError):
            attempt()
    assert target.read_text() == "kept"


@pytest.mark.parametrize(
    "word",
    ["a\nb", "\x1b[2J\x07", "\u202egpj", "é漢", "x" * 100_000, "<!--&\"'>", "\\udc80"],
    ids=["newline", "escape", "bidi", "unicode", "long", "markup", "backslash"],
)
def test_hostile_words_are_kept_as_they_are(wrapper, word):
    ran = wrapper.run("-sL", "-n", word)
    assert b"\nnmap-forwarder" not in ran.stderr
    entry = wrapper.entry()
    assert entry["argv"] == ["nmap", "-sL", "-n", word]
    (path,) = wrapper.spool.glob("*.end.json")
    assert path.read_bytes().isascii()
    assert b"\n" not in path.read_bytes()


def test_bytes_that_are_no_text_are_kept(wrapper):
    command = [os.fsencode(word) for word in wrapper.command("-sL", "-n")]
    subprocess.run([*command, b"\xff\xfe", b"--script-args=x=\x80"], capture_output=True, check=False)
    assert [os.fsencode(word) for word in wrapper.entry()["argv"][3:]] == [b"\xff\xfe", b"--script-args=x=\x80"]


def test_as_many_words_as_the_system_takes(wrapper):
    """Ours come on top: when that is too much, nmap runs with the user's alone."""
    words = ["127.0.0.1"] * 100_000
    assert wrapper.run("-sL", "-n", "--version", *words).returncode == 0
    assert len(wrapper.entry()["argv"]) == 100_004


def test_names_are_not_to_be_guessed(wrapper):
    wrapper.run(*LIST)
    wrapper.run(*LIST)
    first, second = (entry["id"] for entry in wrapper.entries())
    assert first != second
    assert len(first) == 32


def test_a_failure_is_written_down(wrapper):
    wrapper.config = wrapper.spool.parent / "config.toml"
    wrapper.config.write_text("[policy\n")
    ran = wrapper.run(*LIST)
    assert (ran.returncode, ran.stderr) == (0, b"")
    (problem,) = wrapper.entry()["problems"]
    assert problem.startswith("forwarder failed: configuration: ")


def test_the_shims_script_runs_nmap(tmp_path):
    script = wrapped.ROOT / "forwarder" / "wrap" / "shim.py"
    command = [sys.executable, "-I", "-S", str(script), wrapped.NMAP, "nmap", "-sL", "-n", "127.0.0.1"]
    ran = subprocess.run(command, capture_output=True, check=False)
    assert ran.returncode == 0
    assert b"Nmap done" in ran.stdout
