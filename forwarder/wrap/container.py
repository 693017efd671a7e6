"""Whether a process runs in a container or pod: by its cgroup, its mounts, its namespaces and its environment."""

from __future__ import annotations

import os
from typing import Any, Final

from forwarder.wrap.process import link, read

FIRST_PID_NAMESPACE: Final = "pid:[4026531836]"
"""The machine's own (Linux, include/linux/proc_ns.h: PROC_PID_INIT_INO)."""
RUNTIMES: Final = (
    ("cri-containerd", "containerd"),
    ("containerd", "containerd"),
    ("crio", "cri-o"),
    ("libpod", "podman"),
    ("containers/storage", "podman"),
    ("overlay-containers", "podman"),
    ("docker", "docker"),
    ("lxc", "lxc"),
    ("machine.slice", "systemd-nspawn"),
    ("kubepods", "containerd"),
)
"""Part of a path of cgroups or mounts → the runtime that makes such paths; the first that is there counts."""
NAMESPACE: Final = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
HEX: Final = set("0123456789abcdef")
ID: Final = 64
"""Digits of a container's id."""


def facts(root: str = "/proc/self") -> dict[str, Any]:
    """Return the members of an Execution that tell of a container; none outside of one.

    Args:
        root: the process's directory in /proc.
    """
    groups = os.fsdecode(read(f"{root}/cgroup"))
    mounts = os.fsdecode(read(f"{root}/mountinfo"))
    found: dict[str, Any] = {}
    for path in (*(line.rpartition(":")[2] for line in groups.splitlines()), *_own_mounts(mounts)):
        if identity := _id(path):
            found = {"container_id": identity, "container_runtime": _runtime(path)}
            break
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        found["pod"] = os.uname().nodename
        found["namespace"] = os.fsdecode(read(NAMESPACE, 256)).strip()
    if marks := _marks(root, groups):
        found["container_marks"] = marks
    return {name: value for name, value in found.items() if value}


def _own_mounts(mounts: str) -> list[str]:
    """Return where a runtime's files are mounted from: with cgroup namespaces nothing else has the id."""
    lines = (line.split(" ") for line in mounts.splitlines())
    wanted = {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/.containerenv"}
    return [fields[3] for fields in lines if len(fields) > 4 and fields[4] in wanted]  # noqa: PLR2004


def _id(path: str) -> str:
    for part in reversed(path.split("/")):
        name = part.removesuffix(".scope").rpartition("-")[2].rpartition(":")[2]
        if len(name) == ID and not set(name) - HEX:
            return name
        if part.startswith("lxc.payload."):
            return part.removeprefix("lxc.payload.")
    return ""


def _runtime(path: str) -> str:
    return next((runtime for part, runtime in RUNTIMES if part in path), "")


def _marks(root: str, groups: str) -> list[str]:
    marks = [f"file:{path}" for path in ("/.dockerenv", "/run/.containerenv") if os.access(path, os.F_OK)]
    namespace = link(f"{root}/ns/pid")
    if namespace and namespace != FIRST_PID_NAMESPACE:
        marks.append(f"ns:{namespace.strip('pid:[]')}")
    if kind := os.environ.get("container"):  # noqa: SIM112 - systemd calls it that
        marks.append(f"environment:container={kind[:64]}")
    marks += [f"pod-uid:{uid}" for uid in dict.fromkeys(map(_pod, groups.split("/"))) if uid]
    return marks


def _pod(part: str) -> str:
    """Return the uid of a pod from a part of a cgroup's path: pod<uid>, or kubepods-besteffort-pod<uid>.slice."""
    uid = part.removesuffix(".slice").rpartition("pod")[2]
    return uid if part != uid and 0 < len(uid) <= ID and not set(uid) - HEX - set("-_") else ""
