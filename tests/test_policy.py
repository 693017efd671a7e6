"""The policy: what is allowed, flagged and refused, and for whom."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forwarder.config import Settings
from forwarder.errors import UsageError
from forwarder.nmap.command import parse
from forwarder.policy import Judgement, judge, when

ROOT = Path(__file__).parents[1]
POLICY = """
[policy]
require_reason = "flag"
require_ticket = "refuse"
ticket_pattern = "SEC-[0-9]+"
scopes = ["192.0.2.0/25", "192.0.2.128/25", "2001:db8::/32", "*.example.com"]
outside_scope = "refuse"
forbid = ["script:exploit", "script:brute", "evasion:decoys", "option:--spoof-mac", "risk:critical"]
forbidden = "refuse"
scanners = ["alice", "%pentest"]
hours = ["mon-fri 08:00-18:00", "fri-sat 22:00-02:00"]
timezone = "Europe/Berlin"

[policy.users.alice]
forbidden = "flag"

[policy.users.root]
require_ticket = "none"
unlisted = "refuse"

[policy.groups.pentest]
forbid = ["script:dos"]
scopes = ["0.0.0.0/0"]
"""


@pytest.fixture
def settings(tmp_path):
    def read(text: str = POLICY) -> Settings:
        file = tmp_path / "config.toml"
        file.write_text(text)
        return Settings({}, str(file), {})

    return read


def judged(settings, words: str, user="alice", groups=(), reason="why", ticket="SEC-1") -> Judgement:
    return judge(parse(["nmap", *words.split()]), user, groups, reason, ticket, settings)


def test_without_a_policy_everything_is_allowed(settings):
    assert judged(settings(""), "--script exploit 0.0.0.0/0", "", (), "", "") == Judgement()


@pytest.mark.parametrize(
    ("words", "change", "action", "reasons"),
    [
        ("192.0.2.7", {}, "allowed", ()),
        ("192.0.2.7", {"reason": " "}, "flagged", ("reason-missing",)),
        ("192.0.2.7", {"ticket": ""}, "refused", ("ticket-missing",)),
        ("192.0.2.7", {"ticket": "SEC-1x"}, "refused", ("ticket-malformed",)),
        ("192.0.2.7", {"user": "mallory"}, "flagged", ("user-unlisted",)),
        ("192.0.2.7", {"user": "root", "ticket": ""}, "refused", ("user-unlisted",)),
        ("192.0.2.7", {"user": "bob", "groups": ("pentest",)}, "allowed", ()),
        ("192.0.3.7", {}, "refused", ("outside-scope",)),
        ("192.0.3.7", {"user": "bob", "groups": ("pentest",)}, "allowed", ()),
        ("192.0.2.7 192.0.3.7", {}, "refused", ("outside-scope",)),
        ("other.example.net", {}, "flagged", ("scope-unknown",)),
        ("-iL list", {}, "flagged", ("scope-unknown",)),
        ("--script smb-brute 192.0.2.7", {}, "flagged", ("forbidden:script:brute",)),
        ("--script smb-br* 192.0.2.7", {}, "flagged", ("forbidden:script:brute",)),
        ("--spoof-m 0 192.0.2.7", {}, "flagged", ("forbidden:option:--spoof-mac",)),
        ("-D ME 192.0.2.7", {"user": "bob"}, "refused", ("user-unlisted", "forbidden:evasion:decoys")),
        ("-sC 192.0.2.7", {}, "allowed", ()),
        ("-A 192.0.2.7", {}, "allowed", ()),
        ("--script dos 192.0.2.7", {}, "flagged", ("forbidden:script:exploit", "forbidden:risk:critical")),
        ("--version", {"reason": "", "ticket": ""}, "allowed", ()),
        ("-h 192.0.3.7", {"ticket": ""}, "allowed", ()),
    ],
)
def test_points_of_the_policy(settings, monkeypatch, words, change, action, reasons):
    monkeypatch.setattr("forwarder.nmap.nse.PLACES", ())
    found = judged(settings(), words, **change)
    assert (found.action, found.reasons) == (action, reasons)


@pytest.mark.parametrize(
    ("words", "scope"),
    [
        ("192.0.2.0/24", "inside"),
        ("192.0.2.0/23", "outside"),
        ("192.0.2-3.1", "outside"),
        ("192.0.2.1-254", "inside"),
        ("-6 2001:db8::/64", "inside"),
        ("-6 2001:db9::1", "outside"),
        ("www.example.com", "inside"),
        ("WWW.Example.com.", "inside"),
        ("www.example.com/24", "unknown"),
        ("example.com.evil.test", "unknown"),
        ("192.0.2.1 other.test", "unknown"),
        ("192.0.2.1 other.test 192.0.3.1", "outside"),
        ("-iR 5", "outside"),
        ("--resume x", "unknown"),
        ("1-254.1-254.1-254.1", "outside"),
        ("-iL x 192.0.2.1", "unknown"),
        ("", "unknown"),
    ],
)
def test_scope(settings, words, scope):
    assert judged(settings(), words).scope == scope


def test_a_script_forbidden_by_its_category_may_not_come_in_with_another(settings, monkeypatch):
    monkeypatch.setattr("forwarder.nmap.nse.PLACES", ())
    rules = settings('[policy]\nforbid = ["script:exploit"]\nforbidden = "refuse"\n')
    assert judged(rules, "--script vuln h").action == "refused"
    assert judged(rules, "--script all h").action == "refused"
    assert judged(rules, "--script ./exploit.nse h").action == "refused"
    assert judged(rules, "--script safe h").action == "allowed"


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-03-02T07:30:00Z", (8, 1, "working")),
        ("2026-03-02T06:59:59Z", (7, 1, "off")),
        ("2026-03-02T17:00:00Z", (18, 1, "off")),
        ("2026-07-03T06:00:00Z", (8, 5, "working")),
        ("2026-03-07T00:30:00Z", (1, 6, "working")),
        ("2026-03-08T00:30:00Z", (1, 7, "working")),
        ("2026-03-08T01:30:00Z", (2, 7, "off")),
        ("2026-03-01T23:30:00Z", (0, 1, "off")),
    ],
)
def test_hours_and_days_are_those_of_the_configured_zone(settings, time, expected):
    assert when(datetime.fromisoformat(time), settings()) == expected


def test_without_hours_there_is_neither_working_nor_off(settings):
    assert when(datetime(2026, 3, 2, 7, 30, tzinfo=UTC), settings("")) == (7, 1, "")


def test_the_documented_policy_is_one(settings):
    (text,) = re.findall(r"```toml\n(\[policy\].*?)```", (ROOT / "docs/COMMANDS.md").read_text(), re.DOTALL)
    found = settings(text)
    assert found["policy.groups"]["pentest"]["policy.require_ticket"] == "none"
    assert judged(found, "192.0.2.1").action == "allowed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('hours = "mon-fri 8-18"', "policy.hours = .* hours such as"),
        ('hours = "mon-xyz 08:00-18:00"', "days among"),
        ('timezone = "Mars/Olympus"', "time zone"),
        ('ticket_pattern = "("', "regular expression"),
        ('scopes = ["192.0.2.1/24"]', "networks such as"),
        ('forbid = ["exploit"]', "rules such as"),
        ('forbid = ["option:--nonsense"]', "rules such as"),
        ('forbid = ["risk:extreme"]', "rules such as"),
        ('require_ticket = "maybe"', '"none" or "flag" or "refuse"'),
        ('[policy.users]\nalice = "x"', "a table for each name"),
        ("[policy.users.alice]\nhours = 3", "alice has hours"),
        ('[policy.users.alice]\nforbidden = "x"', "alice's forbidden"),
        ("users = 3", "a table for each name"),
    ],
)
def test_what_is_wrong_with_a_policy_is_said_by_key(settings, text, message):
    with pytest.raises(UsageError, match=message):
        settings(f"[policy]\n{text}\n")


def test_a_policy_by_environment(tmp_path):
    found = Settings(
        {},
        None,
        {
            "HOME": str(tmp_path),
            "NMAP_FORWARDER_POLICY_SCOPES": "192.0.2.0/24,*.x.test",
            "NMAP_FORWARDER_AUDIT_MASK": "",
        },
    )
    assert found["policy.scopes"] == ("192.0.2.0/24", "*.x.test")
    assert found["audit.mask"] == ()
