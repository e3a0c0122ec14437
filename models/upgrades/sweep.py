"""How the choice fares when windows, load and costs change: the whole grid, not one point.

In every cell the policy is chosen anew on the select part, for Loomworks and for the peers
alike, and measured on the test part beside the fixed rules and the oracle of the same
lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from models.upgrades.capacity import lanes_by_domain
from models.upgrades.cells import CLAIRVOYANT
from models.upgrades.config import UpgradeConfig
from models.upgrades.costs import InTime, in_time
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel
from models.upgrades.forecast.build import FORECASTERS
from models.upgrades.history import History
from models.upgrades.metrics import PolicyMetrics
from models.upgrades.operating import EXISTING, STRONG_RULE, STRONG_RULE_INFORMED
from models.upgrades.policy import Policy
from models.upgrades.simulate import simulate_policy
from models.upgrades.splits import Rows, Split

WINDOWS_S = (7_200, 14_400, 28_800)
LOADS = (0.7, 1.0, 1.3, 2.0)
CANCEL_COSTS = (1.0, 3.0, 10.0, 30.0)
REFERENCES: Mapping[str, Policy] = {
    "existing": EXISTING,
    "strong rule": STRONG_RULE,
    "strong rule informed": STRONG_RULE_INFORMED,
}
OURS, PEER, INFORMED_PEER = "Loomworks", "best peer", "best peer, informed retries"
CONTESTANTS = (OURS, PEER, INFORMED_PEER, *REFERENCES, "oracle")


@dataclass(frozen=True)
class _Period:
    """One part of the history under one window length and load."""

    history: History
    rows: Rows
    lanes: Mapping[str, int]
    config: UpgradeConfig
    forecasts: Mapping[str, InTime]

    def run(self, policy: Policy) -> PolicyMetrics:
        forecast = self.forecasts.get(policy.forecaster)
        result = simulate_policy(policy, forecast, self.history, self.rows, self.lanes, self.config)
        return result.metrics


def sweep_table(
    history: History,
    features: FeatureTable,
    split: Split,
    models: Mapping[str, DurationModel],
    peers: Mapping[str, DurationModel],
    config: UpgradeConfig,
    tell: Callable[[str], None] = lambda step: None,
) -> pd.DataFrame:
    """Choose and measure in every cell of windows x loads x costs of a cancellation.

    Args:
        history: Canonical events.
        features: As-of features of the whole history.
        split: Parts.
        models: Our candidates and the forecasters of the fixed rules, fitted.
        peers: Forecasters of other libraries, fitted; may be empty.
        config: Levels and the other costs.
        tell: Gets a few words before each window and load.

    Returns:
        One row per cell and contestant (Loomworks, best peer as it comes and with our informed
        retries, fixed rules, oracle):
        window_h, load, cancel_cost, contestant, policy, completed, cancellation_rate,
        utilisation, net_value (completed - cancel_cost x cancelled), regret.
    """
    ours = [name for name in models if FORECASTERS[name].level is None]
    rows: list[dict[str, object]] = []
    for window_s in WINDOWS_S:
        at_window = config.model_copy(update={"window_s": window_s})
        everyone = {**models, **peers}
        seen = {
            part: {
                name: in_time(model, features.take(part_rows), window_s)
                for name, model in everyone.items()
            }
            for part, part_rows in (("select", split.select), ("test", split.test))
        }
        for load in LOADS:
            tell(f"windows of {window_s / 3_600:g} h at load {load:g}")
            own = at_window.model_copy(update={"load": load})
            lanes = lanes_by_domain(history, split.select_from_s, own)
            select = _Period(history, split.select, lanes, own, seen["select"])
            test = _Period(history, split.test, lanes, own, seen["test"])
            rows += _cells(select, test, ours, list(peers), own)
    return pd.DataFrame(rows)


def sweep_summary(grid: pd.DataFrame) -> pd.DataFrame:
    """Condense `sweep_table`: per contestant the mean regret, completions, cells won.

    Returns:
        Columns: contestant, mean_regret, x_regret_of_ours (our mean regret divided by its
        own: below 1 is better for us), cells, cells_won (least regret, the oracle apart).
    """
    known = grid.dropna(subset=["regret"])
    cell = ["window_h", "load", "cancel_cost"]
    competing = known[known["contestant"] != "oracle"]
    least = competing.groupby(cell)["regret"].transform("min")
    won = competing[competing["regret"] <= least + 1e-12].groupby("contestant").size()
    mean = competing.groupby("contestant")["regret"].mean()
    ours = mean.get(OURS)
    rows = [
        {
            "contestant": name,
            "mean_regret": mean[name],
            "x_regret_of_ours": ours / mean[name] if ours is not None and mean[name] else None,
            "cells": int((competing["contestant"] == name).sum()),
            "cells_won": int(won.get(name, 0)),
        }
        for name in CONTESTANTS
        if name in mean
    ]
    return pd.DataFrame(rows)


def _cells(
    select: _Period,
    test: _Period,
    ours: Sequence[str],
    peers: Sequence[str],
    config: UpgradeConfig,
) -> Iterator[dict[str, object]]:
    tried = {
        OURS: {policy: select.run(policy) for policy in _candidates(ours, config)},
        PEER: {policy: select.run(policy) for policy in _blind(peers, config)},
        INFORMED_PEER: {
            policy: select.run(policy)
            for policy in _candidates(peers, config)
            if policy.is_informed
        },
    }
    measured: dict[Policy, PolicyMetrics] = {}

    def on_test(policy: Policy) -> PolicyMetrics:
        if policy not in measured:
            measured[policy] = test.run(policy)
        return measured[policy]

    oracle = on_test(CLAIRVOYANT)
    for cancel_cost in CANCEL_COSTS:
        contestants = {
            name: min(scores, key=lambda policy: _cost(scores[policy], cancel_cost, config))
            for name, scores in tried.items()
            if scores
        }
        for name, policy in {**contestants, **REFERENCES, "oracle": CLAIRVOYANT}.items():
            metrics = on_test(policy)
            net = _net(metrics, cancel_cost, config)
            best = _net(oracle, cancel_cost, config)
            yield {
                "window_h": config.window_s / 3_600,
                "load": config.load,
                "cancel_cost": cancel_cost,
                "contestant": name,
                "policy": policy.label,
                "completed": metrics.completed,
                "cancellation_rate": metrics.cancellation_rate,
                "utilisation": metrics.utilisation,
                "net_value": net,
                "regret": 1 - net / best if best > 0 else None,
            }


def _candidates(names: Sequence[str], config: UpgradeConfig) -> list[Policy]:
    return [
        Policy(name, "online", level, None, is_informed)
        for name in names
        for level in config.policy_levels
        for is_informed in (False, True)
    ]


def _blind(names: Sequence[str], config: UpgradeConfig) -> list[Policy]:
    """Peers as they come forecast once per task; what an abort teaches is ours."""
    return [Policy(name, "online", level) for name in names for level in config.policy_levels]


def _cost(metrics: PolicyMetrics, cancel_cost: float, config: UpgradeConfig) -> float:
    """Price the same counts at another cost of a cancellation."""
    return metrics.cost + (cancel_cost - config.costs.cancel_cost) * metrics.cancelled


def _net(metrics: PolicyMetrics, cancel_cost: float, config: UpgradeConfig) -> float:
    return config.costs.completed_value * metrics.completed - cancel_cost * metrics.cancelled
