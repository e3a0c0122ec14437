import numpy as np
import pytest

from models.upgrades import CostModel
from models.upgrades.metrics import coverage, pinball_log_min, policy_metrics, regret

COSTS = CostModel(completed_value=1, cancel_cost=3, idle_cost_per_lane_h=0.1)


def measured(completed, busy_s, tasks=6, refused=1, given_up=1, **more):
    return policy_metrics(
        tasks=tasks,
        busy_s=np.array(busy_s, dtype=float),
        is_completed=np.array(completed, dtype=bool),
        refused=refused,
        given_up=given_up,
        capacity_s=10 * 3_600,
        costs=COSTS,
        **more,
    )


def test_every_measure_matches_its_definition_by_hand():
    metrics = measured([True, True, False], [3_600, 7_200, 10_800])
    assert (metrics.scheduled, metrics.completed, metrics.cancelled) == (3, 2, 1)
    assert metrics.waiting == 6 - 2 - 1 - 1
    assert metrics.utilisation == pytest.approx(0.3)
    assert metrics.waste == pytest.approx(0.3)
    assert metrics.cancellation_rate == pytest.approx(1 / 3)
    # 3 for the cancelled, 4 idle hours at 0.1, less 2 completed.
    assert metrics.cost == pytest.approx(3 + 0.4 - 2)
    assert metrics.cost_per_task == pytest.approx(1.4 / 6)
    assert metrics.occupied == pytest.approx(0.6)
    assert (metrics.waste_min, metrics.idle_min) == pytest.approx((180, 240))


def test_days_to_done_and_breaches_are_none_unless_measured():
    plain = measured([True], [60])
    assert (plain.slo_breach_min, plain.days_to_done_mean, plain.days_to_done_p90) == (None,) * 3
    day_s = 86_400
    to_done_s = np.arange(1.0, 12.0) * day_s
    full = measured([True] * 11, [60] * 11, to_done_s=to_done_s, slo_breach_s=90.0, tasks=13)
    assert full.slo_breach_min == 1.5
    # Of 1, 2, ... 11 days the tenth is at 0.9.
    assert (full.days_to_done_mean, full.days_to_done_p90) == pytest.approx((6, 10))
    none = measured([False], [60], to_done_s=np.array([]), slo_breach_s=0.0)
    assert (none.slo_breach_min, none.days_to_done_p90) == (0.0, None)


def test_without_a_start_the_cancellation_rate_is_not_measured():
    assert measured([], []).cancellation_rate is None


def test_regret_is_the_share_of_the_oracles_net_value():
    oracle = measured([True] * 4, [60] * 4)
    own = measured([True] * 4 + [False], [60] * 5)
    assert regret(own, oracle, COSTS) == pytest.approx(1 - (4 - 3) / 4)
    assert regret(oracle, oracle, COSTS) == 0
    assert regret(own, measured([], []), COSTS) is None


def test_pinball_loss_in_log_minutes_by_hand():
    duration_s, forecast_s = np.array([60 * np.e, 60.0]), np.array([60.0, 60 * np.e])
    # One task late by 1 in log time costs 0.9, one early by 1 costs 0.1.
    assert pinball_log_min(duration_s, forecast_s, 0.9) == pytest.approx(0.5)
    assert coverage(duration_s, forecast_s) == 0.5
