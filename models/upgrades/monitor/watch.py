"""All of it on one history: tables, alarms and the rules of the verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import NotEnoughDataError
from models.upgrades.config import DAY_S
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel, Floats
from models.upgrades.forecast.score import COVERAGE_LEVELS
from models.upgrades.history import History
from models.upgrades.monitor.config import MonitorConfig
from models.upgrades.monitor.drift import adaptive_windows, page_hinkley, psi, psi_of_labels
from models.upgrades.monitor.rolling import Scored, period_table, score_rows, type_table
from models.upgrades.monitor.spend import Spend, spend_of
from models.upgrades.monitor.verdict import (
    CHANCE_ERRORS,
    Action,
    Rule,
    Verdict,
    coverage_rule,
    judge,
    limit_rule,
)
from models.upgrades.monitor.words import DETECTORS, feature_words
from models.upgrades.policy import Policy
from models.upgrades.splits import Rows, Split

# Beyond this an error says "straggler" and no more; detectors of a mean need bounded values.
MOST_ERRORS = 3.0


@dataclass(frozen=True)
class Watch:
    """What a look at the forecasts found.

    Attributes:
        model: Name of the judged forecaster, and of its policy.
        policy: Label of the judged policy.
        note: How the forecaster came to be judged, for people.
        periods: `period_table` of the watched rows.
        types: `type_table` of the judged periods.
        drift: One line per feature: feature, psi; the judged periods against the past.
        errors: Standardised log errors in order of their end: end_s, error, and for alarms
            detector and direction.
        promised: Cost on the select part.
        spent: Cost of the judged periods.
        verdict: What to do.
        is_fallback: Whether the fallback was judged, since there is no champion.
    """

    model: str
    policy: str
    note: str
    periods: pd.DataFrame
    types: pd.DataFrame
    drift: pd.DataFrame
    errors: pd.DataFrame
    promised: Spend
    spent: Spend
    verdict: Verdict
    is_fallback: bool = False


def watch(
    model: DurationModel,
    policy: Policy,
    history: History,
    features: FeatureTable,
    split: Split,
    config: MonitorConfig,
    note: str = "",
    since_s: int | None = None,
    is_fallback: bool = False,
) -> Watch:
    """Look at what came after the parts that the forecaster was made and chosen on.

    The select part is the reference: there the policy was chosen, and forecasts were made by
    fits of before it. The watched rows are the test part, of which the last
    `judged_periods` decide.

    Args:
        model: The forecaster.
        policy: How it plans.
        history: Canonical events.
        features: As-of features in the forecaster's codes.
        split: Parts.
        config: Periods and bands.
        note: How the forecaster came to be judged, for people.
        since_s: Nothing that started earlier is watched: the forecaster was fitted on it.
            None: the begin of the test part.
        is_fallback: Whether the forecaster stands in for a missing champion.

    Raises:
        NotEnoughDataError: Nothing was completed in the judged periods.
    """
    start_s = history.seconds("start_s")[split.test]
    rows = split.test if since_s is None else split.test[start_s >= since_s]
    until_s = int(history.seconds("start_s").max()) + 1
    judged_s = until_s - config.judged_periods * config.period_days * DAY_S
    level = config.judged_level
    watched = score_rows(model, history, features, rows, (level,))
    reference = score_rows(model, history, features, split.select, (level,))
    judged = watched.where(watched.start_s >= judged_s)
    if not len(judged) or judged.is_censored.all():
        raise NotEnoughDataError(
            f"no upgrade was completed in the last {config.judged_periods} periods of "
            f"{config.period_days} days; lengthen period_days or give a later history"
        )
    past = np.sort(np.concatenate([split.fit, split.calibrate, split.select]))
    period_s = config.period_days * DAY_S
    types = type_table(judged, reference)
    drift = drift_table(history, features, past, judged.rows)
    errors = error_stream(reference, watched)
    spends = [
        spend_of(policy, model, history, features, part, split, config.plan)
        for part in (split.select, judged.rows)
    ]
    periods = period_table(watched, history, past, period_s, until_s)
    rules = [
        *_grave_rules(judged, spends[0], spends[1], config),
        *_retrain_rules(judged, reference, types, drift, errors, periods, judged_s, config),
        *(
            coverage_rule(
                *(f"coverage at {tau:g}", tau, *judged.coverage(tau)),
                *(config.coverage_band, Action.RECALIBRATE),
            )
            for tau in sorted({*COVERAGE_LEVELS, level})
        ),
    ]
    return Watch(
        *(model.name, policy.label, note, periods, types, drift, errors, spends[0], spends[1]),
        judge(rules),
        is_fallback,
    )


def drift_table(history: History, features: FeatureTable, past: Rows, now: Rows) -> pd.DataFrame:
    """Stability index of durations and of what was known at the start, greatest first.

    Statistics of the as-of kind (counts, ages) grow by nature and are left out.
    """
    events = history.events
    found = {
        name: psi_of_labels(events[name].to_numpy()[past], events[name].to_numpy()[now])
        for name in history.categories
    }
    for name in (*history.numbers, "hour", "weekday", "recent-starts"):
        column = features.matrix[:, features.names.index(name)].astype(float)
        found[name] = psi(column[past], column[now])
    duration_s = history.seconds("duration_s").astype(float)
    found["duration"] = psi(duration_s[past], duration_s[now])
    table = pd.DataFrame({"feature": list(found), "psi": list(found.values())})
    return table.sort_values("psi", ascending=False, ignore_index=True)


def error_stream(reference: Scored, watched: Scored) -> pd.DataFrame:
    """Log errors of the median in order of their end, in standard deviations of the reference.

    Columns: end_s, error, page_hinkley and adaptive_window (direction of an alarm, "" where
    there is none). Aborted upgrades are left out: their error is not known.
    """
    before = _log_errors(reference)
    middle, spread = float(np.median(before)), _spread(before)
    clipped = np.clip((before - middle) / spread, -MOST_ERRORS, MOST_ERRORS)
    mean, deviation = float(clipped.mean()), max(float(clipped.std()), 1e-9)
    done = watched.where(~watched.is_censored)
    order = np.argsort(done.end_s, kind="stable")
    raw = np.clip((_log_errors(watched) - middle) / spread, -MOST_ERRORS, MOST_ERRORS)[order]
    stream = pd.DataFrame({"end_s": done.end_s[order], "error": (raw - mean) / deviation})
    alarms = {
        "page_hinkley": page_hinkley(stream["error"].to_numpy(float)),
        "adaptive_window": adaptive_windows(raw / (2 * MOST_ERRORS) + 0.5),
    }
    for name, found in alarms.items():
        column = np.full(len(stream), "", dtype=object)
        for alarm in found:
            column[alarm.place] = alarm.direction
        stream[name] = column
    return stream


def _log_errors(scored: Scored) -> Floats:
    done = ~scored.is_censored
    median_s = scored.quantiles_s[done, scored.levels.index(0.5)]
    return np.asarray(np.log(scored.duration_s[done]) - np.log(median_s))


def _spread(values: NDArray[np.float64]) -> float:
    """Robust standard deviation: 1.4826 median absolute deviations (normal consistency)."""
    return max(1.4826 * float(np.median(np.abs(values - np.median(values)))), 1e-9)


def _grave_rules(
    judged: Scored, promised: Spend, spent: Spend, config: MonitorConfig
) -> list[Rule]:
    level = config.judged_level
    chance = CHANCE_ERRORS * float(np.hypot(promised.standard_error, spent.standard_error))
    excess = spent.per_task - promised.per_task
    words = f"{spent.per_task:.2f} per upgrade now, {promised.per_task:.2f} promised"
    return [
        coverage_rule(
            *(f"coverage breach at {level:g}", level, *judged.coverage(level)),
            *(config.breach_band, Action.FALL_BACK),
        ),
        limit_rule(
            *("cost against the promise", Action.FALL_BACK, excess),
            *(config.cost_excess + chance, words),
        ),
    ]


def _retrain_rules(
    judged: Scored,
    reference: Scored,
    types: pd.DataFrame,
    drift: pd.DataFrame,
    errors: pd.DataFrame,
    periods: pd.DataFrame,
    judged_s: int,
    config: MonitorConfig,
) -> list[Rule]:
    level = config.judged_level
    now, before = judged.loss(level), reference.loss(level)
    ratio = now / before if now is not None and before else None
    is_worse = ratio is not None and ratio > config.loss_ratio
    loss_words = "not measured" if ratio is None else f"{ratio:.2f} x the reference"
    recent = errors[errors["end_s"] >= judged_s]
    rules = []
    for detector, name in DETECTORS.items():
        n_alarms = int((recent[detector] != "").sum())
        words = f"{n_alarms} alarms of {name}, pinball loss {loss_words}"
        # A shift that costs nothing is no reason to fit again.
        is_broken = n_alarms > 0 and is_worse
        rules.append(
            Rule(f"errors drift, by {name}", Action.RETRAIN, 0, n_alarms, is_broken, words)
        )
    moved = drift[drift["psi"] > config.psi_limit]
    features = ", ".join(feature_words(name) for name in moved["feature"]) or "nothing"
    words = f"{features} moved, pinball loss {loss_words}"
    worst = float(drift["psi"].max())
    rules.append(
        Rule(
            *("inputs moved", Action.RETRAIN, config.psi_limit, worst),
            *(len(moved) > 0 and is_worse, words),
        )
    )
    share = float(periods.loc[periods["until_s"] > judged_s, "unseen_share"].max())
    rules.append(
        limit_rule(
            *("unseen releases", Action.RETRAIN, share, config.unseen_share),
            f"{share:.1%} of the upgrades of one period",
        )
    )
    for type_ in types.loc[types["n_tasks"] >= config.min_type_tasks, "type"]:
        part = judged.where(judged.type == type_)
        missing = coverage_rule(
            *(f"coverage breach of {type_}", level, *part.coverage(level)),
            *(config.type_breach_band, Action.FALL_BACK),
        )
        rules.append(Rule(**{**missing.__dict__, "action": Action.RETRAIN}))
    return rules
