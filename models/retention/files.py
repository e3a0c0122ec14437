"""Cached files that are old, and how much each folder of a home holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.retention.rules import DAY_S


@dataclass(frozen=True)
class Folder:
    """A folder at the top of a home."""

    name: str
    files: int
    size: int
    """Bytes."""


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the files below a folder, links never followed; what vanishes meanwhile is passed."""
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                found = list(entries)
        except OSError:
            continue
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield entry


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return 0


def folders_of(home: Path) -> list[Folder]:
    """Return the folders of a home, the largest first."""
    found = []
    for place in home.iterdir() if home.is_dir() else ():
        if place.is_dir() and not place.is_symlink():
            sizes = [_size(entry) for entry in _files(place)]
            found.append(Folder(place.name, len(sizes), sum(sizes)))
    return sorted(found, key=lambda one: (-one.size, one.name))


def old_files(folder: Path, days: float, now_s: float) -> list[tuple[Path, int]]:
    """Return files below a folder that were written more than `days` ago, with their bytes."""
    limit_s, found = now_s - days * DAY_S, []
    for entry in _files(folder):
        try:
            facts = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if facts.st_mtime < limit_s:
            found.append((Path(entry.path), facts.st_size))
    return sorted(found)


def remove_files(files: Iterable[Path]) -> int:
    """Remove files; those that are gone already count as removed. Returns how many are gone.

    Raises:
        OSError: One cannot be removed.
    """
    gone = 0
    for file in files:
        file.unlink(missing_ok=True)
        gone += 1
    return gone
