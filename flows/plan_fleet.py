"""Plan the backlog of a fleet: learn from its past, place its upgrades, check, explain."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from prefect import flow

from models.errors import ConfigError, DataError
from models.figures import Figure, FlowSummary
from models.settings import get_settings
from models.upgrades import asof_features, split_by_time
from models.upgrades.fleet import PAST, Fleet, read_fleet, table_file
from models.upgrades.history import History, load_table
from models.upgrades.plan import RolloutPlan
from models.upgrades.policy import forecasters_of
from models.upgrades.rollout import RolloutConfig
from models.upgrades.rollout.backlog import fleet_with_past
from models.upgrades.rollout.flow_config import FleetPlanConfig
from models.upgrades.rollout.summary import (
    cap_warning,
    refusal_counts,
    rollout_metrics,
    solver_words,
)
from models.upgrades.rollout.windows import check_wishes
from models.upgrades.select import choose
from tasks.collect import read_dataset, read_history, split_history
from tasks.contracts import check_features, check_rollout
from tasks.evaluate import score_candidates
from tasks.plan_origin import EXAMPLE_FLEET
from tasks.predict import build_features, fit_forecaster
from tasks.runner import task_runner
from tasks.schedule import compare_with_last_plan, pack_fleet, write_fleet_report, write_plan
from tasks.track import close_abandoned_run, show_table, tracked_run
from tasks.verify import validate_fleet_plan


@flow(
    name="plan-fleet",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def plan_fleet(config: FleetPlanConfig = FleetPlanConfig()) -> FlowSummary:  # noqa: B008
    """Place the backlog of a fleet in its windows, and say why each other task has no place.

    Nothing is executed: the plan is a table, a JSON document, a calendar and a report.

    Args:
        config: The fleet, its past, models, waves and solver.
    """
    folder = fleet_folder(config)
    with tracked_run("upgrades", config) as run:
        fleet = read_fleet(folder, has_past=config.data is None)
        data = config.data or table_file(folder, PAST)
        history = read_history(read_dataset(data, config.mapping, run).frame)
        check_past(fleet, history)
        fleet = fleet_with_past(fleet, history)
        config = with_windows_of(fleet, config)
        split = split_history(history, config, run)
        features = build_features(history)
        check_features(history, features, run)
        fits = {
            name: fit_forecaster.submit(name, features, history, split, config)
            for name in forecasters_of(config)
        }
        models = {name: fit.result() for name, fit in fits.items()}
        scores = [
            score_candidates.submit(name, models[name], history, features, split, config)
            for name in models
        ]
        selection = choose([score for each in scores for score in each.result()], config)
        run.artifact("select/candidates.csv", selection.table)

        plan_s = plan_time_s(config, history)
        rollout = config.for_rollout()
        chosen = models[selection.policy.forecaster]
        plan = pack_fleet(fleet, chosen, selection.policy, history, plan_s, config, rollout)
        plan = validate_fleet_plan(plan, fleet, rollout)
        check_rollout(plan, run)
        changes = compare_with_last_plan(plan, run)
        files = write_plan(plan, run)
        files["report"] = write_fleet_report(plan, fleet, rollout, changes, run)

        run.metrics(rollout_metrics(plan))
        run.tags({"plan.inputs_hash": plan.inputs_hash, "selected.policy": plan.policy})
        show_table("plan-fleet-refusals", refusal_counts(plan), "tasks without a place, by reason")
        return FlowSummary(
            did=words(plan, rollout, changes.words),
            baseline="none",
            figures=(
                Figure("tasks placed", len(plan.assignments), None, "{:,.0f}"),
                Figure("tasks without a place", len(plan.refusals), None, "{:,.0f}"),
                Figure(
                    "expected value, in completed upgrades",
                    *(plan.objective or 0.0, None, "{:,.1f}"),
                ),
                Figure(
                    "no plan is worth more than (loose where waves wait)",
                    *(plan.bound or 0.0, None, "{:,.1f}"),
                ),
            ),
            mlflow_url=run.url,
            prefect_url=run.prefect_url,
            files=files,
        )


def words(plan: RolloutPlan, rollout: RolloutConfig, changes: str) -> str:
    """Say in one sentence what the plan is, and how it differs from the last one."""
    reasons = ", ".join(
        f"{row['tasks']} {row['reason']}" for row in refusal_counts(plan).to_dict("records")
    )
    warning = cap_warning(plan, rollout)
    return (
        f"placed {len(plan.assignments):,} of {len(plan.frame):,} upgrades in "
        f"{rollout.horizon_days} days of windows by '{plan.policy}' "
        f"({solver_words(plan, rollout)}); "
        f"{warning + '; ' if warning else ''}without a place: {reasons or 'none'}; against the "
        f"last plan: {changes}; this is a proposal, nothing was executed"
    )


def fleet_folder(config: FleetPlanConfig) -> Path:
    """Return the folder of the fleet that `config` names."""
    return config.fleet or get_settings().datasets / EXAMPLE_FLEET


def with_windows_of(fleet: Fleet, config: FleetPlanConfig) -> FleetPlanConfig:
    """Return the config with the fleet's longest window, which policies compete in.

    Raises:
        ConfigError: The config sets a window of its own.
    """
    if "window_s" in config.model_fields_set:
        raise ConfigError(
            f"window_s is {config.window_s}, but the windows of a fleet are those of its "
            "domains.csv; change them there and leave window_s out"
        )
    return config.model_copy(update={"window_s": int(fleet.domains["window_s"].max())})


def check_past(fleet: Fleet, history: History) -> None:
    """Refuse a past that says nothing about the backlog.

    Raises:
        DataError: None of the backlog's types occurs in the past.
    """
    asked, known = set(fleet.backlog["type"]), set(history.labels("type"))
    if not asked & known:
        raise DataError(
            f"none of the {len(asked)} types of the backlog ({', '.join(sorted(asked)[:5])}) "
            f"occurs in the past ({', '.join(sorted(map(str, known))[:5])}); give the past of "
            "this fleet"
        )


def plan_time_s(config: FleetPlanConfig, history: History) -> int:
    """Return when the plan is made: as configured, or when the past ends."""
    return config.plan_s or int(history.seconds("end_s").max()) + 1


def preview(config: FleetPlanConfig) -> list[str]:
    """Say what a run would read and plan, without running it (`loom run --dry-run`)."""
    folder = fleet_folder(config)
    fleet = read_fleet(folder, has_past=config.data is None)
    data = config.data or table_file(folder, PAST)
    loaded = load_table(data, config.mapping, get_settings().datasets)
    history = loaded.history()
    check_past(fleet, history)
    config = with_windows_of(fleet, config)
    split = split_by_time(history, config)
    rollout, plan_s = config.for_rollout(), plan_time_s(config, history)
    wishes = check_wishes(fleet, rollout, plan_s)
    return [
        f"fleet: {folder} ({len(fleet.hosts):,} hosts, {len(fleet.domains):,} domains, "
        f"{len(fleet.services):,} services, {len(fleet.freezes):,} freezes)",
        f"backlog: {len(fleet.backlog):,} tasks of {fleet.backlog['type'].nunique()} types",
        f"past: {data} ({len(history):,} events, {len(asof_features(history).names)} features)",
        f"parts: fit {len(split.fit):,}, calibrate {len(split.calibrate):,}, "
        f"select {len(split.select):,}, test {len(split.test):,} events",
        f"candidates to plan with: {', '.join(forecasters_of(config))}",
        f"plan made at {pd.Timestamp(plan_s, unit='s')} for {rollout.horizon_days} days; windows "
        f"of up to {config.window_s / 3_600:g} h; {wishes.excluded} tasks excluded, "
        f"{wishes.pinned} pinned",
        *(f"warning: {warning}" for warning in (*loaded.doubts, *wishes.warnings)),
    ]
