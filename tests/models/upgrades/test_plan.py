import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.upgrades import (
    Policy,
    UpgradeConfig,
    asof_features,
    build_forecaster,
    canonical_events,
    check_plan,
    plan_rollout,
    simulate_plan,
    split_by_time,
)
from models.upgrades.config import DAY_S
from models.upgrades.plan import TASK_COLUMNS, PlanRules, RolloutPlan
from models.upgrades.replay import CANCELLED, COMPLETED, HELD, NOT_STARTED
from models.upgrades.schedule.pack import _earliest_both, pack
from models.upgrades.schedule.precedence import CyclicPrecedenceError, precedence_ranks
from models.upgrades.validate import check_assignments

RANKS = precedence_ranks()


def rules(days=2, window_s=1_000, lanes=None, caps=None) -> PlanRules:
    lanes = {"d": 1} if lanes is None else lanes
    caps = {("d", "s"): 10} if caps is None else caps
    return PlanRules(np.arange(days, dtype=np.int64) * DAY_S, window_s, lanes, caps, RANKS)


def backlog(reserved, hosts=None, types=None) -> pd.DataFrame:
    n = len(reserved)
    return pd.DataFrame(
        {
            "task": [f"t{i}" for i in range(n)],
            "row": range(n),
            "host": hosts or [f"h{i}" for i in range(n)],
            "domain": "d",
            "service": "s",
            "type": types or ["patch"] * n,
            "reserved_s": np.array(reserved, float),
            "p50_s": np.array(reserved, float) / 2,
            "p90_s": np.array(reserved, float),
        }
    )


def planned(tasks: pd.DataFrame, by: PlanRules) -> RolloutPlan:
    assignments, refusals = pack(tasks, by)
    return RolloutPlan(assignments, refusals, "test", 0, "")


def reasons(plan: RolloutPlan) -> dict[str, str]:
    return dict(zip(plan.refusals["task"], plan.refusals["reason"], strict=True))


def starts(plan: RolloutPlan) -> dict[str, float]:
    return dict(zip(plan.assignments["task"], plan.assignments["start_s"], strict=True))


def test_the_shortest_task_goes_first_and_the_rest_follow():
    plan = planned(backlog([700, 200, 500]), rules())
    assert starts(plan) == {"t1": 0, "t2": 200, "t0": DAY_S}


def test_every_refusal_says_what_was_in_the_way():
    by = rules(days=1, lanes={"d": 2}, caps={("d", "s"): 1})
    assert reasons(planned(backlog([2_000]), by)) == {"t0": "needs longer window"}
    assert reasons(planned(backlog([900, 900]), by)) == {"t1": "service cap"}
    free = rules(days=1, lanes={"d": 2})
    assert reasons(planned(backlog([900, 900, 900]), free)) == {"t2": "no capacity"}
    one_host = backlog([900, 900], hosts=["h", "h"])
    assert reasons(planned(one_host, free)) == {"t1": "host busy"}
    ordered = backlog([900, 800], hosts=["h", "h"], types=["hardware-maintenance", "patch"])
    assert reasons(planned(ordered, free)) == {"t1": "precedence"}


def test_a_task_waits_for_what_must_come_first_on_its_host():
    tasks = backlog([100, 600], hosts=["h", "h"], types=["patch", "os-upgrade"])
    assert starts(planned(tasks, rules(lanes={"d": 2}))) == {"t1": 0, "t0": 600}


def test_a_task_is_refused_if_what_must_come_first_has_no_place():
    tasks = backlog([100, 5_000], hosts=["h", "h"], types=["patch", "os-upgrade"])
    assert reasons(planned(tasks, rules())) == {"t0": "precedence", "t1": "needs longer window"}


def test_precedence_holds_across_a_missing_middle():
    assert RANKS["repair-hardware"] < RANKS["hardware-maintenance"] < RANKS["config-files"]
    assert RANKS["os-upgrade"] == RANKS["storage-os-upgrade"]


def test_a_start_that_the_cap_delays_into_a_busy_host_moves_on():
    busy, down = [(400.0, 800.0)], [(0.0, 400.0), (0.0, 400.0), (400.0, 800.0)]
    # At 0 the cap of two is reached, at 400 the host itself is busy.
    assert _earliest_both(busy, down, 0, 300, cap=2) == 800


def test_types_that_wait_for_each_other_are_refused():
    with pytest.raises(CyclicPrecedenceError, match=r"cycle .*a -> .*remove one"):
        precedence_ranks({"a": ("b",), "b": ("c",), "c": ("a",)})


backlogs = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        st.lists(st.one_of(st.integers(1, 1_200), st.just(float("inf"))), min_size=n, max_size=n),
        st.lists(st.integers(0, 12), min_size=n, max_size=n),
        st.lists(st.sampled_from([*RANKS, "something-else"]), min_size=n, max_size=n),
    )
)


