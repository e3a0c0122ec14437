import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from models.errors import ConfigError, DatasetMissingError, UnknownNameError
from models.upgrades import CostModel, RolloutConfig, check_fleet_plan, plan_diff, plan_fleet
from models.upgrades.config import DAY_S
from models.upgrades.costs import InTime
from models.upgrades.fleet import (
    DuplicateIdError,
    FleetTableError,
    UnknownReferenceError,
    WindowError,
)
from models.upgrades.rollout import TaskForecast, rollback_plan, to_ical

from .conftest import PLAN_S

OPEN_S = PLAN_S + 7_200
NIGHT = RolloutConfig(horizon_days=1)
MOMENT = str(np.datetime64(OPEN_S + 3_600, "s")).replace("T", " ")


def hosts(n, service="s"):
    return [(f"d-{service}-{i}", "os", "") for i in range(n)]


def refusal(plan, task):
    row = plan.refusals.set_index("task").loc[task]
    return row["reason"], row["detail"]


@pytest.fixture
def explained(make_fleet, even_forecast):
    """Plan one night and return why a task has no place; every plan is checked too."""

    def build(tasks, reserved, task, config=NIGHT, late=0.1, **options):
        fleet = make_fleet(tasks, **options)
        plan = plan_fleet(fleet, even_forecast(reserved, late=late), config, PLAN_S)
        assert check_fleet_plan(plan, fleet, config) == []
        return refusal(plan, task)

    return build


def test_a_task_longer_than_its_window_is_told_both_lengths(explained):
    reason, detail = explained(hosts(1), [3_540], "t0", rollback_s=120)
    assert reason == "needs longer window"
    assert "it needs 59 min and 2 min for a rollback, the windows of d have 60 min" in detail
    reason, detail = explained(hosts(1), [np.inf], "t0")
    assert "it needs more than the 60 min of its window" in detail


def test_a_frozen_task_is_told_who_froze_it_until_when_and_why(explained):
    freeze = ("*", "s", OPEN_S + 600, OPEN_S + 3_600, "ann", "launch")
    reason, detail = explained(hosts(1), [900], "t0", freezes=(freeze,))
    assert reason == "freeze"
    assert (
        "needs 15 min and none of 1 windows of d leaves it that: "
        f"freeze by ann until {MOMENT}: launch" in detail
    )


def test_a_task_behind_a_cap_is_told_the_cap(explained):
    reason, detail = explained(hosts(3), [1_900] * 3, "t2", lanes=3, most="2")
    assert reason == "service cap"
    assert "2 hosts of service s are down already, as many as its cap allows" in detail


def test_a_task_without_a_lane_is_told_the_longest_free_time(explained):
    reason, detail = explained(hosts(2), [2_400, 2_400], "t1", lanes=1)
    assert reason == "no capacity"
    assert "it needs 40 min and 0 min for a rollback; 1 of 1 windows of d are open to it" in detail
    assert "longest free time that a lane leaves it is 20 min: add lanes or days" in detail


def test_a_task_behind_another_on_its_host_is_told_which(explained):
    tasks = [("d-s-0", "bios", ""), ("d-s-0", "os", "")]
    reason, detail = explained(tasks, [np.inf, 60], "t1", after="bios")
    assert (reason, detail) == (
        "precedence",
        "bios task t0 must come first on host d-s-0 and has no place",
    )
    reason, detail = explained(tasks, [1_900, 1_900], "t1", after="bios")
    assert reason == "precedence"
    assert "it needs 32 min, and other work of its host and release leaves no window" in detail


def test_a_task_of_a_busy_host_is_told_the_host(explained):
    tasks = [("d-s-0", "os", ""), ("d-s-0", "bios", "")]
    reason, detail = explained(tasks, [1_900, 1_900], "t1", value=[2.0, 1.0])
    assert reason == "host busy"
    assert "other tasks hold host d-s-0 whenever a lane is free" in detail


