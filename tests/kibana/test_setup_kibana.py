"""Setting up Kibana, against a stand-in for it: what is installed, what is left, and what is said."""

import json
import re

import kibana_stand_in
import pytest

from forwarder.setup import kibana as room

OBJECT = {"type": "dashboard", "id": "nmap-a", "attributes": {"title": "A"}, "references": []}
RULE = {
    "rule_id": "5f0d3a52-8c1e-4f9b-9a63-1d2b7c4e6f80",
    "name": "R",
    "note": "See [A](/app/dashboards#/view/nmap-a).",
    "query": "a:b",
    "enabled": True,
    "tags": ["x"],
}


@pytest.fixture
def kibana():
    with kibana_stand_in.serving() as server:
        yield server


@pytest.fixture
def things(monkeypatch):
    """What is to be installed; tests change it as a new version of ours does."""
    found = [json.loads(json.dumps(OBJECT)), json.loads(json.dumps(RULE))]
    monkeypatch.setattr(room, "lines", lambda: map(json.dumps, found))
    return found


@pytest.fixture
def setup(forwarder, kibana, monkeypatch, capsys):
    """Runs the program here, where the things can be changed."""
    from forwarder.cli import main

    forwarder.init()
    monkeypatch.setenv("NMAP_FORWARDER_CONFIG", str(forwarder.directory / "config.toml"))
    monkeypatch.setenv("NMAP_FORWARDER_STATE_DIR", str(forwarder.directory / "state"))
    monkeypatch.setenv("NMAP_FORWARDER_KIBANA_API_KEY", "a2V5")
    monkeypatch.setenv("NMAP_FORWARDER_KIBANA_RETRY_SECONDS", "5")
    monkeypatch.setenv("NMAP_FORWARDER_KIBANA_URL", f"http://127.0.0.1:{kibana.port}")

    def run(*arguments):
        code = main(["setup", "kibana", *arguments])
        said = capsys.readouterr()
        return code, said.out.splitlines() + said.err.splitlines()

    return run


def test_all_that_is_shipped_is_installed_once(setup, kibana):
    code, said = setup()
    assert code == 0
    assert len(kibana.rules) >= 20
    assert len(kibana.rules) + len(kibana.objects) == len(room.things())
    writes = kibana.writes
    code, said = setup()
    assert (code, len(said)) == (0, 1)
    assert f": 0 of {len(room.things())} installed" in said[0]
    assert kibana.writes == writes


def test_a_dry_run_changes_nothing(setup, kibana, things):
    code, said = setup("--dry-run")
    assert (code, kibana.writes) == (0, 0)
    assert said[:2] == ["dashboard A: would be installed", "rule R: would be installed"]


def test_check_fails_as_long_as_something_is_missing(setup, kibana, things):
    assert setup("--check")[0] == 2
    assert kibana.writes == 0
    setup()
    assert setup("--check")[0] == 0


def test_what_a_person_changed_is_left_and_named_until_it_is_to_be_replaced(setup, kibana, things):
    setup()
    kibana.objects["default", "dashboard", "nmap-a"]["attributes"]["title"] = "Mine"
    kibana.rules["default", RULE["rule_id"]]["query"] = "a:c"
    code, said = setup()
    assert code == 0
    assert [line for line in said if "somebody changed it" in line] == said[:2]
    assert kibana.rules["default", RULE["rule_id"]]["query"] == "a:c"
    setup("--overwrite")
    assert kibana.objects["default", "dashboard", "nmap-a"]["attributes"]["title"] == "A"
    assert kibana.rules["default", RULE["rule_id"]]["query"] == "a:b"


def test_a_new_version_replaces_what_nobody_changed_and_keeps_what_operators_decided(setup, kibana, things):
    setup()
    rule = kibana.rules["default", RULE["rule_id"]]
    rule |= {"enabled": False, "exceptions_list": [{"id": "e"}], "execution_summary": {"last": 1}}
    things[1]["query"] = "a:d"
    code, said = setup()
    assert (code, said[0]) == (0, "rule R: replaced")
    rule = kibana.rules["default", RULE["rule_id"]]
    assert (rule["query"], rule["enabled"], rule["exceptions_list"]) == ("a:d", False, [{"id": "e"}])


