"""Rules about the domains of a service: how many per night, and one at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.upgrades import RolloutConfig, check_fleet_plan, plan_fleet
from models.upgrades.config import DAY_S
from models.upgrades.fleet import CapError, FleetTableError, fleet_from_tables

from .conftest import PLAN_S

OPEN_S = PLAN_S + 7_200
TASKS = [(f"{domain}-s-{i}", "os", "") for domain in "def" for i in range(2)]


@pytest.fixture(scope="session")
def spread_fleet(make_tables):
    """Three domains with two hosts each of one service, under rules about its domains."""

    def build(tasks=TASKS, starts_s=(7_200, 7_200, 7_200), **rules):
        tables = make_tables(tasks, lanes=2)
        tables["services.csv"] = tables["services.csv"].assign(**rules)
        tables["domains.csv"]["window_start_s"] = starts_s
        return fleet_from_tables(tables)

    return build


def planned(fleet, even_forecast, nights=3, reserved_s=1_200, **options):
    config = RolloutConfig(horizon_days=nights, **options)
    plan = plan_fleet(fleet, even_forecast([reserved_s] * len(fleet.backlog)), config, PLAN_S)
    assert check_fleet_plan(plan, fleet, config) == []
    return plan


def test_absent_and_blank_columns_set_no_rule(spread_fleet, make_fleet):
    for fleet in (
        make_fleet(TASKS),
        spread_fleet(max_domains_per_window="", one_domain_at_a_time=""),
    ):
        assert np.isnan(fleet.services["max_domains_per_window"]).all()
        assert not fleet.services["one_domain_at_a_time"].any()


def test_bad_rules_about_domains_are_named(spread_fleet):
    with pytest.raises(CapError, match="max_domains_per_window must be a whole number"):
        spread_fleet(max_domains_per_window="0")
    with pytest.raises(FleetTableError, match="'one_domain_at_a_time' must be true or false"):
        spread_fleet(one_domain_at_a_time="maybe")


@pytest.mark.parametrize(("most", "nights"), [("", [3]), ("1", [1, 1, 1]), ("2", [2, 1])])
def test_no_more_domains_than_allowed_are_touched_in_a_night(
    spread_fleet, even_forecast, most, nights
):
    plan = planned(spread_fleet(max_domains_per_window=most), even_forecast)
    per_night = plan.assignments.groupby("window_open_s")["domain"].nunique()
    assert per_night.tolist() == nights


def test_a_night_reaches_over_midnight(spread_fleet, even_forecast):
    """Domain d opens at 23:00 and the others at 1:00 of the same night."""
    starts_s = (82_800, 3_600, 3_600)
    plan = planned(spread_fleet(max_domains_per_window="1", starts_s=starts_s), even_forecast)
    noons = (plan.assignments["window_open_s"] - DAY_S // 2) // DAY_S
    assert plan.assignments.groupby(noons)["domain"].nunique().max() == 1


def test_one_domain_at_a_time_still_allows_all_in_one_night(spread_fleet, even_forecast):
    plan = planned(spread_fleet(one_domain_at_a_time="true"), even_forecast, nights=1)
    spans = plan.assignments.groupby("domain")[["start_s", "end_s"]].agg(
        {"start_s": "min", "end_s": "max"}
    )
    spans = spans.sort_values("start_s")
    assert (spans["start_s"] - OPEN_S).tolist() == [0, 1_200, 2_400]
    assert (spans["end_s"].to_numpy()[:-1] <= spans["start_s"].to_numpy()[1:]).all()


def test_a_task_that_a_rule_about_domains_keeps_out_is_told_which(spread_fleet, even_forecast):
    plan = planned(spread_fleet(max_domains_per_window="2"), even_forecast, nights=1)
    assert set(plan.refusals["reason"]) == {"domain limit"}
    assert set(plan.refusals["domain"]) == {"f"}
    assert plan.refusals["detail"][0].endswith(
        "in 1 of these service s is touched in as many other domains as max_domains_per_window "
        "allows, 2: first in d, e"
    )
    alone = spread_fleet(one_domain_at_a_time="true")
    plan = planned(alone, even_forecast, nights=1, reserved_s=2_400)
    assert set(plan.refusals["reason"]) == {"domain limit"}
    assert "another domain of service s is touched" in plan.refusals["detail"][0]


@settings(max_examples=20, deadline=None)
@given(most=st.integers(1, 2), solver=st.sampled_from(["greedy", "classes", "repair"]))
def test_more_domains_in_a_night_than_allowed_are_found(spread_fleet, even_forecast, most, solver):
    config = RolloutConfig(horizon_days=1, solver=solver, solver_budget_s=0.1)
    plan = plan_fleet(spread_fleet(), even_forecast([1_200] * 6), config, PLAN_S)
    strict = spread_fleet(max_domains_per_window=str(most))
    found = check_fleet_plan(plan, strict, config)
    assert {violation.rule for violation in found} == {"domains per window"}
    assert f"in 3 domains in one night, at most {most}: d, e, f" in found[0].detail


@settings(max_examples=20, deadline=None)
@given(later_s=st.integers(0, 1_199))
def test_two_domains_at_once_are_found(spread_fleet, even_forecast, later_s):
    config = RolloutConfig(horizon_days=1)
    fleet = spread_fleet(TASKS[1:3], starts_s=(7_200, 7_200 + later_s))
    plan = plan_fleet(fleet, even_forecast([1_200] * 2), config, PLAN_S)
    strict = spread_fleet(
        TASKS[1:3], starts_s=(7_200, 7_200 + later_s), one_domain_at_a_time="true"
    )
    found = check_fleet_plan(plan, strict, config)
    assert [violation.rule for violation in found] == ["one domain at a time"]
    assert found[0].tasks == ("t0", "t1")
