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

from models.errors import ConfigError, ServiceError
from models.inference.native.symbols import Level, declare

FOLDER = Path(__file__).parent
SOURCES = tuple(
    FOLDER / f"{name}.cpp"
    for name in (
        *("elementwise", "file_rows", "levels"),
        *("prefix_attention", "tiles", "tiles_amx", "tiles_avx2"),
    )
)
# No -march: each function names the instructions that it uses and is called only where the
# processor has them, so a cache shared between machines never holds an illegal one.
FLAGS = (
    *("-O3", "-std=c++17", "-fPIC", "-shared", "-fopenmp"),
    # Neither errno nor floating-point traps are looked at; both keep loops from being vectorised.
    *("-fno-math-errno", "-fno-trapping-math"),
)
BUILD_TIMEOUT_S = 300


class BuildError(ServiceError):
    """The C++ part could not be built here; the torch reference stands in."""


@cache
def load_library(folder: Path) -> ctypes.CDLL:
    """Build the library if these sources were never built here, and load it.

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
    texts = [path.read_text() for path in (*SOURCES, *sorted(FOLDER.glob("*.h")))]
    recipe = "\n".join([*texts, *FLAGS, version])
    name = f"inference-{hashlib.sha256(recipe.encode()).hexdigest()[:20]}.so"
    library = folder / name
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(library) + ".lock"):
            if not library.exists():
                _build(compiler, library)
    try:
        return declare(ctypes.CDLL(str(library)))
    except OSError as error:
        raise BuildError(f"{library} cannot be loaded ({error}); remove it to build anew") from None


def usable_level(library: ctypes.CDLL, asked: Level | None) -> Level:
    """Return the level to use: the one asked for, or the best that the processor has.

    Raises:
        ConfigError: The processor lacks the level.
    """
    best = Level(library.loom_level())
    if asked is not None and asked > best:
        raise ConfigError(f"{asked.name} asked for, this processor has {best.name}")
    return best if asked is None else asked


def _build(compiler: str, library: Path) -> None:
    # Renamed when whole: a build that is killed leaves nothing that looks built.
    descriptor, scratch = tempfile.mkstemp(dir=library.parent, suffix=".so")
    os.close(descriptor)
    try:
        done = _run([compiler, *FLAGS, *map(str, SOURCES), "-o", scratch])
        if done.returncode:
            last = done.stderr.strip().splitlines()[-3:]
            raise BuildError(f"{compiler} could not build {FOLDER.name}: {' | '.join(last)}")
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
