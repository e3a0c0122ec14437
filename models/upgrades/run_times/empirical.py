"""Quantiles of few runs: what was seen, with the correction for how little that is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.upgrades.forecast.base import Floats, Mask
from models.upgrades.forecast.margins import conformal_margins, tasks_needed

RECENT_RUNS = 100
"""Latest runs of a deployment that are counted: flows change, and old runs mislead."""


def empirical_quantiles(log_s: Floats, is_known: Mask, levels: Sequence[float]) -> Floats | None:
    """Log seconds within which each share of the next runs should end.

    The ranks are those of split conformal prediction (P90 of nine runs is the longest of
    them), censored runs weigh on the longer ones by Kaplan-Meier. A level that so few runs
    do not support gets the longest.

    Args:
        log_s: Log durations in order of their start, shape (n_runs,).
        is_known: Whether each run was seen to its end, shape (n_runs,).
        levels: Levels in (0, 1).

    Returns:
        Shape (n_levels,); None where no run was seen to its end.
    """
    log_s, is_known = log_s[-RECENT_RUNS:], is_known[-RECENT_RUNS:]
    known = int(is_known.sum())
    if not known:
        return None
    reachable = np.minimum(np.asarray(levels, dtype=float), known / (known + 1))
    scores = np.repeat(log_s[:, None], len(reachable), axis=1)
    return np.maximum.accumulate(conformal_margins(scores, reachable, is_known))


def empirical_words(known: int, levels: Sequence[float]) -> str:
    """Say what these quantiles rest on."""
    if not known:
        return "no finished run"
    counted = min(known, RECENT_RUNS)
    unreached = [f"P{level * 100:g}" for level in levels if tasks_needed(level) > counted]
    runs = "1 finished run" if counted == 1 else f"{counted} finished runs"
    beyond = f"; {', '.join(unreached)} can only be the longest" if unreached else ""
    return f"quantile of {runs}{beyond}"
