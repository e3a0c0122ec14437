import json
from dataclasses import replace

import numpy as np
import pytest

from models.errors import ConfigError, DatasetMissingError
from models.upgrades import CostModel, RolloutConfig, check_fleet_plan, plan_fleet
from models.upgrades.config import DAY_S
from models.upgrades.costs import InTime
from models.upgrades.rollout import TaskForecast

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


def test_a_task_longer_than_its_window_is_told_its_quantiles_its_chance_and_what_would_do(
    explained,
):
    """Its reservation is known: 59 minutes and 2 of rollback ask for 61."""
    reason, detail = explained(hosts(1), [3_540], "t0", rollback_s=120)
    assert reason == "needs longer window"
    assert detail == (
        "P50 is 59 min and P90 59 min; it ends with probability 0% in a whole window of d, 60 min "
        "less 2 min for a rollback; it needs one of 61 min: lengthen them or hand it to a person"
    )


@pytest.mark.parametrize(
    ("longer", "would"),
    [
        (None, "more than 60 min"),
        (np.array([5_400.0]), "90 min"),
        (np.array([np.inf]), "more than 1,440 min"),
    ],
)
def test_a_task_that_no_window_of_the_forecast_is_enough_for_is_told_how_far_it_was_asked(
    make_fleet, longer, would
):
    left_s = np.array([1_800.0, 3_600.0])
    forecast = TaskForecast(
        InTime(left_s, np.array([[0.2, 0.41]])),
        *(np.array([np.inf]), np.array([4_200.0]), np.array([10_800.0])),
        longer_s=longer,
    )
    plan = plan_fleet(make_fleet(hosts(1)), forecast, NIGHT, PLAN_S)
    _, detail = refusal(plan, "t0")
    assert "P50 is 70 min and P90 180 min; it ends with probability 41% in a whole window" in detail
    assert f"it needs one of {would}:" in detail


def test_a_frozen_task_is_told_who_froze_it_until_when_and_why(explained):
    freeze = ("*", "s", OPEN_S + 600, OPEN_S + 3_600, "ann", "launch")
    reason, detail = explained(hosts(1), [900], "t0", freezes=(freeze,))
    assert reason == "freeze"
    assert (
        "needs 15 min and none of 1 windows of d leaves it that: "
        f"freeze by ann until {MOMENT}: launch" in detail
    )


def test_a_deadline_that_only_a_freeze_makes_too_early_is_blamed_on_the_freeze(explained):
    """Frozen until it is late: without the freeze it would end in time."""
    freeze = ("*", "s", OPEN_S - 60, OPEN_S + 900, "ann", "launch")
    reason, detail = explained(hosts(1), [900], "t0", deadline_s=OPEN_S + 960, freezes=(freeze,))
    assert reason == "freeze"
    assert "freeze by ann" in detail


@pytest.fixture
def last_wave(make_fleet, even_forecast):
    """Plan four hosts of a release and return reason and sentence of those of the last wave."""

    def build(freeze, reserved_s=600, lanes=4, **config):
        fleet = make_fleet(
            [(f"d-s-{i}", "os", "r1") for i in range(4)], lanes=lanes, freezes=(freeze,)
        )
        waves = RolloutConfig(horizon_days=3, canary_hosts=1, **config)
        plan = plan_fleet(fleet, even_forecast([reserved_s] * 4), waves, PLAN_S)
        assert check_fleet_plan(plan, fleet, waves) == []
        last = plan.refusals[plan.refusals["wave"] == len(waves.wave_shares)]
        return last["reason"].iloc[0], last["detail"].iloc[0]

    return build


EARLY = ("*", "s", OPEN_S + 2_400, OPEN_S + DAY_S - 60, "ann", "launch")


def test_windows_that_the_waves_before_took_are_not_blamed_on_a_freeze(last_wave):
    """The first night is half frozen, the wave starts after all nights."""
    reason, detail = last_wave(EARLY, wave_shares=(0.5, 1.0), soak_s=129_600)
    assert reason == "wave gate"
    assert "freeze" not in detail


def test_a_freeze_of_all_windows_after_the_start_of_a_wave_is_the_one_to_blame(last_wave):
    late = ("*", "s", OPEN_S + 2 * DAY_S, OPEN_S + 3 * DAY_S, "bob", "quarter end")
    reason, detail = last_wave(late, wave_shares=(0.5, 1.0), soak_s=43_200)
    assert reason == "freeze"
    after = str(np.datetime64(OPEN_S + DAY_S + 600 + 43_200, "s")).replace("T", " ")
    assert f"may start at {after} after the waves before its own, and 1 windows are" in detail
    assert "freeze by bob" in detail


def test_a_full_plan_names_the_windows_that_were_over_before_the_wave_and_no_freeze(last_wave):
    reason, detail = last_wave(
        EARLY, reserved_s=1_900, lanes=1, wave_shares=(0.25, 1.0), soak_s=43_200
    )
    assert reason == "no capacity"
    assert "freeze" not in detail
    assert "2 of 3 windows of d are open to it, 1 is over when its wave 2 may start at" in detail


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
    ends = str(np.datetime64(OPEN_S + 1_920, "s")).replace("T", " ")
    assert (
        "it needs 32 min, and bios task t0, which must come first on its host until "
        f"{ends}, leaves no window"
    ) in detail


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


def test_every_window_of_a_full_plan_is_accounted_for(make_fleet, even_forecast):
    """One frozen night, one after the deadline, and both others are full."""
    freeze = ("*", "s", OPEN_S, OPEN_S + 3_600, "ann", "launch")
    fleet = make_fleet(
        hosts(4), lanes=1, freezes=(freeze,), deadline_s=OPEN_S + 3 * DAY_S - 60, value=[3, 3, 2, 1]
    )
    config = RolloutConfig(horizon_days=4)
    plan = plan_fleet(fleet, even_forecast([2_400] * 4), config, PLAN_S)
    assert check_fleet_plan(plan, fleet, config) == []
    reason, detail = refusal(plan, "t3")
    assert reason == "no capacity"
    assert "2 of 4 windows of d are open to it, 1 is too late for its deadline" in detail
    assert ", 1 is frozen (freeze by ann until" in detail


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
