import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import ConfigError, NotEnoughDataError
from models.upgrades import (
    FeatureTable,
    UpgradeConfig,
    asof_features,
    calibrate,
    canonical_events,
    fit_forecaster,
    split_by_time,
)
from models.upgrades.config import DAY_S
from models.upgrades.forecast.heuristics import GlobalQuantiles
from models.upgrades.forecast.margins import (
    StartedTasks,
    conformal_margins,
    margin_table,
    tasks_needed,
)
from models.upgrades.history import History
from models.upgrades.metrics import coverage


def test_nine_upgrades_are_the_fewest_that_support_ninety_percent():
    assert tasks_needed(0.9) == 9
    scores = np.arange(9.0)[:, None]
    assert conformal_margins(scores, np.array([0.9])).tolist() == [8.0]
    with pytest.raises(NotEnoughDataError, match="at least 9 ended tasks, got 8"):
        conformal_margins(scores[:8], np.array([0.9]))


def test_each_level_has_its_own_margin():
    # 99 scores of 1..99: rank ceil(100 * tau).
    scores = np.arange(1.0, 100.0)[:, None].repeat(2, axis=1)
    assert conformal_margins(scores, np.array([0.5, 0.9])).tolist() == [50.0, 90.0]


def test_too_few_calibration_tasks_are_refused(lanl_history, lanl_features, lanl_split):
    config = UpgradeConfig()
    model = fit_forecaster("type-p95", lanl_features, lanl_history, lanl_split.fit, config)
    with pytest.raises(NotEnoughDataError, match="at least 49 calibration tasks, got 10"):
        calibrate(model, lanl_features, lanl_history, lanl_split.calibrate[:10], config)