@settings(max_examples=150, deadline=None)
@given(drawn=backlogs, lanes=st.integers(1, 4), cap=st.integers(1, 3), days=st.integers(1, 3))
def test_every_packed_plan_holds(drawn, lanes, cap, days):
    reserved, hosts, types = drawn
    tasks = backlog(reserved, [f"h{host}" for host in hosts], types)
    # Two domains; a host belongs to one of them.
    tasks["domain"] = ["d" if host % 3 else "e" for host in hosts]
    by = rules(days, lanes={"d": lanes}, caps={("d", "s"): cap})
    assert check_assignments(planned(tasks, by), tasks[list(TASK_COLUMNS)], by) == []


def good_plan() -> tuple[RolloutPlan, pd.DataFrame, PlanRules]:
    by = rules(lanes={"d": 2}, caps={("d", "s"): 2})
    tasks = backlog(
        [300, 200, 250, 2_000],
        hosts=["h0", "h0", "h1", "h2"],
        types=["os-upgrade", "patch", "patch", "patch"],
    )
    plan = planned(tasks, by)
    assert check_assignments(plan, tasks[list(TASK_COLUMNS)], by) == []
    return plan, tasks[list(TASK_COLUMNS)], by


def tampered(plan: RolloutPlan, task: str, **values) -> RolloutPlan:
    assignments = plan.assignments.copy()
    for column, value in values.items():
        column_type = float if column.endswith("_s") else object
        assignments[column] = assignments[column].astype(column_type)
        assignments.loc[assignments["task"] == task, column] = value
    return replace(plan, assignments=assignments)


@pytest.mark.parametrize(
    ("task", "values", "rule"),
    [
        ("t2", {"start_s": -10.0, "end_s": 240.0}, "window"),
        ("t2", {"start_s": 900.0, "end_s": 1_150.0}, "window"),
        ("t2", {"end_s": 260.0}, "window"),
        ("t2", {"deadline_s": 2_000.0}, "window"),
        ("t2", {"window_open_s": 5.0}, "window"),
        ("t2", {"start_s": np.nan}, "window"),
        ("t2", {"reserved_s": 0.0, "end_s": 0.0}, "window"),
        ("t2", {"lane": 2}, "lane"),
        ("t1", {"lane": 0, "start_s": 100.0, "end_s": 300.0}, "host"),
        ("t1", {"start_s": 250.0, "end_s": 450.0}, "precedence"),
        ("t2", {"host": "h0"}, "task as requested"),
        ("t2", {"service": "other"}, "task as requested"),
        ("t2", {"type": "os-upgrade"}, "task as requested"),
    ],
)
def test_a_planted_violation_is_found(task, values, rule):
    plan, tasks, by = good_plan()
    found = check_assignments(tampered(plan, task, **values), tasks, by)
    assert rule in {violation.rule for violation in found}


def test_two_tasks_on_one_lane_at_once_are_found():
    plan, tasks, by = good_plan()
    lane = plan.assignments.set_index("task")["lane"]
    assert lane["t0"] != lane["t2"]
    found = check_assignments(tampered(plan, "t2", lane=lane["t0"]), tasks, by)
    assert [violation.rule for violation in found] == ["lane"]


def test_more_hosts_down_than_the_cap_are_found():
    plan, tasks, by = good_plan()
    found = check_assignments(plan, tasks, replace(by, caps={("d", "s"): 1}))
    assert [violation.rule for violation in found] == ["service cap"]
    assert "2 tasks at once, allowed 1" in found[0].detail


def test_a_task_that_is_lost_invented_or_placed_twice_is_found():
    plan, tasks, by = good_plan()
    lost = replace(plan, refusals=plan.refusals.iloc[:0])
    twice = replace(plan, assignments=pd.concat([plan.assignments, plan.assignments.iloc[:1]]))
    for broken in (lost, twice):
        found = check_assignments(broken, tasks, by)
        assert "every task once" in {violation.rule for violation in found}
    assert check_assignments(plan, tasks[tasks["task"] != "t3"], by)[0].tasks == ("t3",)


def test_a_refusal_without_a_known_reason_is_found():
    plan, tasks, by = good_plan()
    found = check_assignments(replace(plan, refusals=plan.refusals.assign(reason="")), tasks, by)
    assert [violation.rule for violation in found] == ["refusal has a reason"]


def test_a_task_placed_after_a_refused_predecessor_is_found():
    plan, tasks, by = good_plan()
    refused = plan.assignments[plan.assignments["task"] == "t0"]
    broken = replace(
        plan,
        assignments=plan.assignments[plan.assignments["task"] != "t0"],
        refusals=pd.concat([plan.refusals, refused.assign(reason="no capacity", detail="")])[
            list(plan.refusals.columns)
        ],
    )
    found = check_assignments(broken, tasks, by)
    assert [(violation.rule, violation.tasks) for violation in found] == [
        ("precedence", ("t0", "t1"))
    ]


