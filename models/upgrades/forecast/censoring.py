"""Aborted tasks: what their lower bounds say about durations."""

from __future__ import annotations

import numpy as np

from models.upgrades.forecast.base import Floats, Mask

# No ended task stands for more than this many: the last of a heavy tail would otherwise
# carry the weight of all aborted ones.
GREATEST_WEIGHT = 20.0


def survival(log_s: Floats, is_event: Mask) -> tuple[Floats, Floats]:
    """Kaplan-Meier estimate of the share of tasks that last longer than each time.

    Args:
        log_s: Log seconds at which each task ended or was aborted, shape (n_tasks,).
        is_event: Whether the task ended then, shape (n_tasks,).

    Returns:
        Distinct times (rising) and the share that lasts longer, each of shape (n_times,).

    Source: Kaplan & Meier (1958), "Nonparametric Estimation from Incomplete Observations".
    """
    times, place = np.unique(log_s, return_inverse=True)
    ended = np.bincount(place, weights=is_event.astype(float), minlength=len(times))
    left = np.bincount(place, minlength=len(times))
    at_risk = len(log_s) - np.concatenate([[0], np.cumsum(left)[:-1]])
    return times, np.cumprod(1 - ended / at_risk)


def survival_quantiles(log_s: Floats, is_event: Mask, levels: Floats) -> Floats:
    """Times by which each share of the tasks has ended, by Kaplan-Meier, shape (n_levels,).

    Levels beyond what was observed (the longest tasks were all aborted) get the longest
    time seen: a lower bound, which the tail of the distribution continues.
    """
    times, lasts = survival(log_s, is_event)
    place = np.searchsorted(1 - lasts, levels - 1e-12)
    return np.asarray(times[np.minimum(place, len(times) - 1)], dtype=float)


def censoring_weights(log_s: Floats, is_censored: Mask) -> Floats:
    """Weights with which ended tasks also stand for aborted ones, shape (n_tasks,).

    An ended task of duration d weighs one over the probability of not being aborted before
    d, by Kaplan-Meier of the aborts; an aborted task weighs nothing. At most
    `GREATEST_WEIGHT`, and of mean one over the ended tasks.

    Source: Robins & Rotnitzky (1992), inverse probability of censoring weights.
    """
    times, lasts = survival(log_s, is_censored)
    # Just before d: an abort at d itself does not hide an end at d.
    before = np.concatenate([[1.0], lasts])[np.searchsorted(times, log_s)]
    weight = np.where(is_censored, 0.0, 1 / np.maximum(before, 1 / GREATEST_WEIGHT))
    return np.asarray(weight / weight[~is_censored].mean())
