"""What `enroll` puts on a machine, so that all nmaps are written down: shim, spool, audit rules, systemd units."""

from __future__ import annotations

import re
import shlex
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from forwarder import config, dropbox, wrap
from forwarder.audit.interface import KERNEL
from forwarder.errors import UsageError
from forwarder.setup.installed import LINES, Item

PLACES: Final = (
    Path(__file__).parents[1] / "_data" / "deploy",  # an installed wheel
    Path(__file__).parents[2] / "deploy",  # a source checkout
)
SEARCHED: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where a tool is looked for: what Debian's PATH and sudo's secure_path begin with."""
SHIM: Final = "/usr/local/bin/nmap"
"""Before /usr/bin in the PATH of shells and of sudo, and no package's."""
RULES: Final = "/etc/audit/rules.d/nmap-forwarder.rules"
AUDIT_LOG: Final = "auditd:/var/log/audit/audit.log"
SYSTEMD: Final = "/etc/systemd/system"
UNIT: Final = "nmap-forwarder-spool"
RECEIVER: Final = "nmap-forwarder-receive"
UNITS: Final = (f"{UNIT}.service", f"{UNIT}.path", f"{UNIT}.timer", f"{RECEIVER}.service", f"{RECEIVER}.socket")
WANTED: Final = {
    f"{UNIT}.path": "multi-user.target.wants",
    f"{UNIT}.timer": "timers.target.wants",
    f"{RECEIVER}.socket": "sockets.target.wants",
}
"""Units that are started, and what starts them when the machine does."""
SYSTEM_PYTHON: Final = "/usr/bin/python3"
PLAIN: Final = re.compile(r"[\w./+-]+", re.ASCII)
"""Paths that need no quoting, which audit rules do not know."""
PLACE_ADVICE: Final = (
    "root and others are to run it: install it where all may read and only root may write, "
    "for instance with `python3 -m venv /opt/nmap-forwarder`"
)
HEADER: Final = re.compile(r"^\[audit\][ \t]*(#.*)?$\n?", re.MULTILINE)
SETTING: Final = f'{LINES}spool = "{wrap.SPOOL}"\n'


def items(root: Path, tools: list[str], python: str = "", wrapper: str = "") -> Iterator[Item]:
    """Yield what is to be there, in the order in which it is made: the shim last, when all that it needs is there.

    Args:
        root: / or the root of an image.
        tools: those that the audit rules are for; nmap always is one.
        python: interpreter of the shim; by default this one, or the system's where others may not use this one.
        wrapper: what the shim starts; by default this package's.

    Raises:
        UsageError: nmap is not there, or the shim would run what others than root may change.
    """
    found = {tool: path for tool in dict.fromkeys(("nmap", *tools)) if (path := real(root, tool))}
    if "nmap" not in found:
        raise UsageError("nmap is not installed", "apt-get install nmap, and enroll again")
    if str(Path(found["nmap"]).parent) in SEARCHED[:2]:
        raise UsageError(f"{found['nmap']}: nothing comes before it in PATH", "install nmap as a package, in /usr/bin")
    for path in found.values():
        if not PLAIN.fullmatch(str((root / path.lstrip("/")).resolve())):
            raise UsageError(f"{path}: audit rules cannot name it", "move it to a path without odd characters")
    wrapper = wrapper or str(Path(wrap.__file__).resolve().with_name("shim.py"))
    values = {
        "@TOOL@": shlex.quote(found["nmap"]),
        "@NAME@": "nmap",
        "@PYTHON@": shlex.quote(python or interpreter(root)),
        "@WRAPPER@": shlex.quote(wrapper),
    }
    for path in (wrapper, python):
        if path and (problem := untrusted(root, path)):
            raise UsageError(problem, PLACE_ADVICE)
    yield from _parents("/etc/nmap-forwarder", "/etc/audit/rules.d", SYSTEMD, "/var/spool", "/usr/local/bin")
    yield Item("spool", wrap.SPOOL)
    yield _settings(root)
    yield Item("file", RULES, rules(root, list(found.values())), mode=0o640)
    yield from _units({"@PYTHON@": values["@PYTHON@"], "@RECEIVER@": shlex.quote(receiver(wrapper))})
    yield Item("file", SHIM, _filled("shim", values), mode=0o755)


def rules(root: Path, paths: list[str]) -> str:
    """Return audit rules for the executions of programs, each by its path without links."""
    lines = source("audit/nmap-forwarder.rules").splitlines()
    fixed = [line for line in lines if "@TOOL@" not in line]
    each = [line for line in lines if "@TOOL@" in line]
    real_paths = dict.fromkeys(_below(root, (root / path.lstrip("/")).resolve()) for path in paths)
    return "\n".join([*fixed, *(line.replace("@TOOL@", path) for path in real_paths for line in each)]) + "\n"


