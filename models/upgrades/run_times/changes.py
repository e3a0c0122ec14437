"""What would be written to a server, and how it is taken back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from models.config import Config
from models.errors import ConfigError
from models.upgrades.run_times.deployment import Deployment


class ScheduleChange(Config):
    """A start time that was, or would be, changed."""

    deployment: str
    """`flow/deployment`."""
    deployment_id: str
    """Its id on the server."""
    schedule_id: str
    """Id of the schedule on the server."""
    slug: str
    """Name of the schedule in its deployment."""
    timezone: str
    """Zone of its clock."""
    day_or: bool = True
    """See `Cron.day_or`."""
    before: str
    """Cron expression that was there."""
    after: str
    """Cron expression that takes its place."""

    def reversed(self) -> ScheduleChange:
        """Return the change that takes this one back."""
        return self.model_copy(update={"before": self.after, "after": self.before})


class Written(NamedTuple):
    """What was done to the schedules of a server."""

    changed: int = 0
    """Schedules that were changed."""
    said: tuple[str, ...] = ()
    """A sentence per schedule, those left alone included."""
    is_restored: bool = False
    """Whether earlier start times were written back; otherwise proposed ones were written."""


_CHANGES = TypeAdapter(list[ScheduleChange])


def read_changes(file: Path) -> list[ScheduleChange]:
    """Read the changes that an earlier run wrote (`schedule/before.json`).

    Raises:
        ConfigError: No such file, or it holds something else.
    """
    try:
        return _CHANGES.validate_json(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"restore: {file} cannot be read ({error.strerror})") from None
    except ValidationError as error:
        raise ConfigError(
            f"restore: {file} is no list of changed schedules ({error.error_count()} errors, the "
            f"first: {error.errors()[0]['msg']}); give the schedule/before.json of an earlier run"
        ) from None


def changes_json(changes: Iterable[ScheduleChange]) -> str:
    """Return changes as the JSON text that `read_changes` reads."""
    return json.dumps([change.model_dump(mode="json") for change in changes], indent=2)


def refuse_foreign(
    changes: Sequence[ScheduleChange], deployments: Sequence[Deployment], tags: Sequence[str]
) -> None:
    """Refuse to write to a deployment that is not ours.

    Raises:
        ConfigError: A deployment is not there, or carries none of our tags.
    """
    known = {deployment.id: deployment for deployment in deployments}
    foreign = [
        change.deployment
        for change in changes
        if change.deployment_id not in known or not known[change.deployment_id].is_ours(tags)
    ]
    if foreign:
        raise ConfigError(
            f"{', '.join(sorted(set(foreign)))}: not on this server with one of our tags "
            f"({', '.join(tags)}), so its schedule is not written; nothing was changed. Tag the "
            "deployment, or name its tag in `tags`"
        )