def test_a_task_after_its_deadline_is_told_the_deadline(explained):
    reason, detail = explained(hosts(1), [900], "t0", deadline_s=OPEN_S + 600)
    assert reason == "deadline"
    deadline = str(np.datetime64(OPEN_S + 600, "s")).replace("T", " ")
    assert f"its deadline {deadline} is before it could end in any window of d" in detail


def test_a_task_of_an_excluded_host_is_told_the_pattern(explained):
    config = NIGHT.model_copy(update={"exclude": ("d-s-*",)})
    reason, detail = explained(hosts(1), [60], "t0", config)
    assert (reason, detail) == ("excluded", "host d-s-0 is excluded by ['d-s-*']")


def test_a_task_that_is_likelier_cancelled_than_worth_it_is_told_so(explained):
    config = NIGHT.model_copy(update={"costs": CostModel(idle_cost_per_lane_h=0)})
    reason, detail = explained(hosts(1), [600], "t0", config, late=0.5)
    assert reason == "does not pay"
    assert "with all 60 min of a window its expected value is still below 0" in detail


def test_a_task_that_arrives_after_the_horizon_is_told_so(explained):
    reason, detail = explained(hosts(1), [60], "t0", arrival_s=PLAN_S + 9 * DAY_S)
    assert reason == "no capacity"
    assert "leaves it 1 min after its arrival" in detail


def test_a_reservation_grows_until_a_start_pays(make_fleet):
    """Reserved for half an hour, but only after 50 minutes is P(D <= R) worth the risk."""
    left_s = np.array([1_800.0, 3_000.0, 3_600.0])
    forecast = TaskForecast(InTime(left_s, np.array([[0.5, 0.8, 0.9]])), *np.full((3, 1), 1_800.0))
    config = NIGHT.model_copy(update={"costs": CostModel(idle_cost_per_lane_h=0)})
    plan = plan_fleet(make_fleet(hosts(1)), forecast, config, PLAN_S)
    assert plan.assignments["reserved_s"].tolist() == [3_000]


@pytest.fixture
def pins(tmp_path):
    def write(text):
        (tmp_path / "pins.csv").write_text(text)
        return RolloutConfig(horizon_days=2, pin=tmp_path / "pins.csv")

    return write


def test_a_pinned_task_goes_to_its_window_before_all_others(make_fleet, even_forecast, pins):
    fleet = make_fleet(hosts(2), lanes=1, value=[1.0, 9.0])
    config = pins(f"task,window_open_s\nt0,{OPEN_S}\n")
    plan = plan_fleet(fleet, even_forecast([3_600] * 2), config, PLAN_S)
    assert check_fleet_plan(plan, fleet, config) == []
    opens = dict(zip(plan.assignments["task"], plan.assignments["window_open_s"], strict=True))
    assert opens == {"t0": OPEN_S, "t1": OPEN_S + DAY_S}


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("task,window_open_s\nt9,5\n", UnknownReferenceError, "row 0: task 't9' is not in the"),
        ("task,window_open_s\nt0,5\n", WindowError, f"its windows open at {OPEN_S}"),
        ("task,when\nt0,5\n", FleetTableError, "lacks the columns window_open_s"),
        (
            f"task,window_open_s\nt0,{OPEN_S}\nt0,{OPEN_S}\n",
            DuplicateIdError,
            "row 1: task 't0' is already pinned",
        ),
    ],
)
def test_a_bad_pin_is_named(make_fleet, even_forecast, pins, text, error, words):
    with pytest.raises(error, match=words):
        plan_fleet(make_fleet(hosts(1)), even_forecast([60]), pins(text), PLAN_S)


