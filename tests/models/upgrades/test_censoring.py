"""Aborted tasks are lower bounds: what each forecaster makes of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.errors import NotEnoughDataError
from models.upgrades import FeatureTable
from models.upgrades.config import TreeConfig
from models.upgrades.forecast.aft_trees import SurvivalTrees
from models.upgrades.forecast.censoring import censoring_weights, survival, survival_quantiles
from models.upgrades.forecast.heuristics import TypeQuantiles
from models.upgrades.forecast.kaplan_meier import TypeSurvival
from models.upgrades.forecast.margins import conformal_margins
from models.upgrades.forecast.quantile_trees import QuantileTrees

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9)
TREES = TreeConfig(n_trees=40, depth=2)


def test_survival_of_a_textbook_case():
    # Ends at 1, 3 and 4, aborts at 2 and 4: 4/5, then 2/3 of it, then 1/2 of that.
    times, lasts = survival(
        np.array([1.0, 2.0, 3.0, 4.0, 4.0]), np.array([True, False, True, True, False])
    )
    assert times.tolist() == [1, 2, 3, 4]
    assert lasts.tolist() == pytest.approx([0.8, 0.8, 0.8 * 2 / 3, 0.8 * 2 / 3 / 2])


@given(arrays(float, st.integers(1, 40), elements=st.floats(0, 10)))
def test_without_aborts_survival_is_one_minus_the_share_that_ended(log_s):
    times, lasts = survival(log_s, np.ones(len(log_s), dtype=bool))
    ended = [(log_s <= time).mean() for time in times]
    assert lasts.tolist() == pytest.approx([1 - share for share in ended], abs=1e-9)
    weights = censoring_weights(log_s, np.zeros(len(log_s), dtype=bool))
    assert weights.tolist() == [1.0] * len(log_s)


def aborted(n: int = 6_000) -> tuple[FeatureTable, np.ndarray, np.ndarray, np.ndarray]:
    """Two types of known distribution, half of the tasks stopped at a random time."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 2, n)
    log_s = rng.normal(6 + codes, 0.8)
    limit = rng.uniform(5, 9, n)
    is_censored = log_s > limit
    X = FeatureTable(
        codes[:, None].astype(np.float32),
        ("type",),
        {"type": ("a", "b")},
        np.zeros(n, dtype=np.int64),
    )
    return X, np.exp(np.minimum(log_s, limit)), is_censored, np.exp(log_s)


def test_forecasters_that_know_of_aborts_are_near_the_truth_and_others_fall_short():
    X, seen_s, is_censored, true_s = aborted()
    assert 0.15 < is_censored.mean() < 0.5
    truth = np.quantile(np.log(true_s[X.codes("type") == 1]), [0.5, 0.8])
    one = X.take(np.flatnonzero(X.codes("type") == 1)[:1])
    aware = {
        "survival": TypeSurvival(LEVELS, "km"),
        "trees": QuantileTrees(LEVELS, TREES, 0),
        "failure time": SurvivalTrees(LEVELS, TREES, 0),
    }
    for name, model in aware.items():
        found = np.log(model.fit(X, seen_s, is_censored).quantiles(one, [0.5, 0.8])[0])
        assert found == pytest.approx(truth, abs=0.25), name
    naive = TypeQuantiles(LEVELS, "type").fit(X, seen_s, is_censored)
    assert np.log(naive.quantile(one, 0.8)[0]) < truth[1] - 0.3


def test_a_level_beyond_what_was_seen_is_the_longest_time_seen():
    log_s = np.array([1.0, 2.0, 5.0])
    assert survival_quantiles(log_s, np.array([True, True, False]), np.array([0.9])) == [5.0]


def test_only_aborted_tasks_are_refused():
    X, seen_s, _, _ = aborted(50)
    with pytest.raises(NotEnoughDataError, match="none was seen to its end"):
        TypeSurvival(LEVELS, "km").fit(X, seen_s, np.ones(50, dtype=bool))


def test_a_running_task_counts_as_longer_in_the_margins():
    levels = np.array([0.5])
    scores = np.arange(1.0, 10.0)[:, None]
    everything = np.ones(9, dtype=bool)
    assert conformal_margins(scores, levels, everything) == conformal_margins(scores, levels)
    # The three shortest still run: they may end anywhere beyond, so the middle moves up.
    running = everything.copy()
    running[:3] = False
    assert conformal_margins(scores, levels, running) > conformal_margins(scores, levels)
