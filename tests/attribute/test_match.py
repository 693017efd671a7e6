"""What proves who made a scan is what its user could not have made up."""

from dataclasses import replace

import pytest

from forwarder.attribute import match, merge
from forwarder.attribute.model import MAX_PARTS, Known, Subject, combine, from_json, known, to_json
from forwarder.attribute.words import words
from forwarder.audit.entry import CLAIMED_EFFECTIVE
from forwarder.audit.interface import Execution, Output, User

ARGV = ("nmap", "-sS", "-oX", "/srv/s.xml", "192.0.2.1")
ALICE, BOB, ROOT = User("1000", "alice"), User("1001", "bob"), User("0", "root")
SHA = "ab" * 32
RAN = Execution("sudo", "1", ARGV, "2026-03-02T09:12:56.100Z", host="box", sudo_user="alice", real=ROOT, effective=ROOT)
ENTRY = Execution(
    *("run", "2", ARGV, "2026-03-02T09:12:56.100Z"),
    host="box",
    real=ALICE,
    effective=ALICE,
    outputs=(Output("/srv/s.xml", "xml", "present", SHA),),
)
SCAN = Subject("s", words(ARGV), 1772442776.0, None, SHA, "/srv/s.xml", "1000")


def answer(run: Execution | Known, scan: Subject = SCAN) -> tuple[str, tuple[str, ...]]:
    item = run if isinstance(run, Known) else known(run)
    found = match.assign([scan], [item], "box")["s"]
    return found.confidence, found.reasons


@pytest.mark.parametrize(("trusted", "confidence"), [(True, "strong"), (False, "weak"), (None, "weak")])
def test_sudo_is_believed_where_only_root_could_write_it(trusted, confidence):
    run = replace(RAN, trusted=trusted)
    assert answer(run)[0] == confidence
    stored = Known("e", [from_json(part) for part in to_json(known(run))["parts"]])
    assert answer(stored)[0] == confidence
    assert stored.strong is combine(stored.parts).strong is (trusted is True)


def test_an_untrusted_sighting_takes_nothing_from_a_strong_one():
    item = known(replace(ENTRY, source="auditd", outputs=()))
    item.add(replace(RAN, trusted=False))
    assert item.strong
    assert item.whole.strong


def test_what_was_refused_made_nothing():
    assert answer(replace(RAN, trusted=True, policy_action="refused")) == ("none", ("no execution fits",))


def test_a_refusal_is_not_of_what_ran():
    """Else whoever is refused first could run what he likes, and none of its scans would be his."""
    ran = replace(RAN, source="auditd", identity="3", pid=7, login=ALICE)
    refused = replace(RAN, policy_action="refused", pid=7)
    assert merge.find(refused, [known(ran)]) is None
    assert merge.find(replace(ran, source="sudo-io"), [known(refused)]) is None


@pytest.mark.parametrize("trusted", [True, False])
def test_sudos_line_is_of_what_the_kernel_saw_and_two_lines_are_of_two(trusted):
    item = known(replace(ENTRY, source="auditd", pid=7, login=ALICE, real=ROOT, effective=ROOT))
    line = replace(RAN, trusted=trusted, real=User(), effective=User())
    assert merge.find(line, [item]) is item
    item.add(line)
    assert merge.find(replace(line, identity="5"), [item]) is None
    assert merge.find(replace(line, identity="5", log_path="/var/log/sudo.json"), [item]) is item


def test_the_hash_of_ones_own_output_is_exact():
    assert answer(ENTRY) == ("exact", ("output-hash", "time"))
    assert answer(replace(ENTRY, real=ROOT, effective=ROOT), replace(SCAN, uid="0"))[0] == "exact"


@pytest.mark.parametrize("uid", ["1001", "0", ""])
def test_the_hash_of_anothers_output_is_not(uid):
    liar = replace(ENTRY, effective=ROOT, problems=(CLAIMED_EFFECTIVE,))
    confidence, reasons = answer(liar, replace(SCAN, uid=uid))
    assert confidence == "strong"
    assert "output is another user's" in reasons
    assert answer(replace(liar, argv=("nmap", "x")), replace(SCAN, uid=uid)) == (
        "weak",
        ("output-hash", "output is another user's"),
    )


CHANGED = replace(SCAN, sha256="cd" * 32, finish=1772442778.0)


def test_a_file_that_is_not_as_the_wrapper_saw_it_was_altered():
    assert match.altered(CHANGED, [known(ENTRY)], "box")
    assert not match.altered(replace(CHANGED, sha256=SHA), [known(ENTRY)], "box")


@pytest.mark.parametrize(
    ("scan", "entry"),
    [
        ({"finish": None}, {}),  # nmap was still writing
        ({"path": "/srv/t.xml"}, {}),
        ({"uid": "1001"}, {}),  # of a file of bob's, alice may say what she likes
        ({"words": words(("nmap", "192.0.2.2"))}, {}),
        ({"start": CHANGED.start + 4}, {}),  # that was the next one to write there
        ({}, {"outputs": (Output("/srv/s.xml", "xml"),)}),
        ({}, {"host": "other"}),
        ({}, {"end": "2026-03-02T09:13:56.100Z"}),
    ],
)
def test_what_may_not_be_that_file_was_not(scan, entry):
    assert not match.altered(replace(CHANGED, **scan), [known(replace(ENTRY, **entry))], "box")


