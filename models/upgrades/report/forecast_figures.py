"""Numbers about the chosen forecaster: reliability, tail, contributions of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.upgrades.config import DAY_S
from models.upgrades.costs import break_even_probability
from models.upgrades.explain import Explanation, explain
from models.upgrades.features import GROUPS, FeatureTable
from models.upgrades.forecast.base import Floats, Mask
from models.upgrades.forecast.censoring import survival
from models.upgrades.forecast.score import COVERAGE_LEVELS
from models.upgrades.history import History
from models.upgrades.metrics import coverage
from models.upgrades.report.inputs import ReportInputs
from models.upgrades.splits import Rows

# Fewer tasks of a type draw error bars as high as the panel.
LEAST_TYPE_TASKS = 50
MOST_TYPES = 11
TAIL_POINTS = 60
# TreeSHAP of every level takes a few CPU milliseconds a task; the mean settles long before.
EXPLAINED_TASKS = 400
MOST_FEATURES = 15
# The example is a decision that a long forecast was made for, not the oddest of all.
EXAMPLE_LEVEL = 0.9
# Statistics of a group's past are logarithms (`asof_features`): {1} hours, {2} days, {3} tasks.
_HISTORY_WORDS = {
    **dict.fromkeys(("ewma", "last", "p90"), "{1:,.1f} h"),
    **dict.fromkeys(("idle", "age"), "{2:,.0f} days"),
    "count": "{3:,.0f}",
}


def reliability_figures(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Coverage of the chosen forecaster on completed test tasks: overall, then per type.

    Each entry: type ("all" first), n, and nominal, observed, low, high per level; low and
    high are the 95 % Wilson interval, as if tasks were independent.
    """
    rows = inputs.split.test[~inputs.history.is_censored[inputs.split.test]]
    duration_s = inputs.history.seconds("duration_s")[rows].astype(float)
    quantiles_s = inputs.model.quantiles(inputs.features.take(rows), COVERAGE_LEVELS)
    groups = [("all", np.ones(len(rows), dtype=bool)), *frequent_types(inputs.history, rows)]
    return [
        {
            "type": name,
            "n": int(mine.sum()),
            **_covered(duration_s[mine], quantiles_s[mine]),
        }
        for name, mine in groups
        if mine.any()
    ]


