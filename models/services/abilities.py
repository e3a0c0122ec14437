"""What this machine can do, really tried where a look would not tell."""

from __future__ import annotations

import shutil
import subprocess
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


def ask_tool(*argv: str, line: str = "", timeout_s: float = 5) -> str | None:
    """Run a tool and return the first line it prints; None when it fails or is not there.

    Args:
        argv: The command line.
        line: Take the first line that holds this text instead.
        timeout_s: Seconds after which the tool counts as failing.
    """
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s)
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