def _below(root: Path, path: Path) -> str:
    return "/" + str(path.relative_to(root.resolve())) if path.is_relative_to(root.resolve()) else str(path)


def _parents(*paths: str) -> Iterator[Item]:
    for path in paths:
        for parent in [*reversed(Path(path).parents), Path(path)][1:]:
            yield Item("directory", str(parent))


def receiver(wrapper: str) -> str:
    """Return the path of the receiver, which is beside the wrapper."""
    return str(Path(wrapper).with_name("receive.py"))


def _units(started: dict[str, str]) -> Iterator[Item]:
    """Yield the units, and what starts them with the machine.

    Args:
        started: interpreter and path of the receiver, which needs what the shim needs.
    """
    values = {"@SPOOL@": wrap.SPOOL, "@RECEIVED@": f"{wrap.SPOOL}/{dropbox.RECEIVED}", "@SOCKET@": wrap.SOCKET}
    service = {"@PYTHON@": shlex.quote(sys.executable)}
    for unit in UNITS:
        more = started if unit.startswith(RECEIVER) else service
        yield Item("file", f"{SYSTEMD}/{unit}", _filled(f"systemd/{unit}", values | more))
    for unit, wants in WANTED.items():
        yield from _parents(f"{SYSTEMD}/{wants}")
        yield Item("link", f"{SYSTEMD}/{wants}/{unit}", f"../{unit}")


def _settings(root: Path) -> Item:
    """Return the configuration with the spool in it: a file of ours, or two lines in one that is there."""
    path = root / wrap.CONFIG.lstrip("/")
    try:
        text = path.read_text(encoding="utf-8")
        said = tomllib.loads(text).get("audit", {})
    except FileNotFoundError:
        return Item("file", wrap.CONFIG, with_spool(config.sample(), path))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    spool = said.get("spool") if isinstance(said, dict) else None
    if spool not in {None, "", wrap.SPOOL}:
        raise UsageError(
            f"{path}: audit.spool is {spool}", f"shims write to {wrap.SPOOL}; set it to that, or remove it"
        )
    return Item("text", wrap.CONFIG, SETTING, "" if spool else with_spool(text, path))


def with_spool(text: str, path: Path) -> str:
    """Return a configuration with our setting in it, and nothing else changed.

    Raises:
        UsageError: no line of it is where that could stand.
    """
    header = HEADER.search(text)
    at = header.end() if header else len(text)
    before = text[:at] + ("" if header or text.endswith("\n") or not text else "\n") + ("" if header else "\n[audit]\n")
    try:
        old, new = tomllib.loads(text), tomllib.loads(before + SETTING + text[at:])
        if new == old | {"audit": old.get("audit", {}) | {"spool": wrap.SPOOL}}:
            return before + SETTING + text[at:]
    except tomllib.TOMLDecodeError:
        pass
    raise UsageError(f"{path}: audit.spool is not set", f'set it by hand: [audit] spool = "{wrap.SPOOL}"')


def source(name: str) -> str:
    """Return a file of deploy/."""
    return next(place / name for place in PLACES if place.is_dir()).read_text(encoding="utf-8")


def _filled(name: str, values: dict[str, str]) -> str:
    text = source(name)
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text


def real(root: Path, tool: str) -> str:
    """Return where a tool itself is, never a shim; empty if it is not there."""
    for directory in SEARCHED:
        path = root / directory.lstrip("/") / tool
        try:
            with path.open("rb") as file:
                if path.is_file() and wrap.MARK not in file.read(512):
                    return f"{directory}/{tool}"
        except OSError:
            continue
    return ""


def interpreter(root: Path) -> str:
    """Return a Python for the shim: it needs the standard library alone.

    Raises:
        UsageError: there is none that all users may run and only root may change.
    """
    for path in dict.fromkeys((sys.executable, SYSTEM_PYTHON)):
        if not (problem := untrusted(root, path)) and (path == sys.executable or _is_new(root / path.lstrip("/"))):
            return path
    raise UsageError(problem or f"{SYSTEM_PYTHON}: Python 3.11 or later is needed", PLACE_ADVICE)


