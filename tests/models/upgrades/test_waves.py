from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.upgrades import RolloutConfig, check_fleet_plan, plan_fleet
from models.upgrades.config import DAY_S
from models.upgrades.rollout.waves import Gate, wave_quotas
from models.upgrades.schedule.classes import ClassSolver

from .conftest import PLAN_S

OPEN_S = PLAN_S + 7_200
CONFIG = RolloutConfig(canary_hosts=1, wave_shares=(0.1, 0.5, 1.0), soak_s=43_200)


def release(n, domain="d", name="r1", type_="os"):
    return [(f"{domain}-s-{i}", type_, name) for i in range(n)]


def past(hosts, outcome, at_s, type_="os", name="r1"):
    ended = pd.Timestamp(at_s, unit="s")
    return pd.DataFrame(
        {
            "host_id": hosts,
            "type": type_,
            "release": name,
            "started": ended - pd.Timedelta(600, unit="s"),
            "ended": ended,
            "outcome": outcome,
        }
    )


def test_waves_reach_the_canaries_then_one_ten_fifty_and_all_percent():
    assert wave_quotas(1_000, RolloutConfig()).tolist() == [5, 10, 100, 500, 1_000]
    assert wave_quotas(3, RolloutConfig()).tolist() == [3, 3, 3, 3, 3]
    # 0.07 * 100 is 7.000000000000001; nobody is asked for an eighth host.
    config = RolloutConfig(canary_hosts=1, wave_shares=(0.07, 1.0))
    assert wave_quotas(100, config).tolist() == [1, 7, 100]


@given(n=st.integers(0, 5_000), canaries=st.integers(1, 50))
def test_quotas_rise_to_the_whole_release(n, canaries):
    quotas = wave_quotas(n, RolloutConfig(canary_hosts=canaries))
    assert (np.diff(quotas) >= 0).all()
    assert quotas[-1] == n


def test_a_release_goes_out_night_by_night(make_fleet, even_forecast):
    fleet = make_fleet(release(20), lanes=20)
    plan = plan_fleet(fleet, even_forecast([600] * 20), CONFIG, PLAN_S)
    nights = (plan.assignments["window_open_s"] - OPEN_S) // DAY_S
    assert nights.value_counts().to_dict() == {0: 1, 1: 1, 2: 8, 3: 10}
    assert (plan.assignments["wave"] == nights).all()


def test_without_soak_the_waves_follow_each_other_in_one_night(make_fleet, even_forecast):
    fleet = make_fleet(release(20), lanes=20)
    config = CONFIG.model_copy(update={"soak_s": 0})
    plan = plan_fleet(fleet, even_forecast([600] * 20), config, PLAN_S)
    assert (plan.assignments["start_s"] == OPEN_S + 600 * plan.assignments["wave"]).all()


def test_hosts_that_have_the_release_count_as_its_first_waves(make_fleet, even_forecast):
    fleet = make_fleet(release(10), lanes=20)
    done = past([f"x{i}" for i in range(10)], "completed", PLAN_S - 600)
    fleet = replace(fleet, events=done)
    plan = plan_fleet(fleet, even_forecast([600] * 10), CONFIG, PLAN_S)
    # Ten of twenty have it: what remains is the last wave, once the soak is over.
    assert set(plan.assignments["wave"]) == {3}
    assert (plan.assignments["window_open_s"] == OPEN_S + DAY_S).all()
    assert check_fleet_plan(plan, fleet, CONFIG) == []


def test_what_ends_after_the_plan_is_not_known_to_it(make_fleet, even_forecast):
    fleet = make_fleet(release(10), lanes=20)
    later = replace(fleet, events=past(["x"] * 10, "aborted", PLAN_S + 1))
    plans = [plan_fleet(f, even_forecast([600] * 10), CONFIG, PLAN_S) for f in (fleet, later)]
    pd.testing.assert_frame_equal(plans[0].assignments, plans[1].assignments)


def test_a_gate_shuts_when_too_many_failed_but_not_on_few(make_fleet, even_forecast):
    config = RolloutConfig(gate_failure_share=0.2, gate_min_ended=5)
    assert [Gate(*gate).is_shut(config) for gate in ((4, 4), (5, 1), (5, 2))] == [
        *(False, False, True)
    ]
    fleet = make_fleet([*release(3), *release(3, "e", "r2")], lanes=9)
    failed = pd.concat(
        [past(["a", "b"], "aborted", PLAN_S - 9), past(["c", "e", "f"], "completed", PLAN_S - 9)]
    )
    fleet = replace(fleet, events=failed.reset_index(drop=True))
    plan = plan_fleet(fleet, even_forecast([600] * 6), config, PLAN_S)
    assert set(plan.assignments["release"]) == {"r2"}
    assert set(plan.refusals["reason"]) == {"wave gate"}
    assert "release r1 failed on 2 of 5 hosts, more than 20%" in plan.refusals["detail"][0]


