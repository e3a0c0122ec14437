"""One fsync for many commits: logs in group mode wait together."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from pathlib import Path

WINDOW_S = 0.002
"""How long the first one waits for others; a disk's own fsync takes 4 to 11 ms."""


class GroupSync:
    """Brings files to the disk in a thread of its own, each once per round."""

    def __init__(self) -> None:
        self._waiting: dict[Path, list[Future[None]]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.syncs = 0
        """Files synced so far."""

    def sync(self, path: Path) -> Future[None]:
        """Bring to the disk everything that was written to a file before now."""
        done: Future[None] = Future()
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
            # Those who come within the window share the round.
            time.sleep(WINDOW_S)
            with self._changed:
                batch, self._waiting = self._waiting, {}
            for path, waiting in batch.items():
                try:
                    _sync_file(path)
                except OSError as error:
                    for future in waiting:
                        future.set_exception(error)
                else:
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
