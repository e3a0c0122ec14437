"""The learners beside the quantile trees, their refits, and the peers."""

import numpy as np
import pytest

from models.errors import ConfigError, UnknownNameError
from models.upgrades import asof_features, canonical_events, split_by_time
from models.upgrades.forecast.build import (
    CANDIDATES,
    FORECASTERS,
    build_forecaster,
    fit_forecaster,
    fit_stages,
)
from models.upgrades.forecast.peers import PEERS, installed_peers
from models.upgrades.metrics import coverage


@pytest.fixture(scope="module")
def parts(make_outages, fast_config):
    history = canonical_events(make_outages(2_500, seed=4))
    return asof_features(history), history, split_by_time(history, fast_config)


@pytest.mark.parametrize("name", [*FORECASTERS, *PEERS])
def test_every_forecaster_gives_rising_positive_quantiles_near_its_levels(name, parts, fast_config):
    if name in PEERS and name not in installed_peers():
        pytest.skip(f"{name}: its library comes with the extra `peers`")
    features, history, split = parts
    model = build_forecaster(name, features, history, split, fast_config)
    X = features.take(split.test)
    quantiles_s = model.quantiles(X, fast_config.levels)
    assert quantiles_s.shape == (len(split.test), len(fast_config.levels))
    assert (np.diff(quantiles_s, axis=1) >= 0).all()
    assert (quantiles_s > 0).all()
    assert np.isfinite(quantiles_s).all()
    assert model.cdf(X, quantiles_s[:, 2]) == pytest.approx(0.5, abs=0.01) or name == "type-max"
    # The made-up durations do not drift; the doubled ones are meant to over-cover.
    duration_s = history.seconds("duration_s")[split.test].astype(float)
    observed = coverage(duration_s, model.quantile(X, 0.7))
    assert observed > 0.7 if name == "type-p50x2" else observed == pytest.approx(0.7, abs=0.12)


def test_a_decision_sees_the_mean_of_the_fits_known_before_it(parts, fast_config):
    features, history, split = parts
    stages = fit_stages("type-p95", features, history, split, fast_config)
    first, second = stages.fits
    early, late = features.take(split.select), features.take(split.test)
    assert stages.quantile(early, 0.5) == pytest.approx(first.quantile(early, 0.5))
    both = np.sqrt(first.quantile(late, 0.5) * second.quantile(late, 0.5))
    assert stages.quantile(late, 0.5) == pytest.approx(both)
    alone = stages.before_refits()
    assert alone.quantile(late, 0.5) == pytest.approx(first.quantile(late, 0.5))
    with pytest.raises(ConfigError, match="build a new forecaster"):
        stages.fit(early, np.ones(len(early)))


def test_a_refit_uses_nothing_that_ended_in_the_test_part(parts, fast_config):
    features, history, split = parts
    events = history.events.copy()
    later = history.seconds("end_s") >= split.test_from_s
    events.loc[later, "duration_s"] *= 7
    from dataclasses import replace

    changed = replace(history, events=events)
    for name in ("type-p95", "xgb-aft"):
        fits = [fit_stages(name, features, h, split, fast_config) for h in (history, changed)]
        X = features.take(split.test)
        assert (fits[0].quantile(X, 0.9) == fits[1].quantile(X, 0.9)).all()


def test_a_hurdle_puts_stragglers_beyond_the_fence(parts, fast_config):
    features, history, split = parts
    model = fit_forecaster("xgb-hurdle", features, history, split.fit, fast_config)
    X = features.take(split.test)
    # Nearly everything ends before the fence of its type, some mass lies beyond it.
    beyond = 1 - model.cdf(X, np.exp(model.fences(X)))
    assert (beyond > 0).all()
    assert beyond.mean() < 0.2


def test_an_unknown_forecaster_is_named_with_the_nearest(parts, fast_config):
    features, history, split = parts
    with pytest.raises(UnknownNameError, match="xgb-quantile"):
        fit_forecaster("xgb-quantil", features, history, split.fit, fast_config)


def test_candidates_are_forecasters():
    assert set(CANDIDATES) < set(FORECASTERS)
    assert {"type-p95", "body-p95"} <= set(CANDIDATES)
