"""Builds the compiled reader (forwarder/nmap/fast) into the wheel where there is a Rust compiler; all works without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "forwarder/nmap/fast/lib.rs"
LIBRARY = "forwarder/nmap/fast/reader.so"


def _rustc() -> str | None:
    """Return a compiler that works: rustup's stand-in for one fails for a user whose home has no toolchain."""
    for path in filter(None, (shutil.which("rustc"), shutil.which("rustc", path="/usr/bin"))):
        if subprocess.run([path, "--version"], check=False, capture_output=True).returncode == 0:  # noqa: S603
            return path
    return None


class CompiledReader(BuildHookInterface[Any]):
    """Runs rustc; the sources need no crates, so it asks nobody."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface
        """Compile, and make the wheel one of this platform."""
        if self.target_name != "wheel":
            return
        root, rustc = Path(self.root), _rustc()
        (root / LIBRARY).unlink(missing_ok=True)
        if os.environ.get("NMAP_FORWARDER_PURE") or not rustc:
            return
        command = [rustc, "--edition=2021", "--crate-type=cdylib", "-Copt-level=3", "-Cstrip=symbols"]
        built = subprocess.run(  # noqa: S603
            [*command, SOURCE, "-o", LIBRARY], cwd=root, check=False, capture_output=True, text=True
        )
        if built.returncode:
            self.app.display_warning(f"no compiled reader, the one in Python does it all: {built.stderr.strip()}")
            return
        build_data["artifacts"].append(LIBRARY)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
