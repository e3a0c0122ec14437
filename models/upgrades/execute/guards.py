"""What must hold before each step: the lock is ours, nobody pulled the kill switch."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from models.errors import ServiceError


class LockHeldError(ServiceError):
    """Another process carries out a plan."""


class RolloutLock:
    """One rollout at a time; dies with its process, and can be taken away.

    The operating system frees the lock of a process that was killed. A person takes it away
    by removing or changing the owner file: a lock that is no longer ours stops the rollout
    at once (an expired lock that was not looked at has taken fleets down node by node).

    Args:
        file: Owner file; a second file with the ending `.lock` stands beside it.
        who: Owner, for people.
    """

    def __init__(self, file: Path, who: str) -> None:
        self._file = file
        self._token = f"{who} {uuid.uuid4().hex}"
        self._lock = FileLock(f"{file}.lock", timeout=0)

    def __enter__(self) -> Self:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            owner = self._file.read_text(encoding="utf-8") if self._file.exists() else "unknown"
            raise LockHeldError(
                f"a rollout already runs (lock {self._file}, owner {owner.split(' ')[0]}); wait "
                "for it or stop it"
            ) from None
        self._file.write_text(self._token, encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_held():
            self._file.unlink()
        self._lock.release()

    def is_held(self) -> bool:
        """Whether the lock is still ours."""
        try:
            return self._lock.is_locked and self._file.read_text(encoding="utf-8") == self._token
        except OSError:
            return False


def halt_reason(file: Path) -> str | None:
    """Say why nothing may start: the first line of the halt file; None where there is none."""
    if not file.exists():
        return None
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError as error:
        return f"halt file {file} cannot be read ({error.strerror})"
    return lines[0] if lines else f"halt file {file} exists"
