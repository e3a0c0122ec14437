import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.upgrades import CostModel, RolloutConfig, plan_fleet
from models.upgrades.config import DAY_S
from models.upgrades.costs import InTime
from models.upgrades.rollout.problem import build_problem
from models.upgrades.rollout.windows import open_segments, opening_times
from models.upgrades.schedule.board import Board
from models.upgrades.schedule.bound import knapsack_bound, objective
from models.upgrades.schedule.classes import ClassSolver
from models.upgrades.schedule.gains import gains_of
from models.upgrades.schedule.greedy import GreedySolver
from models.upgrades.schedule.order import placing_order

from .conftest import PLAN_S

OPEN_S = PLAN_S + 7_200
FREE = CostModel(cancel_cost=3.0, idle_cost_per_lane_h=0.0)


def hosts(n, domain="d"):
    return [(f"{domain}-s-{i}", "os", "") for i in range(n)]


def problem_of(make_fleet, forecast, tasks, config=None, **options):
    config = config or RolloutConfig(costs=FREE, horizon_days=2)
    return build_problem(make_fleet(tasks, **options), forecast, config, PLAN_S).problem


def starts(plan):
    return dict(zip(plan.assignments["task"], plan.assignments["start_s"] - OPEN_S, strict=True))


def test_a_start_is_worth_its_value_less_the_rollback_and_the_idle_time_it_saves():
    forecast = InTime(np.array([1_800.0, 3_600.0]), np.array([[0.5, 0.8]]))
    gains = gains_of(forecast, np.array([2.0]), CostModel(cancel_cost=3, idle_cost_per_lane_h=1))
    task = np.array([0])
    # E[min(D, 1 h)]: half an hour at survival (1 + .5) / 2, half at (.5 + .2) / 2.
    busy_h = 0.5 * 0.75 + 0.5 * 0.35
    assert gains.of(task, np.array([3_600.0])) == pytest.approx(2 * 0.8 - 3 * 0.2 + busy_h)
    assert gains.of(task, np.array([3_599.0])) == pytest.approx(2 * 0.5 - 3 * 0.5 + 0.375)
    assert gains.of(task, np.array([100.0])) == pytest.approx(-3)
    assert gains.least_left_s() == [3_600]


def test_equal_forecasts_are_kept_once():
    forecast = InTime(np.array([60.0]), np.array([[0.5], [0.9], [0.5]]))
    gains = gains_of(forecast, np.ones(3), FREE)
    assert len(gains.probability) == 2
    assert gains.in_time(np.arange(3), np.full(3, 60.0)).tolist() == [0.5, 0.9, 0.5]


def test_windows_open_daily_from_the_plan_on():
    opens_s = opening_times(np.array([0, 7_200, 3_600]), PLAN_S + 3_600, 2)
    first = np.array([PLAN_S + DAY_S, PLAN_S + 7_200, PLAN_S + 3_600])
    assert opens_s.tolist() == np.column_stack([first, first + DAY_S]).tolist()


def test_freezes_cut_windows_into_parts(make_fleet):
    tables = [("d", "s", a, b, "ann", "why") for a, b in ((10, 20), (15, 30), (90, 200))]
    freezes = make_fleet(hosts(1), freezes=tuple(tables)).freezes
    assert open_segments(0, 100, freezes) == [(0, 10), (30, 90)]
    assert open_segments(12, 25, freezes) == []
    assert open_segments(30, 90, freezes) == [(30, 90)]


def test_the_densest_go_first_and_the_oldest_among_equals(make_fleet, even_forecast):
    fleet = make_fleet(
        hosts(4),
        lanes=1,
        value=[1.0, 4.0, 1.0, 1.0],
        arrival_s=[PLAN_S - 10, PLAN_S - 10, PLAN_S - 30, PLAN_S - 20],
    )
    plan = plan_fleet(fleet, even_forecast([600] * 4), RolloutConfig(solver="greedy"), PLAN_S)
    assert starts(plan) == {"t1": 0, "t2": 600, "t3": 1_200, "t0": 1_800}


def test_what_must_come_first_is_as_urgent_as_what_waits_for_it(make_fleet, even_forecast):
    tasks = [("d-s-0", "bios", ""), ("d-s-0", "os", ""), ("d-s-1", "os", "")]
    fleet = make_fleet(tasks, lanes=1, after="bios", value=[0.9, 9.0, 3.0])
    plan = plan_fleet(fleet, even_forecast([600] * 3), RolloutConfig(), PLAN_S)
    assert starts(plan) == {"t0": 0, "t1": 600, "t2": 1_200}


def test_a_hole_that_a_freeze_leaves_on_a_lane_is_filled(make_fleet, even_forecast):
    """Service s may start only at half-time; a task of service t fits before it."""
    tasks = [("d-s-0", "os", ""), ("d-t-1", "os", "")]
    freeze = ("*", "s", OPEN_S - 60, OPEN_S + 1_800, "ann", "why")
    fleet = make_fleet(tasks, lanes=1, freezes=(freeze,), value=[9.0, 1.0])
    plan = plan_fleet(fleet, even_forecast([1_800] * 2), RolloutConfig(), PLAN_S)
    assert starts(plan) == {"t0": 1_800, "t1": 0}


