"""Whose turn a shard is: one supervisor and one engine process at a time, whatever died before.

Locks of the operating system: they end with the process that holds them, killed or not. So a
shard that is given to another machine begins there only when nobody writes for it any more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from models.errors import AlreadyRunningError
from models.inference.job_state import stop_reason

POLL_S = 0.2
TURNS = "turns"


@contextmanager
def supervising(folder: Path, shard: int) -> Iterator[None]:
    """Supervise a shard: wait until nobody else does and no engine process works on it.

    Another supervisor may be alive and well where only the line to it is cut, so there is no
    limit to the wait; it ends when the job is asked to stop.
    """
    owner, engine = _lock(folder, shard, "supervisor"), _lock(folder, shard, "engine")
    for lock in (owner, engine):
        while stop_reason(folder) is None and not _take(lock):
            time.sleep(POLL_S)
    engine.release()
    try:
        yield
    finally:
        owner.release()


@contextmanager
def running(folder: Path, shard: int, patience_s: float) -> Iterator[None]:
    """Work on a shard as its engine process.

    Raises:
        AlreadyRunningError: An earlier process of the shard does not end.
    """
    lock = _lock(folder, shard, "engine")
    _wait(lock, patience_s, folder)
    try:
        yield
    finally:
        lock.release()


def wait_for_silence(folder: Path, patience_s: float) -> None:
    """Wait until no engine process of earlier starts of a job is left.

    Raises:
        AlreadyRunningError: One does not end.
    """
    for file in sorted((folder / TURNS).glob("*.engine")):
        lock = FileLock(file, timeout=0)
        _wait(lock, patience_s, folder)
        lock.release()


def _lock(folder: Path, shard: int, who: str) -> FileLock:
    (folder / TURNS).mkdir(parents=True, exist_ok=True)
    return FileLock(folder / TURNS / f"{shard}.{who}", timeout=0)


def _wait(lock: FileLock, patience_s: float, folder: Path) -> None:
    until = time.monotonic() + patience_s
    while not _take(lock):
        if time.monotonic() > until:
            raise AlreadyRunningError(
                f"an engine process of an earlier start still works on this job ({folder}); end "
                "it, then start again"
            )
        time.sleep(POLL_S)


def _take(lock: FileLock) -> bool:
    try:
        lock.acquire()
    except Timeout:
        return False
    return True
