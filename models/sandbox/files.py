"""Files of a workspace, reached component by component so that no path leads out of it.

Every step opens one name relative to an open folder and never follows a link by itself; links
are read and followed here, within the root. So a link that is swapped while we look, `..`,
or an absolute path cannot lead out, whatever a command in the sandbox does meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from models.errors import DataError
from models.sandbox.kernel import acting_as
from models.sandbox.walk import Place, Walk

_PIECE_BYTES = 1024**2
"""What is copied at a time."""


class NotAFileError(DataError):
    """Something else stands where a regular file is wanted: a folder, a pipe, a device."""


class TooLargeError(DataError):
    """A file is larger than what was asked for."""


@dataclass(frozen=True)
class Entry:
    """One name in a folder.

    Attributes:
        path: Relative to the folder that was listed.
        kind: What it is; links are not followed.
        size: Bytes.
    """

    path: str
    kind: Literal["file", "folder", "link", "other"]
    size: int


class Files:
    """Reads, writes and lists files below a root.

    Args:
        root: The workspace; absolute paths are taken as paths on the host and must lie in it.
        confined: Whether paths that lead out are refused. Only a trusted level sets this to
            False: paths are then followed as the system does.
        opened: Opens the root where that is not the folder at its path (an overlay).
        user: Number of the user that acts, when we are root; None: root.
    """

    def __init__(
        self,
        root: Path,
        *,
        confined: bool = True,
        opened: Callable[[], int] | None = None,
        user: int | None = None,
    ) -> None:
        self.root = root
        self.confined = confined
        self._open = opened
        self._user = user

    @contextlib.contextmanager
    def _opened_root(self) -> Iterator[int]:
        # Each time anew: a workspace may have been replaced by a newer one.
        opened = (
            os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if self._open is None
            else self._open()
        )
        try:
            yield opened
        finally:
            os.close(opened)

    @contextlib.contextmanager
    def _parent(self, path: str | os.PathLike[str], make: bool = False) -> Iterator[Place]:
        """Yield the folder that holds what a path finally names, and its name there."""
        if not self.confined:
            real = Path(os.path.realpath(self.root / os.fspath(path)))
            if make:
                real.parent.mkdir(parents=True, exist_ok=True)
            folder = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield Place(folder, real.name or ".")
            finally:
                os.close(folder)
            return
        acting = acting_as(self._user) if self._user is not None else contextlib.nullcontext()
        with self._opened_root() as root, acting, contextlib.ExitStack() as stack:
            yield Walk(self.root, path, root, stack, make).place()

    def read(self, path: str | os.PathLike[str], most_bytes: int | None = None) -> bytes:
        """Return a file's bytes.

        Raises:
            FileNotFoundError: There is none.
            NotAFileError: It is no regular file.
            OutsideWorkspaceError: The path leads out of the workspace.
            TooLargeError: It has more than `most_bytes`.
        """
        with self._parent(path) as place, _regular(place, path, os.O_RDONLY) as descriptor:
            size = os.fstat(descriptor).st_size
            if most_bytes is not None and size > most_bytes:
                raise TooLargeError(f"{path} has {size:,} bytes, more than {most_bytes:,}")
            with open(os.dup(descriptor), "rb") as file:
                return file.read() if most_bytes is None else file.read(most_bytes + 1)

    def reader(self, path: str | os.PathLike[str]) -> BinaryIO:
        """Open a file to read it piece by piece; raises what `read` raises. Close it."""
        with self._parent(path) as place, _regular(place, path, os.O_RDONLY) as descriptor:
            return open(os.dup(descriptor), "rb")

    def stat(self, path: str | os.PathLike[str]) -> os.stat_result:
        """Return what is known of the file or folder that a path finally names."""
        with self._parent(path) as place:
            return os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)

    def exists(self, path: str | os.PathLike[str]) -> bool:
        """Whether there is something; a link to nothing is nothing."""
        try:
            self.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def write(
        self, path: str | os.PathLike[str], content: bytes | BinaryIO, *, mode: int | None = None
    ) -> None:
        """Write a file in one step: readers see the old bytes or the new, never a part.

        Folders on the way are made. A link is followed and stays a link.

        Args:
            path: Relative to the root, or absolute in it.
            content: All of it, or a file that is copied from where it stands.
            mode: Permission bits; None: those of the file that is replaced, else 0o644.

        Raises:
            NotAFileError: Something else than a regular file is there.
            OutsideWorkspaceError: The path leads out of the workspace.
            OSError: It could not be written; what was there is untouched.
        """
        with self._parent(path, make=True) as place:
            before = _stat_or_none(place)
            if before is not None and not stat.S_ISREG(before.st_mode):
                raise NotAFileError(f"{path} is {_kind(before.st_mode)}, not a regular file")
            if mode is None:
                # No set-user-id bits: what was trusted with them is not what we write.
                mode = stat.S_IMODE(before.st_mode) & 0o777 if before else 0o644
            # Of 31 bytes: a name may be as long as the file system takes, and no longer.
            temporary = f".loom-{secrets.token_hex(13)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600, dir_fd=place.folder)
            try:
                with open(descriptor, "wb") as file:
                    if isinstance(content, bytes):
                        file.write(content)
                    else:
                        shutil.copyfileobj(content, file, _PIECE_BYTES)
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    if before is not None and os.geteuid() == 0:
                        os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.rename(temporary, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=place.folder)
                raise

    def remove(self, path: str | os.PathLike[str]) -> None:
        """Remove a file."""
        with self._parent(path) as place:
            os.unlink(place.name, dir_fd=place.folder)

    def list(
        self, path: str | os.PathLike[str] = ".", depth: int = 1, *, hidden: bool = True
    ) -> list[Entry]:
        """List a folder and what lies below it, sorted.

        Args:
            path: The folder.
            depth: Levels; 1: only its own names.
            hidden: Whether names that begin with a dot are listed.

        Raises:
            NotADirectoryError: It is no folder.
        """
        with self._parent(path) as place:
            folder = os.open(
                place.name,
                os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                dir_fd=place.folder,
            )
            try:
                return list(_listed(folder, "", depth, hidden))
            finally:
                os.close(folder)


def _stat_or_none(place: Place) -> os.stat_result | None:
    try:
        return os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a link" if stat.S_ISLNK(mode) else "a device"


@contextlib.contextmanager
def _regular(place: Place, path: str | os.PathLike[str], flags: int) -> Iterator[int]:
    # Without waiting: opening a pipe that a command left in the way would never return.
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    before = os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)
    if not stat.S_ISREG(before.st_mode):
        raise NotAFileError(f"{path} is {_kind(before.st_mode)}, not a regular file")
    descriptor = os.open(place.name, flags, dir_fd=place.folder)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise NotAFileError(f"{path} is {_kind(mode)}, not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _listed(folder: int, prefix: str, depth: int, hidden: bool) -> Iterator[Entry]:
    with os.scandir(folder) as scan:
        names = sorted(entry.name for entry in scan)
    for name in names:
        if not hidden and name.startswith("."):
            continue
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue
        path, mode = prefix + name, found.st_mode
        if stat.S_ISDIR(mode):
            yield Entry(path, "folder", found.st_size)
            if depth > 1:
                yield from _below(folder, name, path, depth, hidden)
        elif stat.S_ISREG(mode):
            yield Entry(path, "file", found.st_size)
        else:
            yield Entry(path, "link" if stat.S_ISLNK(mode) else "other", found.st_size)


def _below(folder: int, name: str, path: str, depth: int, hidden: bool) -> Iterator[Entry]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        inner = os.open(name, flags, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        yield from _listed(inner, path + "/", depth - 1, hidden)
    finally:
        os.close(inner)