def test_a_cap_holds_over_domains_and_delays_starts(make_fleet, even_forecast):
    tasks = [*hosts(2, "d"), *hosts(2, "e")]
    fleet = make_fleet(tasks, lanes=2, most="2")
    plan = plan_fleet(fleet, even_forecast([1_200] * 4), RolloutConfig(), PLAN_S)
    assert sorted(starts(plan).values()) == [0, 0, 1_200, 1_200]


def test_the_board_gives_no_place_that_it_does_not_take(make_fleet, even_forecast):
    problem = problem_of(make_fleet, even_forecast([900] * 6), hosts(6), lanes=1, window_s=1_800)
    board = Board(problem)
    places = []
    for task in range(6):
        slot = board.find(task)
        if slot is not None:
            board.put(task, slot)
            places.append((slot.window, slot.start_s - OPEN_S))
    assert places == [(0, 0), (0, 900), (1, DAY_S), (1, DAY_S + 900)]
    assert [len(board.free_gaps(0, window)) for window in (0, 1)] == [0, 0]


def test_the_objective_and_its_bound_are_those_of_a_hand_calculation(make_fleet, even_forecast):
    """Three tasks of an hour, one lane, two hours: gains of .9 v - 3 * .1, and half a lane idle."""
    config = RolloutConfig(horizon_days=2, costs=CostModel(idle_cost_per_lane_h=0.0))
    forecast = even_forecast([2_400] * 3)
    problem = problem_of(make_fleet, forecast, hosts(3), config, lanes=1, value=[1.0, 2.0, 3.0])
    solution = GreedySolver().solve(problem)
    assert solution.window.tolist() == [-1, 1, 0]
    assert solution.objective == pytest.approx(0.9 * 5 - 2 * 0.3)
    # 7,200 s of lane take all three tasks of 2,400 s if they may be cut.
    assert solution.bound == pytest.approx(0.9 * 6 - 3 * 0.3)


def test_idle_lanes_cost_and_busy_ones_give_it_back(make_fleet, even_forecast):
    config = RolloutConfig(horizon_days=1, costs=CostModel(idle_cost_per_lane_h=1.0))
    problem = problem_of(make_fleet, even_forecast([1_800]), hosts(1), config, lanes=1)
    none = np.array([-1])
    assert objective(problem, none, none, none) == pytest.approx(-1.0)
    solution = GreedySolver().solve(problem)
    # Not done for half an hour, but for one slot of a minute; then done with .9.
    busy_h = (1_740 + 60 * 0.55 + 1_800 * 0.1) / 3_600
    assert solution.objective == pytest.approx(0.9 - 0.3 + busy_h - 1.0)


def test_counts_keep_room_for_deadlines_where_greedy_does_not(make_fleet, even_forecast):
    """One task a night: the valuable one can wait, the other cannot."""
    options = {"lanes": 1, "value": [3.0, 1.0], "deadline_s": [2**60, OPEN_S + 3_600]}
    problem = problem_of(make_fleet, even_forecast([3_600] * 2), hosts(2), **options)
    greedy, classes = GreedySolver().solve(problem), ClassSolver().solve(problem)
    assert greedy.window.tolist() == [0, -1]
    assert classes.window.tolist() == [1, 0]
    assert classes.status == "improved"
    assert classes.objective == pytest.approx(classes.bound)


def test_without_time_the_class_solver_gives_the_greedy_plan_and_says_so(make_fleet, even_forecast):
    options = {"lanes": 1, "value": [3.0, 1.0], "deadline_s": [2**60, OPEN_S + 3_600]}
    problem = problem_of(make_fleet, even_forecast([3_600] * 2), hosts(2), **options)
    solution = ClassSolver(work=0.0).solve(problem)
    assert solution.status == "timed out"
    assert solution.window.tolist() == GreedySolver().solve(problem).window.tolist()
    assert solution.bound == pytest.approx(knapsack_bound(problem))


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(0.5, 5), min_size=1, max_size=12),
    days=st.lists(st.integers(1, 3), min_size=12, max_size=12),
    lanes=st.integers(1, 2),
)
def test_classes_are_never_worse_than_greedy_and_both_respect_the_bounds(
    make_fleet, even_forecast, values, days, lanes
):
    n = len(values)
    problem = problem_of(
        make_fleet,
        even_forecast([1_500] * n),
        hosts(n),
        lanes=lanes,
        value=values,
        deadline_s=[OPEN_S + day * DAY_S for day in days[:n]],
    )
    greedy, classes = GreedySolver().solve(problem), ClassSolver().solve(problem)
    assert greedy.objective <= classes.objective <= classes.bound + 1e-6
    assert classes.bound <= knapsack_bound(problem) + 1e-6


def test_tasks_that_may_not_be_placed_are_not_ordered(make_fleet, even_forecast):
    problem = problem_of(make_fleet, even_forecast([600, np.inf]), hosts(2))
    assert placing_order(problem).tolist() == [0]