def test_waves_after_one_without_a_place_wait_and_say_so(make_fleet, even_forecast):
    """Three nights of one lane: the second wave does not get through, so the third waits."""
    fleet = make_fleet(release(20), lanes=1)
    config = CONFIG.model_copy(update={"horizon_days": 3})
    plan = plan_fleet(fleet, even_forecast([1_800] * 20), config, PLAN_S)
    assert check_fleet_plan(plan, fleet, config) == []
    why = plan.refusals.groupby("wave")["reason"].unique().to_dict()
    assert {wave: list(reasons) for wave, reasons in why.items()} == {
        2: ["no capacity"],
        3: ["wave gate"],
    }
    last = plan.refusals[plan.refusals["wave"] == 3]["detail"].iloc[0]
    assert last.startswith(
        "wave 3 of release r1 waits: 2 of 8 hosts of wave 2 are done or have a place, fewer than "
        "70%; 6 of the others have none for 'no capacity' (task t"
    )
    assert "longest free time that a lane leaves it is 0 min" in last


def test_a_wave_whose_soak_ends_after_the_horizon_names_the_time(make_fleet, even_forecast):
    fleet = make_fleet(release(2), lanes=9)
    config = CONFIG.model_copy(update={"horizon_days": 1})
    plan = plan_fleet(fleet, even_forecast([600] * 2), config, PLAN_S)
    assert plan.refusals["reason"].tolist() == ["wave gate"]
    ready = np.datetime64(OPEN_S + 600 + 43_200, "s")
    assert str(ready).replace("T", " ") in plan.refusals["detail"][0]


def test_canaries_are_hosts_that_wait_for_nothing_else(make_fleet, even_forecast):
    """A canary behind another release's last wave would hold its release up for days."""
    tasks = [*release(10, name="b1", type_="bios"), *release(11)]
    fleet = make_fleet(tasks, lanes=30, after="bios")
    plan = plan_fleet(fleet, even_forecast([600] * 21), CONFIG, PLAN_S)
    canary = plan.assignments[(plan.assignments["wave"] == 0) & (plan.assignments["type"] == "os")]
    assert canary["host"].tolist() == ["d-s-10"]


def test_a_deadline_brings_a_host_into_an_earlier_wave(make_fleet, even_forecast):
    fleet = make_fleet(release(20), lanes=20, deadline_s=[2**60] * 19 + [OPEN_S + 3_600])
    plan = plan_fleet(fleet, even_forecast([600] * 20), CONFIG, PLAN_S)
    canary = plan.assignments[plan.assignments["wave"] == 0]
    assert canary["task"].tolist() == ["t19"]


def test_deadlines_that_no_wave_can_meet_are_refused_and_hold_up_nobody(make_fleet, even_forecast):
    """Ten must be done in the first night, in which there is one canary."""
    fleet = make_fleet(release(20), lanes=20, deadline_s=[2**60] * 10 + [OPEN_S + 3_600] * 10)
    plan = plan_fleet(fleet, even_forecast([600] * 20), CONFIG, PLAN_S)
    assert check_fleet_plan(plan, fleet, CONFIG) == []
    assert len(plan.assignments) == 11
    assert set(plan.refusals["reason"]) == {"deadline"}
    assert set(plan.refusals["wave"]) == {-1}
    assert "left after the waves before its own of r1" in plan.refusals["detail"][0]


def test_the_bound_knows_that_waves_take_nights(make_fleet, even_forecast):
    fleet = make_fleet(release(20), lanes=20)
    config = CONFIG.model_copy(update={"horizon_days": 2, "solver": "classes"})
    plan = plan_fleet(fleet, even_forecast([600] * 20), config, PLAN_S, solver=ClassSolver())
    assert len(plan.assignments) == 2
    assert plan.objective == pytest.approx(plan.bound, abs=1.0)


def test_another_seed_chooses_other_canaries(make_fleet, even_forecast):
    fleet = make_fleet(release(40), lanes=40)

    def canary(seed):
        config = CONFIG.model_copy(update={"seed": seed})
        plan = plan_fleet(fleet, even_forecast([600] * 40), config, PLAN_S)
        return plan.assignments[plan.assignments["wave"] == 0]["host"].item()

    assert canary(1) == canary(1)
    assert len({canary(seed) for seed in range(6)}) > 1
