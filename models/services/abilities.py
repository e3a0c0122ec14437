"""What this machine can do, really tried where a look would not tell."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True)
class Finding:
    """One line of `loom doctor`."""

    group: str
    what: str
    found: str
    state: State
    advice: str = ""
    """What the missing part would enable, or how to get it."""
    required: bool = False
    """Whether the project cannot work without it."""

    @classmethod
    def ok(cls, group: str, what: str, found: str, advice: str = "") -> Finding:
        """Build the line of a part that is in order."""
        return cls(group, what, found, "ok", advice)

    @classmethod
    def missing(cls, group: str, what: str, found: str, advice: str) -> Finding:
        """Build the line of an optional part that is not there."""
        return cls(group, what, found, "missing", advice)


def ask_tool(
    *argv: str, line: str = "", timeout_s: float = 5, user: int | None = None
) -> str | None:
    """Run a tool and return the first line it prints; None when it fails or is not there.

    Args:
        argv: The command line.
        line: Take the first line that holds this text instead.
        timeout_s: Seconds after which the tool counts as failing.
        user: Run it as this user; only root may.
    """
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, user=user)
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode != 0:
        return None
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return next((one.strip() for one in lines if line in one), "")


def tool(
    group: str, what: str, argv: list[str], advice: str, *, required: bool = False, line: str = ""
) -> Finding:
    """Look for a program and ask it something: found, not there, or there but failing."""
    path = shutil.which(argv[0])
    if path is None:
        return Finding(group, what, "not found", "missing", advice, required)
    answer = ask_tool(path, *argv[1:], line=line)
    if answer is None:
        asked = " ".join(argv)
        return Finding(group, what, f"{path}, but `{asked}` fails", "broken", advice, required)
    return Finding(group, what, answer or "works", "ok", required=required)


def compilers() -> list[Finding]:
    """Look for the compilers that kernels and extensions are built with."""
    group, install = "compilers", "apt-get install build-essential"
    cuda = "CUDA C++ kernels: install CUDA's compiler (nvcc)"
    return [
        tool(group, "gcc", ["gcc", "--version"], install, required=True),
        tool(group, "g++", ["g++", "--version"], f"C++ and torch.compile kernels: {install}"),
        tool(group, "nvcc", ["nvcc", "--version"], cuda, line="release"),
        _ptxas(group),
    ]


def _ptxas(group: str) -> Finding:
    what, advice = "ptxas (of triton)", "turning Triton kernels into GPU code without a GPU"
    try:
        program = metadata.distribution("triton").locate_file("triton/backends/nvidia/bin/ptxas")
    except metadata.PackageNotFoundError:
        return Finding.missing(group, what, "no triton", advice)
    version = ask_tool(str(program), "--version", line="release")
    if version is None:
        return Finding(group, what, f"{program} does not run", "broken", advice)
    return Finding.ok(group, what, version)


def sandboxing() -> list[Finding]:
    """Try what the sandbox of untrusted code may be built from."""
    group = "sandbox"
    advice = "file system isolation for generated code: apt-get install bubblewrap"
    return [
        tool(group, "bubblewrap", ["bwrap", "--ro-bind", "/", "/", "true"], advice),
        _user_namespaces(group),
        _seccomp(group),
        _landlock(group),
        _cgroup(group),
        _docker(group),
    ]


def _user_namespaces(group: str) -> Finding:
    what = "user namespaces"
    # Root may always make them; what counts is whether an ordinary user may.
    nobody = 65_534 if os.geteuid() == 0 else None
    if ask_tool("unshare", "--user", "--map-root-user", "true", user=nobody) is not None:
        return Finding.ok(group, what, "work for ordinary users")
    advice = "isolation without root: sysctl kernel.unprivileged_userns_clone=1 on the host"
    return Finding.missing(group, what, "refused", advice)


def _seccomp(group: str) -> Finding:
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    if not actions.exists():
        return Finding.missing(group, "seccomp", "not in this kernel", "system call filters")
    return Finding.ok(group, "seccomp", actions.read_text().strip())


def _landlock(group: str) -> Finding:
    abi = landlock_abi()
    if abi is None:
        advice = "path limits without namespaces: Linux 5.13 or newer with lsm=landlock"
        return Finding.missing(group, "Landlock", "not in this kernel, or switched off", advice)
    return Finding.ok(group, "Landlock", f"ABI {abi}")


def landlock_abi() -> int | None:
    """Ask the kernel for its Landlock version; None when it has none."""
    create_ruleset, version_flag = 444, 1  # the same number on every Linux architecture
    try:
        answer = ctypes.CDLL(None).syscall(create_ruleset, None, 0, version_flag)
    except (OSError, AttributeError):
        return None
    return answer if answer > 0 else None


def _cgroup(group: str) -> Finding:
    what, advice = "cgroup v2", "memory and process limits that hold for whole process trees"
    root = Path("/sys/fs/cgroup")
    if not (root / "cgroup.controllers").exists():
        return Finding.missing(group, what, "not mounted", advice)
    own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2].lstrip("/")
    folder = root / own if (root / own).is_dir() else root
    try:
        # Permission bits lie on read-only mounts: only making one tells.
        os.rmdir(tempfile.mkdtemp(prefix="loom-doctor-", dir=folder))
    except OSError as error:
        return Finding.missing(group, what, f"mounted, but: {error.strerror}", advice)
    return Finding.ok(group, what, "mounted and writable")


def _docker(group: str) -> Finding:
    what = "Docker"
    if shutil.which("docker") is None:
        advice = "running untrusted commands in containers: apt-get install docker.io"
        return Finding.missing(group, what, "no client", advice)
    engine = ask_tool("docker", "version", "--format", "{{.Server.Version}}")
    if engine is None:
        advice = "start the engine, or join the group `docker`"
        return Finding.missing(group, what, "a client, but no engine answers", advice)
    return Finding.ok(group, what, f"engine {engine}")


def accelerator() -> Finding:
    """Look for a GPU without importing torch."""
    group, what = "machine", "GPU"
    advice = "running GPU kernels, and vLLM on CUDA; all else runs without"
    query = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    answer = ask_tool("nvidia-smi", *query, timeout_s=15)
    if answer:
        return Finding.ok(group, what, answer)
    if Path("/dev/nvidiactl").exists():
        return Finding(group, what, "a driver, but nvidia-smi fails", "broken", advice)
    if Path("/dev/kfd").exists():
        return Finding.ok(group, what, "an AMD GPU (/dev/kfd)")
    return Finding.missing(group, what, "none", advice)
