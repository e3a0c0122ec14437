"""The upper layer of an overlay on disk: copying it, reading it, and putting it onto its base.

An overlay keeps what changed in one folder: changed files whole, a character device 0:0 for
each name that was removed, and a mark on folders that replace those of the base.

Source: Linux, Documentation/filesystems/overlayfs.rst (with `userxattr`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_OPAQUE = "user.overlay.opaque"


@dataclass(frozen=True)
class Change:
    """One path that differs from the base.

    Attributes:
        path: Relative to the workspace.
        kind: What happened to it.
    """

    path: str
    kind: Literal["added", "changed", "removed"]


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _is_opaque(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.getxattr(folder, _OPAQUE) == b"y"
    return False


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for name in sorted(os.listdir(folder)):
        yield name, (folder / name).lstat()


def copy_layer(source: Path, target: Path, earlier: Path | None = None) -> None:
    """Copy a layer with its marks.

    Args:
        source: The layer.
        target: A folder that does not exist yet.
        earlier: An older copy that nothing changes any more: its files are linked instead of
            copied where they are the same.
    """
    target.mkdir()
    _copy_status(source, target, source.lstat())
    if _is_opaque(source):
        os.setxattr(target, _OPAQUE, b"y")
    for name, found in _entries(source):
        old = earlier / name if earlier is not None else None
        if stat.S_ISDIR(found.st_mode):
            is_there = old is not None and old.is_dir() and not old.is_symlink()
            copy_layer(source / name, target / name, old if is_there else None)
        else:
            _copy_entry(source / name, target / name, found, old)
    _copy_times(target, source.lstat())


def _copy_entry(source: Path, target: Path, found: os.stat_result, old: Path | None) -> None:
    if _is_whiteout(found):
        os.mknod(target, stat.S_IFCHR, os.makedev(0, 0))
        return
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISREG(found.st_mode):
        if old is not None and _is_same(old, found):
            os.link(old, target, follow_symlinks=False)
            return
        shutil.copyfile(source, target, follow_symlinks=False)
    elif stat.S_ISFIFO(found.st_mode):
        os.mkfifo(target)
    else:
        # A socket is worth nothing without the process behind it.
        return
    _copy_status(source, target, found)
    _copy_times(target, found)


def _is_same(old: Path, found: os.stat_result) -> bool:
    """Tell by size, times and owner, as backup programs do."""
    with contextlib.suppress(OSError):
        there = old.lstat()
        names = ("st_mode", "st_size", "st_mtime_ns", "st_uid", "st_gid")
        return all(getattr(there, name) == getattr(found, name) for name in names)
    return False


def _copy_status(source: Path, target: Path, found: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(target, stat.S_IMODE(found.st_mode) & 0o777)


def _copy_times(target: Path, found: os.stat_result) -> None:
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)


def changes_of(layer: Path, base: Path, prefix: str = "") -> Iterator[Change]:
    """Say what a layer changes of its base, sorted by path.

    Folders count only where they are new or replace something else.
    """
    is_replaced = _is_opaque(layer)
    if is_replaced and base.is_dir() and not base.is_symlink():
        kept = set(os.listdir(layer))
        for name in sorted(set(os.listdir(base)) - kept):
            yield Change(prefix + name, "removed")
    for name, found in _entries(layer):
        place, path = base / name, prefix + name
        is_there = os.path.lexists(place)
        if _is_whiteout(found):
            if is_there:
                yield Change(path, "removed")
        elif not stat.S_ISDIR(found.st_mode):
            yield Change(path, "changed" if is_there else "added")
        else:
            if not place.is_dir() or place.is_symlink():
                yield Change(path, "changed" if is_there else "added")
            yield from changes_of(layer / name, place, path + "/")


def apply_layer(layer: Path, base: Path) -> None:
    """Put what a layer changes onto its base; may be repeated after it was cut short."""
    if _is_opaque(layer):
        for name in set(os.listdir(base)) - set(os.listdir(layer)):
            remove(base / name)
    for name, found in _entries(layer):
        source, place = layer / name, base / name
        if _is_whiteout(found):
            remove(place)
        elif stat.S_ISDIR(found.st_mode):
            if not place.is_dir() or place.is_symlink():
                remove(place)
                place.mkdir()
            apply_layer(source, place)
            _copy_status(source, place, found)
        else:
            temporary = base / f".{name[:200]}.loom-accept"
            remove(temporary)
            _copy_entry(source, temporary, found, None)
            if place.is_dir() and not place.is_symlink():
                remove(place)
            if os.path.lexists(temporary):
                os.replace(temporary, place)


def remove(place: Path) -> None:
    """Remove whatever is at a path; nothing there is fine."""
    if not place.is_dir() or place.is_symlink():
        place.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(place)
    except PermissionError:
        # Folders that nobody may enter: overlays make such (work/work).
        place.chmod(0o700)
        for folder, names, _ in os.walk(place):
            for name in names:
                _let_in(os.path.join(folder, name))
        shutil.rmtree(place)


def _let_in(path: str) -> None:
    if not os.path.islink(path):
        os.chmod(path, 0o700)
