"""What has a schedule: deployments of a Prefect server, with their limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from models.errors import ConfigError
from models.upgrades.run_times.cron import Cron, due_times, parse_cron, zone_of
from models.upgrades.run_times.history import NextRun

WEEK_S = 7 * 86_400
AFTER = "after:"
"""Tag of a deployment that names another, which must have ended before it starts."""


class DeploymentSchedule(NamedTuple):
    """One active cron schedule of a deployment."""

    id: str
    slug: str
    cron: str
    timezone: str
    day_or: bool = True


@dataclass(frozen=True)
class Deployment:
    """A deployment and what limits its runs.

    Attributes:
        name: `flow/deployment`.
        id: Its id on the server.
        tags: Its tags.
        work_pool: Name of its pool; "" where it has none.
        parameters: Digest of the parameters of its runs.
        schedules: Active cron schedules.
        limit: Its runs that may go on at a time; None: any number.
        cancels_new: Whether a run beyond the limit is cancelled instead of waiting.
        others: Active schedules that are no cron: they are not looked at.
    """

    name: str
    id: str
    tags: frozenset[str]
    work_pool: str
    parameters: str
    schedules: tuple[DeploymentSchedule, ...] = ()
    limit: int | None = None
    cancels_new: bool = False
    others: int = 0

    def is_ours(self, tags: Sequence[str]) -> bool:
        """Whether it carries one of our tags."""
        return not self.tags.isdisjoint(tags)

    def after(self, config_after: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Names of the deployments that it comes after, by config and tags."""
        tagged = [tag.removeprefix(AFTER) for tag in sorted(self.tags) if tag.startswith(AFTER)]
        return tuple(dict.fromkeys([*config_after.get(self.name, ()), *tagged]))


class ReadSchedule(NamedTuple):
    """A schedule whose cron expression we can read."""

    deployment: Deployment
    schedule: DeploymentSchedule
    cron: Cron


def read_schedules(
    deployments: Sequence[Deployment],
) -> tuple[list[ReadSchedule], list[str]]:
    """Parse all cron expressions; what cannot be read is left out with a sentence."""
    found, unread = [], []
    for deployment in deployments:
        if deployment.others:
            unread.append(
                f"{deployment.name}: {deployment.others} schedule(s) by interval or rule are not "
                "looked at, only cron is"
            )
        for schedule in deployment.schedules:
            try:
                zone_of(schedule.timezone)
                cron = parse_cron(schedule.cron, schedule.day_or)
            except ConfigError as error:
                unread.append(f"{deployment.name}: {error}")
                continue
            found.append(ReadSchedule(deployment, schedule, cron))
    return found, unread


def next_runs(deployments: Sequence[Deployment], as_of_s: int) -> list[NextRun]:
    """Return the next run of each deployment that is due within a week, by name."""
    due: dict[str, NextRun] = {}
    for deployment, schedule, cron in read_schedules(deployments)[0]:
        zone = zone_of(schedule.timezone)
        times = due_times(cron, zone, as_of_s, as_of_s + WEEK_S)
        known = due.get(deployment.name)
        if times and (known is None or times[0] < known.start_s):
            due[deployment.name] = NextRun(
                deployment.name, deployment.work_pool, deployment.parameters, times[0]
            )
    return [due[name] for name in sorted(due)]
