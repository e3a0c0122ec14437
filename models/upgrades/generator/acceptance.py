"""How much a generated history looks like a real one: measures, not targets to tune to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import NotEnoughDataError
from models.upgrades.history.base import History

LEVELS: NDArray[np.float64] = np.linspace(0.01, 0.99, 99)
TAIL_SHARE = 0.05
"""Share of the longest upgrades that the tail index is estimated from."""
MIN_EVENTS = 100


@dataclass(frozen=True)
class Shape:
    """What a history's completed durations look like.

    Attributes:
        n: Completed events.
        median_s: Median duration in seconds.
        log_sigma: Standard deviation of the log durations, types centred at their medians.
        hill_index: Tail index; below 2 the variance is infinite, below 1 the mean.
        batch_correlation: Intra-class correlation of these within batches of two or more;
            None: there are none.
    """

    n: int
    median_s: float
    log_sigma: float
    hill_index: float
    batch_correlation: float | None


@dataclass(frozen=True)
class Acceptance:
    """A generated history beside a real one.

    Attributes:
        qq_error: Mean absolute difference of the log quantiles at .01 to .99: 0.1 is 10 %.
        qq_shape_error: The same after both were centred at their medians: shape alone.
        generated: Shape of the generated history.
        real: Shape of the real one.
    """

    qq_error: float
    qq_shape_error: float
    generated: Shape
    real: Shape


def acceptance(generated: History, real: History) -> Acceptance:
    """Compare the completed durations of two histories.

    Raises:
        NotEnoughDataError: One of them has fewer than `MIN_EVENTS` completed events.
    """
    quantiles = [np.quantile(_logs(history), LEVELS) for history in (generated, real)]
    centred = [values - values[len(LEVELS) // 2] for values in quantiles]
    return Acceptance(
        qq_error=float(np.abs(quantiles[0] - quantiles[1]).mean()),
        qq_shape_error=float(np.abs(centred[0] - centred[1]).mean()),
        generated=shape_of(generated),
        real=shape_of(real),
    )


def shape_of(history: History) -> Shape:
    """Measure one history.

    Raises:
        NotEnoughDataError: Fewer than `MIN_EVENTS` completed events.
    """
    logs = _logs(history)
    events = history.events[~history.events["is_censored"]]
    values = pd.Series(logs, index=events.index)
    centred = values - values.groupby(events["type"]).transform("median")
    return Shape(
        n=len(logs),
        median_s=float(np.exp(np.median(logs))),
        log_sigma=float(centred.std()),
        hill_index=hill_index(np.exp(logs)),
        batch_correlation=intraclass_correlation(
            centred.to_numpy(float), events["batch_id"].to_numpy(object)
        ),
    )


def hill_index(durations_s: NDArray[np.float64], tail_share: float = TAIL_SHARE) -> float:
    """Return the tail index of the longest durations; infinite if they are all equal.

    Args:
        durations_s: Positive durations, shape (n,).
        tail_share: Share of them that counts as the tail; at least two.

    Source: Hill (1975), "A simple general approach to inference about the tail of a
    distribution".
    """
    ordered = np.sort(durations_s)
    k = max(2, int(tail_share * len(ordered)))
    excess = np.log(ordered[-k:]) - np.log(ordered[-k - 1])
    mean = float(excess.mean())
    return 1.0 / mean if mean > 0 else float("inf")


def intraclass_correlation(
    values: NDArray[np.float64], groups: NDArray[np.object_]
) -> float | None:
    """Return the share of the variance that the members of a group have in common.

    Args:
        values: Shape (n,).
        groups: Group of each value, shape (n,); groups of one say nothing and are left out.

    Returns:
        At most 1; slightly below 0 where groups do not matter; None without two groups of
        two or more, or without any variance.

    Source: one-way random-effects analysis of variance, unequal groups (Donner, 1986, "A
    review of inference procedures for the intraclass correlation coefficient").
    """
    codes = pd.factorize(groups)[0]
    sizes = np.bincount(codes)
    keep = sizes[codes] > 1
    codes, labels = pd.factorize(codes[keep])
    kept = values[keep]
    n, n_groups = len(kept), len(labels)
    if n_groups < 2:
        return None
    sizes = np.bincount(codes).astype(float)
    means = np.bincount(codes, weights=kept) / sizes
    between = float((sizes * (means - kept.mean()) ** 2).sum()) / (n_groups - 1)
    within = float(((kept - means[codes]) ** 2).sum()) / (n - n_groups)
    size = (n - float((sizes**2).sum()) / n) / (n_groups - 1)
    spread = between + (size - 1) * within
    return (between - within) / spread if spread > 0 else None


def _logs(history: History) -> NDArray[np.float64]:
    completed = ~history.events["is_censored"].to_numpy(bool)
    n = int(completed.sum())
    if n < MIN_EVENTS:
        raise NotEnoughDataError(
            f"comparing histories needs at least {MIN_EVENTS} completed events, the history "
            f"'{history.source}' has {n}; give a longer one"
        )
    logs: NDArray[np.float64] = np.log(history.seconds("duration_s")[completed].astype(float))
    return logs
