"""Three users scan in five ways on an enrolled machine: each scan is told to be of who made it, once, with its why."""

import json
import os
import sys
import sysconfig
from datetime import datetime
from pathlib import Path

import audit_lines
import enrolled
import pytest
from conftest import need

from forwarder.cli import main

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may enroll a machine and be several users"),
]

ALICE, BOB, CAROL = 20001, 20002, 20003
EQUAL = "nmap -sT -n -p 1-40 127.0.0.1"
WHO = {
    (str(ALICE), "CHG-1", "monthly inventory"),
    (str(ALICE), "", ""),
    (str(BOB), "CHG-2", "nightly"),
    (str(BOB), "", ""),
    (str(CAROL), "", ""),
}
"""Login user, ticket and reason of each of the five scans."""

SCRIPT = f"""
for user in alice:{ALICE} bob:{BOB} carol:{CAROL}; do
    echo "${{user%:*}}:x:${{user#*:}}:${{user#*:}}::/:/bin/sh" >> /etc/passwd
    echo "${{user%:*}}:*:19000::::::" >> /etc/shadow
done
rm -f /etc/sudoers
printf '%s\\n' 'Defaults !syslog, logfile=/var/log/sudo-test.json, log_format=json' \\
    'Defaults secure_path="/usr/local/bin:/usr/bin:/bin"' 'carol ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers
chmod 440 /etc/sudoers
mkdir /opt/python /opt/packages
mount --bind {sys.base_prefix} /opt/python; mount --bind {sysconfig.get_path("purelib")} /opt/packages
program() {{ user=$1; shift
    as $user env PYTHONHOME=/opt/python PYTHONPATH=/opt:/opt/packages /opt/python/bin/python3 -m forwarder "$@"; }}
printf '#!/bin/sh\\n{EQUAL} >/dev/null\\n' > /usr/local/bin/nightly; chmod 755 /usr/local/bin/nightly
as {ALICE} {EQUAL} >/dev/null & first=$!
as {BOB} env NMAP_FORWARDER_REASON=nightly NMAP_FORWARDER_TICKET=CHG-2 nightly & second=$!
wait $first && wait $second && echo together
program {ALICE} run --reason 'monthly inventory' --ticket CHG-1 -- nmap -sT -n -p 22 127.0.0.1 | grep -c 'Nmap done'
as {BOB} nmap -sL -n 127.0.0.9 | grep -c 'Nmap done'
as {CAROL} sudo nmap -sT -n -p 80 127.0.0.1 | grep -c 'Nmap done'
PYTHONPATH=/opt:@TESTS@:@TESTS@/integration {sys.executable} -c 'import test_audit_users as t; t.write("@SHARED@")'
for time in 1 2; do
    forwarder forward --state-dir @SHARED@/state --json \\
        --audit auditd:@SHARED@/audit.log --audit sudo:/var/log/sudo-test.json
done
"""


def kernel_log(entries: list[dict]) -> bytes:
    """What auditd writes of the executions in the spool, by rules that log every execve: of the shim's script, too."""
    events = []
    for number, entry in enumerate(sorted(entries, key=lambda entry: entry["start"])):
        uid, words = int(entry["real"]["id"]), [word.encode() for word in entry["argv"]]
        start = datetime.fromisoformat(entry["start"]).timestamp()
        common = {"uid": str(uid), "auid": str(uid or CAROL), "cwd": entry["cwd"].encode(), "names": ""}
        result = f"/var/spool/nmap-forwarder/{entry['id']}.xml".encode()  # the wrapper tells nmap to write there
        argv = [words[0], b"-oX", result, *words[1:]]
        if entry["source"] == "shim":
            script = [b"/bin/sh", b"/usr/local/bin/nmap", *words[1:]]
            of_shim = {"exe": b"/usr/bin/dash", "pid": entry["wrapper_pid"], "ppid": entry["ppid"]}
            events.append(audit_lines.event(8000 + number, script, time=f"{start - 0.1:.3f}", **of_shim, **common))
        of_nmap = {"pid": entry["pid"], "ppid": entry["wrapper_pid"]}
        events.append(audit_lines.event(9000 + number, argv, time=f"{start:.3f}", **of_nmap, **common))
    return audit_lines.text(*events)


def write(directory: str) -> None:
    """Write the kernel's log of what is in the spool."""
    found = Path("/var/spool/nmap-forwarder").glob("*.start.json")
    Path(directory, "audit.log").write_bytes(kernel_log([json.loads(path.read_text()) for path in found]))


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """Where it was sealed, and what each of two runs of `forward` said."""
    need("sudo")
    shared = tmp_path_factory.mktemp("users")
    script = SCRIPT.replace("@SHARED@", str(shared)).replace("@TESTS@", str(Path(__file__).parents[1]))
    with enrolled.machine() as machine:
        done = machine(script)
    lines = done.stdout.splitlines()
    assert lines[:4] == ["together", "1", "1", "1"], done.stdout + done.stderr
    assert len(lines) == 6, done.stdout + done.stderr
    return shared, [json.loads(line) for line in lines[4:]]


def pulled(shared: Path, to: Path, *question: str) -> list[dict]:
    key, archive = str(shared / "state/key.vkey"), str(shared / "state/archive")
    assert main(["pull", archive, "--key", key, "--quiet", "--out", str(to), *question]) == 0
    return [json.loads(line) for path in to.rglob("*.ndjson") for line in path.read_text().splitlines()]


def scans(records: list[dict]) -> list[tuple[str, str, str]]:
    return sorted(
        (record["user"]["id"], record.get("labels", {}).get("ticket", ""), record["event"].get("reason", ""))
        for record in records
        if record["event"]["dataset"] == "nmap.scan"
    )


def test_each_scan_is_of_its_user_exactly_once_and_says_why(day, tmp_path):
    shared, (first, _) = day
    assert (first["scans"], first["executions"]) == (5, 5)
    records = pulled(shared, tmp_path / "all")
    assert scans(records) == sorted(WHO)
    answers = [record["nmap"]["attribution"] for record in records if record["event"]["dataset"] == "nmap.scan"]
    assert {answer["confidence"] for answer in answers} == {"exact"}
    assert len({answer["execution"][0] for answer in answers}) == 5


def test_a_second_run_adds_nothing_and_all_of_it_verifies(day):
    shared, (_, second) = day
    assert (second["records"], second["executions"], second["scans"]) == (0, 0, 0)
    assert main(["verify", str(shared / "state/archive"), "--key", str(shared / "state/key.vkey")]) == 0


@pytest.mark.parametrize(
    ("question", "user", "count"),
    [(("--user", "alice"), ALICE, 2), (("--user", "carol"), CAROL, 1), (("--ticket", "CHG-2"), BOB, 1)],
)
def test_the_archive_answers_by_user_and_by_ticket(day, tmp_path, question, user, count):
    found = scans(pulled(day[0], tmp_path / "answer", *question))
    assert [scan[0] for scan in found] == [str(user)] * count
