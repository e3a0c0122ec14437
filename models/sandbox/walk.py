"""One way from a folder to a name below it that no link and no `..` leads out of."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.sandbox.base import OutsideWorkspaceError

MOST_LINKS = 40
"""Links on one path before it counts as a loop; the kernel's own number."""

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Place:
    """A name in an open folder."""

    folder: int
    name: str


def outside(base: Path, path: str | os.PathLike[str]) -> OutsideWorkspaceError:
    """Build the error for a path that leads out."""
    return OutsideWorkspaceError(
        f"{os.fspath(path)} lies outside the workspace {base}; name a path in it"
    )


def relative(base: Path, path: str | os.PathLike[str]) -> PurePosixPath:
    """Return a path relative to a base; `..` is kept and judged when it is walked.

    Raises:
        OutsideWorkspaceError: It is absolute and lies elsewhere.
    """
    given = PurePosixPath(os.fspath(path))
    if "\0" in str(given):
        raise OutsideWorkspaceError(f"path {str(given)!r} holds a NUL byte")
    if not given.is_absolute():
        return given
    if not given.is_relative_to(base):
        raise outside(base, path)
    return given.relative_to(base)


class Walk:
    """One way from the root to a name: a stack of open folders, so that `..` only pops."""

    def __init__(
        self,
        base: Path,
        path: str | os.PathLike[str],
        root: int,
        stack: contextlib.ExitStack,
        make: bool,
    ) -> None:
        self._base, self._path, self._stack, self._make = base, path, stack, make
        self._folders = [root]
        self._todo = list(reversed(relative(base, path).parts))
        self._links = 0

    def place(self) -> Place:
        """Walk to the end, following the last link as well."""
        name = "."
        while self._todo:
            part = self._todo.pop()
            if part == "..":
                if len(self._folders) == 1:
                    raise outside(self._base, self._path)
                self._folders.pop()
                name = "."
            elif part not in (".", ""):
                name = self._step(part)
        return Place(self._folders[-1], name)

    def _step(self, part: str) -> str:
        """Enter a folder or follow a link; the name itself when it is the last."""
        here, is_last = self._folders[-1], not self._todo
        try:
            found = os.stat(part, dir_fd=here, follow_symlinks=False)
        except FileNotFoundError:
            if is_last:
                return part
            if not self._make:
                raise
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=here)
            found = os.stat(part, dir_fd=here, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            self._follow(part, here)
            return "."
        if is_last:
            return part
        # O_NOFOLLOW: had it become a link since, this fails instead of following.
        folder = os.open(part, os.O_DIRECTORY | _LOOK, dir_fd=here)
        self._stack.callback(os.close, folder)
        self._folders.append(folder)
        return "."

    def _follow(self, part: str, here: int) -> None:
        self._links += 1
        if self._links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(self._path))
        target = PurePosixPath(os.readlink(part, dir_fd=here))
        if target.is_absolute():
            if not target.is_relative_to(self._base):
                raise outside(self._base, self._path)
            target = target.relative_to(self._base)
            del self._folders[1:]
        self._todo += reversed(target.parts)
