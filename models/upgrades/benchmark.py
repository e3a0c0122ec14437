"""The policy table of the test part, trivial baselines and unfavourable rows included.

No open data set of upgrade durations is known: the histories are proxies. In the LANL file
the type of a failure is hindsight (the cause group was written after the repair), so
`BenchmarkResult` carries a second set of lines for planned tasks, whose type is their work
order. The paper's definitions are not public: the ratios here say nothing about parity.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from models.upgrades.bootstrap import RatioIntervals, ratio_intervals
from models.upgrades.burndown import burn_down_table
from models.upgrades.capacity import lanes_by_domain
from models.upgrades.cells import (
    CLAIRVOYANT,
    GRID_LEVEL,
    Cell,
    assemble_policy_table,
    benchmark_policies,
    planned_table,
    policy_table,
    score_cell,
    score_cells,
)
from models.upgrades.config import UpgradeConfig
from models.upgrades.features import FeatureTable, asof_features
from models.upgrades.forecast.base import DurationModel
from models.upgrades.forecast.build import FORECASTERS, build_forecaster
from models.upgrades.forecast.peers import installed_peers
from models.upgrades.forecast.score import coverage_by_type, forecast_table
from models.upgrades.history import History
from models.upgrades.operating import (
    EXISTING,
    STRONG_RULE,
    STRONG_RULE_INFORMED,
    equal_completions_table,
)
from models.upgrades.policy import DISPATCHES, SHORTEST, Policy
from models.upgrades.select import Selection, select_policy
from models.upgrades.splits import Split, split_by_time

__all__ = [
    "ABLATION",
    "CLAIRVOYANT",
    "EXISTING",
    "STRONG_RULE",
    "STRONG_RULE_INFORMED",
    "BenchmarkResult",
    "Cell",
    "Stages",
    "assemble_policy_table",
    "benchmark_policies",
    "core_table",
    "coverage_by_type",
    "forecast_table",
    "policy_table",
    "run_stages",
    "score_cell",
    "summarise",
]

# One thing changed, the rest equal: what dispatch, forecast and retry each bring.
ABLATION: Mapping[str, tuple[Policy, Policy]] = {
    "backfilling instead of a calendar (type-p95)": (
        Policy("type-p95", "backfill", 0.95),
        EXISTING,
    ),
    "online instead of a calendar (type-p95)": (Policy("type-p95", "online", 0.95), EXISTING),
    "quantile trees at 0.9 instead of body-p95 (online, blind)": (
        Policy("xgb-quantile", "online", GRID_LEVEL),
        STRONG_RULE,
    ),
    "calibrated types at 0.9 instead of body-p95 (online, blind)": (
        Policy("type-quantile", "online", GRID_LEVEL),
        STRONG_RULE,
    ),
    "informed instead of blind retries (quantile trees at 0.9, online)": (
        Policy("xgb-quantile", "online", GRID_LEVEL, is_informed=True),
        Policy("xgb-quantile", "online", GRID_LEVEL),
    ),
    "shortest expected first instead of first come (quantile trees at 0.9, informed)": (
        Policy("xgb-quantile", SHORTEST, GRID_LEVEL, is_informed=True),
        Policy("xgb-quantile", "online", GRID_LEVEL, is_informed=True),
    ),
}


@dataclass(frozen=True)
class BenchmarkResult:
    """Everything that `loom bench upgrades` prints.

    Attributes:
        policies: `policy_table` of the test part.
        forecasts: `forecast_table` of the test part, all and planned rows.
        by_type: `coverage_by_type` of the test part.
        planned: Starts of planned tasks under the main policies, with n.
        selection: Which policy the select part chose, and all its candidates.
        equal_completions: Cancellations where completions are equal; see
            `equal_completions_table`.
        burn_down: Tasks left per day under the main policies; see `burn_down_table`.
        headline: The selected policy against each reference, with 95 % intervals.
        ablation: What each change alone brings, with 95 % intervals; see `ABLATION`.
        sizes: Events per part, lanes, and dropped rows.
    """

    policies: pd.DataFrame
    forecasts: pd.DataFrame
    by_type: pd.DataFrame
    planned: pd.DataFrame
    selection: Selection
    equal_completions: pd.DataFrame
    burn_down: pd.DataFrame
    headline: Mapping[str, RatioIntervals]
    ablation: Mapping[str, RatioIntervals]
    sizes: Mapping[str, int]

    def to_json(self) -> str:
        """Return all tables as one JSON document; not measured is null."""
        tables = {
            "policies": self.policies,
            "forecasts": self.forecasts,
            "by_type": self.by_type,
            "planned": self.planned,
            "candidates": self.selection.table,
            "equal_completions": self.equal_completions,
            "burn_down": self.burn_down,
        }
        document = {
            "selected": self.selection.policy.label,
            "sizes": dict(self.sizes),
            "headline": _plain(self.headline),
            "ablation": _plain(self.ablation),
            **{name: json.loads(table.to_json(orient="records")) for name, table in tables.items()},
        }
        return json.dumps(document, indent=1, allow_nan=False)


@dataclass(frozen=True)
class Stages:
    """What the benchmark made on its way, for a plan of the same models."""

    split: Split
    features: FeatureTable
    models: Mapping[str, DurationModel]
    result: BenchmarkResult


def run_stages(
    history: History,
    config: UpgradeConfig,
    names: Sequence[str] | None = None,
    tell: Callable[[str], None] = lambda step: None,
) -> Stages:
    """Split, fit, select and score one stage after the other.

    Args:
        history: Canonical events.
        config: Windows, costs, models.
        names: Forecasters of the table; None: all of ours and the installed peers. Only
            candidates compete for the selection.
        tell: Gets a few words before each step.

    Raises:
        NotEnoughDataError: Too few events for one of the parts, with counts.
    """
    split = split_by_time(history, config)
    features = asof_features(history)
    names = (*FORECASTERS, *installed_peers()) if names is None else names
    models: dict[str, DurationModel] = {}
    for name in names:
        tell(f"fitting {name}")
        models[name] = build_forecaster(name, features, history, split, config)
    tell("simulating candidates on the select part")
    selection = select_policy(history, features, split, models, config)
    policies = benchmark_policies(selection.policy, config, names)
    tell(f"simulating {len(policies)} policies on the test part")
    cells = score_cells(policies, history, features, split, models, config)
    result = summarise(cells, selection, models, history, features, split, config)
    return Stages(split, features, models, result)


def core_table(history: History, config: UpgradeConfig) -> pd.DataFrame:
    """Fit and score the grid of four forecasters by three dispatchers, all with blind retries.

    Features, fits, margins and simulations included: the work whose CPU time is watched.

    Returns:
        Twelve rows; columns of `assemble_policy_table` (no oracle, so regret is None).
    """
    split = split_by_time(history, config)
    features = asof_features(history)
    names = ("type-p95", "type-p50", "body-p95", "xgb-quantile")
    models = {name: build_forecaster(name, features, history, split, config) for name in names}
    policies = [
        Policy(name, dispatch, FORECASTERS[name].level or GRID_LEVEL)
        for name in names
        for dispatch in DISPATCHES
    ]
    cells = score_cells(policies, history, features, split, models, config)
    return assemble_policy_table(cells, EXISTING, config)


def summarise(
    cells: Sequence[Cell],
    selection: Selection,
    models: Mapping[str, DurationModel],
    history: History,
    features: FeatureTable,
    split: Split,
    config: UpgradeConfig,
) -> BenchmarkResult:
    """Turn scored cells into tables and headline ratios.

    Args:
        cells: `score_cell` of every policy of `benchmark_policies`, in any order.
        selection: What the select part chose.
        models: Forecasters to score, by name.
        history: Canonical events.
        features: As-of features of the whole history.
        split: Parts.
        config: Costs and seed.
    """
    attempts = {cell.policy: cell.attempts for cell in cells}
    lanes = lanes_by_domain(history, split.select_from_s, config)
    references = (EXISTING, STRONG_RULE, STRONG_RULE_INFORMED)
    return BenchmarkResult(
        policies=assemble_policy_table(cells, selection.policy, config),
        forecasts=forecast_table(history, features, split.test, models),
        by_type=coverage_by_type(history, features, split.test, models),
        planned=planned_table(cells, history, split),
        selection=selection,
        equal_completions=equal_completions_table(attempts, config.seed),
        burn_down=burn_down_table(
            cells, [selection.policy, EXISTING, STRONG_RULE, CLAIRVOYANT], history, split
        ),
        headline={
            reference.label: ratio_intervals(
                attempts[selection.policy], attempts[reference], config.seed
            )
            for reference in references
            if reference in attempts and reference != selection.policy
        },
        ablation={
            change: ratio_intervals(attempts[policy], attempts[reference], config.seed)
            for change, (policy, reference) in ABLATION.items()
            if policy in attempts and reference in attempts
        },
        sizes={
            **{part: len(getattr(split, part)) for part in ("fit", "calibrate", "select", "test")},
            "lanes": sum(lanes.values()),
            "domains": len(lanes),
            **{f"dropped: {reason}": count for reason, count in history.dropped.items()},
        },
    )


def _plain(ratios: Mapping[str, RatioIntervals]) -> dict[str, dict[str, dict[str, float | None]]]:
    return {
        name: {measure: interval._asdict() for measure, interval in of._asdict().items()}
        for name, of in ratios.items()
    }
