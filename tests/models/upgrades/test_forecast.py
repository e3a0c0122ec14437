import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ConfigError, DataError, NotEnoughDataError, UnknownNameError
from models.upgrades import (
    FORECASTERS,
    FeatureTable,
    UpgradeConfig,
    asof_features,
    build_forecaster,
    canonical_events,
    fit_forecaster,
    split_by_time,
)
from models.upgrades.forecast.distribution import QuantileGrid, rearranged
from models.upgrades.forecast.heuristics import POOLING_TASKS, TypeQuantiles, is_straggler
from models.upgrades.forecast.remaining import remaining
from models.upgrades.metrics import coverage, pinball_log_min

LEVELS = (0.1, 0.5, 0.9)


def typed(codes) -> FeatureTable:
    """A feature table that knows only the type."""
    codes = np.asarray(codes)
    labels = tuple(str(code) for code in range(int(codes.max()) + 1))
    matrix = codes[:, None].astype(np.float32)
    return FeatureTable(matrix, ("type",), {"type": labels}, np.zeros(len(codes), np.int64))


@settings(max_examples=60, deadline=None)
@given(
    log_s=st.lists(st.floats(-5, 15), min_size=3, max_size=3),
    tau=st.floats(0.001, 0.999),
    tails=st.tuples(st.floats(0.01, 3), st.floats(0.01, 3)),
)
def test_the_cdf_undoes_the_quantile(log_s, tau, tails):
    # Strictly rising quantiles, so that the distribution has no atoms.
    row = np.sort(log_s)[None, :] + np.array([[0, 1e-3, 2e-3]])
    grid = QuantileGrid(np.array(LEVELS), row, *tails)
    assert grid.cdf(grid.quantile(tau)) == pytest.approx([tau], abs=1e-6)


def test_a_grid_returns_its_own_quantiles_and_lines_between():
    grid = QuantileGrid(np.array(LEVELS), np.log([[60.0, 600.0, 6_000.0]]), 1.0, 1.0)
    assert grid.quantile(0.5) == pytest.approx([600])
    # Half way between the levels: half way in log time.
    assert grid.quantile(0.7) == pytest.approx([600 * 10**0.5])
    # An exponential tail of scale 1: the odds beyond fall by e as log time rises by 1.
    assert grid.cdf(6_000 * np.e) == pytest.approx([1 - 0.1 / np.e])
    assert grid.cdf(60 / np.e) == pytest.approx([0.1 / np.e])


def test_an_atom_counts_as_reached():
    grid = QuantileGrid(np.array(LEVELS), np.log([[60.0, 600.0, 600.0]]), 1.0, 1.0)
    assert grid.cdf(600.0) == pytest.approx([0.9])


def test_samples_follow_the_distribution_and_the_seed():
    grid = QuantileGrid(np.array(LEVELS), np.log([[60.0, 600.0, 6_000.0]]), 0.5, 0.5)
    drawn = grid.sample(20_000, seed=1)
    np.testing.assert_array_equal(drawn, grid.sample(20_000, seed=1))
    for tau in (0.05, 0.3, 0.95):
        assert (drawn <= grid.quantile(tau)).mean() == pytest.approx(tau, abs=0.01)


@pytest.mark.parametrize("tau", [0.0, 1.0, -1.0, np.nan])
def test_a_level_outside_zero_and_one_is_refused(tau):
    with pytest.raises(ConfigError, match="must lie in"):
        QuantileGrid(np.array(LEVELS), np.zeros((1, 3)), 1.0, 1.0).quantile(tau)


def test_crossing_quantiles_are_sorted():
    np.testing.assert_array_equal(rearranged(np.array([[3.0, 1.0, 2.0]])), [[1.0, 2.0, 3.0]])


def test_a_type_is_pooled_with_all_tasks_by_its_size():
    codes = np.array([0] * 80 + [1] * 20)
    duration_s = np.array([100.0] * 80 + [10_000.0] * 20)
    model = TypeQuantiles(LEVELS, "type").fit(typed(codes), duration_s)
    weight = 20 / (20 + POOLING_TASKS)
    pooled = np.quantile(np.log(duration_s), 0.5)
    expected = np.exp(weight * np.log(10_000) + (1 - weight) * pooled)
    assert model.quantile(typed([1]), 0.5) == pytest.approx([expected])


def test_an_unseen_type_gets_the_distribution_of_all_tasks():
    duration_s = np.exp(np.random.default_rng(0).normal(7, 1, 500))
    model = TypeQuantiles(LEVELS, "type").fit(typed(np.zeros(500, int)), duration_s)
    assert model.quantile(typed([7]), 0.9) == pytest.approx(
        [np.quantile(duration_s, 0.9)], rel=0.01
    )


def test_stragglers_are_those_beyond_the_fence_of_their_type():
    log_s = np.concatenate([np.arange(0, 10, 0.1), [26.0], np.arange(50, 60, 0.1)])
    codes = np.array([0] * 101 + [1] * 100)
    # Type 0: quartiles 2.5 and 7.5, fence 7.5 + 1.5 * 5 = 15; 26 lies beyond, 59 is normal for 1.
    assert np.flatnonzero(is_straggler(codes, log_s)).tolist() == [100]


