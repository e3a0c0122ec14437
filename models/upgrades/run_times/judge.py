"""Walk forward over the last runs: what each rule would have said before they began."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from models.upgrades.forecast.base import Floats, Mask
from models.upgrades.history import History
from models.upgrades.metrics import coverage, pinball_log_min
from models.upgrades.run_times.empirical import empirical_quantiles
from models.upgrades.splits import Rows

JUDGED_SHARE = 0.3
"""Share of the runs, the last by time, that forecasts are judged on."""
OURS = "forecast"
# Seconds that a rule without learning says of a run, from the finished ones before it.
TRIVIAL: Mapping[str, Callable[[Floats], float]] = {
    "last duration": lambda past_s: float(past_s[-1]),
    "mean": lambda past_s: float(past_s.mean()),
    "type P95": lambda past_s: float(np.quantile(past_s, 0.95)),
}


@dataclass(frozen=True)
class Judged:
    """How forecasts of the last runs did.

    Attributes:
        scores: One row per rule, ours first: rule, n, coverage@level, pinball@level (log
            minutes). Trivial rules say one number for all levels.
        types: type, n, and coverage@level of ours.
        runs: start_s, type, duration_s and what ours said at each level (q@level, s).
        first_runs: Judged runs left out, since nothing of their deployment had finished.
        by_model: Judged runs that the duration model forecast; the others by own quantiles.
    """

    scores: pd.DataFrame
    types: pd.DataFrame
    runs: pd.DataFrame
    first_runs: int
    by_model: int


def judged_rows(history: History) -> Rows:
    """Return the finished runs among the last `JUDGED_SHARE`, by start, shape (n_judged,)."""
    start_s = history.seconds("start_s")
    if not len(start_s):
        return np.array([], dtype=np.int64)
    place = min(int(round((1 - JUDGED_SHARE) * len(start_s), 6)), len(start_s) - 1)
    found: Rows = np.flatnonzero((start_s >= start_s[place]) & ~history.is_censored)
    return found


def judge_runs(
    history: History,
    rows: Rows,
    said_s: Floats | None,
    levels: Sequence[float],
    least_runs: int,
) -> Judged:
    """Compare what was said before each run began with how long it took.

    Everything that a rule uses had ended when the run started.

    Args:
        history: Runs in order of their start.
        rows: The finished runs to judge, see `judged_rows`.
        said_s: What the duration model says of them, seconds, shape (n_judged, n_levels);
            None: there is no model.
        levels: Levels in (0, 1), rising.
        least_runs: Finished runs of a type before the model is asked about it.
    """
    n_judged = len(rows)
    ours = np.full((n_judged, len(levels)), np.nan)
    trivial = {name: np.full(n_judged, np.nan) for name in TRIVIAL}
    is_model = np.zeros(n_judged, dtype=bool)
    types = history.labels("type")
    for name in pd.unique(types[rows]) if n_judged else []:
        own = _Past(history, np.flatnonzero(types == name))
        for place in np.flatnonzero(types[rows] == name):
            past_s, log_s, is_known = own.before(int(history.seconds("start_s")[rows[place]]))
            if not len(past_s):
                continue
            for rule, say in TRIVIAL.items():
                trivial[rule][place] = say(past_s)
            if said_s is not None and len(past_s) >= least_runs:
                ours[place], is_model[place] = said_s[place], True
                continue
            counted = empirical_quantiles(log_s, is_known, levels)
            if counted is not None:
                ours[place] = np.exp(counted)
    return _scored(history, rows, ours, trivial, levels, is_model)


class _Past:
    """Runs of one type, and which had ended at an instant."""

    def __init__(self, history: History, rows: Rows) -> None:
        self.end_s = history.seconds("end_s")[rows]
        self.took_s = history.seconds("duration_s")[rows].astype(float)
        self.log_s = np.log(self.took_s)
        self.is_known = ~history.is_censored[rows]

    def before(self, at_s: int) -> tuple[Floats, Floats, Mask]:
        """Finished durations by end (seconds); log durations and whether finished, by start."""
        over = self.end_s <= at_s
        known = np.flatnonzero(over & self.is_known)
        by_end = known[np.argsort(self.end_s[known], kind="stable")]
        return self.took_s[by_end], self.log_s[over], self.is_known[over]


def _scored(
    history: History,
    rows: Rows,
    ours: Floats,
    trivial: Mapping[str, Floats],
    levels: Sequence[float],
    is_model: Mask,
) -> Judged:
    has_past = np.isfinite(ours).all(axis=1)
    rows, ours = rows[has_past], ours[has_past]
    took_s = history.seconds("duration_s")[rows].astype(float)
    said = {OURS: ours}
    for rule, values in trivial.items():
        said[rule] = np.repeat(values[has_past][:, None], len(levels), axis=1)
    scores = [
        {"rule": rule, "n": len(rows), **_score(took_s, q, levels)} for rule, q in said.items()
    ]
    types = history.labels("type")[rows]
    runs = pd.DataFrame(
        {"start_s": history.seconds("start_s")[rows], "type": types, "duration_s": took_s}
    )
    for place, level in enumerate(levels):
        runs[f"q@{level:g}"] = ours[:, place]
    own = [
        {"type": name, "n": int((types == name).sum()), **_coverages(part, levels)}
        for name, part in runs.groupby("type", sort=True)
    ]
    columns = ["type", "n", *(f"coverage@{level:g}" for level in levels)]
    return Judged(
        pd.DataFrame(scores),
        pd.DataFrame(own, columns=columns),
        runs,
        first_runs=int((~has_past).sum()),
        by_model=int(is_model[has_past].sum()),
    )


def _score(took_s: Floats, said_s: Floats, levels: Sequence[float]) -> dict[str, float]:
    if not len(took_s):
        return {f"{what}@{level:g}": np.nan for what in ("coverage", "pinball") for level in levels}
    columns = [np.asarray(said_s[:, place]) for place in range(len(levels))]
    return {
        **{
            f"coverage@{level:g}": coverage(took_s, column)
            for level, column in zip(levels, columns, strict=True)
        },
        **{
            f"pinball@{level:g}": pinball_log_min(took_s, column, level)
            for level, column in zip(levels, columns, strict=True)
        },
    }


def _coverages(part: pd.DataFrame, levels: Sequence[float]) -> dict[str, float]:
    return {
        f"coverage@{level:g}": float((part["duration_s"] <= part[f"q@{level:g}"]).mean())
        for level in levels
    }
