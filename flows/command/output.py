"""Places that a command writes to: found out before the work, told in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import ConfigError, ProjectError, is_storage_full


@contextmanager
def writing_to(place: Path, option: str) -> Iterator[None]:
    """Turn the errors of writing to `place` into one that names the option it came by.

    Raises:
        ConfigError: Nothing can be written there: no permission, no such folder, read-only.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, ProjectError) or is_storage_full(error):
            raise
        raise ConfigError(
            f"{option} {place}: cannot write there ({error.strerror or error}); name a place that "
            "you may write to"
        ) from error


def try_folder(folder: Path) -> None:
    """Make a folder and write an empty file to it, which is taken away again.

    Raises:
        OSError: One of them cannot be done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trial = folder / ".loom-trial"
    trial.touch()
    trial.unlink()
