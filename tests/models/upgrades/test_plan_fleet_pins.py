"""Pins: kept, refused with what is in their way, and warned of before a plan is made."""

import numpy as np
import pytest

from models.upgrades import RolloutConfig, check_fleet_plan, plan_fleet
from models.upgrades.config import DAY_S
from models.upgrades.fleet import (
    DuplicateIdError,
    FleetTableError,
    UnknownReferenceError,
    WindowError,
)
from models.upgrades.rollout.windows import check_wishes

from .conftest import PLAN_S

OPEN_S = PLAN_S + 7_200


def hosts(n):
    return [(f"d-s-{i}", "os", "") for i in range(n)]


def refusal(plan, task):
    row = plan.refusals.set_index("task").loc[task]
    return row["reason"], row["detail"]


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
    ("options", "reason", "words"),
    [
        (
            {"freezes": (("*", "s", OPEN_S - 60, OPEN_S + 3_600, "ann", "launch"),)},
            "freeze",
            "which has a freeze by ann until {an_hour_on}: launch",
        ),
        ({"deadline_s": OPEN_S + 300}, "deadline", "where it would end after its deadline {soon}"),
        (
            {"arrival_s": OPEN_S + 3_600},
            "no capacity",
            "which is over before it can begin at {an_hour_on}",
        ),
    ],
)
def test_a_pin_that_cannot_be_kept_is_told_of_its_window_and_warned_of(
    make_fleet, even_forecast, pins, options, reason, words
):
    """Six of seven windows are open to each of them: it is the pin that is in the way."""
    fleet = make_fleet(hosts(1), **options)
    config = pins(f"task,window_open_s\nt0,{OPEN_S}\n").model_copy(update={"horizon_days": 7})
    plan = plan_fleet(fleet, even_forecast([600]), config, PLAN_S)
    times = {
        name: str(np.datetime64(at_s, "s")).replace("T", " ")
        for name, at_s in (("an_hour_on", OPEN_S + 3_600), ("soon", OPEN_S + 300))
    }
    opens = str(np.datetime64(OPEN_S, "s")).replace("T", " ")
    said = f"pinned to the window of {opens}, {words.format(**times)}"
    assert refusal(plan, "t0") == (reason, said)
    # A deadline inside the window is only known to be too early with the forecast.
    warnings = check_wishes(fleet, config, PLAN_S).warnings
    assert len(warnings) == (reason != "deadline")
    assert all(line.startswith(f"task t0 is pinned to {opens[:-3]}, ") for line in warnings)


def test_a_pin_before_its_wave_is_told_when_the_wave_may_start(make_fleet, even_forecast, pins):
    """Two of four hosts are pinned to the first night, in which only the one canary may go."""
    fleet = make_fleet([(f"d-s-{i}", "os", "r1") for i in range(4)], lanes=4)
    waves = {"horizon_days": 7, "canary_hosts": 1, "wave_shares": (0.5, 1.0), "soak_s": 43_200}
    config = pins(f"task,window_open_s\nt0,{OPEN_S}\nt1,{OPEN_S}\n").model_copy(update=waves)
    plan = plan_fleet(fleet, even_forecast([600] * 4), config, PLAN_S)
    assert check_fleet_plan(plan, fleet, config) == []
    (pinned,) = plan.refusals.loc[plan.refusals["wave"] == 1, "task"]
    reason, detail = refusal(plan, pinned)
    opens, begins = (
        str(np.datetime64(at_s, "s")).replace("T", " ") for at_s in (OPEN_S, OPEN_S + 43_800)
    )
    assert reason == "wave gate"
    assert detail == (
        f"pinned to the window of {opens}, which is over when its wave 1 may start at {begins}"
    )
    # What waits behind it is told of the pin.
    after = plan.refusals[plan.refusals["wave"] == 2]
    assert len(after) == 2
    assert (
        after["detail"].str.contains(f"0 of 1 hosts of wave 1 are .* 'wave gate' .task {pinned}")
    ).all()


def test_pins_after_a_deadline_are_warned_of_and_kept_ones_are_not(make_fleet, pins):
    config = pins(f"task,window_open_s\nt0,{OPEN_S + DAY_S}\nt1,{OPEN_S + DAY_S}\n")
    config = config.model_copy(update={"horizon_days": 3})
    fleet = make_fleet(hosts(2), deadline_s=[OPEN_S + 600, 2**60])
    wishes = check_wishes(fleet, config, PLAN_S)
    assert (wishes.excluded, wishes.pinned) == (0, 2)
    (warning,) = wishes.warnings
    deadline = str(np.datetime64(OPEN_S + 600, "s")).replace("T", " ")[:-3]
    assert warning.endswith(f"after its deadline {deadline}")


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
