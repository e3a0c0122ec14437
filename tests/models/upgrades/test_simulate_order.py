"""Shortest expected first: the line in another order, and who an abort is told of."""

import numpy as np
import pandas as pd

from models.upgrades import Policy, UpgradeConfig, canonical_events
from models.upgrades.costs import InTime
from models.upgrades.simulate import simulate_policy


def test_shortest_first_takes_the_task_that_is_expected_to_be_done_first(make_outages):
    frame = make_outages(3)
    frame["system"], frame["nodenumz"] = 1, [0.0, 1.0, 2.0]
    frame["started"] = pd.Timestamp("2001-01-01")
    frame["down_minutes"] = [30, 10, 20]
    frame["fixed"] = frame["started"] + frame["down_minutes"].astype("timedelta64[m]")
    history = canonical_events(frame)
    slots = np.arange(300.0, 3_601.0, 300.0)
    # The forecast says that the last is the shortest and the first the longest.
    ends_s = np.array([3_000.0, 1_800.0, 600.0])
    known = InTime(slots, (slots[None, :] >= ends_s[:, None]).astype(float))
    config = UpgradeConfig(window_s=3_600)
    first_come, shortest = (
        simulate_policy(
            *(Policy("xgb-quantile", dispatch, 0.9), known, history, np.arange(3)),
            *({"system-1": 1}, config),
        )
        for dispatch in ("online", "shortest")
    )
    assert first_come.attempts["row"][0] == 0
    assert shortest.attempts["row"].tolist()[:2] == [2, 1]


def test_an_abort_teaches_the_task_that_was_aborted_in_any_order(make_outages):
    frame = make_outages(200)
    frame["system"] = 1
    history = canonical_events(frame)
    slots = np.arange(300.0, 3_601.0, 300.0)
    rng = np.random.default_rng(0)
    likely = np.sort(rng.uniform(0.1, 0.99, (200, len(slots))), axis=1)
    # Of every other task nothing is to be hoped for once it has been aborted.
    likely[::2] = rng.uniform(0.7, 0.9, (100, 1))
    forecast = InTime(slots, likely)
    config = UpgradeConfig(window_s=3_600, max_tries=3)
    policy = Policy("xgb-quantile", "shortest", 0.3, is_informed=True)
    result = simulate_policy(policy, forecast, history, np.arange(200), {"system-1": 20}, config)
    aborted = result.attempts[~result.attempts["is_completed"]]
    again = result.attempts[result.attempts["attempt"] > 1]
    assert (aborted["row"] % 2 == 0).sum() > 5
    assert len(again) > 2
    assert (again["row"] % 2 == 1).all()
