"""Outputs stay the user's; we have the same bytes."""

import os
import subprocess
import threading
from hashlib import sha256

import pytest
import wrapped
from wrapped import NMAP

from forwarder.nmap.command import parse
from forwarder.wrap import outputs

wrapper = wrapped.wrapper
SCAN = ("-sT", "-n", "-p", "1-5", "127.0.0.1")


def digest(path):
    return sha256(path.read_bytes()).hexdigest()


def files(directory):
    return sorted(path.name for path in directory.iterdir() if path.name != "spool")


def test_without_an_option_the_result_is_in_the_spool(wrapper, tmp_path):
    wrapper.run(*SCAN, cwd=tmp_path)
    entry = wrapper.entry()
    assert entry["outputs"] == [
        {
            "path": str(wrapper.xml()),
            "format": "xml",
            "state": "present",
            "size": wrapper.xml().stat().st_size,
            "sha256": digest(wrapper.xml()),
        }
    ]
    assert wrapper.xml().read_bytes().rstrip().endswith(b"</nmaprun>")
    assert entry["argv"] == ["nmap", *SCAN]
    assert wrapper.xml().name == f"{entry['id']}.xml"
    assert (
        entry["tool_version"] in subprocess.run([NMAP, "--version"], capture_output=True, text=True, check=True).stdout
    )
    assert not files(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in wrapper.spool.iterdir()} == {0o600}


@pytest.mark.parametrize("option", [["-oX", "a.xml"], ["--oX=a.xml"], ["-oX", "never.xml", "-oX", "a.xml"]])
def test_the_users_file_is_kept_and_copied(wrapper, tmp_path, option):
    wrapper.run(*option, *SCAN, cwd=tmp_path)
    assert files(tmp_path) == ["a.xml"]
    assert wrapper.xml().read_bytes() == (tmp_path / "a.xml").read_bytes()
    (output,) = wrapper.entry()["outputs"]
    assert output["path"] == str(tmp_path / "a.xml")
    assert output["sha256"] == digest(tmp_path / "a.xml")
    assert str(wrapper.spool).encode() not in wrapper.xml().read_bytes()


def test_all_formats(wrapper, tmp_path):
    wrapper.run("-oA", "all", "-oS", "kiddie", *SCAN, cwd=tmp_path)
    found = {output["format"]: output for output in wrapper.entry()["outputs"]}
    names = {"xml": "all.xml", "normal": "all.nmap", "grepable": "all.gnmap", "script-kiddie": "kiddie"}
    assert {kind: output["path"] for kind, output in found.items()} == {
        kind: str(tmp_path / name) for kind, name in names.items()
    }
    assert all(output["sha256"] == digest(tmp_path / names[kind]) for kind, output in found.items())
    assert wrapper.xml().read_bytes() == (tmp_path / "all.xml").read_bytes()


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_xml_on_standard_output_passes_through(wrapper, name, tmp_path):
    ran = wrapper.run("-oX", name, *SCAN)
    assert ran.returncode == 0
    assert ran.stdout == wrapper.xml().read_bytes()
    assert {output["path"] for output in wrapper.entry()["outputs"]} == {name, str(wrapper.xml())}


def test_a_reader_that_goes_away_does_not_hang_nmap(wrapper):
    command = wrapper.command("-oX", "-", "-sT", "-n", "-p", "1-2000", "-v", "-d", "127.0.0.1")
    ours = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    ours.stdout.readline()
    ours.stdout.close()
    assert ours.wait(timeout=60) is not None
    assert wrapper.entry()


def test_discarding_the_result_does_not_discard_ours(wrapper, tmp_path):
    wrapper.run("-oX", "/dev/null", *SCAN, cwd=tmp_path)
    discarded, ours = wrapper.entry()["outputs"]
    assert discarded == {"path": "/dev/null", "format": "xml", "state": "discarded"}
    assert ours["sha256"] == digest(wrapper.xml())


def test_a_name_with_the_time_in_it(wrapper, tmp_path):
    wrapper.run("-oX", "%%-%Y%m%d-%H%M%S-%T-%R-%D-%q.xml", *SCAN, cwd=tmp_path)
    (name,) = files(tmp_path)
    (output,) = wrapper.entry()["outputs"]
    assert output["path"] == str(tmp_path / name)
    assert output["state"] == "present"


def test_appending_and_resuming(wrapper, tmp_path):
    wrapper.run("-oA", "x", *SCAN, cwd=tmp_path)
    wrapper.run("-oX", "x.xml", "--append-output", *SCAN, cwd=tmp_path)
    first, second = sorted(wrapper.entries(), key=lambda entry: entry["start"])
    assert second["outputs"][0]["sha256"] == digest(tmp_path / "x.xml") != first["outputs"][0]["sha256"]
    for log in ("x.nmap", "x.xml"):
        for path in wrapper.spool.iterdir():
            path.unlink()
        ran = wrapper.run("--resume", log, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        assert {"path": "x.xml", "format": "xml"}.items() <= wrapper.entry()["outputs"][0].items()
        assert wrapper.xml().read_bytes() == (tmp_path / "x.xml").read_bytes()


def test_a_style_sheet_is_not_our_business(wrapper, tmp_path):
    wrapper.run("--stylesheet", "/x.xsl", "-oX", "a.xml", *SCAN, cwd=tmp_path)
    assert b'href="/x.xsl"' in wrapper.xml().read_bytes()


def test_what_does_not_scan_leaves_no_result(wrapper):
    for args in (["--version"], ["-h"], ["--iflist"], ["--script-help", "http-title"], []):
        wrapper.run(*args)
    assert len(wrapper.entries()) == 5
    assert not list(wrapper.spool.glob("*.xml"))
    assert not any("outputs" in entry for entry in wrapper.entries())


def test_a_named_pipe_is_left_to_its_reader(wrapper, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    wrapper.run("-oX", "pipe", *SCAN, cwd=tmp_path)
    reader.join(timeout=30)
    assert b"</nmaprun>" in read[0]
    assert wrapper.entry()["outputs"][0]["state"] == "unreadable"


def test_a_missing_and_an_unreadable_output(tmp_path):
    assert outputs.copy(str(tmp_path / "no")) == {"state": "missing"}
    assert outputs.copy(str(tmp_path)) == {"state": "unreadable"}
    assert outputs.copy(str(tmp_path / ("x" * 300))) == {"state": "unreadable"}


WORDS = [
    "-oX a h",
    "-oX=a h",
    "--oX a h",
    "--oX=a h",
    "-oX a -oX b h",
    "-oA a -oX b h",
    "-oX b -oA a h",
    "-sS -oN n -oG g -oS s h",
    "h -oX a",
    "-- -oX a",
    "h -oX",
    "-oX - h",
    "-p 80 h",
]


@pytest.mark.parametrize("line", WORDS)
def test_outputs_are_those_that_the_parser_of_command_lines_sees(line):
    """Two readers of one table: ours is quick to import, that one knows all of nmap's options."""
    options = parse(["nmap", *line.split()]).options
    seen = [
        (name.lstrip("-"), value) for name, value in options if name in {"-oX", "-oA", "-oN", "-oG", "-oS"} and value
    ]
    expected = []
    for name, value in seen:
        if name == "oA":
            expected += [(kind, value + suffix) for suffix, kind in outputs.ALL.items()]
        else:
            expected.append((outputs.FORMATS[name], value))
    assert [(output.format, output.path) for output in outputs.named(line.split())] == expected