def test_bad_inputs_of_a_plan_say_what_to_do(make_fleet, even_forecast, tmp_path):
    fleet, forecast = make_fleet(hosts(2)), even_forecast([60, 60])
    with pytest.raises(ConfigError, match="exclude 'db-\\*' matches none of 2 hosts"):
        plan_fleet(fleet, forecast, RolloutConfig(exclude=("db-*",)), PLAN_S)
    with pytest.raises(DatasetMissingError, match="correct `pin` or leave it out"):
        plan_fleet(fleet, forecast, RolloutConfig(pin=tmp_path / "no.csv"), PLAN_S)
    with pytest.raises(ConfigError, match="forecast the tasks of this fleet, in order"):
        plan_fleet(fleet, even_forecast([60]), RolloutConfig(), PLAN_S)
    for broken in (
        replace(forecast, reserved_s=np.array([60, np.nan])),
        replace(forecast, in_time=replace(forecast.in_time, probability=np.full((2, 1440), 1.5))),
    ):
        with pytest.raises(ConfigError, match=r"task row \d has a probability outside"):
            plan_fleet(fleet, broken, RolloutConfig(), PLAN_S)


def test_wave_shares_that_do_not_rise_to_one_are_refused():
    for shares in ((), (0.5,), (0.5, 0.5, 1.0), (0.0, 1.0)):
        with pytest.raises(ValueError, match="wave_shares must"):
            RolloutConfig(wave_shares=shares)


def test_the_same_inputs_give_the_same_plan_and_others_another_hash(make_fleet, even_forecast):
    fleet, forecast = make_fleet(hosts(5), lanes=1), even_forecast([1_200] * 5)
    plan = plan_fleet(fleet, forecast, NIGHT, PLAN_S)
    assert plan.to_json() == plan_fleet(fleet, forecast, NIGHT, PLAN_S).to_json()
    others = [
        plan_fleet(make_fleet(hosts(5), lanes=2), forecast, NIGHT, PLAN_S),
        plan_fleet(fleet, even_forecast([1_260] * 5), NIGHT, PLAN_S),
        plan_fleet(fleet, forecast, RolloutConfig(horizon_days=1, seed=1), PLAN_S),
        plan_fleet(fleet, forecast, NIGHT, PLAN_S + 1),
    ]
    assert len({plan.inputs_hash, *(other.inputs_hash for other in others)}) == 5


def test_the_document_holds_all_tasks_and_what_the_solver_reached(make_fleet, even_forecast):
    plan = plan_fleet(make_fleet(hosts(5), lanes=1), even_forecast([1_200] * 5), NIGHT, PLAN_S)
    document = json.loads(plan.to_json())
    assert len(document["assignments"]) == 3
    assert len(document["refusals"]) == 2
    assert (document["solver"], document["solver_status"]) == ("greedy", "heuristic")
    assert document["objective"] <= document["bound"] + 1e-9
    first = document["assignments"][0]
    assert (first["p_in_time"], first["release"], first["wave"]) == (0.9, "", -1)


def test_counts_are_used_where_deadlines_crowd_the_horizon(make_fleet, even_forecast):
    forecast = even_forecast([600] * 4)
    for deadline_s, solver in ((OPEN_S + 3_000, "classes"), (OPEN_S + 9 * DAY_S, "greedy")):
        fleet = make_fleet(hosts(4), deadline_s=deadline_s)
        assert plan_fleet(fleet, forecast, NIGHT, PLAN_S).solver == solver


def test_a_diff_tells_moved_added_removed_and_same(make_fleet, even_forecast):
    fleet = make_fleet(hosts(4), lanes=1)
    before = plan_fleet(fleet, even_forecast([600, 900, 1_200, np.inf]), NIGHT, PLAN_S)
    now = plan_fleet(fleet, even_forecast([600, np.inf, 1_200, 1_500]), NIGHT, PLAN_S)
    diff = plan_diff(before, now)
    assert diff.moved["task"].tolist() == ["t2"]
    assert diff.moved["start_s_before"].item() - diff.moved["start_s"].item() == 900
    assert diff.added["task"].tolist() == ["t3"]
    assert diff.removed[["task", "host"]].to_numpy().tolist() == [["t1", "d-s-1"]]
    assert str(diff) == "1 moved, 1 added, 1 removed, 1 as before"
    assert str(plan_diff(now, now)) == "0 moved, 0 added, 0 removed, 3 as before"


