"""Contracts between the steps of a plan: features, forecasts, rollout."""

from __future__ import annotations

import pandas as pd
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.contracts import CheckedTable, check_table, read_contract
from models.errors import ContractError
from models.settings import get_settings
from models.upgrades import DurationModel, FeatureTable, History, RolloutPlan, UpgradeConfig
from models.upgrades.edges import features_edge, forecasts_edge, rollout_edge
from models.upgrades.splits import Rows
from tasks.track import TrackedRun


@task(cache_policy=NO_CACHE)
def check_features(history: History, features: FeatureTable, run: TrackedRun) -> CheckedTable:
    """Check that every upgrade has keys, a decision time and valid labels.

    Raises:
        ContractError: The table as a whole is broken; the run keeps the page.
    """
    return _check("features", features_edge(history, features), run)


@task(task_run_name="check-forecasts-{model.name}", cache_policy=NO_CACHE)
def check_forecasts(
    model: DurationModel,
    history: History,
    features: FeatureTable,
    rows: Rows,
    config: UpgradeConfig,
    run: TrackedRun,
) -> CheckedTable:
    """Check that the forecasts to plan with are positive, finite and in order.

    Args:
        model: Forecaster that plans.
        history: Canonical events.
        features: As-of features of the whole history.
        rows: Tasks that are planned.
        config: Levels of the grid.
        run: Gets page, rules and the forecasts in quarantine.

    Raises:
        ContractError: More than one in a hundred forecasts is unusable: plan with the
            fallback.
    """
    return _check("forecasts", forecasts_edge(model, history, features, rows, config.levels), run)


@task(cache_policy=NO_CACHE)
def check_rollout(plan: RolloutPlan, run: TrackedRun) -> CheckedTable:
    """Check a plan before it is handed on: one row per task, reasons, times.

    Raises:
        ContractError: Any row is wrong.
    """
    return _check("rollout_plan", rollout_edge(plan), run)


def _check(name: str, frame: pd.DataFrame, run: TrackedRun) -> CheckedTable:
    contract = read_contract(get_settings().datasets / "upgrades" / name)
    log = get_run_logger()
    try:
        checked = check_table(contract, frame, source=f"the {name.replace('_', ' ')} of this run")
    except ContractError as error:
        if error.page:
            run.artifact(f"contracts/{name}.html", error.page)
        raise
    run.artifact(f"contracts/{name}.html", checked.html)
    run.artifact(f"contracts/{name}.csv", checked.summary)
    run.metrics({f"contracts/{name}_quarantined_rows": len(checked.quarantine)})
    if len(checked.quarantine):
        run.artifact(f"contracts/{name}_quarantine.csv", checked.quarantine)
        log.warning("%s: %d rows break the contract", name, len(checked.quarantine))
    for warning in checked.warnings:
        log.info("watched: %s", warning)
    return checked