def _is_new(python: Path) -> bool:
    check = [str(python), "-I", "-S", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    return subprocess.run(check, check=False, capture_output=True).returncode == 0  # noqa: S603


def untrusted(root: Path, path: str) -> str:
    """Tell why a file must not be run by all users, root among them: who else may change it, or who cannot read it.

    Below another root than / a file may be missing: the image's package is installed later.
    """
    asked = root / path.lstrip("/")
    if not asked.exists():
        return "" if str(root) != "/" else f"{path}: is not there"
    for start in dict.fromkeys((asked, asked.parent.resolve() / asked.name, asked.resolve())):
        for part in (start, *start.parents):
            found = part.lstat()
            mode = stat.S_IMODE(found.st_mode)
            if found.st_uid != 0 or (mode & 0o022 and not mode & stat.S_ISVTX and not stat.S_ISLNK(found.st_mode)):
                return f"{part}: others than root may change it"
            if not mode & (0o001 if stat.S_ISDIR(found.st_mode) else 0o004):
                return f"{part}: not every user may read it"
    return ""


def before(say: Callable[[str], None], *, dry: bool) -> None:
    """Stop what runs of what is about to be removed."""
    if _has_systemd() and Path(SYSTEMD, f"{UNIT}.path").exists():
        _run(say, ["systemctl", "stop", *WANTED, f"{RECEIVER}.service"], dry=dry)


def compile_wrapper(say: Callable[[str], None], python: str = "", *, dry: bool) -> bool:
    """Have the shim's interpreter compile what it imports: users could not, and would wait for that at every call."""
    package = Path(wrap.__file__).resolve().parents[1]
    places = [str(place) for place in (package, package / "wrap", package / "nmap")]
    python = python or interpreter(Path("/"))
    return _run(say, [python, "-I", "-S", "-m", "compileall", "-q", "-l", *places], dry=dry)


def receives() -> bool:
    """Tell whether a receiver runs; `after` starts it anew."""
    active = ["systemctl", "is-active", "--quiet", f"{RECEIVER}.service"]
    return _has_systemd() and subprocess.run(active, check=False, capture_output=True).returncode == 0  # noqa: S603


def after(say: Callable[[str], None], *, dry: bool, undone: bool = False) -> bool:
    """Have the system take note of what changed; tell whether all of that went well."""
    fine = True
    if _has_systemd():
        fine &= _run(say, ["systemctl", "daemon-reload"], dry=dry)
        if not undone:
            fine &= _run(say, ["systemctl", "try-restart", f"{RECEIVER}.service"], dry=dry)  # an older one's code
            fine &= _run(say, ["systemctl", "start", *WANTED], dry=dry)
    elif not undone:
        say("systemd does not run here: its units start with the machine; until then, run nmap-forwarder forward")
        say("without systemd nobody receives entries: users put theirs into the spool, and can change them until then")
    if _audits():
        fine &= _run(say, ["augenrules", "--load"], dry=dry)
    elif not undone:
        say("auditd does not run here (containers have none of their own): its rules are loaded when it starts")
    return fine


def cautions() -> Iterator[str]:
    """Yield what on this machine goes past the shim, or is written down and not read."""
    if shutil.which("sudo"):
        told = subprocess.run(["sudo", "-V"], check=False, capture_output=True, text=True).stdout  # noqa: S607
        for line in told.splitlines():
            value = line.partition("$PATH with: ")[2].split(":") if "$PATH with: " in line else []
            directories = [directory for directory in value if directory in {"/usr/local/bin", "/usr/bin", "/bin"}]
            if value and directories[:1] != ["/usr/local/bin"]:
                yield "sudo's secure_path does not begin with /usr/local/bin: only auditd sees what `sudo nmap` runs"
    sources = config.part(wrap.CONFIG, ("audit.sources",), {})["audit.sources"]
    if _audits() and not any(source.partition(":")[0] in KERNEL for source in sources):
        yield f'nothing reads what auditd writes down: add to [audit] in {wrap.CONFIG}: sources = ["{AUDIT_LOG}"]'


def _has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def _audits() -> bool:
    """Tell whether an audit daemon takes the kernel's messages here."""
    if not shutil.which("auditctl") or not shutil.which("augenrules"):
        return False
    told = subprocess.run(["auditctl", "-s"], check=False, capture_output=True, text=True)  # noqa: S607
    return told.returncode == 0 and re.search(r"^pid [1-9]", told.stdout, re.MULTILINE) is not None


def _run(say: Callable[[str], None], command: list[str], *, dry: bool) -> bool:
    """Run a command of the system, or say that it would be run; tell whether it went well."""
    if dry:
        say(f"run {shlex.join(command)}")
        return True
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        say(f"{shlex.join(command)} failed: {said[-1] if said else f'exit code {done.returncode}'}")
    return done.returncode == 0
