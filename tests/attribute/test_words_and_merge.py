"""Command lines are compared as nmap writes them; sightings are put together only where they are of one execution."""

from dataclasses import replace

import pytest

from forwarder.attribute import merge
from forwarder.attribute.model import known
from forwarder.attribute.words import words, written
from forwarder.audit.entry import CLAIMED_LOGIN
from forwarder.audit.interface import Execution, User

SPOOLED = "/var/spool/nmap-forwarder/" + "a" * 32 + ".xml"
SEEN = Execution(
    "auditd",
    "1:1",
    ("/usr/bin/nmap", "-sS", "192.0.2.1"),
    start="2026-03-02T09:12:56.100Z",
    host="scanner1",
    pid=7,
    ppid=5,
    login=User("1000", "alice"),
    real=User("1000", "alice"),
    effective=User("0", "root"),
)


@pytest.mark.parametrize(
    ("argv", "args"),
    [
        (("nmap", "192.0.2.1", "-n"), "nmap -n 192.0.2.1"),
        (("/usr/bin/nmap", "--script-args", 'a=b c,d="x\\y"'), 'nmap --script-args "a=b c,d=\\"x\\\\y\\""'),
        (("nmap", "--data-string", "é"), "nmap --data-string Ã©"),
        (("nmap", "-n", "::1"), f"nmap -n -oX {SPOOLED} ::1"),
        (("nmap", "-n", "::1"), "nmap -oX /tmp/nmap-forwarder-of-1749-ly_bvxmx/xml -n ::1"),
    ],
)
def test_an_argv_is_what_nmap_writes_of_it(argv, args):
    assert words(argv) == written(args) != ""


def test_other_words_are_others_and_none_are_none():
    assert words(("nmap", "-n", "a")) != words(("nmap", "-n", "b"))
    assert written("") == ""


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"source": "shim", "identity": "b"}, True),
        ({"source": "shim", "identity": "b", "pid": 5, "ppid": 3, "start": "2026-03-02T09:12:55.900Z"}, True),
        ({"source": "shim", "identity": "b", "pid": 9, "ppid": 3, "wrapper_pid": 7}, True),
        ({"source": "shim", "identity": "b", "pid": 9, "ppid": 3, "wrapper_pid": 8}, False),
        # a process namespace has numbers of its own; a busy machine takes seconds from the wrapper's start to nmap's
        ({"source": "shim", "identity": "b", "pid": 3, "ppid": 1, "wrapper_pid": 5}, True),
        ({"source": "shim", "identity": "b", "wrapper_pid": 5, "start": "2026-03-02T09:12:51.900Z"}, True),
        ({"source": "shim", "identity": "b", "wrapper_pid": 5, "start": "2026-03-02T09:11:51.900Z"}, False),
        ({"source": "run", "identity": "b", "argv": ("sudo", "-E", *SEEN.argv), "pid": 5, "wrapper_pid": 4}, True),
        ({"identity": "1:2", "pid": 8}, False),
        ({"identity": "1:2", "start": "2026-03-02T10:12:56.100Z"}, False),
        (
            {
                "source": "run",
                "identity": "b",
                "login": User("1002", "mallory"),
                "real": User("1002", "mallory"),
                "effective": User("1002", "mallory"),
            },
            False,
        ),
        (
            {
                "source": "run",
                "identity": "b",
                "real": User("1002", "mallory"),
                "effective": User(),
                "problems": (CLAIMED_LOGIN,),
            },
            False,
        ),
        ({"source": "sudo", "identity": "b", "pid": -1, "login": User(), "real": User(), "sudo_user": "alice"}, True),
        ({"source": "sudo", "identity": "b", "pid": -1, "login": User(), "real": User(), "sudo_user": "bob"}, False),
        ({"source": "history", "identity": "b", "pid": -1, "start": "", "login": User("", "alice")}, True),
        ({"source": "history", "identity": "b", "pid": -1, "host": "other"}, False),
    ],
)
def test_sightings_of_one_execution(changes, same):
    item = known(SEEN)
    assert (merge.find(replace(SEEN, **changes), [item]) is item) is same


def test_the_kernel_is_believed_on_the_user_and_the_wrapper_on_the_reason():
    item = known(SEEN)
    item.add(replace(SEEN, source="run", identity="b", reason="inventory", login=User("1001", "bob")))
    assert (item.whole.login.name, item.whole.reason) == ("alice", "inventory")
    assert "sources differ on the login user" in item.whole.problems
