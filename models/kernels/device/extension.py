"""Build the device's extension once per source and version of torch, and load it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from models.errors import ConfigError

DEVICE = "generated"
"""Name of the device in torch, `tensor.to("generated")`; there is one per process."""
_SOURCE = Path(__file__).with_name("cpp") / "device.cpp"
_BUILD_S = 600.0
"""Took 6.5 CPU seconds, 23 s of wall time on a busy machine of two cores."""
_FLAGS = ("-O1", "-std=c++20", "-fPIC", "-shared")


class NoCompilerError(ConfigError):
    """The device's extension cannot be built here."""


def extension_file(cache: Path) -> Path:
    """Return where the library of this source, torch and compiler flags lies in a cache."""
    import torch

    parts = (_SOURCE.read_bytes(), torch.__version__.encode(), " ".join(_FLAGS).encode())
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    return cache / f"kernel_device_{digest[:24]}.so"


def build_extension(cache: Path) -> Path:
    """Compile the extension unless the cache has it; two processes may do so at once.

    Args:
        cache: Folder of built libraries; made if missing.

    Raises:
        NoCompilerError: There is no C++ compiler, or it refuses the source.
    """
    file = extension_file(cache)
    if file.is_file():
        return file
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise NoCompilerError(
            "the device of generated kernels needs a C++ compiler, none of g++ and clang++ was "
            "found; install one, or use a cache folder with a built library"
        )
    import torch
    from torch.utils.cpp_extension import include_paths

    cache.mkdir(parents=True, exist_ok=True)
    libraries = Path(torch.__file__).parent / "lib"
    partial = file.with_suffix(f".{os.getpid()}.partial")
    command = [compiler, *_FLAGS, *(f"-I{path}" for path in include_paths()), str(_SOURCE), "-o",
               str(partial), f"-L{libraries}", "-ltorch_cpu", "-lc10"]  # fmt: skip
    built = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_S, check=False)
    if built.returncode:
        partial.unlink(missing_ok=True)
        raise NoCompilerError(
            f"{compiler} refuses the device's extension for torch {torch.__version__}: "
            f"{built.stderr.strip()[-800:]}; torch 2.13 and C++20 are needed"
        )
    partial.replace(file)
    return file


class _Module:
    """What torch asks of a device's Python module."""

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        """Nothing is drawn on the device."""


def load_device(cache: Path) -> Any:
    """Make the device known to this process, for good; returns it as torch does.

    Raises:
        NoCompilerError: The extension cannot be built.
    """
    import torch

    if getattr(torch, DEVICE, None) is None:
        torch.ops.load_library(str(build_extension(cache)))  # type: ignore[no-untyped-call]
        # The autograd engine asks for an accelerator, which a device without a name is not.
        torch.utils.backend_registration.rename_privateuse1_backend(DEVICE)
        torch._register_device_module(DEVICE, _Module)  # type: ignore[no-untyped-call]
    return torch.device(DEVICE, 0)
