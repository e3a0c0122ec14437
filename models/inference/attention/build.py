"""Builds the C++ part once per source, compiler and flags, and loads it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from filelock import FileLock

from models.errors import ServiceError

SOURCE = Path(__file__).with_name("prefix_attention.cpp")
# No -march: each function names the instructions that it uses and is called only where the
# processor has them, so a cache shared between machines never holds an illegal one.
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fopenmp", "-fno-math-errno")
BUILD_TIMEOUT_S = 300


class BuildError(ServiceError):
    """The C++ part could not be built here; the torch reference stands in."""


@cache
def load_library(folder: Path) -> ctypes.CDLL:
    """Build the library if this source was never built here, and load it.

    Args:
        folder: Cache of built libraries; made if missing.

    Raises:
        BuildError: No compiler, or it failed; says what it printed.
    """
    import torch  # noqa: F401  # its OpenMP runtime first: one pool of threads then serves both

    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler or not shutil.which(compiler):
        raise BuildError("no C++ compiler (g++ or clang++) is installed; install g++")
    version = _run([compiler, "--version"]).stdout
    recipe = "\n".join([SOURCE.read_text(), *FLAGS, version])
    name = f"prefix_attention-{hashlib.sha256(recipe.encode()).hexdigest()[:20]}.so"
    library = folder / name
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(library) + ".lock"):
            if not library.exists():
                _build(compiler, library)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise BuildError(f"{library} cannot be loaded ({error}); remove it to build anew") from None


def _build(compiler: str, library: Path) -> None:
    # Renamed when whole: a build that is killed leaves nothing that looks built.
    descriptor, scratch = tempfile.mkstemp(dir=library.parent, suffix=".so")
    os.close(descriptor)
    try:
        done = _run([compiler, *FLAGS, str(SOURCE), "-o", scratch])
        if done.returncode:
            last = done.stderr.strip().splitlines()[-3:]
            raise BuildError(f"{compiler} could not build {SOURCE.name}: {' | '.join(last)}")
        os.replace(scratch, library)
    finally:
        Path(scratch).unlink(missing_ok=True)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]} did not finish: {error}") from None
