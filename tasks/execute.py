"""Carry out a plan through an executor; the system itself touches nothing."""

from __future__ import annotations

import getpass
import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.errors import ConfigError, ServiceError
from models.settings import get_settings
from models.upgrades import History
from models.upgrades.execute import (
    HALTED,
    LOCK_LOST,
    STOPPED_BY_GATE,
    AuditLog,
    Controls,
    ExecuteConfig,
    Executor,
    NoOpExecutor,
    PlanFile,
    PlanFileError,
    RolloutLock,
    RolloutResult,
    SimulatedExecutor,
    Standing,
    execution_metrics,
    execution_summary,
    refuse_other_history,
    run_rollout,
    simulated_failures,
    task_durations,
)
from models.upgrades.fleet import Fleet, read_fleet
from tasks.plan_origin import PlanOrigin, locate_plan
from tasks.track import TrackedRun, show_table


class LockLostError(ServiceError):
    """The lock of the rollout was taken away: it stopped where it was."""


class RolloutHaltedError(ServiceError):
    """The kill switch stopped the rollout; what was done is on record."""


class RolloutPausedError(ServiceError):
    """A release is paused, and `fail_on_pause` asks to fail then; what was done is on record."""


class StateUnknownError(ConfigError):
    """Nobody said which services of a fleet keep state, so none of them may start."""


class Places(NamedTuple):
    """Files of one plan's execution.

    Attributes:
        audit: Append-only log.
        lock: Owner file of the one rollout that may run.
        halt: Kill switch.
        world: What a simulated fleet remembers.
        settings: By which settings a simulation is known; beside its log.
    """

    audit: Path
    lock: Path
    halt: Path
    world: Path
    settings: Path


def settings_of(config: ExecuteConfig) -> dict[str, object]:
    """Settings by which a simulation of a plan is known: others are another fleet."""
    names = ("durations", "seed", "failure_share", "rollback_s")
    paths = {name: getattr(config, name) for name in ("data", "mapping", "fleet")}
    return {
        **{name: getattr(config, name) for name in names},
        **{name: None if path is None else str(path.absolute()) for name, path in paths.items()},
    }


def places_of(plan: PlanFile, config: ExecuteConfig, run_id: str) -> Places:
    """Where the files of an execution lie.

    A dry run has a log of its own: what it says never counts as done. A simulation with
    another seed, other failures, another history or another fleet folder is another fleet,
    with its own log.
    """
    root = get_settings().home / "execute"
    halt = config.halt_file or root / "HALT"
    folder = root / plan.digest[:16]
    if config.dry_run:
        log = folder / f"dry-run-{run_id}.jsonl"
        return Places(log, root / "dry-run.owner", halt, folder, log.with_suffix(".json"))
    said = repr(tuple(settings_of(config).values()))
    fleet = f"{config.durations}-{config.seed}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    return Places(
        *(folder / f"audit-{fleet}.jsonl", root / "rollout.owner", halt),
        *(folder / f"simulated-{fleet}.jsonl", folder / f"audit-{fleet}.json"),
    )


def refuse_unknown_state(plan: PlanFile, config: ExecuteConfig) -> None:
    """Let no plan of a fleet start before somebody said which services keep state.

    Raises:
        StateUnknownError: Neither `fleet` nor `stateful` is given, and it is no dry run.
    """
    if config.dry_run or not plan.is_of_fleet or config.fleet is not None or config.stateful:
        return
    services = sorted({work.service for work in plan.works})
    raise StateUnknownError(
        "asked to carry out the plan of a fleet, but neither `fleet` nor `stateful` says which of "
        f"its {len(services)} services keep state ({', '.join(services[:3])}...); give the fleet "
        "folder of the plan (config key `fleet`), or name the services that keep state (`stateful`)"
    )


@task(cache_policy=NO_CACHE)
def find_plan(config: ExecuteConfig, run: TrackedRun) -> PlanOrigin:
    """Read the plan that a file or a tracked run holds; see `locate_plan`.

    Raises:
        NoSuchArtifactError: No such run, or it has no plan.
        PlanFileError: The table is no plan.
        StateUnknownError: It is the plan of a fleet, and nobody said what keeps state.
    """
    origin = locate_plan(config, get_settings().home / "execute" / "plans" / run.run_id)
    refuse_unknown_state(origin.plan, origin.config)
    taken = {name: str(getattr(origin.config, name)) for name in ("data", "mapping", "fleet")}
    run.tags(
        {
            "plan.origin": origin.key,
            "plan.digest": origin.plan.digest,
            **{f"execute.{name}": path for name, path in taken.items()},
        }
    )
    get_run_logger().info("plan of %s: %d placed tasks", origin.name, len(origin.plan.works))
    return origin


