"""Caps under overruns: joint draws over a finished plan, and plans that leave room for them."""

import json

import numpy as np
import pytest

from models.upgrades import CostModel, RolloutConfig, check_fleet_plan, plan_fleet
from models.upgrades.costs import InTime
from models.upgrades.rollout import TaskForecast
from models.upgrades.rollout.problem import build_problem
from models.upgrades.rollout.scenarios import cap_risk, durations
from models.upgrades.rollout.summary import cap_warning
from models.upgrades.schedule.gains import gains_of
from models.upgrades.schedule.greedy import GreedySolver

from .conftest import PLAN_S

OPEN_S = PLAN_S + 7_200
OWN = (0.0, 0.0, 0.0)


def hosts(n, domain="d"):
    return [(f"{domain}-s-{i}", "os", "") for i in range(n)]


def forecast(n, p_late, reserved_s=600.0):
    """Done within 60 s, or never: with probability `p_late`."""
    left_s = np.array([60.0, 14_400.0])
    in_time = InTime(left_s, np.tile([1 - p_late, 1 - p_late], (n, 1)))
    return TaskForecast(in_time, *np.full((3, n), reserved_s))


def planned(fleet, forecast, **options):
    config = RolloutConfig(horizon_days=1, **options)
    plan = plan_fleet(fleet, forecast, config, PLAN_S)
    assert check_fleet_plan(plan, fleet, config) == []
    return plan


def test_durations_follow_the_forecast_and_never_end_beyond_it():
    probability = np.array([[0.2, 0.8], [0.5, 0.5]])
    given = InTime(np.array([100.0, 200.0]), probability)
    gains = gains_of(given, np.ones(2), CostModel())
    uniform = np.array([[0.1, 0.2, 0.5, 0.8, 0.81], [0.25, 0.5, 0.51, 0.9, 1.0]])
    drawn = durations(gains, np.arange(2), uniform)
    assert drawn[0].tolist() == pytest.approx([50, 100, 150, 200, np.inf])
    assert drawn[1].tolist() == pytest.approx([50, 100, np.inf, np.inf, np.inf])


def test_the_chance_of_a_breach_is_that_of_the_overrun_that_makes_it(make_fleet):
    """Two domains, a lane each, one host down: e begins when d's reservation ends.

    The cap is exceeded if d runs on, so with its chance of being late.
    """
    fleet = make_fleet([*hosts(1, "d"), *hosts(1, "e")], lanes=1, most="1")
    plan = planned(fleet, forecast(2, 0.2, 1_200.0), scenarios=4_000, shared_variance=OWN)
    assert sorted(plan.assignments["start_s"] - OPEN_S) == [0, 1_200]
    risk = plan.cap_risk.iloc[0]
    assert (risk["service"], risk["cap"], risk["hosts"]) == ("s", 1, 2)
    assert risk["window_open_s"] == OPEN_S
    assert risk["p_breach"] == pytest.approx(0.2, abs=0.02)


def test_what_overruns_together_breaches_more_often(make_fleet):
    """Four hosts of which two may be down; four lanes: both of the first must be late."""
    fleet = make_fleet([*hosts(2, "d"), *hosts(2, "e")], lanes=2, most="2")
    apart, together = (
        planned(fleet, forecast(4, 0.1, 1_500.0), scenarios=4_000, shared_variance=shared)
        for shared in (OWN, (0.9, 0.0, 0.0))
    )
    p = [plan.cap_risk["p_breach"].max() for plan in (apart, together)]
    # One late host of the first two already makes three with the next two.
    assert p[0] == pytest.approx(1 - 0.9**2, abs=0.03)
    assert 0.1 < p[1] < p[0]


def test_an_overrun_holds_its_lane_and_its_host_until_it_is_rolled_back(make_fleet):
    """One lane: nothing is ever down twice, however late the first is."""
    fleet = make_fleet(hosts(3), lanes=1, most="1")
    plan = planned(fleet, forecast(3, 0.5, 1_200.0), scenarios=50, costs={"cancel_cost": 0.1})
    assert len(plan.assignments) == 3
    assert plan.cap_risk["p_breach"].tolist() == [0.0]


