"""Take a release back through an executor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from models.errors import ConfigError, NotEnoughDataError
from models.upgrades.execute import (
    ExecuteConfig,
    Executor,
    PlanFile,
    RollbackResult,
    begun_in,
    read_entries,
    refuse_unknown_release,
    rollback_metrics,
    rollback_summary,
    take_back,
)
from models.upgrades.fleet import Fleet
from tasks.execute import (
    Places,
    fleet_of,
    held_controls,
    places_of,
    record_standing,
    settings_of,
)
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
        ConfigError: Nobody named the fleet of the plan, or no task of it is of that release.
        NothingBegunError: There is no audit log.
        LockHeldError: A rollout or another rollback runs.
        LockLostError: The lock was taken away; what was done is on record.
        RolloutHaltedError: The kill switch was pulled; what was done is on record.
    """
    fleet = refuse_what_cannot_be_undone(plan, config)
    places = places_of(plan, config, run.run_id)
    begun = refuse_nothing_begun(plan, config)
    if config.dry_run:
        # The note of the last entry first: it may lag behind the log, never lead it.
        for name in (f"{begun.audit.name}.last", begun.audit.name):
            source = begun.audit.with_name(name)
            copy = places.audit.with_name(name.replace(begun.audit.name, places.audit.name))
            # A process that died after its first entry left no note of it.
            if source.exists():
                shutil.copyfile(source, copy)
    with held_controls(plan, places, config, run) as controls:
        result = take_back(plan, fleet, executor, config, controls)
    run.metrics(rollback_metrics(result))
    run.tags({"execute.rollback": config.rollback})
    summary = rollback_summary(result, executor.name, is_dry=config.dry_run)
    record_standing(result, summary.did, places, run)
    return result


def refuse_what_cannot_be_undone(plan: PlanFile, config: ExecuteConfig) -> Fleet:
    """Return the fleet of a plan, by which a release of it is taken back.

    Raises:
        UnknownNameError: No task of the plan is of that release.
        ConfigError: Nobody named the fleet of the plan.
    """
    refuse_unknown_release(plan, config.rollback or "")
    fleet = fleet_of(plan, config)
    if fleet is None:
        raise ConfigError(
            f"asked to take {config.rollback} back, but lanes, caps and the order of types are "
            "not known without the fleet; give the fleet folder of the plan (config key `fleet`)"
        )
    return fleet


def rollback_source(plan: PlanFile, config: ExecuteConfig) -> str:
    """Say which log tells what has begun, and how a newer one of the plan is chosen.

    Raises:
        NothingBegunError: There is no such log.
    """
    log = refuse_nothing_begun(plan, config).audit
    own = {work.task for work in plan.works if work.release == config.rollback}
    words = f"by {log} ({len(begun_in(read_entries(log)) & own)} of it had begun)"
    newest = max(log.parent.glob("audit-*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    if newest == log:
        return words
    return (
        f"{words}; a newer log of this plan exists, {newest.name}: if that rollout is meant, "
        f"{_settings_words(newest, config)}"
    )


def _settings_words(log: Path, config: ExecuteConfig) -> str:
    """Say which settings choose a log instead of the one that `config` chooses."""
    mine = settings_of(config)
    try:
        said = json.loads(log.with_suffix(".json").read_text(encoding="utf-8"))
        other = {name: said[name] for name in mine if said[name] != mine[name]}
    except (OSError, ValueError, KeyError, TypeError):
        return f"its settings are not on record; known by {', '.join(mine)}"
    values = {name: "null" if value is None else value for name, value in other.items()}
    return "add " + " ".join(f"--set {name}={value}" for name, value in values.items())


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
