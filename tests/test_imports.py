"""Who runs a command waits for every import: what each must not load before it works."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DEMO = str(ROOT / "tests" / "fixtures" / "nmap" / "demo.xml")
TELL = """
import atexit, sys
sys.path.insert(0, sys.argv.pop(1))
def tell(event="os.posix_spawn", _=None):  # as soon as a tool is started, else at the end
    if event == "os.posix_spawn":
        print("loaded", *sys.modules)
        sys.stdout.flush()
atexit.register(tell)
sys.addaudithook(tell)
"""
COMMAND = f"{TELL}from forwarder.cli import main; sys.exit(main())"
SHIM = f"{TELL}from forwarder.wrap import main; sys.exit(main('/bin/true', ['nmap'], spool=sys.argv[1], config=sys.argv[2]))"
RARE = {"boto3", "concurrent.futures.process", "elasticsearch", "libnmap", "requests", "rich", "tenacity"}
"""What only some settings, large archives and terminals need."""
OTHER_KEYS = "cryptography.hazmat.primitives.serialization"
"""What reads keys that are not as we make them."""
PIPELINE = {"forwarder.pipeline", "forwarder.ecs.hosts", "forwarder.nmap.reader"}


def loaded(code, *arguments, environment=None, options=()):
    command = [sys.executable, *options, "-c", code, str(ROOT), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    return set(next(line for line in ran.stdout.splitlines() if line.startswith("loaded ")).split())


@pytest.fixture
def environment(tmp_path):
    (tmp_path / "config.toml").touch()
    names = {"STATE_DIR": "state", "CONFIG": "config.toml", "AUDIT_SPOOL": "spool"}
    return {f"NMAP_FORWARDER_{name}": str(tmp_path / file) for name, file in names.items()}


@pytest.mark.parametrize(
    ("command", "unused"),
    [
        (["--help"], {"dataclasses", "forwarder.cli.common", "forwarder.config", "forwarder.ledger"}),
        (["status"], {"cryptography", "forwarder.verify"} | PIPELINE),
        (["forward", DEMO], {OTHER_KEYS, "forwarder.verify", "forwarder.deliver.elasticsearch"}),
        (["verify"], {OTHER_KEYS} | PIPELINE),
        (["run", "--", "true"], {"cryptography", "forwarder.ledger", "forwarder.verify"} | PIPELINE),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_loads_what_it_needs(command, unused, environment):
    for _ in range(2):  # init, and all that it needs, is done by the first
        subprocess.run([sys.executable, "-m", "forwarder", "run", "true"], cwd=ROOT, env=environment, check=True)
    found = loaded(COMMAND, *command, environment=environment)
    assert "forwarder.cli" in found
    assert found & (unused | RARE) == set()


def test_a_policy_is_asked_without_what_it_does_not_need(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('[policy]\nrequire_reason = "flag"\n')
    found = loaded(SHIM, str(tmp_path), str(config), options=("-I", "-S"))
    assert "forwarder.policy" in found
    assert found & {"forwarder.audit.interface", "forwarder.ledger", "forwarder.ecs", "socket"} == set()
