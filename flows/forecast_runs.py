"""Forecast how long scheduled flow runs take (Acela), and propose when they should start."""

from __future__ import annotations

from dataclasses import replace

from prefect import flow

from models.figures import FlowSummary
from models.upgrades.run_times import (
    ForecastRunsConfig,
    RunReport,
    Written,
    read_changes,
    read_runs_file,
    run_summary,
)
from tasks.run_history import read_deployments, read_runs, write_schedules
from tasks.run_times import forecast_run_times, propose_times, record_run_times
from tasks.runner import task_runner
from tasks.track import close_abandoned_run, tracked_run


@flow(
    name="forecast-runs",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def forecast_runs(config: ForecastRunsConfig = ForecastRunsConfig()) -> FlowSummary:  # noqa: B008
    """Forecast flow runs by deployment, and look for a schedule in which fewer wait.

    Args:
        config: Where runs come from, bounds of the schedule; `apply` writes it.
    """
    with tracked_run("upgrades", config) as run:
        deployments, pool_limits = read_deployments()
        written = Written()
        if config.restore is not None:
            taken_back = [change.reversed() for change in read_changes(config.restore)]
            written = write_schedules(taken_back, deployments, config, run)
            deployments, pool_limits = read_deployments()

        table = read_runs(config, run)
        forecast = forecast_run_times(table, deployments, config)
        proposal = propose_times(forecast, table, deployments, pool_limits, config)
        if config.apply and proposal.changes:
            written = write_schedules(proposal.changes, deployments, config, run)
        page = record_run_times(RunReport(forecast, proposal, written), run)

        return replace(
            run_summary(forecast, proposal, written),
            mlflow_url=run.url,
            prefect_url=run.prefect_url,
            files={"report": page},
        )


def preview(config: ForecastRunsConfig) -> list[str]:
    """Say what a run would read and write, without asking any server."""
    if config.data is None:
        source = f"runs: the last {config.days} days of the Prefect server, {config.most:,} at most"
    else:
        table = read_runs_file(config.data)
        source = f"runs: {len(table):,} of {table.source}, {table.left_out:,} that had not begun"
    moves = f"schedule: moves of up to {config.most_shift_min} min, "
    if config.restore is not None:
        back = read_changes(config.restore)
        moves = f"schedule: {len(back)} start times of {config.restore} are written back; moves "
    return [
        source,
        f"forecaster: {config.forecaster} from {config.least_runs} finished runs of a deployment",
        moves + ("written to the server" if config.apply else "proposed only"),
    ]