def test_room_is_made_until_breaches_are_as_rare_as_asked(make_fleet):
    tasks = [*hosts(6, "d"), *hosts(6, "e")]
    fleet = make_fleet(tasks, lanes=4, most="5", window_s=14_400)
    common = {"scenarios": 400, "shared_variance": OWN}
    free = planned(fleet, forecast(12, 0.1, 1_200.0), **common)
    kept = planned(fleet, forecast(12, 0.1, 1_200.0), cap_breach_eps=0.05, **common)
    # Without a limit of its own a plan is warned of what is likelier than one night in ten.
    assert free.cap_risk["p_breach"].max() > 0.1
    above = free.cap_risk["p_breach"] > 0.1
    assert free.cap_risk["is_above_limit"].tolist() == above.tolist()
    warning = cap_warning(free, RolloutConfig())
    assert warning is not None
    worst = f"(s {free.cap_risk['p_breach'].max():.0%} in the worst night)"
    assert warning.startswith(f"1 service is likely to have more hosts down than its cap {worst}")
    assert warning.endswith("set rollout.cap_breach_eps=0.05 to make room")
    assert cap_warning(kept, RolloutConfig(cap_breach_eps=0.05)) is None
    assert kept.cap_risk["p_breach"].max() <= 0.05
    assert kept.cap_risk["cap"].tolist() == [5]


def test_what_stays_above_the_limit_is_marked(make_fleet):
    """Caps do not go below one host, and one late host with the next is a breach."""
    fleet = make_fleet([*hosts(1, "d"), *hosts(1, "e")], lanes=1, most="1")
    plan = planned(fleet, forecast(2, 0.2, 1_200.0), cap_breach_eps=0.01)
    assert plan.cap_risk["is_above_limit"].tolist() == [True]


def test_a_refusal_under_a_lowered_cap_says_how_many_are_kept_free(make_fleet):
    tasks = [*hosts(4, "d"), *hosts(4, "e")]
    fleet = make_fleet(tasks, lanes=4, most="4", window_s=2_500)
    plan = planned(fleet, forecast(8, 0.2, 1_200.0), cap_breach_eps=0.02, shared_variance=OWN)
    words = plan.refusals[plan.refusals["reason"] == "service cap"]["detail"]
    assert words.str.contains(r"its cap allows less \d kept free for overruns").all()
    assert len(words)


def test_scenarios_are_in_the_document_or_not_measured(make_fleet):
    fleet = make_fleet([*hosts(1, "d"), *hosts(1, "e")], lanes=1, most="1")
    rows = json.loads(planned(fleet, forecast(2, 0.2)).to_json())["cap_risk"]
    assert set(rows[0]) == {
        *("service", "window_open_s", "cap", "hosts", "p_breach", "is_above_limit")
    }
    assert planned(fleet, forecast(2, 0.2), scenarios=0).cap_risk is None


def test_the_same_seed_draws_the_same_scenarios(make_fleet):
    fleet = make_fleet([*hosts(3, "d"), *hosts(3, "e")], lanes=2, most="2")
    config = RolloutConfig(horizon_days=2, scenarios=60)
    problem = build_problem(fleet, forecast(6, 0.1), config, PLAN_S).problem
    solution = GreedySolver().solve(problem)
    peaks = [
        cap_risk(problem, solution, config.model_copy(update={"seed": seed})).peak.tolist()
        for seed in (1, 1, 2)
    ]
    assert peaks[0] == peaks[1] != peaks[2]


def test_limits_without_scenarios_and_shares_above_one_are_refused():
    with pytest.raises(ValueError, match="cap_breach_eps needs scenarios"):
        RolloutConfig(cap_breach_eps=0.1, scenarios=0)
    with pytest.raises(ValueError, match="shared_variance must be shares of 1"):
        RolloutConfig(shared_variance=(0.5, 0.5, 0.5))
