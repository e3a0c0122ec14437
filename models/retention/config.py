"""What defines a run of `clean-up`."""

from __future__ import annotations

from pydantic import Field

from models.config import Config


class CleanUpConfig(Config):
    """How old is old. Nothing is removed unless `apply` says so."""

    days: float = Field(90, gt=0)
    """Tracked runs that ended more days ago are old, with their artifacts; their traces are
    deleted at once."""

    keep_newest: int = Field(20, ge=0)
    """Runs of each experiment that stay however old they are."""

    trash_days: float = Field(7, ge=0)
    """Days that a removed run can still be restored (`mlflow runs restore`); then its artifacts are
    deleted. What people removed by hand goes the same way."""

    cache_days: float = Field(30, gt=0)
    """Cached results of tasks that were written more days ago are computed again if needed."""

    apply: bool = False
    """Remove what is old; false: only report it."""