@pytest.fixture(scope="module")
def small(make_outages, fast_config):
    history = canonical_events(make_outages(1_500))
    features, split = asof_features(history), split_by_time(history, fast_config)
    model = build_forecaster("xgb-quantile", features, history, split, fast_config)
    policy = Policy("xgb-quantile", "online", 0.8)
    return history, split, model, policy


def test_a_real_plan_holds_names_every_task_and_is_the_same_twice(small, fast_config):
    history, split, model, policy = small
    plan = plan_rollout(history, split, model, policy, fast_config)
    again = plan_rollout(history, split, model, policy, fast_config)
    assert check_plan(plan, history, split, fast_config) == []
    assert plan.to_json() == again.to_json()
    document = json.loads(plan.to_json())
    assert len(document["assignments"]) + len(document["refusals"]) == len(plan.frame)
    assert (plan.frame["status"] == "assigned").sum() == len(plan.assignments) > 0


def test_caps_bind_when_lanes_are_many(small, fast_config):
    history, split, model, policy = small
    config = fast_config.model_copy(update={"load": 0.05, "service_cap": 0.1, "horizon_days": 3})
    plan = plan_rollout(history, split, model, policy, config)
    assert check_plan(plan, history, split, config) == []
    assert "service cap" in set(plan.refusals["reason"])


def test_a_plan_does_not_know_what_happens_after_it_is_made(make_outages, small, fast_config):
    history, split, model, policy = small
    frame = make_outages(1_500)
    later = frame["started"].astype("datetime64[s]").astype("int64") >= split.test_from_s
    frame.loc[later, "down_minutes"] += 300
    frame["fixed"] = frame["started"] + frame["down_minutes"].astype("timedelta64[m]")
    other = canonical_events(frame)
    first = plan_rollout(history, split, model, policy, fast_config)
    second = plan_rollout(other, split, model, policy, fast_config)
    pd.testing.assert_frame_equal(first.assignments, second.assignments)


def test_a_replayed_plan_has_the_outcomes_computed_by_hand(make_outages):
    """One lane, windows of one hour; the true durations are those of the history."""
    frame = make_outages(4)
    frame["system"], frame["nodenumz"] = 1, [0.0, 1.0, 2.0, 0.0]
    frame["cause"], frame["planned_like"] = "Patch Install", True
    frame.loc[3, "cause"] = "Modify system config files"
    frame["started"] = pd.Timestamp("2001-01-01") + pd.to_timedelta(np.arange(4), "m")
    frame["down_minutes"] = [90, 40, 10, 5]
    frame["fixed"] = frame["started"] + frame["down_minutes"].astype("timedelta64[m]")
    history = canonical_events(frame)
    open_s = int(history.seconds("start_s")[0])
    split = split_by_time(canonical_events(make_outages(1_500)), UpgradeConfig())
    split = replace(split, select_from_s=open_s, test_from_s=open_s)
    hosts = history.labels("host_id")
    # (row, window, start in minutes): 0 overruns its window, 1 waits in vain behind it, 2 runs
    # the next day, 3 needs 0 to have been completed.
    places = [(0, 0, 0), (1, 0, 30), (2, 1, 0), (3, 1, 30)]
    assignments = pd.DataFrame(
        [
            {
                "task": f"t{row}",
                "row": row,
                "host": hosts[row],
                "domain": "system-1",
                "service": "compute",
                "type": history.labels("type")[row],
                "window_open_s": open_s + day * DAY_S,
                "lane": 0,
                "start_s": open_s + day * DAY_S + minute * 60.0,
                "reserved_s": 1_800.0,
                "end_s": open_s + day * DAY_S + minute * 60.0 + 1_800,
                "deadline_s": open_s + day * DAY_S + 3_600,
                "p50_s": 900.0,
                "p90_s": 1_800.0,
            }
            for row, day, minute in places
        ]
    )
    refusals = pd.DataFrame(columns=[*TASK_COLUMNS, "reason", "detail"])
    plan = RolloutPlan(assignments, refusals, "test", open_s, "")
    config = UpgradeConfig(window_s=3_600, horizon_days=2)
    outcome = simulate_plan(plan, history, split, config)
    assert outcome.frame["outcome"].tolist() == [CANCELLED, NOT_STARTED, COMPLETED, HELD]
    assert outcome.frame["real_end_s"][0] == open_s + 3_600
    assert (outcome.metrics.scheduled, outcome.metrics.completed) == (2, 1)
    assert outcome.metrics.waste == pytest.approx(0.5)
    assert outcome.cap_breach_s == 0
