import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.upgrades import asof_features, build_forecaster, canonical_events, split_by_time
from models.upgrades.explain import explain
from models.upgrades.forecast.quantile_trees import QuantileTrees


@pytest.fixture(scope="module")
def case(make_outages, fast_config):
    history = canonical_events(make_outages(1_500))
    return history, asof_features(history), split_by_time(history, fast_config), fast_config


@pytest.fixture(scope="module")
def staged(case):
    history, features, split, config = case
    names = ("xgb-quantile", "xgb-aft", "xgb-squared-error")
    built = {name: build_forecaster(name, features, history, split, config) for name in names}
    return {name: getattr(model, "base", model) for name, model in built.items()}


@pytest.mark.parametrize("name", ["xgb-quantile", "xgb-aft", "xgb-squared-error"])
@pytest.mark.parametrize("level", [0.1, 0.7, 0.9])
def test_contributions_and_bias_add_up_to_the_log_quantile_before_margins(
    name, level, staged, case
):
    _, features, split, _ = case
    # Decisions before and after the refit: one fit, then the mean of two.
    X = features.take(np.concatenate([split.select[:40], split.test[:40]]))
    found = explain(staged[name], X, level)
    assert found.level == level
    assert found.log_s.shape == (80, len(features.names))
    expected = np.log(staged[name].quantile(X, level))
    np.testing.assert_allclose(found.quantile_log_s, expected, atol=2e-4)


def test_margins_are_left_out(case):
    history, features, split, config = case
    model = build_forecaster("xgb-quantile", features, history, split, config)
    X = features.take(split.test[:20])
    with_margins, without = explain(model, X, 0.9), explain(model.base, X, 0.9)
    np.testing.assert_array_equal(with_margins.log_s, without.log_s)
    assert not np.allclose(with_margins.quantile_log_s, np.log(model.quantile(X, 0.9)))


def test_crossed_quantiles_are_explained_by_the_one_that_took_the_place(case):
    """Few tasks and deep trees make raw quantiles cross; rearrangement swaps them."""
    _, features, split, config = case
    trees = config.trees.model_copy(update={"depth": 6, "n_trees": 60, "min_child_weight": 1.0})
    model = QuantileTrees((0.3, 0.4, 0.5, 0.6), trees, seed=0)
    model.fit(features.take(split.fit[:80]), np.random.default_rng(0).lognormal(8, 1, 80))
    X = features.take(split.test)
    raw = np.column_stack(
        [explain(model, X, level).quantile_log_s for level in (0.3, 0.4, 0.5, 0.6)]
    )
    assert (np.diff(raw, axis=1) >= 0).all()
    expected = np.log(model.quantiles(X, (0.3, 0.4, 0.5, 0.6)))
    np.testing.assert_allclose(raw, expected, atol=2e-4)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 0.99))
def test_the_nearest_level_of_the_grid_is_explained(staged, case, level):
    _, features, split, config = case
    found = explain(staged["xgb-quantile"], features.take(split.test[:2]), level)
    assert abs(found.level - level) == min(abs(own - level) for own in config.levels)


@pytest.mark.parametrize("name", ["type-p95", "type-quantile", "xgb-hurdle"])
def test_what_is_no_sum_over_features_is_not_explained(name, case):
    history, features, split, config = case
    model = build_forecaster(name, features, history, split, config)
    assert explain(model, features.take(split.test[:5]), 0.9) is None


def test_importance_is_the_mean_of_absolute_contributions(staged, case):
    _, features, split, _ = case
    found = explain(staged["xgb-quantile"], features.take(split.test[:30]), 0.9)
    by_hand = [
        sum(abs(value) for value in found.log_s[:, place]) / 30
        for place in range(len(features.names))
    ]
    np.testing.assert_allclose(found.importance, by_hand)
