"""Quantiles of how long the next run of each deployment takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from models.errors import NotEnoughDataError
from models.upgrades.features import FeatureTable, asof_features
from models.upgrades.forecast.base import DurationModel, Floats
from models.upgrades.forecast.build import build_forecaster
from models.upgrades.history import History
from models.upgrades.metrics import pinball_log_min
from models.upgrades.run_times.config import ForecastRunsConfig
from models.upgrades.run_times.empirical import empirical_quantiles, empirical_words
from models.upgrades.run_times.history import NextRun, next_features, run_history
from models.upgrades.run_times.judge import Judged, judge_runs, judged_rows
from models.upgrades.run_times.table import RunTable
from models.upgrades.splits import split_by_time

LEVELS = (0.5, 0.9, 0.95)
CANDIDATES = ("type-quantile", "xgb-quantile", "xgb-aft")
"""Calibrated forecasters of this room that compete, the simplest first."""


@dataclass(frozen=True)
class RunForecast:
    """How long the next run of each deployment takes, and how good such forecasts were.

    Attributes:
        table: One row per type: type, finished and broken (runs in the history), method (in
            words), p50_s, p90_s, p95_s and reserved_s (at `level`; NaN where no run ever
            finished), last_s, mean_s, wait_s (median).
        level: Share of runs that must be done within `reserved_s`.
        model: Name of the duration model; "" where the history does not suffice.
        note: Which model, or why none, in words.
        judged: Walk forward over the last runs.
        n_runs: Runs in the history.
        source: Where they come from.
    """

    table: pd.DataFrame
    level: float
    model: str
    note: str
    judged: Judged
    n_runs: int
    source: str

    def reserved_s(self) -> dict[str, int]:
        """Whole seconds to reserve per type, where anything is known."""
        known = self.table.dropna(subset=["reserved_s"])
        return {
            str(name): int(np.ceil(seconds))
            for name, seconds in zip(known["type"], known["reserved_s"], strict=True)
        }


def forecast_runs(
    table: RunTable, scheduled: Sequence[NextRun], config: ForecastRunsConfig
) -> RunForecast:
    """Forecast the next run of every deployment that ran or is scheduled.

    Types with `config.least_runs` finished runs are forecast by the duration model, if the
    history as a whole suffices for one; the others by the quantiles of their own runs.

    Args:
        table: Runs of the past; may be empty.
        scheduled: The next run of each scheduled deployment.
        config: Which forecaster, and from how many runs on.
    """
    levels = tuple(sorted({*LEVELS, config.level}))
    history = run_history(table)
    model, features, note = _choose(history, config)
    rows = judged_rows(history)
    said_s = None
    if model is not None and features is not None:
        said_s = model.quantiles(features.take(rows), levels)
    judged = judge_runs(history, rows, said_s, levels, config.least_runs)
    asked = _asked(history, scheduled, table.as_of_s)
    quantiles_s, methods = _quantiles(history, model, asked, levels, config.least_runs)
    return RunForecast(
        _rows(history, table, asked, quantiles_s, methods, levels, config.level),
        config.level,
        "" if model is None else model.name,
        note,
        judged,
        len(table),
        table.source,
    )


def _choose(
    history: History, config: ForecastRunsConfig
) -> tuple[DurationModel | None, FeatureTable | None, str]:
    """Fit the forecaster that is asked for, or the one with the least loss before the end.

    Nothing of the last 30 % is fitted on or looked at.
    """
    if not len(history):
        return None, None, "there is no run to learn from"
    plan = config.plan
    names = CANDIDATES if config.forecaster == "auto" else (config.forecaster,)
    try:
        split = split_by_time(history, plan)
        features = asof_features(history)
        models = {n: build_forecaster(n, features, history, split, plan) for n in names}
    except NotEnoughDataError as error:
        return None, None, f"each deployment by its own runs, without a duration model: {error}"
    took_s = history.seconds("duration_s")[split.select].astype(float)
    losses = {
        name: pinball_log_min(took_s, model.quantile(features.take(split.select), 0.9), 0.9)
        for name, model in models.items()
    }
    best = min(losses, key=lambda name: losses[name])
    beside = ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
    note = (
        f"{best} with conformal margins (pinball loss at 0.9 on {len(took_s):,} runs before the "
        f"judged ones: {beside})"
    )
    return models[best], features, note


def _asked(history: History, scheduled: Sequence[NextRun], as_of_s: int) -> list[NextRun]:
    """The next run of each type: as scheduled, else a second one like the last."""
    asked = {run.type: run for run in scheduled}
    latest = history.events.drop_duplicates("type", keep="last")
    rest = [row for row in latest.to_dict("records") if row["type"] not in asked]
    for number, row in enumerate(rest, start=1):
        # Apart: runs that start within five minutes of each other count as concurrent.
        start_s = as_of_s + 301 * number
        asked[row["type"]] = NextRun(row["type"], row["domain"], row["release"], start_s)
    return [asked[name] for name in sorted(asked)]


def _quantiles(
    history: History,
    model: DurationModel | None,
    asked: Sequence[NextRun],
    levels: Sequence[float],
    least_runs: int,
) -> tuple[Floats, list[str]]:
    """Seconds per run and level, shape (n_asked, n_levels), and by which method."""
    found = np.full((len(asked), len(levels)), np.nan)
    methods = []
    types, is_known = history.labels("type"), ~history.is_censored
    log_s = np.log(history.seconds("duration_s").astype(float))
    by_model = None
    if model is not None and asked:
        by_model = model.quantiles(next_features(history, asked), levels)
    for place, run in enumerate(asked):
        own = types == run.type
        known = int((own & is_known).sum())
        if by_model is not None and model is not None and known >= least_runs:
            found[place] = by_model[place]
            methods.append(f"{model.name} with margins, {known} finished runs of its own")
            continue
        counted = empirical_quantiles(log_s[own], is_known[own], levels)
        if counted is not None:
            found[place] = np.exp(counted)
        methods.append(empirical_words(known, levels))
    return found, methods


def _rows(
    history: History,
    table: RunTable,
    asked: Sequence[NextRun],
    quantiles_s: Floats,
    methods: Sequence[str],
    levels: Sequence[float],
    level: float,
) -> pd.DataFrame:
    at: Mapping[float, int] = {value: place for place, value in enumerate(levels)}
    events = history.events
    waits_s = _waits(table)
    rows = []
    for place, run in enumerate(asked):
        own = events[events["type"] == run.type]
        done = own[~own["is_censored"].astype(bool)].sort_values("end_s", kind="stable")
        took_s = done["duration_s"].to_numpy(float)
        rows.append(
            {
                "type": run.type,
                "finished": len(done),
                "broken": len(own) - len(done),
                "method": methods[place],
                **{f"p{value * 100:g}_s": quantiles_s[place, at[value]] for value in LEVELS},
                "reserved_s": quantiles_s[place, at[level]],
                "last_s": took_s[-1] if len(took_s) else np.nan,
                "mean_s": took_s.mean() if len(took_s) else np.nan,
                "wait_s": waits_s.get(run.type, np.nan),
            }
        )
    columns = ["type", "finished", "broken", "method", "p50_s", "p90_s", "p95_s", "reserved_s"]
    frame = pd.DataFrame(rows, columns=[*columns, "last_s", "mean_s", "wait_s"])
    # Without rows pandas has no type to tell, and charts ask for the greatest.
    return frame.astype({name: float for name in frame.columns if name.endswith("_s")})


def _waits(table: RunTable) -> dict[str, float]:
    """Median seconds from when runs of a type were due to when they started."""
    frame = table.frame
    if frame.empty:
        return {}
    name = frame["flow"].where(frame["deployment"] == "", frame["flow"] + "/" + frame["deployment"])
    medians = frame["wait_s"].astype(float).groupby(name.to_numpy()).median().dropna()
    return {str(key): float(value) for key, value in medians.items()}
