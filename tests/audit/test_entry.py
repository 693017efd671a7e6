"""Whatever users write into an entry, it is refused or becomes a record; nothing else comes of it."""

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder import commanding
from forwarder.attribute.model import from_json, known, to_json
from forwarder.audit.entry import ACTIONS, LISTS, TEXTS, EntryError, parse, received
from forwarder.audit.interface import sound
from forwarder.ecs import audit
from forwarder.ecs.check import problems
from forwarder.ecs.context import Options

ID, UID = "0" * 32, 20001
OPTIONS = Options(observer="box")
TIME = "2026-03-02T08:00:00.000Z"
ENDS = ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00.123456789Z")
PEER = {"uid": UID, "gid": UID, "pid": 7, "received": TIME, "started": TIME, "real": UID, "login": 1000}
TEXT = st.text(st.characters(exclude_categories=(), exclude_characters="\0"))
OF_FORM = {
    "end": st.sampled_from([TIME, *ENDS]),
    "policy_action": st.sampled_from(sorted(ACTIONS)),
    "remote_ip": st.sampled_from(["10.0.0.1", "::1", "fe80::1%eth0"]),
    "session": st.sampled_from(["0", "4294967295"]),
    "sha256": st.just("a" * 64),
    "signal": st.sampled_from(["SIGINT", "999"]),
}
NUMBER = st.integers(-1, (1 << 31) - 1)
USER = st.fixed_dictionaries({}, optional={"id": st.sampled_from(["", "0", "1000", "9999999999"]), "name": TEXT})
OUTPUT = st.fixed_dictionaries(
    {"path": TEXT}, optional={"format": TEXT, "state": st.just("present"), "size": NUMBER, "sha256": st.just("b" * 64)}
)
ENTRY = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "id": st.just(ID),
        "source": st.sampled_from(["shim", "run"]),
        "argv": st.lists(st.sampled_from(["nmap", "sudo", "-oX", "-iL", "/dev/zero", "-D"]) | TEXT, min_size=1),
        "start": st.sampled_from([TIME, *ENDS]),
    },
    optional={name: OF_FORM.get(name, TEXT) for name in TEXTS if name != "start"}
    | dict.fromkeys(LISTS, st.lists(TEXT, max_size=4))
    | dict.fromkeys(("pid", "ppid", "wrapper_pid"), NUMBER)
    | {"exit_code": st.integers(0, 255), "interactive": st.booleans(), "tool_version": TEXT}
    | dict.fromkeys(("login", "effective"), USER)
    | {"outputs": st.lists(OUTPUT, max_size=3)},
)
"""What the wrapper writes, in form; what is in it, anybody could have made up."""
ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=3)


@settings(max_examples=150, deadline=None)
@given(ENTRY, st.booleans())
def test_an_entry_in_form_becomes_a_record_whatever_it_says(said, sent):
    raw = json.dumps(PEER).encode() + b"\n" + json.dumps(said).encode()
    peer, entry = received(raw, UID)
    execution = sound(parse(entry, ID, UID, peer if sent else None))
    item = known(execution)
    line = audit.record(OPTIONS, item, commanding.understood(item.whole, OPTIONS), audit.Link(), "9" * 64)
    assert problems(json.loads(line)) == []
    stored = json.loads(json.dumps(to_json(item)))["parts"][0]
    assert from_json(stored) == replace(execution, raw=b"")


@given(ENTRY, st.data())
def test_a_member_of_another_form_is_refused_or_does_no_harm(said, data):
    said[data.draw(st.sampled_from(sorted(said)))] = data.draw(ANY)
    with contextlib.suppress(EntryError):
        parse(json.dumps(said).encode(), ID, UID)


@pytest.mark.parametrize("address", [":::::", "1.2.3.4.5", "1.2.3", "%eth0", "fe80::1%"])
def test_what_is_no_address_is_refused(address):
    """A record with it would be refused by Elasticsearch."""
    said = {"version": 1, "id": ID, "source": "shim", "argv": ["nmap"], "start": TIME, "remote_ip": address}
    with pytest.raises(EntryError, match="remote_ip"):
        parse(json.dumps(said).encode(), ID, UID)


@given(st.binary())
def test_bytes_are_refused_or_an_entry(data):
    for action in (lambda: parse(data, ID, UID), lambda: received(data, UID)):
        with contextlib.suppress(EntryError):
            action()
