"""What docs/PULL.md and the help say of pulling is so."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from forwarder.cli import parser
from forwarder.cli.pull import EPILOG
from forwarder.pull import table

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/PULL.md").read_text()


def test_the_commands_print_what_the_page_says(tmp_path):
    shutil.copytree(ROOT / "tests/fixtures/archive-v1", tmp_path / "x")
    (tmp_path / "nmap-forwarder").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m forwarder "$@"\n')
    (tmp_path / "nmap-forwarder").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    environment["NMAP_FORWARDER_STATE_DIR"] = str(tmp_path / "none")
    (session,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    steps = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", session, re.MULTILINE)
    assert len(steps) == 4
    for command, output in steps:
        result = subprocess.run(
            ["bash", "-c", command], check=False, capture_output=True, text=True, cwd=tmp_path / "x", env=environment
        )
        assert result.stdout + result.stderr == output, command


def test_the_page_has_all_columns():
    for name, columns in table.COLUMNS.items():
        cells = ", ".join(f"{column} (`{field}`)" for column, field in columns)
        assert f"- **{name}**: {cells}\n" in PAGE
    assert ", ".join(f"{column} (`{field}`)" for column, field in table.ABOUT) + ":\n" in PAGE


def test_the_fields_of_the_columns_are_fields_of_records():
    known = set(re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/FIELDS.md").read_text(), re.MULTILINE))
    for name in table.COLUMNS:
        assert {field for _, field in table.columns(name)} <= known


def test_the_examples_in_the_help_are_valid():
    commands = re.findall(r"nmap-forwarder (pull [^#\n]*)", EPILOG)
    assert len(commands) == 4
    for command in commands:
        assert parser().parse_args(command.split()).key == ["scanner1.vkey"]
