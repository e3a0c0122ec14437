"""Choose forecaster, admission rule, dispatcher and retry by simulated cost.

On the select part only: the lowest pinball loss does not give the cheapest schedule, and
the test part has no say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from models.errors import ConfigError
from models.upgrades.bootstrap import WEEK_S
from models.upgrades.capacity import lanes_by_domain
from models.upgrades.config import UpgradeConfig
from models.upgrades.costs import in_time
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel, Floats
from models.upgrades.history import History
from models.upgrades.metrics import PolicyMetrics
from models.upgrades.policy import Policy, forecasters_of, policies_of
from models.upgrades.simulate import period_of, run_policy
from models.upgrades.splits import Rows, Split


@dataclass(frozen=True)
class PolicyScore:
    """A policy and what it did to a period.

    Attributes:
        policy: The policy.
        metrics: Its measures over the whole period.
        weekly_cost: What the starts of each week cost, shape (n_weeks,). Idle time enters
            as lane time that was not used; the lane time that all policies have is left
            out, so only differences mean something.
    """

    policy: Policy
    metrics: PolicyMetrics
    weekly_cost: Floats


@dataclass(frozen=True)
class Selection:
    """The cheapest policy and everything it was compared with.

    Attributes:
        policy: The selected policy.
        table: One row per candidate, cheapest first: policy, forecaster, dispatch, the
            fields of `PolicyMetrics`, more_than_cheapest and its standard_error (costs),
            is_selected.
    """

    policy: Policy
    table: pd.DataFrame


def score_forecaster(
    model: DurationModel,
    policies: Sequence[Policy],
    history: History,
    features: FeatureTable,
    rows: Rows,
    split: Split,
    config: UpgradeConfig,
) -> list[PolicyScore]:
    """Simulate policies that share one forecaster; the forecast is made once.

    Lanes come from what had ended before the select part began, in every simulation.
    """
    lanes = lanes_by_domain(history, split.select_from_s, config)
    forecast = in_time(model, features.take(rows), config.window_s)
    from_s = split.select_from_s
    n_weeks = (split.test_from_s - from_s) // WEEK_S + 1
    period = period_of(history, rows, config)
    scores = []
    for policy in policies:
        result = run_policy(policy, forecast, period, lanes, config)
        weekly = weekly_cost(result.attempts, from_s, int(n_weeks), config)
        scores.append(PolicyScore(policy, result.metrics, weekly))
    return scores


def weekly_cost(attempts: pd.DataFrame, from_s: int, n_weeks: int, config: UpgradeConfig) -> Floats:
    """Cost of the starts of each week, shape (n_weeks,); see `PolicyScore`.

    Args:
        attempts: `SimulationResult.attempts`.
        from_s: Begin of the first week, seconds of the local clock.
        n_weeks: Number of weeks; later starts count in the last.
        config: Costs.
    """
    costs = config.costs
    done = attempts["is_completed"].to_numpy(bool)
    busy_h = (attempts["end_s"] - attempts["start_s"]).to_numpy(float) / 3_600
    price = np.where(done, -costs.completed_value, costs.cancel_cost)
    week = ((attempts["window_open_s"].to_numpy(float) - from_s) // WEEK_S).astype(int)
    by_week = np.bincount(
        np.clip(week, 0, n_weeks - 1),
        weights=price - costs.idle_cost_per_lane_h * busy_h,
        minlength=n_weeks,
    )
    return np.asarray(by_week, dtype=float)


def candidate_scores(
    history: History,
    features: FeatureTable,
    split: Split,
    models: Mapping[str, DurationModel],
    config: UpgradeConfig,
) -> list[PolicyScore]:
    """Simulate every candidate on the select part.

    Args:
        history: Canonical events.
        features: As-of features of the whole history.
        split: Parts; only `split.select` is simulated.
        models: Fitted (and calibrated) forecasters by name, `forecasters_of(config)`.
        config: Candidates, windows and costs.

    Raises:
        ConfigError: A forecaster that `config` asks for was not fitted.
    """
    names = forecasters_of(config)
    missing = [name for name in names if name not in models]
    if missing:
        raise ConfigError(
            f"selection needs the forecasters {', '.join(missing)}, got {', '.join(models)}; "
            "fit them first (build_forecaster)"
        )
    return [
        score
        for name in names
        for score in score_forecaster(
            models[name],
            policies_of(name, config),
            *(history, features, split.select, split, config),
        )
    ]


def select_policy(
    history: History,
    features: FeatureTable,
    split: Split,
    models: Mapping[str, DurationModel],
    config: UpgradeConfig,
) -> Selection:
    """Simulate every candidate on the select part and choose; see `choose`.

    Raises:
        ConfigError: A forecaster that `config` asks for was not fitted.
    """
    return choose(candidate_scores(history, features, split, models, config), config)


def choose(scores: Sequence[PolicyScore], config: UpgradeConfig) -> Selection:
    """Pick the simplest candidate that cannot be told from the cheapest.

    A candidate ties with the cheapest if it costs at most `tie_errors` standard errors
    more, the error being that of their difference over the weeks of the period, and at most
    `tie_share` of the value of all tasks: a policy that differs wildly from week to week
    has a large error and is no tie for that. Of ties the simplest wins, then the cheapest.

    Source: Breiman, Friedman, Olshen & Stone (1984), the one-standard-error rule.
    """
    best = min(scores, key=lambda score: score.metrics.cost)
    most = config.tie_share * config.costs.completed_value * best.metrics.tasks
    tied = [
        score
        for score in scores
        if score.metrics.cost - best.metrics.cost
        <= min(config.tie_errors * standard_error(score, best), most)
    ]
    chosen = min(tied, key=lambda score: (score.policy.complexity, score.metrics.cost)).policy
    rows = [
        {
            "policy": score.policy.label,
            "forecaster": score.policy.forecaster,
            "dispatch": score.policy.dispatch,
            **asdict(score.metrics),
            "more_than_cheapest": score.metrics.cost - best.metrics.cost,
            "standard_error": standard_error(score, best),
            "is_selected": score.policy == chosen,
        }
        for score in scores
    ]
    table = pd.DataFrame(rows).sort_values("cost", kind="stable", ignore_index=True)
    return Selection(chosen, table)


def standard_error(score: PolicyScore, other: PolicyScore) -> float:
    """Standard error of the cost difference of two policies over the same weeks."""
    difference = score.weekly_cost - other.weekly_cost
    n_weeks = len(difference)
    return float(difference.std(ddof=1) * np.sqrt(n_weeks)) if n_weeks > 1 else 0.0
