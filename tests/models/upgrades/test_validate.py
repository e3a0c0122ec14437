"""Valid plans of a fleet: each planted violation is named."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.upgrades import RolloutConfig, check_fleet_plan, plan_fleet
from models.upgrades.config import DAY_S

from .conftest import PLAN_S

OPEN_S = PLAN_S + 7_200
few = settings(max_examples=15, deadline=None)


RELEASED = [(f"{d}-s-{i}", "os", "r1") for d in "de" for i in range(5)]


@pytest.fixture(scope="module")
def good(make_fleet, even_forecast, tmp_path_factory):
    """A plan with waves, a freeze, order on a host, a pin and an excluded host."""
    others = [("d-t-7", "bios", ""), ("d-t-7", "os", ""), ("d-t-8", "os", ""), ("d-t-9", "os", "")]
    tasks = [*RELEASED, *others, ("e-t-6", "os", "")]
    # The window of the second day is frozen for service t of domain d.
    freeze = ("d", "t", OPEN_S + DAY_S - 600, OPEN_S + DAY_S + 7_200, "ann", "launch")
    fleet = make_fleet(
        tasks,
        lanes=3,
        freezes=(freeze,),
        after="bios",
        rollback_s=300,
        share=0.5,
        most="4",
        deadline_s=[2**60] * 14 + [OPEN_S + DAY_S],
    )
    pins = tmp_path_factory.mktemp("pins") / "pins.csv"
    pins.write_text(f"task,window_open_s\nt12,{OPEN_S + 2 * DAY_S}\n")
    config = RolloutConfig(
        horizon_days=5,
        canary_hosts=1,
        wave_shares=(0.4, 1.0),
        soak_s=40_000,
        exclude=("d-t-9",),
        pin=pins,
    )
    plan = plan_fleet(fleet, even_forecast([600] * 15), config, PLAN_S)
    assert check_fleet_plan(plan, fleet, config) == []
    assert plan.refusals["reason"].tolist() == ["excluded"]
    return plan, fleet, config


def rules_broken(good, edit):
    plan, fleet, config = good
    assignments = plan.assignments.astype(
        {"start_s": float, "end_s": float, "deadline_s": float, "window_open_s": float}
    )
    broken = replace(plan, assignments=edit(assignments.set_index("task")).reset_index())
    return {violation.rule for violation in check_fleet_plan(broken, fleet, config)}


def at(task, start_s, **values):
    """Move a task: its window, lane and rollback stay unless said otherwise."""

    def edit(assignments):
        for column, value in (
            {"start_s": start_s, "end_s": start_s + assignments.loc[task, "reserved_s"]} | values
        ).items():
            assignments.loc[task, column] = value
        return assignments

    return edit


def same_window_as(task, other, **values):
    def edit(assignments):
        columns = ["window_open_s", "start_s", "end_s", "deadline_s", "lane"]
        for column in columns:
            assignments.loc[task, column] = assignments.loc[other, column]
        for column, value in values.items():
            assignments.loc[task, column] = value
        return assignments

    return edit


def wave_of(good, wave):
    assignments = good[0].assignments
    return assignments[assignments["wave"] == wave]["task"].tolist()


@few
@given(shift_s=st.integers(1, 100_000))
def test_a_task_that_leaves_its_window_is_found(good, shift_s):
    assert "window" in rules_broken(good, at("t14", OPEN_S - shift_s))
    assert "window" in rules_broken(good, at("t14", OPEN_S + 3_600 - 600 + shift_s))
    assert "window" in rules_broken(good, at("t14", OPEN_S, window_open_s=OPEN_S + shift_s % DAY_S))
    assert "window" in rules_broken(good, at("t14", OPEN_S, end_s=OPEN_S + 600.0 + shift_s))


def test_a_window_after_the_horizon_is_found(good):
    late_s = OPEN_S + 5 * DAY_S
    edit = at("t11", late_s, window_open_s=late_s, deadline_s=late_s + 3_300)
    assert rules_broken(good, edit) == {"window"}


@few
@given(missing_s=st.integers(1, 300))
def test_a_task_without_time_for_its_rollback_is_found(good, missing_s):
    latest_s = OPEN_S + 3_600 - 300 + missing_s
    assert rules_broken(good, at("t14", OPEN_S, deadline_s=latest_s)) == {"rollback"}


@few
@given(shift_s=st.integers(0, 599))
def test_two_tasks_on_one_lane_are_found(good, shift_s):
    start_s = good[0].assignments.set_index("task").loc["t10", "start_s"] + shift_s
    edit = same_window_as("t11", "t10", start_s=start_s, end_s=start_s + 600)
    assert "lane" in rules_broken(good, edit)


def test_a_lane_that_does_not_exist_is_found(good):
    assert "lane" in rules_broken(good, at("t14", OPEN_S, lane=3))


@few
@given(shift_s=st.integers(0, 599))
def test_two_tasks_on_one_host_at_once_are_found(good, shift_s):
    first = good[0].assignments.set_index("task").loc["t10"]
    start_s, lane = first["start_s"] + shift_s, (first["lane"] + 1) % 3
    edit = same_window_as("t11", "t10", start_s=start_s, end_s=start_s + 600, lane=lane)
    assert {"host", "precedence"} <= rules_broken(good, edit)


def test_a_task_before_what_must_come_first_is_found(good):
    assert "precedence" in rules_broken(good, at("t10", OPEN_S + 1_800))
    plan, fleet, config = good
    lost = plan.assignments[plan.assignments["task"] == "t10"]
    refused = lost.assign(reason="no capacity", detail="full")[list(plan.refusals.columns)]
    broken = replace(
        plan,
        assignments=plan.assignments[plan.assignments["task"] != "t10"],
        refusals=pd.concat([plan.refusals, refused]),
    )
    found = check_fleet_plan(broken, fleet, config)
    assert ("precedence", ("t10", "t11")) in {(v.rule, v.tasks) for v in found}


@few
@given(offset_s=st.integers(0, 3_000))
def test_a_task_in_a_freeze_is_found(good, offset_s):
    start_s = OPEN_S + DAY_S + offset_s
    edit = at("t12", start_s, window_open_s=OPEN_S + DAY_S, deadline_s=OPEN_S + DAY_S + 3_300)
    assert "freeze" in rules_broken(good, edit)


def test_a_task_whose_rollback_would_reach_into_a_freeze_is_found(good):
    plan, fleet, config = good
    soon = replace(fleet.freezes[0], domain="e", from_s=OPEN_S + 3_500)
    found = check_fleet_plan(plan, replace(fleet, freezes=(soon,)), config)
    assert ("freeze", ("t14",)) in {(v.rule, v.tasks) for v in found}


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [("max_down_hosts", 1.0, "service cap"), ("max_down_share", 0.1, "service share")],
)
def test_more_hosts_down_than_either_cap_are_found_over_all_domains(good, column, value, rule):
    plan, fleet, config = good
    tighter = replace(fleet, services=fleet.services.assign(**{column: value}))
    found = [v for v in check_fleet_plan(plan, tighter, config) if v.rule == rule]
    assert "over all domains" in found[0].detail
    domains = plan.assignments.set_index("task").loc[list(found[0].tasks), "domain"]
    assert set(domains) == {"d", "e"}


@few
@given(early_s=st.integers(1, 40_000))
def test_a_wave_before_the_soaked_end_of_the_last_is_found(good, early_s):
    plan = good[0]
    task = wave_of(good, 1)[0]
    end_s = plan.assignments.set_index("task").loc[wave_of(good, 0)[0], "end_s"]
    assert "wave soak" in rules_broken(good, at(task, end_s + 40_000 - early_s))


def test_a_wave_that_is_too_large_or_does_not_exist_is_found(good):
    def relabelled(wave):
        def edit(assignments):
            assignments.loc[wave_of(good, 2)[0], "wave"] = wave
            return assignments

        return edit

    assert "wave size" in rules_broken(good, relabelled(0))
    assert "wave size" in rules_broken(good, relabelled(9))
    assert "wave size" in rules_broken(good, relabelled(-1))


def test_a_wave_after_one_that_has_no_place_is_found(good):
    plan, fleet, config = good
    canary = wave_of(good, 0)[0]
    lost = plan.assignments[plan.assignments["task"] == canary]
    refused = lost.assign(reason="no capacity", detail="full")[list(plan.refusals.columns)]
    broken = replace(
        plan,
        assignments=plan.assignments[plan.assignments["task"] != canary],
        refusals=pd.concat([plan.refusals, refused]),
    )
    rules = {violation.rule for violation in check_fleet_plan(broken, fleet, config)}
    assert rules == {"wave quorum"}


def test_a_release_that_failed_too_often_is_found(good):
    plan, fleet, config = good
    events = pd.DataFrame(
        {
            "host_id": [f"x{i}" for i in range(6)],
            "type": "os",
            "release": "r1",
            "started": pd.Timestamp("2020-01-01"),
            "ended": pd.Timestamp("2020-01-01 01:00"),
            "outcome": "aborted",
        }
    )
    found = check_fleet_plan(plan, replace(fleet, events=events), config)
    assert [violation.rule for violation in found] == ["wave gate"]
    assert "r1 failed on 6 of 6 hosts, at most 0.6" in found[0].detail


def test_a_pinned_task_elsewhere_and_an_excluded_host_are_found(good):
    edit = at("t12", OPEN_S, window_open_s=OPEN_S, deadline_s=OPEN_S + 3_300)
    assert "pin" in rules_broken(good, edit)
    plan, fleet, config = good
    stricter = config.model_copy(update={"exclude": ("e-*",)})
    found = check_fleet_plan(plan, fleet, stricter)
    assert {violation.rule for violation in found} == {"exclude"}


def test_a_task_after_its_deadline_or_before_its_time_is_found(good):
    late_s = OPEN_S + 2 * DAY_S
    edit = at("t14", late_s, window_open_s=late_s, deadline_s=late_s + 3_300, lane=2)
    assert rules_broken(good, edit) == {"deadline"}
    plan, fleet, config = good
    later = fleet.backlog.assign(arrival_s=OPEN_S + 10 * DAY_S)
    found = check_fleet_plan(plan, replace(fleet, backlog=later), config)
    assert {violation.rule for violation in found} == {"arrival"}


def test_a_task_lost_doubled_or_changed_and_a_refusal_without_words_are_found(good):
    plan, fleet, config = good
    first, rest = plan.assignments.iloc[:1], plan.assignments.iloc[1:]
    for assignments, refusals, rule in (
        (rest, plan.refusals, "every task once"),
        (pd.concat([plan.assignments, first]), plan.refusals, "every task once"),
        (pd.concat([first.assign(value=9.0), rest]), plan.refusals, "task as requested"),
        (plan.assignments, plan.refusals.assign(reason="mood"), "refusal has a reason"),
        (plan.assignments, plan.refusals.assign(detail=" "), "refusal has a reason"),
    ):
        broken = replace(plan, assignments=assignments, refusals=refusals)
        assert rule in {v.rule for v in check_fleet_plan(broken, fleet, config)}


@pytest.mark.parametrize("found", [-0.1, 1.0001, np.nan, np.inf, "x"])
def test_a_probability_that_is_none_is_found(good, found):
    def edit(assignments):
        return assignments.astype({"p_in_time": object}).pipe(put, "t14", "p_in_time", found)

    assert rules_broken(good, edit) == {"p_in_time"}


def put(assignments, task, column, value):
    assignments.at[task, column] = value
    return assignments


@pytest.mark.parametrize("wave", [0, 3])
def test_a_wave_without_a_release_is_found(good, wave):
    assert "wave" in rules_broken(good, lambda a: put(a, "t14", "wave", wave))


@pytest.mark.parametrize("column", ["lane", "wave", "start_s", "end_s", "reserved_s", "deadline_s"])
@pytest.mark.parametrize("value", ["x", None, np.nan, 0.5, [1]])
def test_what_is_no_number_is_a_violation_and_never_a_crash(good, column, value):
    def edit(assignments):
        return put(assignments.astype({column: object}), "t14", column, value)

    rules = rules_broken(good, edit)
    if column in ("lane", "wave"):
        assert column in rules
    elif value != 0.5:
        assert "window" in rules


def test_a_lane_below_all_lanes_is_found(good):
    assert "lane" in rules_broken(good, at("t14", OPEN_S, lane=-1))