def test_the_body_quantile_ignores_stragglers():
    rng = np.random.default_rng(0)
    duration_s = np.concatenate([np.exp(rng.normal(6, 0.3, 930)), np.full(70, 1e6)])
    X = typed(np.zeros(1_000, int))
    body = TypeQuantiles((0.5, 0.95), "body", is_body=True).fit(X, duration_s)
    full = TypeQuantiles((0.5, 0.95), "type").fit(X, duration_s)
    assert body.quantile(X, 0.95)[0] < 1_000 < 1e5 < full.quantile(X, 0.95)[0]


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_an_impossible_duration_is_refused_with_its_row(bad):
    with pytest.raises(DataError, match="row 1 has the duration"):
        TypeQuantiles(LEVELS, "type").fit(typed([0, 0]), np.array([5.0, bad]))


def test_fitting_on_nothing_is_refused():
    with pytest.raises(NotEnoughDataError, match="got 0 tasks to fit on"):
        TypeQuantiles(LEVELS, "type").fit(typed([0]).take(np.array([], int)), np.array([]))


def test_an_unknown_forecaster_is_refused_with_the_nearest_name(
    lanl_features, lanl_history, lanl_split
):
    with pytest.raises(UnknownNameError, match="did you mean 'xgb-quantile'"):
        fit_forecaster(
            *("xgb-quantiles", lanl_features, lanl_history, lanl_split.fit, UpgradeConfig())
        )


@pytest.mark.parametrize("name", list(FORECASTERS))
def test_every_forecaster_is_monotone_deterministic_and_survives_pickling(
    name, make_outages, fast_config
):
    history = canonical_events(make_outages(1_500))
    features, split = asof_features(history), split_by_time(history, fast_config)
    X = features.take(split.test)
    models = [build_forecaster(name, features, history, split, fast_config) for _ in range(2)]
    taus = (0.05, 0.1, 0.5, 0.75, 0.9, 0.97)
    first = models[0].quantiles(X, taus)
    assert (np.diff(first, axis=1) >= 0).all()
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, models[1].quantiles(X, taus))
    np.testing.assert_array_equal(first, pickle.loads(pickle.dumps(models[0])).quantiles(X, taus))
    in_time = models[0].cdfs(X, (600.0, 3_600.0))
    np.testing.assert_array_equal(in_time[:, 1], models[0].cdf(X, 3_600.0))
    assert (in_time[:, 0] <= in_time[:, 1]).all()


def test_trees_take_a_type_they_never_saw_for_unknown(make_outages, fast_config):
    history = canonical_events(make_outages(600))
    features = asof_features(history)
    rows = np.flatnonzero(history.labels("type") != "patch")
    model = fit_forecaster("xgb-quantile", features, history, rows, fast_config)
    patches = np.flatnonzero(history.labels("type") == "patch")
    assert np.isfinite(model.quantile(features.take(patches), 0.5)).all()


def test_the_shipped_file_reproduces_the_published_yardstick(
    lanl_history, lanl_features, lanl_split
):
    """Another run on the same file: 0.448 / 0.229 / 0.154 against 0.488 / 0.250 / 0.171."""
    config = UpgradeConfig()
    X = lanl_features.take(lanl_split.test)
    duration_s = lanl_history.seconds("duration_s")[lanl_split.test].astype(float)
    trees = build_forecaster("xgb-quantile", lanl_features, lanl_history, lanl_split, config)
    rule = build_forecaster("type-p95", lanl_features, lanl_history, lanl_split, config)
    for level, published in ((0.5, 0.448), (0.9, 0.229), (0.95, 0.154)):
        loss = pinball_log_min(duration_s, trees.quantile(X, level), level)
        assert loss == pytest.approx(published, abs=0.012)
        assert loss < pinball_log_min(duration_s, rule.quantile(X, level), level)
    for level in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        assert coverage(duration_s, trees.quantile(X, level)) == pytest.approx(level, abs=0.03)


def test_the_longer_a_task_has_run_the_longer_it_needs_where_the_tail_is_heavy():
    # Beyond 6,000 s the share that lasts longer than t falls as t^-2.
    grid = QuantileGrid(np.array(LEVELS), np.log([[60.0, 600.0, 6_000.0]] * 3), 0.5, 0.5)
    elapsed_s = np.array([6_000.0, 12_000.0, 60_000.0])
    left = remaining(grid, elapsed_s)
    assert left.quantile(0.5) == pytest.approx(elapsed_s * (np.sqrt(2) - 1))
    assert left.cdf(elapsed_s) == pytest.approx([0.75, 0.75, 0.75])


def test_remaining_times_are_those_of_the_draws_that_last_longer():
    grid = QuantileGrid(np.array(LEVELS), np.log([[60.0, 600.0, 6_000.0]]), 0.5, 0.5)
    drawn_s = grid.sample(400_000, seed=1)[0]
    longer_s = drawn_s[drawn_s > 900] - 900
    left = remaining(grid, 900)
    for tau in (0.2, 0.5, 0.9):
        expected_s = np.quantile(longer_s, tau)
        assert left.quantile(tau)[0] == pytest.approx(expected_s, rel=0.03)
        assert left.cdf(expected_s)[0] == pytest.approx(tau, abs=0.01)
    assert remaining(grid, 0).quantile(0.5) == pytest.approx(grid.quantile(0.5))


@pytest.mark.parametrize("elapsed_s", [-1, np.nan, [1, 2]])
def test_no_remaining_time_for_elapsed_times_that_cannot_be(elapsed_s):
    grid = QuantileGrid(np.array(LEVELS), np.zeros((3, 3)), 1.0, 1.0)
    with pytest.raises(ConfigError, match="elapsed time"):
        remaining(grid, elapsed_s)
    with pytest.raises(ConfigError, match=r"in \(0, 1\)"):
        remaining(grid, 1).quantile(1.0)