@task(cache_policy=NO_CACHE)
def build_executor(
    plan: PlanFile, history: History | None, config: ExecuteConfig, run: TrackedRun
) -> Executor:
    """Return the executor that a config asks for: no-op for a dry run, else simulated.

    Raises:
        HistoryMismatchError: The history says nothing about the tasks of the plan.
    """
    fleet = fleet_of(plan, config)
    types = {} if fleet is None else dict(fleet.types[["type", "rollback_s"]].to_numpy())
    by_type = {str(name): int(length_s) for name, length_s in types.items()}
    if history is None:
        return NoOpExecutor(by_type)
    refuse_other_history(plan, history, str(config.data or "bundled with the project"))
    durations = task_durations(
        *(plan.works, history, plan.first_s),
        is_true=config.durations == "true",
        seed=config.seed,
    )
    failing = simulated_failures(plan.works, config.failure_share, config.seed)
    world = places_of(plan, config, run.run_id).world
    rollback_s = by_type if config.rollback_s is None else config.rollback_s
    return SimulatedExecutor(durations, failing, rollback_s, file=world)


@task(cache_policy=NO_CACHE)
def carry_out(
    plan: PlanFile, executor: Executor, config: ExecuteConfig, run: TrackedRun
) -> RolloutResult:
    """Carry out what is left of a plan; see `run_rollout`.

    Raises:
        LockHeldError: Another rollout runs.
        LockLostError: The lock was taken away; what was done is on record.
        RolloutHaltedError: The kill switch was pulled; what was done is on record.
        RolloutPausedError: A release is paused and `fail_on_pause` is set.
        PlanFileError: The plan names services that the fleet folder lacks.
    """
    places = places_of(plan, config, run.run_id)
    with held_controls(plan, places, config, run) as controls:
        result = run_rollout(plan, executor, config, controls)
    run.metrics(execution_metrics(result, config.costs))
    run.tags({"execute.paused": ", ".join(result.paused)})
    for group in result.paused:
        get_run_logger().warning("release %s is paused", group)
    summary = execution_summary(result, executor.name, is_dry=config.dry_run)
    record_standing(result, summary.did, places, run)
    if config.fail_on_pause and result.status == STOPPED_BY_GATE:
        raise RolloutPausedError(
            f"{summary.did}; `fail_on_pause` lets the run fail for it, every task is on record"
        )
    return result


def fleet_of(plan: PlanFile, config: ExecuteConfig) -> Fleet | None:
    """Read the fleet folder of a plan, where one is named.

    Raises:
        PlanFileError: The plan names services that the folder lacks.
    """
    if config.fleet is None:
        return None
    fleet = read_fleet(config.fleet)
    strange = sorted({work.service for work in plan.works} - set(fleet.services["service"]))
    if strange:
        raise PlanFileError(
            f"the plan names {len(strange)} services that {config.fleet} lacks "
            f"({', '.join(strange[:3])}); give the fleet folder that the plan was made from"
        )
    return fleet


@contextmanager
def held_controls(
    plan: PlanFile, places: Places, config: ExecuteConfig, run: TrackedRun
) -> Iterator[Controls]:
    """Hold the lock; log, kill switch, approvals and caps as the config says."""
    fleet = fleet_of(plan, config)
    stateful = set(config.stateful)
    if fleet is not None:
        services = fleet.services
        stateful |= set(services.loc[services["is_stateful"], "service"])
    who = f"{getpass.getuser()}@{socket.gethostname()}/{run.run_id}"
    with RolloutLock(places.lock, who) as lock:
        if not config.dry_run:
            places.settings.parent.mkdir(parents=True, exist_ok=True)
            places.settings.write_text(json.dumps(settings_of(config)), encoding="utf-8")
        yield Controls(
            audit=AuditLog(places.audit, who),
            lock=lock,
            halt_file=places.halt,
            stateful=frozenset(stateful),
            after=None if fleet is None else fleet.after,
            caps=None if fleet is None else fleet.caps,
            freezes=() if fleet is None else fleet.freezes,
        )


def record_standing(result: Standing, did: str, places: Places, run: TrackedRun) -> None:
    """Keep log, outcome and queue with the run; let the flow fail if it stopped early.

    Raises:
        LockLostError: The lock was taken away; what was done is on record.
        RolloutHaltedError: The kill switch was pulled; what was done is on record.
    """
    run.tags({"execute.status": result.status})
    run.artifact("execute/audit.jsonl", places.audit)
    run.artifact("execute/outcome.csv", result.frame)
    queue = result.human_queue
    run.artifact("execute/human_queue.csv", queue)
    if len(queue):
        show_table("execute-upgrades-human-queue", queue, "given up: a person takes over")
    if result.status == LOCK_LOST:
        raise LockLostError(
            f"the rollout stopped: {result.why}; find out who took {places.lock}, then run "
            "again, it goes on from the audit log"
        )
    if result.status == HALTED:
        raise RolloutHaltedError(
            f"{did}; remove {places.halt} once the reason is gone, then run again, it goes on "
            "from the audit log"
        )
    get_run_logger().info("%s: %s", result.status, result.why)
