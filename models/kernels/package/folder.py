"""Folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from models.errors import DataError, StorageFullError, is_storage_full


class FolderTakenError(FileExistsError, DataError):
    """Something else is where a folder should go."""


def is_free(folder: Path) -> bool:
    """Whether nothing would be lost by writing there."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def write_folder(folder: Path, files: Mapping[str, bytes], replace: bool = False) -> None:
    """Write files beside `folder` and move them there at the end.

    No reader sees a part of either. Replacing takes two renames, so for a moment there is no
    folder; a process killed while it writes leaves a hidden one beside it, never half of this one.

    Args:
        folder: Where they go.
        files: Contents by path, relative to the folder.
        replace: Whether what is there already may go.

    Raises:
        FolderTakenError: `folder` holds something and `replace` is off.
        StorageFullError: The disk is full.
    """
    if not replace and not is_free(folder):
        raise FolderTakenError(f"{folder} holds something already; give a folder of its own")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for path, content in files.items():
            _put(draft / path, content)
        draft.chmod(0o755)
        _move(draft, folder)
    except OSError as error:
        if is_storage_full(error):
            raise StorageFullError(
                error.errno, f"no room for {folder}: {error}; free space and write it again"
            ) from error
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put(file: Path, content: bytes) -> None:
    """Write a file with its folders and wait until the disk has it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _move(draft: Path, folder: Path) -> None:
    """Put the draft in place; what was there goes once the new one stands."""
    if not folder.exists():
        draft.rename(folder)
        return
    former = Path(tempfile.mkdtemp(prefix=f".{folder.name}-former-", dir=folder.parent))
    try:
        folder.rename(former / folder.name)
        try:
            draft.rename(folder)
        except OSError:
            (former / folder.name).rename(folder)
            raise
    finally:
        shutil.rmtree(former, ignore_errors=True)
