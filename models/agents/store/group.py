"""One fsync for many commits: logs in group mode wait together."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path


def begun() -> Future[None]:
    """Return the future of a sync that is under way: who gives up waiting does not end it."""
    done: Future[None] = Future()
    done.set_running_or_notify_cancel()
    return done


class GroupSync:
    """Brings files to the disk, in a thread of its own for those who cannot wait themselves.

    Whoever comes while a round is under way shares the next one: each file once per round.
    """

    def __init__(self) -> None:
        self._waiting: dict[Path, list[Future[None]]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.syncs = 0
        """Files synced so far."""

    def sync(self, path: Path) -> Future[None]:
        """Bring to the disk everything that was written to a file before now."""
        done = begun()
        with self._changed:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="group-sync", daemon=True)
                self._thread.start()
            self._waiting.setdefault(path, []).append(done)
            self._changed.notify()
        return done

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                batch, self._waiting = self._waiting, {}
            for path, waiting in batch.items():
                self.sync_here(path, waiting)

    def sync_here(self, path: Path, waiting: Sequence[Future[None]]) -> None:
        """Bring a file to the disk in this thread, and tell those who wait for it."""
        try:
            _sync_file(path)
        except OSError as error:
            for future in waiting:
                future.set_exception(error)
            return
        with self._changed:
            self.syncs += 1
        for future in waiting:
            future.set_result(None)


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fdatasync(handle)
    finally:
        os.close(handle)


SHARED = GroupSync()
"""Of all logs of this process."""
