"""What an interrupted benchmark has measured already; a finished one begins anew."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Progress:
    """Keeps results by name in files until the benchmark is whole.

    Args:
        folder: Of this benchmark alone: whatever changes its results is part of the name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def begun(self) -> int:
        """Results that are kept."""
        return len(list(self._folder.glob("*.pickle")))

    def has(self, name: str) -> bool:
        """Whether there is a result of this name."""
        return self._file(name).exists()

    def once(self, name: str, measure: Callable[[], T]) -> T:
        """Return the kept result of this name, or measure and keep it."""
        file = self._file(name)
        if file.exists():
            # Our own file in our own cache: no stranger's pickle.
            kept: T = pickle.loads(file.read_bytes())
            return kept
        result = measure()
        part = file.with_suffix(".part")
        part.write_bytes(pickle.dumps(result))
        part.replace(file)
        return result

    def finish(self) -> None:
        """Forget everything: the next benchmark measures again."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.pickle"
