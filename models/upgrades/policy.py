"""A policy: which forecast judges a start, who decides it, and what an abort teaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.errors import ConfigError
from models.upgrades.config import UpgradeConfig
from models.upgrades.costs import InTime, least_time_for_level, least_time_that_pays
from models.upgrades.forecast.base import Floats
from models.upgrades.forecast.build import CANDIDATES, FORECASTERS

ORACLE = "oracle"
Dispatch = Literal["calendar", "online", "backfill", "shortest"]
# Those that take the line in order of arrival.
DISPATCHES: tuple[Dispatch, ...] = ("calendar", "online", "backfill")
# Online, the line in order of the expected lane time: SEPT, Rothkopf (1966), "Scheduling
# with Random Service Times".
SHORTEST: Dispatch = "shortest"
ALL_DISPATCHES: tuple[Dispatch, ...] = (*DISPATCHES, SHORTEST)

# Prices of a lane hour that compete; 0 is the plain break-even probability. A completed
# upgrade is worth 1 and holds its lane for 1.5 hours on average.
LANE_PRICES_PER_H = (0.0, 0.1, 0.2)


@dataclass(frozen=True)
class Policy:
    """One way to run the windows.

    Attributes:
        forecaster: A name of `FORECASTERS`, or the clairvoyant `oracle`.
        dispatch: Calendar keeps planned starts, backfill fills its holes; online starts the
            first in line that fits as lanes free, shortest that of the least expected time.
        level: Start a task if it ends in the time left with this probability.
        lane_price_per_h: Instead of a level: start if the expected value pays for the
            lane at this price, in completed upgrades per hour.
        is_informed: Whether a retry knows how long the aborted start had run (a
            right-censored duration); otherwise every try is judged like the first.
    """

    forecaster: str
    dispatch: Dispatch
    level: float | None = None
    lane_price_per_h: float | None = None
    is_informed: bool = False

    @property
    def label(self) -> str:
        """Name in tables: forecaster, admission rule, dispatcher, kind of retry."""
        parts = [self.forecaster + self._rule, self.dispatch]
        return " ".join([*parts, "informed"] if self.is_informed else parts)

    @property
    def engine(self) -> Dispatch:
        """The compiled dispatcher that runs it: shortest is online, its line in another order."""
        return "online" if self.dispatch == SHORTEST else self.dispatch

    @property
    def _rule(self) -> str:
        if self.lane_price_per_h is not None:
            return f" value@{self.lane_price_per_h:g}/h"
        spec = FORECASTERS.get(self.forecaster)
        if self.level is None or (spec is not None and spec.level == self.level):
            return ""
        return f"@{self.level:g}"

    @property
    def complexity(self) -> tuple[int, int, int, int]:
        """Sort key for ties: simpler forecaster, then rule, dispatcher and retry first."""
        spec = FORECASTERS.get(self.forecaster)
        return (
            spec.simplicity if spec else len(FORECASTERS),
            int(self.lane_price_per_h is not None),
            ALL_DISPATCHES.index(self.dispatch),
            int(self.is_informed),
        )

    def reserved_s(self, forecast: InTime, config: UpgradeConfig) -> Floats:
        """Time that must be left to start each task, seconds, shape (n_tasks,).

        Infinite for tasks that need more than a whole window, unless the forecaster is a
        rule of thumb that gives them one (`ForecasterSpec.is_capped`).

        Raises:
            ConfigError: The policy has neither a level nor a lane price.
        """
        if self.lane_price_per_h is not None:
            return least_time_that_pays(forecast, config.costs, self.lane_price_per_h)
        if self.level is None:
            raise ConfigError(f"policy {self.label} has no admission rule; give it a level")
        least_s = least_time_for_level(forecast, self.level)
        spec = FORECASTERS.get(self.forecaster)
        if spec is None or not spec.is_capped:
            return least_s
        # No whole window for a task that is known to have outrun one.
        is_possible = forecast.probability[:, -1] > 0
        return np.where(is_possible, np.minimum(least_s, float(config.window_s)), least_s)


def policies_of(forecaster: str, config: UpgradeConfig) -> list[Policy]:
    """Every policy of one forecaster that competes, for the dispatchers `config` allows.

    The value rule needs a dispatcher that looks at the time left: online or shortest.
    """
    spec = FORECASTERS[forecaster]
    dispatches = [d for d in ALL_DISPATCHES if config.dispatch in ("auto", d)]
    levels = config.policy_levels if spec.level is None else (spec.level,)
    retries = (False, True)
    policies = [
        Policy(forecaster, dispatch, level, is_informed=retry)
        for dispatch in dispatches
        for level in levels
        for retry in retries
    ]
    if spec.level is None:
        policies += [
            Policy(forecaster, dispatch, None, price, retry)
            for dispatch in dispatches
            if dispatch in ("online", SHORTEST)
            for price in LANE_PRICES_PER_H
            for retry in retries
        ]
    return policies


def forecasters_of(config: UpgradeConfig) -> tuple[str, ...]:
    """Names of the forecasters that selection needs under `config`."""
    return CANDIDATES if config.forecaster == "auto" else (config.forecaster,)


def forecasters_to_fit(config: UpgradeConfig) -> tuple[str, ...]:
    """Names of the forecasters that a plan fits: all candidates, for the table, and its own."""
    return tuple(dict.fromkeys([*CANDIDATES, *forecasters_of(config)]))
