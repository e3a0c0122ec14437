"""Cells of the policy table: one policy, simulated on the test part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from models.upgrades.capacity import lanes_by_domain
from models.upgrades.config import UpgradeConfig
from models.upgrades.costs import InTime, in_time
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel
from models.upgrades.forecast.build import CANDIDATES, FORECASTERS
from models.upgrades.history import History
from models.upgrades.metrics import PolicyMetrics, regret
from models.upgrades.operating import EXISTING, STRONG_RULE, STRONG_RULE_INFORMED
from models.upgrades.policy import ALL_DISPATCHES, LANE_PRICES_PER_H, ORACLE, SHORTEST, Policy
from models.upgrades.simulate import Period, period_of, run_policy
from models.upgrades.splits import Split

CLAIRVOYANT = Policy(ORACLE, "online")
# The level at which the calibrated forecasters stand in the {predictor} x {dispatcher} grid.
GRID_LEVEL = 0.9


@dataclass(frozen=True)
class Cell:
    """One policy on the test part."""

    policy: Policy
    metrics: PolicyMetrics
    attempts: pd.DataFrame


def benchmark_policies(
    selected: Policy,
    config: UpgradeConfig,
    names: Sequence[str] = CANDIDATES,
) -> list[Policy]:
    """Policies of the table: the grid, the frontiers, references, selected, oracle.

    Args:
        selected: The policy that plans.
        config: Levels of the frontiers.
        names: Forecasters of the grid {forecaster} x {dispatcher}.
    """
    grid = [
        Policy(name, dispatch, grid_level(name), None, is_informed)
        for name in names
        for dispatch in ALL_DISPATCHES
        for is_informed in ((False, True) if dispatch in ("online", SHORTEST) else (False,))
    ]
    swept = [name for name in names if name in FORECASTERS and FORECASTERS[name].level is None]
    frontier = [
        *(
            Policy(name, "online", level, None, is_informed)
            for name in swept
            for level in config.policy_levels
            for is_informed in (False, True)
        ),
        *(Policy(n, "online", None, price, True) for n in swept for price in LANE_PRICES_PER_H),
    ]
    references = (EXISTING, STRONG_RULE, STRONG_RULE_INFORMED)
    return list(dict.fromkeys([*references, *grid, *frontier, selected, CLAIRVOYANT]))


def grid_level(name: str) -> float:
    """Return the level at which a forecaster stands in the grid; `GRID_LEVEL` for peers."""
    spec = FORECASTERS.get(name)
    return GRID_LEVEL if spec is None or spec.level is None else spec.level


def score_cell(
    policy: Policy,
    model: DurationModel | None,
    history: History,
    features: FeatureTable,
    split: Split,
    config: UpgradeConfig,
) -> Cell:
    """Simulate one policy on the test part; cells are independent of each other.

    Args:
        policy: The policy.
        model: Its fitted forecaster; None for the oracle.
        history: Canonical events.
        features: As-of features of the whole history.
        split: Parts; only `split.test` is simulated.
        config: Windows, lanes and costs.
    """
    forecast = None
    if model is not None:
        forecast = in_time(model, features.take(split.test), config.window_s)
    lanes = lanes_by_domain(history, split.select_from_s, config)
    return _cell(policy, forecast, period_of(history, split.test, config), lanes, config)


def policy_table(
    history: History,
    features: FeatureTable,
    split: Split,
    models: Mapping[str, DurationModel],
    config: UpgradeConfig,
    selected: Policy,
) -> pd.DataFrame:
    """Score the benchmark's policies one after the other; see `assemble_policy_table`."""
    cells = score_cells(
        benchmark_policies(selected, config), history, features, split, models, config
    )
    return assemble_policy_table(cells, selected, config)


def assemble_policy_table(
    cells: Sequence[Cell], selected: Policy, config: UpgradeConfig
) -> pd.DataFrame:
    """Put cells into one table with ratios to the existing scheduler and regret.

    Returns:
        One row per policy, cheapest first: policy, forecaster, dispatch, is_informed, level,
        lane_price_per_h, the fields of `PolicyMetrics`, x_utilisation, x_scheduled,
        x_completed and x_cancellation (each divided by type-p95 calendar; None if it is not
        among the cells), regret, is_selected.
    """
    by_policy = {cell.policy: cell.metrics for cell in cells}
    existing, oracle = by_policy.get(EXISTING), by_policy.get(CLAIRVOYANT)
    rows = []
    for policy, metrics in by_policy.items():
        ratios = {
            f"x_{short}": _ratio(getattr(metrics, name), getattr(existing, name, None))
            for short, name in (
                ("utilisation", "utilisation"),
                ("scheduled", "scheduled"),
                ("completed", "completed"),
                ("cancellation", "cancellation_rate"),
            )
        }
        rows.append(
            {
                "policy": policy.label,
                "forecaster": policy.forecaster,
                "dispatch": policy.dispatch,
                "is_informed": policy.is_informed,
                "level": policy.level,
                "lane_price_per_h": policy.lane_price_per_h,
                **asdict(metrics),
                **ratios,
                "regret": oracle and regret(metrics, oracle, config.costs),
                "is_selected": policy == selected,
            }
        )
    return pd.DataFrame(rows).sort_values("cost", kind="stable", ignore_index=True)


def planned_table(cells: Sequence[Cell], history: History, split: Split) -> pd.DataFrame:
    """Count the starts of planned tasks alone, whose type is no hindsight.

    They share windows and lanes with all other tasks. The shipped file has 120 of them in
    the test part, in few batches: too few for a claim.

    Returns:
        Columns: policy, n_tasks, n_batches, scheduled, completed, cancelled.
    """
    planned = history.events.iloc[split.test].query("is_planned")
    rows = []
    for cell in cells:
        mine = cell.attempts[cell.attempts["row"].isin(planned.index)]
        completed = int(mine["is_completed"].sum())
        rows.append(
            {
                "policy": cell.policy.label,
                "n_tasks": len(planned),
                "n_batches": int(planned["batch_id"].nunique()),
                "scheduled": len(mine),
                "completed": completed,
                "cancelled": len(mine) - completed,
            }
        )
    return pd.DataFrame(rows)


def score_cells(
    policies: Sequence[Policy],
    history: History,
    features: FeatureTable,
    split: Split,
    models: Mapping[str, DurationModel],
    config: UpgradeConfig,
) -> list[Cell]:
    """Score policies in order; each forecaster predicts once."""
    names = {policy.forecaster for policy in policies} - {ORACLE}
    X = features.take(split.test)
    forecasts = {name: in_time(models[name], X, config.window_s) for name in sorted(names)}
    lanes = lanes_by_domain(history, split.select_from_s, config)
    period = period_of(history, split.test, config)
    return [
        _cell(policy, forecasts.get(policy.forecaster), period, lanes, config)
        for policy in policies
    ]


def _cell(
    policy: Policy,
    forecast: InTime | None,
    period: Period,
    lanes: Mapping[str, int],
    config: UpgradeConfig,
) -> Cell:
    result = run_policy(policy, forecast, period, lanes, config)
    return Cell(policy, result.metrics, result.attempts)


def _ratio(value: float | None, reference: float | None) -> float | None:
    return value / reference if value is not None and reference else None