def drifting(n: int) -> tuple[History, FeatureTable]:
    """One task an hour; from the middle on all tasks take four times as long."""
    import pandas as pd

    rng = np.random.default_rng(0)
    start_s = np.arange(n, dtype=np.int64) * 3_600
    duration_s = np.exp(rng.normal(6, 0.5, n))
    duration_s[n // 2 :] *= 4
    duration_s = duration_s.astype(np.int64)
    events = pd.DataFrame(
        {
            "start_s": start_s,
            "end_s": start_s + duration_s,
            "duration_s": duration_s,
            "is_censored": False,
        }
    )
    matrix = np.zeros((n, 1), np.float32)
    return History(events, "", {}), FeatureTable(matrix, ("type",), {"type": ("a",)}, start_s)


def after_drift(config: UpgradeConfig, rows: NDArray[np.int64], level: float) -> float:
    """Coverage at `level` on `rows` of the drifting tasks, margins from the old regime on."""
    history, features = drifting(6_000)
    duration_s = history.seconds("duration_s").astype(float)
    model = GlobalQuantiles(config.levels, "past").fit(
        features.take(np.arange(1_000)), duration_s[:1_000]
    )
    calibrated = calibrate(model, features, history, np.arange(1_000, 2_000), config)
    return coverage(duration_s[rows], calibrated.quantile(features.take(rows), level))


@pytest.mark.parametrize("margins", ["rolling", "by-type"])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_rolling_margins_win_the_coverage_back_after_a_drift(margins, level):
    config = UpgradeConfig(
        levels=(0.1, 0.5, 0.9),
        margins=margins,
        conformal_window=300,
        conformal_type_window=300,
    )
    assert after_drift(config, np.arange(4_000, 6_000), level) == pytest.approx(level, abs=0.03)
    split = config.model_copy(update={"margins": "split"})
    assert after_drift(split, np.arange(4_000, 6_000), level) < level - 0.2


def test_adaptive_levels_are_back_before_the_window_is():
    # The window still holds the old regime for 1,000 tasks.
    slow = UpgradeConfig(levels=(0.1, 0.5, 0.9), margins="by-type", conformal_type_window=1_000)
    adaptive = slow.model_copy(update={"margins": "adaptive"})
    soon = np.arange(3_100, 3_900)
    waited, adapted = (after_drift(config, soon, 0.5) for config in (slow, adaptive))
    assert abs(adapted - 0.5) < abs(waited - 0.5) - 0.1


def test_the_margins_of_a_day_use_only_what_had_ended_at_its_midnight():
    history, features = drifting(2_000)
    config = UpgradeConfig(levels=(0.1, 0.5, 0.9), conformal_window=100)
    duration_s = history.seconds("duration_s").astype(float)
    model = GlobalQuantiles(config.levels, "past").fit(
        features.take(np.arange(500)), duration_s[:500]
    )
    calibrated = calibrate(model, features, history, np.arange(500, 900), config)
    midnight = 60 * DAY_S
    ended = np.flatnonzero(history.seconds("end_s") <= midnight)
    ended = ended[ended >= 500]
    latest = ended[np.argsort(history.seconds("end_s")[ended], kind="stable")][-100:]
    scores = np.log(duration_s[latest]) - np.log(model.quantile(features.take(latest), 0.9))
    margins = calibrated.margins.query("type == 'all'").set_index("as_of_s")
    # The level is that of the finite sample of hours in which tasks started.
    n_bursts = len(np.unique(history.seconds("start_s")[latest] // 3_600))
    level = 0.9 * (1 + 1 / n_bursts)
    assert margins.loc[midnight, "0.9"] == pytest.approx(
        np.sort(scores)[int(np.ceil(101 * level)) - 1]
    )
    assert margins.loc[midnight, "n_tasks"] == 100


def test_a_type_gets_margins_of_its_own_once_enough_of_it_has_ended(make_outages, fast_config):
    history = canonical_events(make_outages(3_000))
    features, split = asof_features(history), split_by_time(history, fast_config)
    model = fit_forecaster("global-p95", features, history, split.fit, fast_config)
    calibrated = calibrate(model, features, history, split.calibrate, fast_config)
    own = calibrated.margins.query("type != 'all'")
    assert set(own["type"]) == set(history.labels("type"))
    assert own["n_tasks"].min() >= fast_config.conformal_type_min
    # A model that knows no types covers each of them once the margins do.
    duration_s = history.seconds("duration_s").astype(float)
    for type_ in set(own["type"]):
        rows = split.test[history.labels("type")[split.test] == type_]
        observed = coverage(duration_s[rows], calibrated.quantile(features.take(rows), 0.7))
        assert observed == pytest.approx(0.7, abs=0.08)


def test_a_calibrated_model_is_not_fitted_again():
    history, features = drifting(2_000)
    config = UpgradeConfig(levels=(0.1, 0.9))
    duration_s = history.seconds("duration_s").astype(float)
    model = GlobalQuantiles(config.levels, "past").fit(features, duration_s)
    calibrated = calibrate(model, features, history, np.arange(500, 900), config)
    with pytest.raises(ConfigError, match="fit a new forecaster"):
        calibrated.fit(features, duration_s)


def test_a_burst_counts_as_one_event_where_margins_allow_for_few():
    # The same 600 errors in the same order, each task apart or 20 at a time.
    rng = np.random.default_rng(3)
    levels = np.array([0.5, 0.9])
    log_s = np.log(60 * rng.lognormal(0, 0.5, 600))
    config = UpgradeConfig(levels=(0.5, 0.9), margins="rolling", conformal_window=600)
    margins = []
    for per_burst in (1, 20):
        start_s = (np.arange(600) // per_burst) * per_burst * 3_600
        started = StartedTasks(
            start_s, start_s + 60, log_s, np.zeros(600, bool), np.zeros((600, 2)) + np.log(60)
        )
        last_s = 700 * 3_600
        table = margin_table(started, np.zeros(600, np.int64), last_s, levels, config)
        margins.append(table.log_s[-1][-1])
    apart, together = margins
    scores = np.sort(log_s - np.log(60))
    # Of 601 ranks the one at the level, once allowing for 600 events and once for 30.
    assert apart == pytest.approx(scores[np.ceil(601 * levels * (1 + 1 / 600)).astype(int) - 1])
    assert together == pytest.approx(scores[np.ceil(601 * levels * (1 + 1 / 30)).astype(int) - 1])
    assert (together > apart).all()
