"""README and docs name commands, options, settings, targets and files that are there."""

import re
import shlex
from pathlib import Path

import pytest

from forwarder import wrap
from forwarder.cli import parser
from forwarder.config.key import ENVIRONMENT
from forwarder.config.keys import KEYS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
COMMAND = re.compile(r"^(?:    )?(?:\$ )?(?:[^`]* \| |sudo )?(nmap-forwarder [a-z].*)$", re.MULTILINE)


def blocks(text: str) -> str:
    """What is shown as code, in fences or indented."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"^    .*$", text, re.MULTILINE)])


COMMANDS = [line for page in PAGES for line in COMMAND.findall(blocks(page.read_text()))]


def words(line: str) -> list[str]:
    """The words of a command, up to where the shell has the next or a file."""
    found = shlex.split(line, comments=True)
    end = next((index for index, word in enumerate(found) if word in {"|", ">", "&&"}), len(found))
    return found[1:end]


@pytest.mark.parametrize("line", dict.fromkeys(COMMANDS))
def test_a_command_in_the_pages_is_understood(line):
    assert parser().parse_args(words(line)).run


def test_the_readme_tells_of_each_command():
    (commands,) = (action.choices for action in parser()._actions if isinstance(action.choices, dict))
    readme = (ROOT / "README.md").read_text()
    assert [name for name in commands if not re.search(rf"`{name}\b", readme)] == []
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?://)([^)#]*)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_settings_in_the_pages_are_known():
    variables = {ENVIRONMENT + "CONFIG", wrap.GUARD, wrap.REASON, wrap.TICKET} | {key.variable for key in KEYS}
    assert set(re.findall(r"\bNMAP_FORWARDER_[A-Z0-9_]*[A-Z0-9]\b", TEXT)) <= variables
    also_files_and_fields = {"key", "observer", "records", "scan"}
    tables = {key.name.partition(".")[0] for key in KEYS if "." in key.name} - also_files_and_fields
    said = {name for name in re.findall(r"`([a-z0-9]+\.(?!json`)[a-z_]+)`", TEXT) if name.partition(".")[0] in tables}
    assert said - {key.name for key in KEYS} == set()


def test_targets_of_make_in_the_pages_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^    )make ([a-z]+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
