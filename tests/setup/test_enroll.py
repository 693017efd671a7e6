"""What enroll installs does what it is for, harms nobody who calls nmap, and goes without a trace."""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import crash
import enrolled
import pytest
from conftest import need

from forwarder import config
from forwarder.cli import main
from forwarder.errors import Exit
from forwarder.setup import enroll

SHIM, SPOOL = "usr/local/bin/nmap", "var/spool/nmap-forwarder"
RULES, CONFIG = "etc/audit/rules.d/nmap-forwarder.rules", "etc/nmap-forwarder/config.toml"
UNITS = "etc/systemd/system"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may enroll a machine")


def snapshot(root: Path) -> dict[str, tuple]:
    """All that is in a tree: kind, rights and owner, content."""
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(root))] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
    return found


@pytest.fixture
def root():
    """A bare Debian, as far as enroll looks at it; in memory, for a thousand syncs to disk take minutes."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="nmap-forwarder-") as made:
        for directory in ("usr/bin", "usr/local/bin", "etc", "var/lib", "var/spool"):
            (Path(made) / directory).mkdir(parents=True)
        (Path(made) / "usr/bin/nmap").write_text("#!/bin/sh\necho the real one\n")
        yield Path(made)


def run(root: Path, *arguments: str) -> int:
    return main(["enroll", "--root", str(root), "--python", "/usr/bin/python3", *arguments])


def test_all_of_it_is_there_and_undo_leaves_the_machine_as_it_was_each_as_often_as_one_likes(root, capsys):
    before = snapshot(root)
    assert run(root) == Exit.OK
    installed = snapshot(root)
    assert stat.S_IMODE((root / SHIM).stat().st_mode) == 0o755
    assert stat.S_IMODE((root / SPOOL).stat().st_mode) == 0o1733
    assert (root / UNITS / "multi-user.target.wants/nmap-forwarder-spool.path").resolve().is_file()
    assert (root / UNITS / "sockets.target.wants/nmap-forwarder-receive.socket").resolve().is_file()
    assert stat.S_IMODE((root / SPOOL / "received").stat().st_mode) == 0o700
    assert config.Settings({}, str(root / CONFIG), {})["audit.spool"] == Path("/") / SPOOL
    assert run(root) == Exit.OK
    assert snapshot(root) == installed
    assert "nothing to do" in capsys.readouterr().out
    for _ in range(2):
        assert run(root, "--undo") == Exit.OK
        assert snapshot(root) == before


def test_rights_do_not_depend_on_who_calls_it(root):
    old = os.umask(0o077)
    try:
        run(root)
    finally:
        os.umask(old)
    assert all(stat.S_IMODE((root / path).stat().st_mode) & 0o004 for path in (SHIM, CONFIG))


def test_a_dry_run_names_every_change_and_makes_none(root, capsys):
    before = snapshot(root)
    assert run(root, "--dry-run") == Exit.OK
    assert snapshot(root) == before
    told = capsys.readouterr().out
    assert '+exec "$tool" "$@"' in told
    run(root)
    made = (
        set(snapshot(root))
        - set(before)
        - {f"{SPOOL}/taken", f"{SPOOL}/received", f"{SPOOL}/refused", "var/lib/nmap-forwarder-enrolled.json"}
    )
    assert [path for path in made if f"{root / path}" not in told] == []
    installed = snapshot(root)
    capsys.readouterr()
    run(root, "--undo", "--dry-run")
    assert snapshot(root) == installed
    told = capsys.readouterr().out
    assert [path for path in made if f"remove {root / path}\n" not in told] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# mine",
        'origin = "x"\n',
        "[audit]\n# what they gave us\n[seal]\nheartbeat_hours = 3\n",
        "[audit] # here\n",
        "[seal]\nheartbeat_hours = 3",
        config.sample(),
    ],
)
def test_a_configuration_that_is_there_gets_two_lines_and_loses_them_again(root, text):
    (root / CONFIG).parent.mkdir()
    (root / CONFIG).write_text(text)
    (root / CONFIG).chmod(0o640)
    before = snapshot(root)
    assert run(root) == Exit.OK
    settings = config.Settings({}, str(root / CONFIG), {})
    assert settings["audit.spool"] == Path("/") / SPOOL
    assert stat.S_IMODE((root / CONFIG).stat().st_mode) == 0o640
    assert run(root, "--undo") == Exit.OK
    assert snapshot(root) == before


def test_what_was_written_below_our_lines_keeps_its_table(root):
    (root / CONFIG).parent.mkdir()
    (root / CONFIG).write_text("[seal]\nheartbeat_hours = 3\n")
    run(root)
    with (root / CONFIG).open("a") as file:
        file.write("tools = 1\n")
    run(root, "--undo")
    assert (root / CONFIG).read_text() == "[seal]\nheartbeat_hours = 3\n\n[audit]\ntools = 1\n"


@pytest.mark.parametrize("text", ["audit = { }\n", '[audit]\nspool = "/srv/spool"\n', "[audit\n"])
def test_a_configuration_that_we_cannot_add_to_is_a_usage_error_and_nothing_changes(root, text, capsys):
    (root / CONFIG).parent.mkdir()
    (root / CONFIG).write_text(text)
    before = snapshot(root)
    assert run(root) == Exit.USAGE
    assert snapshot(root) == before
    assert CONFIG in capsys.readouterr().err


def test_a_setting_that_the_administrator_made_is_not_touched(root):
    (root / CONFIG).parent.mkdir()
    (root / CONFIG).write_text(f'[audit]\nspool = "/{SPOOL}"\n')
    before = snapshot(root)
    assert run(root) == run(root, "--undo") == Exit.OK
    assert snapshot(root) == before


def test_what_was_changed_since_is_left_and_said(root, capsys):
    run(root)
    (root / RULES).write_text("# mine now\n")
    run(root)
    assert f"left {root / RULES}" in capsys.readouterr().out
    assert run(root, "--undo") == Exit.OK
    assert f"left {root / RULES}: it was changed since" in capsys.readouterr().out
    assert (root / RULES).read_text() == "# mine now\n"
    assert not (root / SHIM).exists()


def test_what_is_not_ours_is_never_replaced(root, capsys):
    (root / UNITS).mkdir(parents=True)
    (root / UNITS / "nmap-forwarder-spool.timer").write_text("mine")
    before = snapshot(root)
    assert run(root) == Exit.USAGE
    assert "not from us" in capsys.readouterr().err
    assert snapshot(root) == before
    assert run(root, "--undo") == Exit.OK
    assert snapshot(root) == before


def test_entries_that_are_not_sealed_keep_the_spool_but_nobody_adds_to_it(root, capsys):
    before = snapshot(root)
    run(root)
    (root / SPOOL / "entry").write_text("x")
    run(root, "--undo")
    assert "not sealed yet" in capsys.readouterr().out
    assert stat.S_IMODE((root / SPOOL).stat().st_mode) == 0o700
    assert (root / SPOOL / "entry").exists()
    (root / SPOOL / "entry").unlink()
    run(root, "--undo")
    assert snapshot(root) == before


def test_rules_are_for_the_chosen_tools_by_their_paths_without_links(root, capsys):
    (root / "etc/alternatives").mkdir()
    (root / "usr/bin/ncat.nmap").write_text("")
    (root / "usr/bin/ncat").symlink_to(root / "usr/bin/ncat.nmap")
    run(root, "--tools", "ncat,zmap")
    assert "zmap is not installed" in capsys.readouterr().out
    lines = [line for line in (root / RULES).read_text().splitlines() if not line.startswith("#")]
    assert lines == [
        f"-a always,exit -F arch={arch} -F path=/usr/bin/{tool} -F perm=x -F key=nmap-forwarder"
        for tool in ("nmap", "ncat.nmap")
        for arch in ("b64", "b32")
    ]
    run(root)
    assert "ncat" not in (root / RULES).read_text()
    run(root, "--undo")
    assert not (root / RULES).exists()


def test_a_newer_version_replaces_what_an_older_one_made(root):
    before = snapshot(root)
    run(root)
    manifest = root / "var/lib/nmap-forwarder-enrolled.json"
    old = b"#!/bin/sh\n# nmap-forwarder shim of old\n"
    said = json.loads(manifest.read_text())
    for record in said["made"]:
        if record["path"] == f"/{SHIM}":
            record["marks"] = [hashlib.sha256(old).hexdigest()]
    said["made"].insert(0, {"kind": "file", "path": "/etc/old", "marks": [hashlib.sha256(old).hexdigest()]})
    manifest.write_text(json.dumps(said))
    (root / SHIM).write_bytes(old)
    (root / "etc/old").write_bytes(old)
    run(root)
    assert b"of old" not in (root / SHIM).read_bytes()
    assert not (root / "etc/old").exists()
    run(root, "--undo")
    assert snapshot(root) == before


CHANGES = [(os, name) for name in ("fsync", "replace", "unlink", "mkdir", "rmdir", "symlink", "chmod")]


@pytest.mark.parametrize("text", ["", "[seal]\nheartbeat_hours = 3\n"])
def test_killed_at_any_step_it_can_be_run_again_or_taken_back(root, text):
    if text:
        (root / CONFIG).parent.mkdir()
        (root / CONFIG).write_text(text)
    before = snapshot(root)
    run(root)
    installed = snapshot(root)
    run(root, "--undo")
    step = 1
    while crash.dies(step, lambda: run(root), CHANGES):
        if step % 2:
            run(root)
            assert snapshot(root) == installed, step
        run(root, "--undo")
        assert snapshot(root) == before, step
        step += 1
    assert step > 30
    step = 1
    while crash.dies(step, lambda: run(root, "--undo"), CHANGES):
        run(root, "--undo")
        assert snapshot(root) == before, step
        run(root)
        step += 1
    assert step > 15


def test_without_nmap_there_is_nothing_to_enroll(root, capsys):
    (root / "usr/bin/nmap").unlink()
    assert run(root) == Exit.USAGE
    assert "apt-get install nmap" in capsys.readouterr().err
    (root / SHIM).write_text("built here")
    assert run(root) == Exit.USAGE
    assert "nothing comes before it" in capsys.readouterr().err


def test_only_root_may_and_everybody_may_look(capfd):
    code = 0
    if (child := os.fork()) == 0:
        try:
            sys.stderr = os.fdopen(2, "w", closefd=False)
            os.setuid(20001)
            code = main(["enroll"])
            sys.stderr.flush()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == Exit.USAGE
    assert re.search("only root may .*--dry-run\n", capfd.readouterr().err)


@pytest.mark.parametrize(
    ("owner", "mode", "why"),
    [(20001, 0o755, "others than root"), (0, 0o775, "others than root"), (0, 0o700, "not every user may read")],
)
def test_nothing_is_run_by_root_that_others_could_change_or_by_all_that_they_could_not_read(owner, mode, why):
    directory = Path("/var/tmp/nmap-forwarder-test") / str(os.getpid())
    directory.mkdir(parents=True)
    try:
        program = directory / "python"
        program.write_text("")
        assert enroll.untrusted(Path("/"), str(program)) == ""
        os.chown(directory, owner, owner)
        directory.chmod(mode)
        assert why in enroll.untrusted(Path("/"), str(program))
        link = directory.parent / "link"
        link.symlink_to(program)
        assert why in enroll.untrusted(Path("/"), str(link))
    finally:
        shutil.rmtree(directory.parent)


@pytest.fixture
def machine():
    with enrolled.machine() as call:
        yield call


READ = """
cat > /tmp/read-$$.py <<'END'
import json
from pathlib import Path
from forwarder import spool
for entry in spool.read(Path("/var/spool/nmap-forwarder")):
    said = entry.evidence
    print(json.dumps([entry.uid, said.argv, said.exit_code, said.signal, entry.xml is not None, said.end > ""]))