def test_the_kernel_makes_an_entry_worth_believing_of_anothers_file():
    item = known(ENTRY)
    item.add(replace(ENTRY, source="auditd", login=ALICE, outputs=()))
    assert match.altered(replace(CHANGED, uid="1001"), [item], "box")


def test_a_file_that_another_execution_wrote_next_was_not_altered():
    later = replace(
        ENTRY, identity="9", start="2026-03-02T09:13:56.100Z", outputs=(Output("/srv/s.xml", "xml", "", "cd" * 32),)
    )
    assert not match.altered(CHANGED, [known(ENTRY), known(later)], "box")


def test_the_owner_is_told_from_who_claims_his_output():
    liar, owner = known(ENTRY), known(replace(ENTRY, identity="6", real=BOB, effective=BOB))
    found = match.assign([replace(SCAN, uid="1001")], [liar, owner], "box")["s"]
    assert (found.confidence, found.executions) == ("exact", (owner.entity_id,))


def test_the_kernel_tells_that_an_output_is_roots():
    item = known(ENTRY)
    item.add(replace(ENTRY, source="auditd", login=ALICE, real=ALICE, effective=ROOT, outputs=()))
    assert answer(item, replace(SCAN, uid="0"))[0] == "exact"


def test_the_spools_pair_of_names_needs_no_owner():
    scan = replace(SCAN, uid="", spool_id=ENTRY.identity)
    assert answer(ENTRY, scan) == ("exact", ("spool",))


# --- users who write entries against their own runs, or other users' ---------------------------------------

KERNEL = Execution(
    *("auditd", "9:9", ARGV, "2026-03-02T09:12:56.050Z"),
    host="box",
    executable="/usr/bin/nmap",
    pid=7,
    ppid=6,
    login=ALICE,
    real=ALICE,
    effective=ALICE,
)
WRAPPED = replace(ENTRY, pid=7, wrapper_pid=6, login=ALICE, outputs=())


def merged(*parts: Execution) -> Known:
    """All that is read, one after the other; it is one execution."""
    item = known(parts[0])
    for part in parts[1:]:
        assert merge.find(part, [item]) is item
        item.add(part)
    return item


REFUSED = replace(WRAPPED, identity="lie", policy_action="refused")


@pytest.mark.parametrize(
    "parts",
    [
        (KERNEL, REFUSED),
        (REFUSED, KERNEL),
        (WRAPPED, REFUSED),
        (REFUSED, WRAPPED),
        (WRAPPED, replace(REFUSED, identity=WRAPPED.identity)),  # its end, written by the user himself
        (KERNEL, replace(WRAPPED, end="2026-03-02T08:00:00.000Z")),
        (KERNEL, replace(WRAPPED, host="other", identity="lie")),
    ],
)
def test_a_users_own_entry_does_not_hide_his_run(parts):
    items = []
    for part in parts:
        if found := merge.find(part, items):
            found.add(part)
        else:
            items.append(known(part))
    found = match.assign([replace(SCAN, finish=1772442780.0)], items, "box")["s"]
    assert found.confidence != "none"
    assert found.executions


def test_many_entries_of_a_user_leave_room_for_what_the_kernel_saw():
    item = merged(*(replace(REFUSED, identity=str(n)) for n in range(50)), KERNEL)
    assert len(item.parts) == MAX_PARTS
    assert KERNEL in item.parts
    assert answer(item)[0] != "none"


def test_a_contradicted_refusal_is_said():
    item = merged(KERNEL, REFUSED)
    assert item.whole.policy_action == ""
    assert "said to be refused, but ran" in item.whole.problems


def test_a_refusal_that_a_shell_remembers_is_one():
    item = merged(REFUSED, Execution("history", "h", ARGV, "2026-03-02T09:12:56Z", login=ALICE))
    assert item.whole.policy_action == "refused"
    assert answer(item)[0] == "none"


def test_a_claim_that_words_were_cut_does_not_give_a_run_other_words():
    lie = replace(WRAPPED, argv=("nmap", "innocent"), problems=(merge.CUT,))
    assert merge.find(lie, [known(KERNEL)]) is None


def test_another_users_entry_of_the_same_id_is_another_execution():
    """Ids of entries are no secret: they stand in nmap's command line."""
    lie = replace(WRAPPED, login=User(), real=BOB, effective=BOB, reason="innocent")
    item = known(WRAPPED)
    assert merge.find(lie, [item]) is None
    item.add(lie)
    assert [part.real for part in item.parts] == [ALICE, BOB]
    scan = replace(SCAN, spool_id=WRAPPED.identity, spool_uid=ALICE.id)
    found = match.assign([scan], [known(WRAPPED), replace_entity(known(lie))], "box")["s"]
    assert (found.confidence, found.executions) == ("exact", (known(WRAPPED).entity_id,))


def replace_entity(item: Known) -> Known:
    return Known("other", item.parts)
