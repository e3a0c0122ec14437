"""How the choice fares when windows, load and costs change: the whole grid, not one point.

In every cell and under every dispatcher a policy is chosen anew on the select part, for
Loomworks and for the peers alike, and measured on the test part beside the fixed rules and
the oracle of the same lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
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
from models.upgrades.policy import ALL_DISPATCHES, DISPATCHES, Policy
from models.upgrades.simulate import Period, period_of, run_policy
from models.upgrades.splits import Split

WINDOWS_S = (7_200, 14_400, 28_800)
LOADS = (0.7, 1.0, 1.3, 2.0)
CANCEL_COSTS = (1.0, 3.0, 10.0, 30.0)
CELL = ("window_h", "load", "cancel_cost")
ANY = "any"
"""Stands for a dispatcher where a contestant chose its dispatcher too."""

OURS, ORACLE_NAME = "Loomworks", "oracle"
PEER, INFORMED_PEER = "best peer", "best peer, informed retries"
CHOOSING = (OURS, PEER, INFORMED_PEER)
# Name of a fixed rule, its forecaster and whether its retries are informed.
RULES: Mapping[str, tuple[str, bool]] = {
    "type-P95": ("type-p95", False),
    "body-P95": ("body-p95", False),
    "body-P95, informed retries": ("body-p95", True),
}
# A cell in which a contestant loses nothing to the oracle must not make a ratio infinite.
LEAST_REGRET = 1e-3


@dataclass(frozen=True)
class _Part:
    """One part of the history under one window length and load; runs each policy once."""

    period: Period
    lanes: Mapping[str, int]
    config: UpgradeConfig
    forecasts: Mapping[str, InTime]
    _known: dict[Policy, PolicyMetrics] = field(default_factory=dict)

    def run(self, policy: Policy) -> PolicyMetrics:
        if policy not in self._known:
            forecast = self.forecasts.get(policy.forecaster)
            result = run_policy(policy, forecast, self.period, self.lanes, self.config)
            self._known[policy] = result.metrics
        return self._known[policy]

    @cached_property
    def lanes_key(self) -> tuple[tuple[str, int], ...]:
        return tuple(sorted(self.lanes.items()))


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
        One row per cell, contestant and dispatcher: window_h, load, cancel_cost, contestant
        (Loomworks, best peer with blind and with our informed retries, fixed rules,
        oracle), dispatch (or `ANY`: the cheapest of all on the select part), policy,
        completed, cancellation_rate, utilisation, net_value (completed - cancel_cost x
        cancelled), regret (None where the oracle earns nothing).
    """
    ours = [name for name in models if FORECASTERS[name].level is None]
    longest_s = max(WINDOWS_S)
    # Slots of a shorter window are the first of a longer one, so each model forecasts once.
    seen, periods = {}, {}
    for part, rows in (("select", split.select), ("test", split.test)):
        X = features.take(rows)
        everyone = {**models, **peers}
        seen[part] = {name: in_time(model, X, longest_s) for name, model in everyone.items()}
        periods[part] = period_of(history, rows, config)
    found: list[dict[str, object]] = []
    for window_s in WINDOWS_S:
        forecasts = {
            part: {name: forecast.within(window_s) for name, forecast in of.items()}
            for part, of in seen.items()
        }
        same_lanes: dict[tuple[tuple[str, int], ...], tuple[_Part, _Part]] = {}
        for load in LOADS:
            tell(f"windows of {window_s / 3_600:g} h at load {load:g}")
            own = config.model_copy(update={"window_s": window_s, "load": load})
            lanes = lanes_by_domain(history, split.select_from_s, own)
            select, test = (
                _Part(periods[part], lanes, own, forecasts[part]) for part in ("select", "test")
            )
            select, test = same_lanes.setdefault(select.lanes_key, (select, test))
            found += _cells(select, test, _candidates(ours, list(peers), own), own)
    return pd.DataFrame(found)


def _cells(
    select: _Part,
    test: _Part,
    candidates: Mapping[str, Sequence[Policy]],
    config: UpgradeConfig,
) -> Iterator[dict[str, object]]:
    oracle = test.run(CLAIRVOYANT)
    for cancel_cost in CANCEL_COSTS:
        best = _net(oracle, cancel_cost, config)
        for name, dispatch, policy in _entrants(select, candidates, cancel_cost, config):
            metrics = test.run(policy)
            net = _net(metrics, cancel_cost, config)
            yield {
                "window_h": config.window_s / 3_600,
                "load": config.load,
                "cancel_cost": cancel_cost,
                "contestant": name,
                "dispatch": dispatch,
                "policy": policy.label,
                "completed": metrics.completed,
                "cancellation_rate": metrics.cancellation_rate,
                "utilisation": metrics.utilisation,
                "net_value": net,
                "regret": 1 - net / best if best > 0 else None,
            }