END
nap /tmp/read-$$.py; rm /tmp/read-$$.py
"""


@pytest.mark.integration
def test_users_call_nmap_as_before_and_all_of_it_is_written_down(machine):
    done = machine(
        """
        as 20001 nmap -sn -oG - 127.0.0.1 | sed 's/ at .*//; s/in .* seconds//; s/# Nmap.*//'
        as 20002 sh -c 'nmap -sL -oX - 127.0.0.9' | grep -o '<nmaprun[^>]*args="[^"]*"'
        as 20001 nmap --no-such-option >/dev/null 2>&1; echo code $?
        printf '#!/bin/sh\\nexec nmap -V\\n' > /tmp/script-$$; chmod 755 /tmp/script-$$
        as 20002 /tmp/script-$$ | head -1; rm /tmp/script-$$
        as 20001 ls /var/spool/nmap-forwarder 2>/dev/null; echo listed $?
        """
        + READ
    )
    lines = done.stdout.splitlines()
    assert "Host: 127.0.0.1 (localhost)\tStatus: Up" in lines
    assert '<nmaprun scanner="nmap" args="nmap -sL -oX - 127.0.0.9"' in lines
    assert "code 255" in lines
    assert "listed 2" in lines
    entries = sorted(json.loads(line) for line in lines if line.startswith("["))
    assert entries == [
        [20001, ["nmap", "--no-such-option"], 255, "", False, True],
        [20001, ["nmap", "-sn", "-oG", "-", "127.0.0.1"], 0, "", True, True],
        [20002, ["nmap", "-V"], 0, "", False, True],
        [20002, ["nmap", "-sL", "-oX", "-", "127.0.0.9"], 0, "", True, True],
    ]


@pytest.mark.integration
@pytest.mark.parametrize(
    "broken",
    [
        "rm -r /opt/forwarder",
        "rm -r /opt/forwarder/wrap; mkdir /opt/forwarder/wrap",
        "echo 'raise SystemError' > /opt/forwarder/wrap/__init__.py",
        "echo '%' > /opt/forwarder/wrap/run.py",
        "mount --bind /bin/false $python",
        "mount --bind /dev/null $python",
        "rm -r /var/spool/nmap-forwarder",
        "mount -t tmpfs -o ro none /var/spool/nmap-forwarder",
        "echo '[' > /etc/nmap-forwarder/config.toml",
    ],
)
def test_nmap_runs_whatever_is_broken(machine, broken):
    done = machine(
        f"""
        python=$(realpath $(sed -n 's/^python=//p' /usr/local/bin/nmap))
        {broken}
        as 20001 nmap -sL -n 192.0.2.7 2>&1; echo code $?
        as 20001 nmap --no-such-option >/dev/null 2>&1; echo code $?
        """
    )
    assert "Nmap scan report for 192.0.2.7" in done.stdout
    assert done.stdout.count("code 0") == done.stdout.count("code 255") == 1
    assert not [line for line in done.stdout.splitlines() if "orward" in line or "Traceback" in line]


@pytest.mark.integration
def test_sudo_finds_the_shim_too_and_nobody_runs_twice(machine):
    need("sudo")
    done = machine("sudo nmap -sL -n 192.0.2.7 >/dev/null 2>/tmp/err-$$; cat /tmp/err-$$; rm /tmp/err-$$" + READ)
    (entry,) = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert entry == [0, ["nmap", "-sL", "-n", "192.0.2.7"], 0, "", True, True]


RECEIVE = """
socket=$(sed -n 's/^ListenStream=//p' /etc/systemd/system/nmap-forwarder-receive.socket)
systemd-socket-activate -l $socket $(sed -n 's/^ExecStart=//p' /etc/systemd/system/nmap-forwarder-receive.service) 2>/dev/null &
while ! test -S $socket; do sleep 0.1; done; chmod 666 $socket
"""
"""Starts the receiver as its unit does, when somebody connects."""


@pytest.mark.integration
def test_what_users_run_goes_where_they_cannot_reach_it(machine):
    need("systemd-socket-activate")
    done = machine(
        RECEIVE
        + """
        as 20001 nmap -sL -n 192.0.2.7 >/dev/null
        as 20002 nmap -sL -n -oX - 192.0.2.9 >/dev/null
        as 20001 nmap --no-such-option >/dev/null 2>&1; echo code $?
        find /var/spool/nmap-forwarder -maxdepth 1 -type f -printf 'boxed %f\n'
        find /var/spool/nmap-forwarder/received -type f -printf 'received %U %m %f\n' | sed -E 's/[0-9a-f]{32}/ID/' | sort
        as 20001 ls /var/spool/nmap-forwarder/received 2>&1 | grep -c denied
        """
        + READ
        + "kill %1"
    )
    lines = done.stdout.splitlines()
    assert "code 255" in lines
    assert not [line for line in lines if line.startswith("boxed")]
    ends = [f"received 0 600 {uid}.ID.{kind}" for uid in (20001, 20002) for kind in ("end.json", "start.json", "xml")]
    assert sorted(set(ends)) == sorted({line for line in lines if line.startswith("received")})
    entries = sorted(json.loads(line) for line in lines if line.startswith("["))
    assert entries == [
        [20001, ["nmap", "--no-such-option"], 255, "", False, True],
        [20001, ["nmap", "-sL", "-n", "192.0.2.7"], 0, "", True, True],
        [20002, ["nmap", "-sL", "-n", "-oX", "-", "192.0.2.9"], 0, "", True, True],
    ]


@pytest.mark.integration
def test_the_shim_costs_a_few_starts_of_an_interpreter(machine):
    """Held against the starts of Python that it cannot do without, for a busy machine slows both; 100 ms are the benchmark's."""
    done = machine(
        """
        TIMEFORMAT="%U %S"
        timed() { for n in 1 2 3 4 5 6 7 8 9 10 11; do time as 20001 "$@" >/dev/null; done; }
        timed /usr/bin/nmap -sL -n 192.0.2.7; timed nmap -sL -n 192.0.2.7; timed true
        timed /usr/bin/python3 -I -S -c pass
        """
    )
    runs = [sum(float(number) for number in line.split()) for line in done.stderr.splitlines()]
    assert len(runs) == 44
    direct, shim, nothing, interpreter = (min(runs[at : at + 11]) for at in range(0, 44, 11))
    assert shim - direct < 15 * (interpreter - nothing)


