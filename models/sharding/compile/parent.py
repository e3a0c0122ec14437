"""What ties a compile to the process that asked for it: both end together, and nothing is left."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from models.errors import ConfigError, StorageFullError, is_storage_full

_SET_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux's prctl(2)."""
_FOLDER = re.compile(r"compiling-(?P<host>.*)@(?P<pid>\d{1,9})-\w+")


def end_with(parent: int) -> None:
    """Let this process be killed when its parent dies; end at once where it is dead already.

    Elsewhere than on Linux there is no such signal: only the second holds there.

    Args:
        parent: Process that started this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the process that asked for this compile is gone")


@contextmanager
def working_folder(cache: Path) -> Iterator[Path]:
    """Give a folder inside the cache that is removed at the end, and by the next one if we die.

    Args:
        cache: Folder of remembered compiles, made where it is missing.

    Raises:
        StorageFullError: The disk is full, or a limit of sizes is reached.
        ConfigError: The cache is no folder that can be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        remove_stale(cache)
        prefix = f"compiling-{_host()}@{os.getpid()}-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=cache) as folder:
            yield Path(folder)
    except StorageFullError:
        raise
    except OSError as error:
        if is_storage_full(error):
            raise StorageFullError(
                f"a compile cannot be kept in {cache}: {error}; free space or name another cache"
            ) from None
        raise ConfigError(
            f"a compile cannot be kept in {str(cache)!r}: {error}; name a folder that can be "
            "written"
        ) from None


def remove_stale(cache: Path) -> None:
    """Remove folders of compiles on this machine whose process is gone."""
    for place in cache.glob("compiling-*"):
        found = _FOLDER.fullmatch(place.name)
        if found and found["host"] == _host() and not psutil.pid_exists(int(found["pid"])):
            shutil.rmtree(place, ignore_errors=True)


def _host() -> str:
    """Return the name of this machine: a cache may be on a disk of several."""
    return re.sub(r"[^\w.-]", "_", platform.node())[:60]
