"""The error tree: every message says what was asked, what was found and the way out.

An expected outcome (no plan fits, a kernel failed to compile) is a result type with a
reason. An exception from this tree means that we cannot go on; the command line prints
its message without a traceback and exits with `exit_code`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches

_STORAGE_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_STORAGE_FULL_WORDS = ("No space left on device", "database or disk is full")


class ProjectError(Exception):
    """Base of every error that Loomworks raises on purpose."""

    exit_code = 1


class ConfigError(ProjectError, ValueError):
    """A configuration file, key or value cannot be used."""

    exit_code = 2


class UnknownNameError(ConfigError):
    """A name (flow, room, config key, alias) that does not exist."""


class DataError(ProjectError, ValueError):
    """Data cannot be used as asked."""

    exit_code = 3


# OSError comes first where it is a base: its objects have a layout of their own, and what
# unpickles them (Dask's workers do) calls the first `__new__` in the line.
class DatasetMissingError(FileNotFoundError, DataError):
    """A dataset file does not exist."""


class DatasetUnreadableError(DataError):
    """A dataset file exists but cannot be parsed (truncated, of another format)."""


class ContractError(DataError):
    """A table breaks its contract as a whole: columns, types, size."""

    def __init__(self, message: str, page: str = "") -> None:
        super().__init__(message)
        self.page = page
        """HTML page of the validation; empty when the table did not get that far."""

    def __reduce__(self) -> tuple[type[ContractError], tuple[str, str]]:
        """Pickle with the page: errors cross process boundaries."""
        return type(self), (str(self), self.page)


class NotEnoughDataError(DataError):
    """Too few rows for what was asked."""


class ServiceError(ProjectError, RuntimeError):
    """A server or worker process did not do what we asked of it."""

    exit_code = 4


class PortTakenError(OSError, ServiceError):
    """A fixed port is held by another process."""


class AlreadyRunningError(ServiceError):
    """The stack of this home directory is already up."""


class StorageFullError(OSError, ProjectError):
    """A file could not be written: disk full, quota or size limit reached."""

    exit_code = 5


def is_storage_full(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that a disk, quota or size limit is reached."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _STORAGE_FULL:
            return True
        if any(words in str(cause) for words in _STORAGE_FULL_WORDS):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def unknown_name(kind: str, asked: str, known: Iterable[str], hint: str = "") -> UnknownNameError:
    """Build the error for a name that does not exist, naming the nearest one.

    Args:
        kind: What the name should have been ("flow", "config key").
        asked: The name as given.
        known: The names that exist.
        hint: A last sentence, for example the command that lists them.
    """
    names = sorted(known)
    near = get_close_matches(asked, names, n=1, cutoff=0.5)
    parts = [
        f"no {kind} named '{asked}'",
        f"did you mean '{near[0]}'?" if near else "",
        f"known: {', '.join(names) or 'none'}",
        hint,
    ]
    return UnknownNameError("; ".join(part for part in parts if part))


def is_interruption(error: BaseException) -> bool:
    """Whether Ctrl-C is behind an error: a library that cleaned up after it may raise another."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