def frequent_types(history: History, rows: Rows) -> list[tuple[str, Mask]]:
    """The most frequent types among `rows` and which rows are theirs, each (n_rows,)."""
    types = history.labels("type")[rows]
    names, counts = np.unique(types.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_TYPES]
    return [
        (str(names[place]), np.asarray(types == names[place]))
        for place in order
        if counts[place] >= LEAST_TYPE_TASKS
    ]


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share that was observed in `n` tasks.

    Source: Wilson (1927), "Probable Inference, the Law of Succession, and Statistical
    Inference".
    """
    z = 1.959964
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return float(middle - half), float(middle + half)


def tail_figures(inputs: ReportInputs) -> dict[str, Any]:
    """Share of test tasks that last longer than each time: overall, then per type.

    `groups` holds type ("all" first), n, hours, observed (Kaplan-Meier; None beyond the
    last task) and forecast (mean over the tasks of their own forecasts); `window_h` is the
    length of a window.
    """
    rows, history = inputs.split.test, inputs.history
    duration_s = history.seconds("duration_s")[rows].astype(float)
    is_event = ~history.is_censored[rows]
    low_s, high_s = float(duration_s.min()), float(duration_s.max())
    times_s = np.geomspace(max(low_s, 60.0), max(high_s, 120.0), TAIL_POINTS)
    forecast = 1 - inputs.model.cdfs(inputs.features.take(rows), times_s.tolist())
    groups = [("all", np.ones(len(rows), dtype=bool)), *frequent_types(history, rows)]
    return {
        "window_h": inputs.config.window_s / 3_600,
        "groups": [
            {
                "type": name,
                "n": int(mine.sum()),
                "hours": _rounded(times_s / 3_600),
                "observed": _outlasting(duration_s[mine], is_event[mine], times_s),
                "forecast": _rounded(forecast[mine].mean(axis=0)),
            }
            for name, mine in groups
        ],
    }


def used_level(inputs: ReportInputs) -> float:
    """Level of the quantile that the selected policy looks at.

    A policy with a lane price looks at the whole distribution; its break-even probability
    at a free lane stands for it.
    """
    level = inputs.result.selection.policy.level
    return break_even_probability(inputs.config.costs) if level is None else level


def shap_figures(inputs: ReportInputs) -> dict[str, Any] | None:
    """What the features add to the quantile in use; None if the forecast is no such sum.

    Keys: level (explained), used_level (of the policy), n (tasks sampled), importance (per
    feature: mean absolute contribution, log seconds, greatest first), others (of the
    features left out, together), example: task, host, type, bias_log_s, steps (feature,
    value, log_s), margin_log_s (conformal margin and what lies between the levels), and
    quantile_h, the forecast that was used.
    """
    n = min(EXPLAINED_TASKS, len(inputs.split.test))
    sample = np.sort(np.random.default_rng(inputs.config.seed).permutation(inputs.split.test)[:n])
    X = inputs.features.take(sample)
    level = used_level(inputs)
    found = explain(inputs.model, X, level)
    if found is None:
        return None
    order = np.argsort(-found.importance, kind="stable")
    return {
        "level": found.level,
        "used_level": level,
        "n": n,
        "importance": [
            {"feature": found.names[place], "log_s": float(found.importance[place])}
            for place in order[:MOST_FEATURES]
        ],
        "others": float(found.importance[order[MOST_FEATURES:]].sum()),
        "example": _example(inputs, found, X, sample, level),
    }


def _example(
    inputs: ReportInputs, found: Explanation, X: FeatureTable, rows: Rows, level: float
) -> dict[str, Any]:
    ranks = np.argsort(found.quantile_log_s, kind="stable")
    place = int(ranks[int(EXAMPLE_LEVEL * (len(ranks) - 1))])
    one = X.take(np.array([place]))
    quantile_s = float(inputs.model.quantile(one, level)[0])
    event = inputs.history.events.iloc[int(rows[place])]
    own = found.log_s[place]
    order = np.argsort(-np.abs(own), kind="stable")
    steps = [
        {"feature": name, "value": _value(one, name), "log_s": float(own[at])}
        for at, name in ((int(at), found.names[at]) for at in order[:MOST_FEATURES])
    ]
    rest = {"feature": "all others", "value": "", "log_s": float(own[order[MOST_FEATURES:]].sum())}
    return {
        "task": str(event["event_id"]),
        "host": str(event["host_id"]),
        "type": str(event["type"]),
        "bias_log_s": float(found.bias_log_s[place]),
        "steps": [*steps, rest],
        "margin_log_s": float(np.log(quantile_s) - found.quantile_log_s[place]),
        "quantile_h": quantile_s / 3_600,
    }


def _value(one: FeatureTable, name: str) -> str:
    value = float(one.matrix[0, one.names.index(name)])
    if np.isnan(value):
        return "unknown"
    if name in one.categories:
        return one.categories[name][int(value)]
    group, _, statistic = name.rpartition("-")
    return _HISTORY_WORDS.get(statistic if group in GROUPS else "", "{0:.3g}").format(
        *(value, np.exp(value) / 3_600, np.expm1(value) / DAY_S, np.expm1(value))
    )


def _covered(duration_s: Floats, quantiles_s: Floats) -> dict[str, list[float]]:
    observed = [coverage(duration_s, quantiles_s[:, at]) for at in range(len(COVERAGE_LEVELS))]
    bounds = [wilson_interval(share, len(duration_s)) for share in observed]
    return {
        "nominal": list(COVERAGE_LEVELS),
        "observed": observed,
        "low": [low for low, _ in bounds],
        "high": [high for _, high in bounds],
    }


def _outlasting(duration_s: Floats, is_event: Mask, times_s: Floats) -> list[float | None]:
    ends_s, lasts = survival(duration_s, is_event)
    place: NDArray[np.int64] = np.searchsorted(ends_s, times_s, "right")
    shares = np.concatenate([[1.0], lasts])[place]
    # Zero has no place on a logarithmic axis.
    return [float(share) if share > 0 else None for share in shares]


def _rounded(values: Floats) -> Sequence[float]:
    return [float(f"{value:.5g}") for value in values]
