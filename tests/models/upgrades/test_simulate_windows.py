"""Single windows, by hand: what each dispatcher starts, when, on which terms."""

import numpy as np
import pytest

from models.upgrades import UpgradeConfig
from models.upgrades.policy import DISPATCHES
from models.upgrades.simulate import SimulatedTasks, run_windows

CONFIG = UpgradeConfig(window_s=1_000)
HALF = UpgradeConfig(window_s=500)
# At most one host of each service may be down.
ALONE = {("d", "s"): 1, ("d", "t"): 1}


def first_window(dispatch, reserved, duration, lanes=1, config=CONFIG, host=None, service=None):
    """Starts (row, start, end, is_completed) of tasks that all wait when a window opens."""
    n = len(duration)
    waiting = SimulatedTasks(
        rows=np.arange(n),
        domain=np.full(n, "d", object),
        host=np.arange(n) if host is None else np.array(host),
        arrival_s=np.zeros(n, np.int64),
        duration_s=np.array(duration, dtype=float),
        reserved_s=np.array(reserved, dtype=float),
        service=None if service is None else np.array(service, dtype=object),
    )
    attempts = run_windows(waiting, dispatch, {"d": lanes}, config, None, ALONE).attempts
    columns = ["row", "start_s", "end_s", "is_completed"]
    return list(attempts[columns].itertuples(index=False, name=None))


def test_a_calendar_waits_for_its_planned_start_where_online_does_not():
    waiting = {"reserved": [400, 400], "duration": [100, 100]}
    assert first_window("calendar", **waiting) == [(0, 0, 100, True), (1, 400, 500, True)]
    assert first_window("online", **waiting) == [(0, 0, 100, True), (1, 100, 200, True)]


def test_a_late_predecessor_makes_a_calendar_start_late_and_overrun():
    waiting = {"reserved": [400, 600], "duration": [700, 600]}
    assert first_window("calendar", **waiting) == [(0, 0, 700, True), (1, 700, 1_000, False)]
    # Online looks at the 300 s that are left and does not start the second.
    assert first_window("online", **waiting) == [(0, 0, 700, True)]


def test_a_start_that_the_overrun_pushes_past_the_close_is_dropped():
    for dispatch in ("calendar", "backfill"):
        assert first_window(dispatch, [400, 600], [5_000, 600]) == [(0, 0, 1_000, False)]


def test_backfill_gives_a_hole_to_a_task_that_ends_before_the_planned_start():
    # Planned are 0 and 1. Task 0 ends at 100: of the others only 3 fits into the 500 s until
    # task 1 is due, which keeps its time although the lane was free before.
    waiting = {"reserved": [600, 400, 501, 450], "duration": [100, 50, 10, 200]}
    assert first_window("backfill", **waiting) == [
        *((0, 0, 100, True), (3, 100, 300, True), (1, 600, 650, True)),
    ]
    assert first_window("calendar", **waiting) == [(0, 0, 100, True), (1, 600, 650, True)]


def test_backfill_leaves_the_slot_that_a_planned_start_will_need():
    # Planned: 0 on lane 0 and, on lane 1, 1 and at 400 task 2, which needs the slot of s. At
    # 100 lane 0 has nothing more planned and the slot is free, but only until 400.
    waiting = {
        "reserved": [1_000, 400, 600, 500, 300],
        "duration": [50, 100, 600, 10, 200],
        "service": ["t", "s", "s", "s", "s"],
        "lanes": 2,
        "config": UpgradeConfig(window_s=1_000, simulation_caps=True),
    }
    assert first_window("backfill", **waiting) == [
        *((0, 0, 50, True), (1, 0, 100, True), (4, 100, 300, True), (2, 400, 1_000, True)),
    ]


def test_a_task_that_does_not_fit_is_passed_over_for_one_that_does():
    started = first_window("online", [900, 300, 100], [300, 300, 100], config=HALF)
    assert [start[0] for start in started] == [1, 2]


def test_two_tasks_of_one_host_never_run_at_once():
    started = first_window("online", [400, 400], [300, 300], lanes=2, host=[7, 7])
    assert started == [(0, 0, 300, True), (1, 300, 600, True)]


def test_a_cap_keeps_hosts_of_a_service_from_being_down_at_once():
    waiting = {"reserved": [300, 300, 300], "duration": [200] * 3, "service": ["s", "s", "t"]}
    capped = UpgradeConfig(window_s=1_000, simulation_caps=True)
    free = first_window("online", lanes=3, **waiting)
    assert [start[:2] for start in free] == [(0, 0), (1, 0), (2, 0)]
    kept = first_window("online", lanes=3, config=capped, **waiting)
    assert [start[:2] for start in kept] == [(0, 0), (2, 0), (1, 200)]
    # A calendar plans by reservations and keeps the slot until the service really has it.
    late = first_window(
        "calendar", [300, 300], [500, 200], lanes=2, config=capped, service=["s", "s"]
    )
    assert late == [(0, 0, 500, True), (1, 500, 700, True)]


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_the_true_duration_of_a_task_changes_no_choice_before_it_ends(dispatch):
    first, second = (
        first_window(dispatch, [300, 300, 300], duration)
        for duration in ([200, 100, 100], [200, 100, 900])
    )
    assert first[:2] == second[:2]
    assert first[2][:2] == second[2][:2]