def _entrants(
    select: _Part,
    candidates: Mapping[str, Sequence[Policy]],
    cancel_cost: float,
    config: UpgradeConfig,
) -> Iterator[tuple[str, str, Policy]]:
    """Contestant, dispatcher and policy of one cell; choices are made on the select part."""

    def cost(policy: Policy) -> float:
        metrics = select.run(policy)
        return metrics.cost + (cancel_cost - config.costs.cancel_cost) * metrics.cancelled

    for name, policies in candidates.items():
        for dispatch in ALL_DISPATCHES:
            own = [policy for policy in policies if policy.dispatch == dispatch]
            yield name, dispatch, min(own, key=cost)
        yield name, ANY, min(policies, key=cost)
    # Rules of thumb take tasks as they come; another order is not theirs.
    for name, (forecaster, is_informed) in RULES.items():
        for dispatch in DISPATCHES:
            level = FORECASTERS[forecaster].level
            yield name, dispatch, Policy(forecaster, dispatch, level, None, is_informed)
    yield ORACLE_NAME, ANY, CLAIRVOYANT


def _candidates(
    ours: Sequence[str], peers: Sequence[str], config: UpgradeConfig
) -> dict[str, list[Policy]]:
    """Policies that each contestant chooses from; what an abort teaches is ours."""
    retries = {OURS: (False, True), PEER: (False,), INFORMED_PEER: (True,)}
    names = {OURS: ours, PEER: peers, INFORMED_PEER: peers}
    return {
        contestant: [
            Policy(name, dispatch, level, None, is_informed)
            for name in names[contestant]
            for dispatch in ALL_DISPATCHES
            for level in config.policy_levels
            for is_informed in retries[contestant]
        ]
        for contestant in CHOOSING
        if names[contestant]
    }


def _net(metrics: PolicyMetrics, cancel_cost: float, config: UpgradeConfig) -> float:
    return config.costs.completed_value * metrics.completed - cancel_cost * metrics.cancelled


def sweep_digest(grid: pd.DataFrame) -> pd.DataFrame:
    """Condense `sweep_table`: per dispatcher, Loomworks against everybody else.

    Under `ANY` each contestant stands with the dispatcher that it chose; rules, which do
    not choose, with the online one. Cells in which the oracle earns nothing are left out.

    Returns:
        Columns: dispatch, against, cells, won and lost (cells in which Loomworks misses less
        or more of the oracle's net value), ratio (geometric mean over cells of our regret /
        theirs, below 1 is better for us), worst (the greatest such ratio), worst_cell.
    """
    known = grid.dropna(subset=["regret"])
    rows = []
    for dispatch in (*ALL_DISPATCHES, ANY):
        ours = _regrets(known, OURS, dispatch)
        for name in (PEER, INFORMED_PEER, *RULES):
            other = _regrets(known, name, dispatch)
            if dispatch == ANY and name in RULES:
                other = _regrets(known, name, "online")
            pairs = pd.concat([ours, other], axis=1, keys=["ours", "other"], join="inner")
            if not len(pairs):
                continue
            ratio = pairs["ours"] / pairs["other"]
            worst_at = pairs.index.to_frame().iloc[int(ratio.to_numpy().argmax())]
            rows.append(
                {
                    "dispatch": dispatch,
                    "against": name,
                    "cells": len(pairs),
                    "won": int((pairs["ours"] < pairs["other"]).sum()),
                    "lost": int((pairs["ours"] > pairs["other"]).sum()),
                    "ratio": float(np.exp(np.log(ratio).mean())),
                    "worst": float(ratio.max()),
                    "worst_cell": "{:g} h, load {:g}, cancel {:g}".format(*worst_at),
                }
            )
    return pd.DataFrame(rows)


def _regrets(grid: pd.DataFrame, contestant: str, dispatch: str) -> pd.Series:
    own = grid[(grid["contestant"] == contestant) & (grid["dispatch"] == dispatch)]
    return own.set_index(list(CELL))["regret"].astype(float).clip(lower=LEAST_REGRET)
