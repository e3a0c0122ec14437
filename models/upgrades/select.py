"""Choose forecaster, admission rule, dispatcher and retry by simulated cost.

On the select part only: the lowest pinball loss does not give the cheapest schedule, and
the test part has no say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from models.errors import ConfigError
from models.upgrades.capacity import lanes_by_domain
from models.upgrades.config import UpgradeConfig
from models.upgrades.costs import in_time
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel
from models.upgrades.history import History
from models.upgrades.metrics import PolicyMetrics
from models.upgrades.policy import Policy, forecasters_of, policies_of
from models.upgrades.simulate import simulate_policy
from models.upgrades.splits import Rows, Split


@dataclass(frozen=True)
class PolicyScore:
    """A policy and what it did to a period."""

    policy: Policy
    metrics: PolicyMetrics


@dataclass(frozen=True)
class Selection:
    """The cheapest policy and everything it was compared with.

    Attributes:
        policy: The selected policy.
        table: One row per candidate, cheapest first: policy, forecaster, dispatch, the
            fields of `PolicyMetrics`, is_selected.
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
    return [
        PolicyScore(policy, simulate_policy(policy, forecast, history, rows, lanes, config).metrics)
        for policy in policies
    ]


def select_policy(
    history: History,
    features: FeatureTable,
    split: Split,
    models: Mapping[str, DurationModel],
    config: UpgradeConfig,
) -> Selection:
    """Simulate every candidate on the select part and take the cheapest.

    Candidates within `tie_share` of the value of all tasks of the best are ties; the
    simplest of them wins, then the cheapest.

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
    scores = [
        score
        for name in names
        for score in score_forecaster(
            models[name],
            policies_of(name, config),
            *(history, features, split.select, split, config),
        )
    ]
    return choose(scores, config)


def choose(scores: Sequence[PolicyScore], config: UpgradeConfig) -> Selection:
    """Pick the cheapest of simulated candidates, ties to the simpler."""
    best = min(score.metrics.cost for score in scores)
    tolerance = config.tie_share * config.costs.completed_value * scores[0].metrics.tasks
    tied = [score for score in scores if score.metrics.cost <= best + tolerance]
    chosen = min(tied, key=lambda score: (score.policy.complexity, score.metrics.cost)).policy
    rows = [
        {
            "policy": score.policy.label,
            "forecaster": score.policy.forecaster,
            "dispatch": score.policy.dispatch,
            **asdict(score.metrics),
            "is_selected": score.policy == chosen,
        }
        for score in scores
    ]
    table = pd.DataFrame(rows).sort_values("cost", kind="stable", ignore_index=True)
    return Selection(chosen, table)
