"""Read flow runs and schedules of a Prefect server, and write schedules back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from httpx import HTTPError
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.errors import ServiceError
from models.upgrades.run_times import (
    Deployment,
    DeploymentSchedule,
    ForecastRunsConfig,
    RunTable,
    ScheduleChange,
    Written,
    read_runs_file,
    refuse_foreign,
    run_table,
)
from models.upgrades.run_times.changes import changes_json
from models.upgrades.run_times.table import digest_parameters
from tasks.track import TrackedRun, prefect_side

PAGE = 200
"""Rows per request: what a server gives at most unless it is told otherwise."""
_SEEN = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED", "RUNNING")
Row = TypeVar("Row")


@task(cache_policy=NO_CACHE)
def read_runs(config: ForecastRunsConfig, run: TrackedRun) -> RunTable:
    """Read runs from the file that the config names, else from the server.

    Runs within another run count for that one; the run that asks is left out.
    """
    if config.data is not None:
        table = read_runs_file(config.data)
        run.dataset("flow_runs", table.digest, config.data)
    else:
        table = run_table(*_served_runs(config))
    run.artifact("runs.parquet", table.frame)
    get_run_logger().info(
        "%s: %d runs, %d that had not begun", table.source, len(table), table.left_out
    )
    return table


@task(cache_policy=NO_CACHE)
def read_deployments() -> tuple[list[Deployment], dict[str, int | None]]:
    """Read all deployments with active schedules, and work pool -> its limit."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = _pages(lambda limit, at: client.read_deployments(limit=limit, offset=at))
        flows = _flow_names(client)
        pools = _pages(lambda limit, at: client.read_work_pools(limit=limit, offset=at))
    deployments = [_deployment(one, flows[one.flow_id]) for one in found if one.flow_id in flows]
    get_run_logger().info(
        "%d deployments, %d with a schedule",
        len(found),
        sum(bool(d.schedules) for d in deployments),
    )
    return deployments, {pool.name: pool.concurrency_limit for pool in pools}


@task(cache_policy=NO_CACHE)
def write_schedules(
    changes: Sequence[ScheduleChange],
    deployments: Sequence[Deployment],
    config: ForecastRunsConfig,
    run: TrackedRun,
) -> Written:
    """Write cron expressions to the server, after what was there is on record.

    A schedule that no longer is what the change says it was, is left alone.

    Raises:
        ConfigError: A deployment is not ours; nothing was written.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.schedules import CronSchedule

    refuse_foreign(changes, deployments, config.tags)
    run.artifact("schedule/before.json", changes_json(changes))
    said, changed = [], 0
    with get_client(sync_client=True) as client:
        for change in changes:
            found = {
                str(one.id): one.schedule
                for one in client.read_deployment_schedules(UUID(change.deployment_id))
            }
            present = getattr(found.get(change.schedule_id), "cron", None)
            if present != change.before:
                said.append(
                    f"{change.deployment}: left alone, its schedule is {present or 'gone'}, not "
                    f"{change.before}"
                )
                continue
            schedule = CronSchedule(
                cron=change.after, timezone=change.timezone, day_or=change.day_or
            )
            client.update_deployment_schedule(
                UUID(change.deployment_id), UUID(change.schedule_id), schedule=schedule
            )
            said.append(f"{change.deployment}: {change.before} became {change.after}")
            changed += 1
    for line in said:
        get_run_logger().info("%s", line)
    return Written(changed, tuple(said), is_restored=config.restore is not None)


def _served_runs(config: ForecastRunsConfig) -> tuple[list[dict[str, Any]], str, int]:
    """Rows, where they come from in words, and now in seconds since 1970."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    now = datetime.now(UTC)
    wanted = FlowRunFilter.model_validate(
        {
            "state": {"type": {"any_": list(_SEEN)}},
            "start_time": {"after_": (now - timedelta(days=config.days)).isoformat()},
            "parent_task_run_id": {"is_null_": True},
        }
    )
    with get_client(sync_client=True) as client:
        runs = _pages(
            lambda limit, at: client.read_flow_runs(
                flow_run_filter=wanted, sort=FlowRunSort.START_TIME_DESC, limit=limit, offset=at
            ),
            config.most,
        )
        flows = _flow_names(client)
        found = _pages(lambda limit, at: client.read_deployments(limit=limit, offset=at))
    names: dict[UUID | None, str] = {one.id: one.name for one in found}
    mine = prefect_side().flow_run_id
    rows = {
        # By id: a run that begins while we read moves others to the next page.
        run.id: _row(run, flows.get(run.flow_id, ""), names.get(run.deployment_id, ""))
        for run in runs
        if str(run.id) != mine and run.start_time is not None
    }
    source = f"the last {config.days} days of this Prefect server"
    return list(rows.values()), source, int(now.timestamp())


def _row(run: Any, flow: str, deployment: str) -> dict[str, Any]:
    state = run.state_type.value.lower()
    return {
        "flow": flow or str(run.flow_id),
        "deployment": deployment,
        "work_pool": run.work_pool_name or "",
        "parameters": digest_parameters(run.parameters),
        "state": state,
        "expected": run.expected_start_time,
        "started": run.start_time,
        "ended": None if state == "running" else run.end_time or run.start_time,
        # Without the time in which it waited for a person, a place or its next try.
        "duration_s": run.estimated_run_time.total_seconds(),
        "retries": max(run.run_count - 1, 0),
    }


def _deployment(found: Any, flow: str) -> Deployment:
    limit, options = found.global_concurrency_limit, found.concurrency_options
    active = [one for one in found.schedules if one.active and not found.paused]
    crons = [one for one in active if hasattr(one.schedule, "cron")]
    return Deployment(
        name=f"{flow}/{found.name}",
        id=str(found.id),
        tags=frozenset(found.tags),
        work_pool=found.work_pool_name or "",
        parameters=digest_parameters(found.parameters),
        schedules=tuple(
            DeploymentSchedule(
                str(one.id),
                one.slug or "",
                one.schedule.cron,
                one.schedule.timezone or "UTC",
                one.schedule.day_or,
            )
            for one in crons
        ),
        limit=limit.limit if limit is not None and limit.active else None,
        cancels_new=options is not None and options.collision_strategy.value == "CANCEL_NEW",
        others=len(active) - len(crons),
    )


def _flow_names(client: Any) -> dict[UUID, str]:
    flows = _pages(lambda limit, at: client.read_flows(limit=limit, offset=at))
    return {flow.id: flow.name for flow in flows}


def _pages(read: Callable[[int, int], Sequence[Row]], most: int | None = None) -> list[Row]:
    """Read page after page until one is not full, or `most` rows are there."""
    found: list[Row] = []
    while most is None or len(found) < most:
        limit = PAGE if most is None else min(PAGE, most - len(found))
        try:
            page = read(limit, len(found))
        except HTTPError as error:
            raise ServiceError(
                f"the Prefect server did not answer while its runs were read: {error}; "
                "see that it is up (loom up), or give a file of runs as `data`"
            ) from error
        found += page
        if len(page) < limit:
            break
    return found
