"""Take a release back through an executor."""

from __future__ import annotations

import shutil

from prefect import task
from prefect.cache_policies import NO_CACHE

from models.errors import ConfigError, NotEnoughDataError
from models.upgrades.execute import (
    ExecuteConfig,
    Executor,
    PlanFile,
    RollbackResult,
    rollback_metrics,
    rollback_summary,
    take_back,
)
from tasks.execute import Places, fleet_of, held_controls, places_of, record_standing
from tasks.track import TrackedRun


class NothingBegunError(NotEnoughDataError):
    """No audit log says that anything of the plan has begun."""


@task(cache_policy=NO_CACHE)
def roll_back(
    plan: PlanFile, executor: Executor, config: ExecuteConfig, run: TrackedRun
) -> RollbackResult:
    """Undo what has begun of a release; see `take_back`.

    A dry run walks through a copy of the log: the log itself is not touched.

    Raises:
        ConfigError: Nobody named the fleet of the plan.
        NothingBegunError: There is no audit log.
        LockHeldError: A rollout or another rollback runs.
        LockLostError: The lock was taken away; what was done is on record.
        RolloutHaltedError: The kill switch was pulled; what was done is on record.
    """
    fleet = fleet_of(plan, config)
    if fleet is None:
        raise ConfigError(
            f"asked to take {config.rollback} back, but lanes, caps and the order of types are "
            "not known without the fleet; give the fleet folder of the plan (config key `fleet`)"
        )
    places = places_of(plan, config, run.run_id)
    begun = refuse_nothing_begun(plan, config)
    if config.dry_run:
        # The note of the last entry first: it may lag behind the log, never lead it.
        for name in (f"{begun.audit.name}.last", begun.audit.name):
            source = begun.audit.with_name(name)
            shutil.copyfile(
                source, places.audit.with_name(name.replace(begun.audit.name, places.audit.name))
            )
    with held_controls(plan, places, config, run) as controls:
        result = take_back(plan, fleet, executor, config, controls)
    run.metrics(rollback_metrics(result))
    run.tags({"execute.rollback": config.rollback})
    summary = rollback_summary(result, executor.name, is_dry=config.dry_run)
    record_standing(result, summary.did, places, run)
    return result


def refuse_nothing_begun(plan: PlanFile, config: ExecuteConfig) -> Places:
    """Return the places of the rollout whose log says what has begun.

    Raises:
        NothingBegunError: There is no such log.
    """
    places = places_of(plan, config.model_copy(update={"dry_run": False}), "")
    if places.audit.exists():
        return places
    others = sorted(file.name for file in places.audit.parent.glob("audit-*.jsonl"))
    found = f"; logs of other simulations of it: {', '.join(others)}" if others else ""
    raise NothingBegunError(
        f"asked to take {config.rollback} back, but {places.audit} does not exist, so nothing of "
        f"the plan has begun{found}; a simulation is known by durations, seed, failure_share, "
        "rollback_s, data, mapping and fleet: give those of the rollout"
    )
