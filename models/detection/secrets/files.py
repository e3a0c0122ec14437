"""Credentials in files and folders, line by line for people."""

from __future__ import annotations

import fnmatch
import os
import stat
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.detection.secrets.scan import Finding, SecretScanner
from models.errors import DataError

SKIPPED = (".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv")
"""Folders that are not looked into unless they are named."""

_PIECE, _OVERLAP = 4 * 1024**2, 16_384
_LOOK = 8_192
_SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip

FILE, FOLDER, NOTHING = "a file", "a folder", "nothing"
"""What `kind_of` says of what can be opened, and of what is not there."""


def kind_of(path: Path) -> str:
    """Return what a path leads to, links followed; it is not opened and nothing is raised.

    Besides `FILE`, `FOLDER` and `NOTHING` it is what nobody should open, since it may never end
    or never answer ("a named pipe"), or why it cannot be looked at ("File name too long").
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return NOTHING
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISDIR(mode):
        return FOLDER
    return next((name for is_one, name in _SPECIAL if is_one(mode)), "no file")


def need_path(path: Path) -> None:
    """Check that a path is a file or a folder.

    Raises:
        DataError: It is not there, is no file that ends, or cannot be looked at.
    """
    kind = kind_of(path)
    if kind == NOTHING:
        raise DataError(f"{path} is neither a file nor a folder; check the path")
    if kind not in (FILE, FOLDER):
        raise DataError(f"{path} cannot be read ({kind}); name a file or a folder")


@dataclass(frozen=True)
class Located:
    """A finding with its place.

    Attributes:
        path: As it was reached.
        line, column: From 1.
        finding: What was found.
    """

    path: Path
    line: int
    column: int
    finding: Finding


@dataclass
class Coverage:
    """What was looked at: nothing is left out in silence.

    Attributes:
        files, bytes: Read.
        binary: Files that hold no text.
        unreadable: Files with why they could not be read.
    """

    files: int
    bytes: int
    binary: int
    unreadable: list[tuple[Path, str]]


def files_of(paths: Sequence[Path], exclude: Sequence[str] = ()) -> Iterator[Path]:
    """Give the files of folders in order, and files that are named; links are not followed.

    Pipes, devices and folders that cannot be listed are given too, for `scan_files` to tell.

    Args:
        paths: Files and folders.
        exclude: Patterns of names or of whole paths to leave out.

    Raises:
        DataError: A path that was named is not there, or is no file that ends.
    """

    def is_out(path: str) -> bool:
        name = os.path.basename(path)
        return any(fnmatch.fnmatch(name, p) or fnmatch.fnmatch(path, p) for p in exclude)

    for path in paths:
        need_path(path)
        if kind_of(path) == FOLDER:
            errors: list[OSError] = []
            for folder, folders, names in os.walk(path, onerror=errors.append):
                folders[:] = sorted(
                    name
                    for name in folders
                    if name not in SKIPPED and not is_out(os.path.join(folder, name))
                )
                for name in sorted(names):
                    found = os.path.join(folder, name)
                    if not is_out(found) and not os.path.islink(found):
                        yield Path(found)
            yield from (Path(os.fsdecode(one.filename)) for one in errors)
        else:
            yield path


def scan_files(
    scanner: SecretScanner, paths: Iterator[Path], coverage: Coverage
) -> Iterator[Located]:
    """Give what is found in files; `coverage` counts as it goes."""
    for path in paths:
        if (kind := kind_of(path)) != FILE:
            why = "a folder that cannot be listed" if kind == FOLDER else kind
            coverage.unreadable.append((path, why))
            continue
        try:
            with path.open("rb") as file:
                head = file.read(_LOOK)
                if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
                    coverage.binary += 1
                    continue
                content = head + file.read()
        except OSError as error:
            coverage.unreadable.append((path, error.strerror or type(error).__name__))
            continue
        coverage.files += 1
        coverage.bytes += len(content)
        is_wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = content.decode("utf-16" if is_wide else "utf-8", "replace")
        yield from _located(path, text, scanner)


def _located(path: Path, text: str, scanner: SecretScanner) -> Iterator[Located]:
    ends: list[int] | None = None
    for found in pieces(text, scanner):
        if ends is None:
            ends = [place for place, char in enumerate(text) if char == "\n"]
        line = bisect_right(ends, found.start - 1)
        begin = ends[line - 1] + 1 if line else 0
        yield Located(path, line + 1, found.start - begin + 1, found)


def pieces(text: str, scanner: SecretScanner) -> Iterator[Finding]:
    """Scan a text of any length piece by piece; what lies across a cut is found once."""
    if len(text) <= _PIECE:
        yield from scanner.scan(text)
        return
    seen = -1
    for first in range(0, len(text), _PIECE - _OVERLAP):
        for found in scanner.scan(text[first : first + _PIECE]):
            start, end = found.start + first, found.end + first
            if start > seen:
                seen = end - 1
                yield Finding(
                    found.rule, found.provider, start, end,
                    found.certainty, found.digest, found.preview,
                )  # fmt: skip
