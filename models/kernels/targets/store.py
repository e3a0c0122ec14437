"""Results of compiles on disk, one small file each."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from models.errors import StorageFullError, is_storage_full
from models.kernels.compiler import CompileResult


class CompileFolder:
    """Keeps results by key; several processes may share a folder.

    Args:
        folder: Made when the first result is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _file(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"

    def get(self, key: str) -> CompileResult | None:
        """Return a result; None: there is none, or its file is damaged."""
        try:
            return CompileResult.model_validate_json(self._file(key).read_bytes())
        except (FileNotFoundError, ValidationError):
            # A damaged file costs one compile: it is written again.
            return None

    def put(self, key: str, result: CompileResult) -> None:
        """Keep a result; a kill leaves the file whole or absent.

        Raises:
            StorageFullError: The disk is full.
        """
        file = self._file(key)
        draft = file.with_suffix(f".{os.getpid()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(result.model_dump_json(), encoding="utf-8")
            draft.replace(file)
        except OSError as error:
            if is_storage_full(error):
                raise StorageFullError(
                    f"no room for a compile result in {self._folder}: {error}; free some space"
                ) from error
            raise

    def __len__(self) -> int:
        """Return the number of results."""
        return sum(1 for _ in self._folder.glob("*/*.json"))
