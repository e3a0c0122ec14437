"""Forecast how long flow runs take, and propose when they should start."""

from __future__ import annotations

from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.settings import get_settings
from models.upgrades.run_times import (
    Deployment,
    ForecastRunsConfig,
    Proposal,
    RunForecast,
    RunReport,
    RunTable,
    forecast_runs,
    page_figures,
    propose_schedule,
    render_page,
    run_metrics,
)
from models.upgrades.run_times.changes import changes_json
from models.upgrades.run_times.deployment import next_runs
from models.upgrades.run_times.page import forecast_for_people
from models.upgrades.run_times.summary import markdown_of, verdict_of
from tasks.track import TrackedRun, show_table


@task(cache_policy=NO_CACHE)
def forecast_run_times(
    table: RunTable, deployments: list[Deployment], config: ForecastRunsConfig
) -> RunForecast:
    """Forecast the next run of each deployment; see `forecast_runs`."""
    found = forecast_runs(table, next_runs(deployments, table.as_of_s), config)
    get_run_logger().info("%s", found.note)
    return found


@task(cache_policy=NO_CACHE)
def propose_times(
    forecast: RunForecast,
    table: RunTable,
    deployments: list[Deployment],
    pool_limits: dict[str, int | None],
    config: ForecastRunsConfig,
) -> Proposal:
    """Look for start times at which fewer runs wait; see `propose_schedule`."""
    found = propose_schedule(deployments, forecast.reserved_s(), pool_limits, table.as_of_s, config)
    log = get_run_logger()
    for row in found.moves().to_dict("records"):
        log.info("%(deployment)s: %(now)s -> %(proposed)s, %(why)s", row)
    for note in found.notes:
        log.info("%s", note)
    return found


@task(cache_policy=NO_CACHE)
def record_run_times(found: RunReport, run: TrackedRun) -> Path:
    """Keep tables, figures and the page, and return the page's path."""
    from prefect.artifacts import create_markdown_artifact

    forecast, proposal = found.forecast, found.proposal
    run.metrics(run_metrics(forecast, proposal))
    run.tags({"runs.model": forecast.model or "own runs", "runs.note": forecast.note})
    run.tags({"runs.verdict": verdict_of(proposal, found.written)})
    run.artifact("runs/forecast.csv", forecast.table)
    run.artifact("runs/scores.csv", forecast.judged.scores)
    run.artifact("runs/coverage.csv", forecast.judged.types)
    run.artifact("schedule/moves.csv", proposal.moves())
    run.artifact("schedule/proposal.json", changes_json(proposal.changes))
    run.artifact("runs/figures.json", page_figures(found))
    if len(forecast.table):
        show_table("forecast-runs-durations", forecast_for_people(forecast), forecast.note)
    create_markdown_artifact(markdown_of(forecast, proposal), key="forecast-runs-schedule")
    file = get_settings().home / "reports" / f"forecast-runs-{run.run_id}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(render_page(found), encoding="utf-8")
    run.artifact("runs.html", file)
    return file