def test_objects_installed_before_the_rules_were_refused_are_still_known_as_ours(setup, kibana, things):
    kibana.refused = RULE["rule_id"]
    assert setup()[0] == 2
    things[0]["attributes"]["title"] = "B"
    kibana.refused = ""
    assert "dashboard B: replaced" in setup()[1]
    assert kibana.objects["default", "dashboard", "nmap-a"]["attributes"]["title"] == "B"


def test_without_memory_what_differs_is_taken_for_changed(setup, kibana, things, forwarder):
    setup()
    (forwarder.directory / "state" / "kibana.json").unlink()
    assert setup()[1][-1].endswith("0 of 2 installed")
    things[1]["query"] = "a:d"
    assert "somebody changed it" in setup()[1][0]


def test_each_space_has_objects_of_its_own_which_name_each_other(setup, kibana):
    setup()
    assert setup("--space", "soc")[0] == 0
    assert setup("--space", "soc", "--check")[0] == 0
    places = {space: {key[1:] for key in kibana.objects if key[0] == space} for space in ("default", "soc")}
    assert places["soc"] == {(kind, f"{name}-soc") for kind, name in places["default"]}
    for (space, kind, _), found in kibana.objects.items():
        assert {(one["type"], one["id"]) for one in found["references"]} <= places[space]
        for name in re.findall(r"#/view/([a-z-]+)", json.dumps(found)):
            assert ("dashboard", name) in places[space]
        if kind == "index-pattern":
            assert not found["attributes"]["title"].endswith("-soc")


def test_a_space_that_is_not_there_is_told_before_anything_is_written(setup, kibana, things):
    code, said = setup("--space", "sco")
    assert (code, kibana.writes, len(said)) == (2, 0, 1)
    assert "/s/sco: there is no such space" in said[0]


def test_links_in_notes_lead_to_the_space_that_the_rule_is_in(setup, kibana, things):
    setup()
    setup("--space", "soc")
    notes = {space: rule["note"] for (space, _), rule in kibana.rules.items()}
    assert notes["default"] == "See [A](/app/dashboards#/view/nmap-a)."
    assert notes["soc"] == "See [A](/s/soc/app/dashboards#/view/nmap-a-soc)."
    assert setup("--space", "soc")[1][-1].endswith(": 0 of 2 installed")


def test_a_kibana_that_starts_is_waited_for(setup, kibana, things):
    kibana.away = 2
    assert setup()[0] == 0


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"key": "other"}, 2, "refuses our credentials"),
        ({"version": "8.11.4"}, 2, "is Kibana 8.11.4"),
        ({"version": "soon"}, 2, "does not answer like Kibana"),
        ({"away": 1000}, 75, "answered 503"),
        ({"refused": RULE["rule_id"]}, 2, "did not take rule 5f0d3a52-8c1e-4f9b-9a63-1d2b7c4e6f80: no such thing"),
        ({"refused": "nmap-a"}, 2, "did not take dashboard nmap-a"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(setup, kibana, things, change, code, words):
    for name, value in change.items():
        setattr(kibana, name, value)
    found, said = setup()
    assert found == code
    assert words in said[-1]
    assert "a2V5" not in "\n".join(said)


def test_no_key_and_a_file_without_certificates_are_told_as_what_they_are(setup, things, monkeypatch, forwarder):
    monkeypatch.delenv("NMAP_FORWARDER_KIBANA_API_KEY")
    assert "wants credentials (401)" in setup()[1][-1]
    empty = forwarder.directory / "ca.pem"
    empty.write_text("no certificate\n")
    code, said = setup("--kibana-ca-file", str(empty))
    assert (code, len(said)) == (2, 1)
    assert "ca.pem holds no certificates that can be read" in said[0]


def test_nobody_there_and_nowhere_to_go(setup, kibana, things, monkeypatch):
    monkeypatch.setenv("NMAP_FORWARDER_KIBANA_RETRY_SECONDS", "0")
    assert setup("--kibana", "http://127.0.0.1:9")[0] == 75
    monkeypatch.delenv("NMAP_FORWARDER_KIBANA_URL")
    assert setup()[0] == 2
    assert setup("--kibana", "ftp://x")[0] == 2