def test_the_calendar_has_one_event_per_window_and_keeps_to_the_standard(make_fleet, even_forecast):
    tasks = [(f"d,1-s-{i}-long-name", "os", "") for i in range(60)] + [("e-s-1", "bios", "")]
    fleet = make_fleet(tasks, lanes=60)
    plan = plan_fleet(fleet, even_forecast([600] * 61), NIGHT, PLAN_S)
    text = to_ical(plan)
    assert text == to_ical(plan)
    lines = text.split("\r\n")
    assert lines[0] == "BEGIN:VCALENDAR"
    assert lines[-2:] == ["END:VCALENDAR", ""]
    assert max(len(line.encode()) for line in lines) <= 75
    assert "\n" not in text.replace("\r\n", "")
    unfolded = text.replace("\r\n ", "").split("\r\n")
    assert unfolded.count("BEGIN:VEVENT") == unfolded.count("END:VEVENT") == 2
    start = pd.Timestamp(OPEN_S, unit="s")
    assert f"DTSTART:{start:%Y%m%dT%H%M%S}" in unfolded
    assert f"DTEND:{start + pd.Timedelta(600, unit='s'):%Y%m%dT%H%M%S}" in unfolded
    assert r"SUMMARY:d\,1: 60 upgrades of 60 hosts" in unfolded
    (description,) = (line for line in unfolded if line.startswith("DESCRIPTION:60 os"))
    assert r"\n" in description
    assert re.search(r" and 10 more\\nplan [0-9a-f]{12}$", description)
    uids = [line for line in unfolded if line.startswith("UID:")]
    assert len(set(uids)) == 2


def test_a_rollback_goes_backwards_under_lanes_and_caps(make_fleet, even_forecast):
    """Hosts 0 to 3 got os r1, host 0 a bios after it; two of them may be down at once."""
    tasks = [*((f"d-s-{i}", "os", "r1") for i in range(4)), ("d-s-0", "bios", "")]
    fleet = make_fleet(tasks, lanes=4, most="2", rollback_s=300)
    types = fleet.types.assign(after=["os", ""])
    fleet = replace(fleet, types=types)
    config = RolloutConfig(horizon_days=1, canary_hosts=4)
    plan = plan_fleet(fleet, even_forecast([600] * 5), config, PLAN_S)
    at_s = OPEN_S + 3_600
    back = rollback_plan(plan, fleet, "r1", at_s)
    assert sorted(back["task"]) == ["t0", "t1", "t2", "t3", "t4"]
    rows = back.set_index("task")
    # The bios was built on the os of host 0, so it is undone first.
    assert rows.loc["t4", "end_s"] <= rows.loc["t0", "start_s"]
    assert (back["end_s"] - back["start_s"] == 300).all()
    for moment in back["start_s"]:
        assert ((back["start_s"] <= moment) & (back["end_s"] > moment)).sum() <= 2
    assert not back.duplicated(["lane", "start_s"]).any()
    assert rollback_plan(plan, fleet, "r1", OPEN_S).empty
    with pytest.raises(UnknownNameError, match="no release in the plan named 'r9'"):
        rollback_plan(plan, fleet, "r9", at_s)


def test_a_rollback_takes_the_last_begun_first(make_fleet, even_forecast):
    fleet = make_fleet([(f"d-s-{i}", "os", "r1") for i in range(3)], lanes=1, rollback_s=60)
    config = RolloutConfig(horizon_days=1, canary_hosts=3)
    plan = plan_fleet(fleet, even_forecast([600] * 3), config, PLAN_S)
    back = rollback_plan(plan, fleet, "r1", OPEN_S + 3_600)
    assert back["task"].tolist() == plan.assignments["task"].tolist()[::-1]
    assert back["start_s"].tolist() == [OPEN_S + 3_600 + 60 * i for i in range(3)]