@pytest.mark.integration
def test_a_machine_is_left_as_it_was(machine):
    done = machine(
        """
        list() { find /etc /usr/local /opt /var/lib /var/spool -printf '%y %m %u %g %p %l\\n' | sort; }
        forwarder enroll --undo >/dev/null; list > /dev/shm/before-$$
        forwarder enroll; list > /dev/shm/enrolled-$$; forwarder enroll --undo; list > /dev/shm/after-$$
        cmp /dev/shm/before-$$ /dev/shm/after-$$ && echo same
        cmp -s /dev/shm/before-$$ /dev/shm/enrolled-$$ || echo changed
        rm /dev/shm/*-$$; nmap -V | head -1
        """
    )
    lines = done.stdout.splitlines()
    assert {"same", "changed"} <= set(lines)
    assert lines[-1].startswith("Nmap version")
    assert [line for line in lines if "systemd does not run here" in line]
    assert [line for line in lines if "nobody receives entries" in line]
    assert [line for line in lines if "auditd does not run here" in line]


@pytest.mark.integration
def test_daemons_that_run_are_told_and_their_failures_are_said(machine):
    """Neither systemd nor auditd can run in a test, so programs of their names say how they were called."""
    done = machine(
        """
        forwarder enroll --undo >/dev/null
        mkdir -p /run/systemd/system
        for name in systemctl augenrules; do
            printf '#!/bin/sh\ntest "$1" = is-active && exec test -e /run/receives
                    echo "$(basename $0) $*" >> /run/calls\n' > /usr/local/sbin/$name
        done
        printf '#!/bin/sh\nprintf "enabled 1\\npid 812\\n"\n' > /usr/local/sbin/auditctl
        chmod 755 /usr/local/sbin/*
        forwarder enroll --dry-run | grep ^run; test -e /run/calls && echo called
        forwarder enroll >/dev/null; echo code $?; cat /run/calls; rm /run/calls
        forwarder enroll; touch /run/receives; rm /run/calls; forwarder enroll; cat /run/calls; rm /run/calls
        forwarder enroll --undo >/dev/null; echo code $?; cat /run/calls
        printf '#!/bin/sh\necho "line 3: no such field" >&2; exit 1\n' > /usr/local/sbin/augenrules
        forwarder enroll | grep failed; echo code ${PIPESTATUS[0]}
        """
    )
    lines = done.stdout.splitlines()
    caution = (
        "nothing reads what auditd writes down: add to [audit] in /etc/nmap-forwarder/config.toml: "
        'sources = ["auditd:/var/log/audit/audit.log"]'
    )
    started = "nmap-forwarder-spool.path nmap-forwarder-spool.timer nmap-forwarder-receive.socket"
    renew, start = "systemctl try-restart nmap-forwarder-receive.service", f"systemctl start {started}"
    stop = f"systemctl stop {started} nmap-forwarder-receive.service"
    assert re.fullmatch("run .* -m compileall .*", lines.pop(0))
    assert lines == [
        *("run systemctl daemon-reload", f"run {renew}", f"run {start}", "run augenrules --load"),
        *("code 0", "systemctl daemon-reload", renew, start, "augenrules --load"),
        *(caution, "nothing to do"),
        *("restarted nmap-forwarder-receive.service: what ran may have been older than what is installed", caution),
        *("systemctl daemon-reload", renew, start, "augenrules --load"),
        *("code 0", stop, "systemctl daemon-reload", "augenrules --load"),
        *("augenrules --load failed: line 3: no such field", "code 75"),
    ]


@pytest.mark.integration
def test_systemd_takes_the_units(root):
    verify = need("systemd-analyze")
    run(root)
    units = sorted(str(path) for path in (root / UNITS).glob("nmap-forwarder-*"))
    done = subprocess.run([verify, "verify", "--man=no", *units], check=False, capture_output=True, text=True)
    assert [line for line in done.stderr.splitlines() if "nmap-forwarder" in line] == []
    assert len(units) == 5


def test_a_log_that_the_rules_fill_and_nobody_reads_is_said(tmp_path, monkeypatch):
    file = tmp_path / "config.toml"
    monkeypatch.setattr(enroll.wrap, "CONFIG", str(file))
    monkeypatch.setattr(enroll.shutil, "which", lambda _: None)
    monkeypatch.setattr(enroll, "_audits", lambda: True)
    (line,) = enroll.cautions()
    assert "nothing reads what auditd writes down" in line
    file.write_text("[audit]\n" + line.rpartition(": ")[2] + "\n")
    assert list(enroll.cautions()) == []
    file.write_text('[audit]\nsources = ["laurel:/var/log/laurel/audit.log"]\n')
    assert list(enroll.cautions()) == []
