import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.upgrades import asof_features, build_forecaster, canonical_events, split_by_time
from models.upgrades.features import EWMA_ALPHA


def column(features, name):
    return features.matrix[:, features.names.index(name)]


def test_history_features_match_a_calculation_by_hand(make_outages):
    frame = make_outages(4)
    start = np.datetime64("2001-01-01T00:00")
    # One host. The third outage starts before the second has ended, the fourth after.
    frame["system"], frame["nodenumz"] = 1, 0.0
    frame["down_minutes"] = [10, 100, 10, 20]
    frame["started"] = start + np.array([0, 60, 120, 200], "timedelta64[m]")
    frame["fixed"] = frame["started"] + frame["down_minutes"].astype("timedelta64[m]")
    features = asof_features(canonical_events(frame))
    logs = np.log(np.array([600.0, 6_000.0, 600.0]))
    last = column(features, "host-last")
    assert np.isnan(last[0])
    assert last[1:] == pytest.approx([logs[0], logs[0], logs[1]], rel=1e-6)
    assert np.expm1(column(features, "host-count")) == pytest.approx([0, 1, 1, 3], rel=1e-6)
    # By end: 10 min (at 00:10), 10 min (at 02:10), 100 min (at 02:40).
    keep = 1 - EWMA_ALPHA
    ewma = (logs[0] * keep**2 + logs[2] * keep + logs[1]) / (keep**2 + keep + 1)
    assert column(features, "host-ewma")[3] == pytest.approx(ewma, rel=1e-6)
    assert column(features, "host-p90")[3] == pytest.approx(np.quantile(logs, 0.9), rel=1e-6)
    assert np.expm1(column(features, "host-idle"))[3] == pytest.approx(40 * 60, rel=1e-4)
    assert np.expm1(column(features, "host-age"))[3] == pytest.approx(190 * 60, rel=1e-4)


def test_hour_and_weekday_are_of_the_local_clock(make_outages):
    frame = make_outages(1)
    frame["started"] = np.datetime64("2001-01-03T13:30")  # a Wednesday
    frame["fixed"] = frame["started"] + frame["down_minutes"].astype("timedelta64[m]")
    features = asof_features(canonical_events(frame))
    assert column(features, "hour")[0] == 13.5
    assert column(features, "weekday")[0] == 2


def test_recent_starts_count_the_domain_in_the_last_five_minutes(make_outages):
    frame = make_outages(5)
    frame["system"] = [1, 1, 1, 2, 1]
    frame["nodenumz"] = np.arange(5.0)
    frame["started"] = np.datetime64("2001-01-01T00:00") + np.array(
        [0, 5, 5, 5, 11], "timedelta64[m]"
    )
    frame["fixed"] = frame["started"] + frame["down_minutes"].astype("timedelta64[m]")
    features = asof_features(canonical_events(frame))
    assert column(features, "recent-starts").tolist() == [1, 3, 3, 1, 1]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(50, 350))
def test_nothing_that_ends_later_changes_a_feature(make_outages, seed, cut):
    frame = make_outages(400, seed)
    history = canonical_events(frame)
    now_s = int(history.seconds("start_s")[cut])
    past = np.flatnonzero(history.seconds("start_s") <= now_s)
    altered = canonical_events(_other_future(frame, now_s, seed))
    np.testing.assert_array_equal(
        asof_features(history).take(past).matrix, asof_features(altered).take(past).matrix
    )


def test_nothing_that_ends_later_changes_a_calibrated_prediction(make_outages, fast_config):
    frame = make_outages(3_000)
    history = canonical_events(frame)
    now_s = int(history.seconds("start_s")[2_400])
    split = split_by_time(history, fast_config)
    assert split.test_from_s < now_s
    rows = split.test[history.seconds("start_s")[split.test] <= now_s]
    predictions = []
    for table in (frame, _other_future(frame, now_s, seed=3)):
        other = canonical_events(table)
        parts = split_by_time(other, fast_config)
        np.testing.assert_array_equal(parts.fit, split.fit)
        features = asof_features(other)
        models = [
            build_forecaster(name, features, other, parts, fast_config)
            for name in ("xgb-quantile", "type-quantile")
        ]
        X = features.take(rows)
        predictions.append(np.hstack([model.quantiles(X, (0.3, 0.5, 0.9)) for model in models]))
    np.testing.assert_array_equal(predictions[0], predictions[1])


def test_a_plan_decided_earlier_sees_less(lanl_history, lanl_split):
    start_s = lanl_history.seconds("start_s")
    early = asof_features(lanl_history, np.minimum(start_s, lanl_split.test_from_s))
    known = np.flatnonzero(lanl_history.seconds("end_s") <= lanl_split.test_from_s)
    hosts = lanl_history.labels("host_id")
    late = lanl_split.test[-500:]
    counts = np.expm1(column(early, "host-count")[late])
    expected = [int((hosts[known] == hosts[row]).sum()) for row in late]
    np.testing.assert_allclose(counts, expected, rtol=1e-4)


def _other_future(frame, now_s, seed):
    """The same table up to `now_s`; what ends later takes another time, or never came."""
    rng = np.random.default_rng(seed)
    other = frame.copy()
    started = other["started"].astype("datetime64[s]").astype("int64").to_numpy()
    ended = other["fixed"].astype("datetime64[s]").astype("int64").to_numpy()
    later = ended > now_s
    least = np.maximum(1, (now_s - started) // 60 + 1)
    minutes = least + rng.integers(0, 5_000, len(other))
    other.loc[later, "down_minutes"] = minutes[later]
    other["fixed"] = other["started"] + other["down_minutes"].astype("timedelta64[m]")
    future = started > now_s
    other.loc[future, "cause_group"] = "Facilities"
    other.loc[future, "planned_like"] = False
    return other
