"""Intervals for policy ratios: paired block bootstrap by week.

Tasks of a week share causes, batches and a backlog, so weeks are drawn, not tasks, and
both policies are read on the same draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

WEEK_S = 604_800
DRAWS = 1_000


class Interval(NamedTuple):
    """An estimate with its 95 % bootstrap interval; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class RatioIntervals(NamedTuple):
    """A policy divided by a reference policy; below 1 is better for cancellation only."""

    scheduled: Interval
    completed: Interval
    cancellation_rate: Interval


def ratio_intervals(policy: pd.DataFrame, reference: pd.DataFrame, seed: int) -> RatioIntervals:
    """Compare the starts of two policies over the same windows.

    Args:
        policy: `SimulationResult.attempts` of the policy.
        reference: The same of the reference policy.
        seed: Seed of the draws.
    """
    if not len(policy) and not len(reference):
        none = Interval(None, None, None)
        return RatioIntervals(none, none, none)
    own, other = weekly_draws([policy, reference], seed)
    return RatioIntervals(
        _interval(own[0], other[0]),
        _interval(own[1], other[1]),
        _interval((own[0] - own[1]) * other[0], own[0] * (other[0] - other[1])),
    )


def weekly_draws(attempts: Sequence[pd.DataFrame], seed: int) -> list[NDArray[np.float64]]:
    """Starts and completions of each policy in every draw of weeks.

    Args:
        attempts: `SimulationResult.attempts` of policies over the same windows.
        seed: Seed of the draws.

    Returns:
        One array per policy, shape (2, 1 + DRAWS): the observed weeks ride along as draw 0,
        so one code path computes both.
    """
    opens = np.concatenate([frame["window_open_s"].to_numpy(float) for frame in attempts])
    first_s = float(opens.min())
    n_weeks = int((opens.max() - first_s) // WEEK_S) + 1
    draws = np.random.default_rng(seed).integers(n_weeks, size=(DRAWS, n_weeks))
    draws = np.vstack([np.arange(n_weeks), draws])
    return [_weekly(frame, first_s, n_weeks)[:, draws].sum(axis=2) for frame in attempts]


def _weekly(attempts: pd.DataFrame, first_s: float, n_weeks: int) -> NDArray[np.float64]:
    """Starts and completions per week, shape (2, n_weeks)."""
    week = ((attempts["window_open_s"].to_numpy(float) - first_s) // WEEK_S).astype(int)
    done = attempts["is_completed"].to_numpy(float)
    counts = [np.bincount(week, weights, minlength=n_weeks) for weights in (None, done)]
    return np.asarray(counts, dtype=float)


def _interval(above: NDArray[np.float64], below: NDArray[np.float64]) -> Interval:
    if below[0] == 0:
        return Interval(None, None, None)
    ratios = above[below > 0] / below[below > 0]
    low, high = np.quantile(ratios[1:], [0.025, 0.975]) if len(ratios) > 1 else (np.nan, np.nan)
    return Interval(float(above[0] / below[0]), float(low), float(high))
