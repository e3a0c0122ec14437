"""Neighbourhood repair: never worse, within its budget, and the base plan where it fails."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.upgrades import CostModel, RolloutConfig, check_fleet_plan, plan_fleet
from models.upgrades.config import DAY_S
from models.upgrades.rollout.problem import build_problem
from models.upgrades.schedule.board import Board
from models.upgrades.schedule.greedy import GreedySolver, fill
from models.upgrades.schedule.order import placing_order
from models.upgrades.schedule.repair import RepairSolver, board_of, has_quorum

from .conftest import PLAN_S

OPEN_S = PLAN_S + 7_200
NIGHT_S = 3_600
FREE = CostModel(cancel_cost=3.0, idle_cost_per_lane_h=0.0)


def hosts(n, domain="d"):
    return [(f"{domain}-s-{i}", "os", "") for i in range(n)]


@pytest.fixture
def crowded(make_fleet, even_forecast):
    """Two nights, one task each: the valuable one can wait, the other cannot."""
    fleet = make_fleet(hosts(2), lanes=1, value=[3.0, 1.0], deadline_s=[2**60, OPEN_S + NIGHT_S])
    config = RolloutConfig(costs=FREE, horizon_days=2, solver="repair")
    forecast = even_forecast([NIGHT_S] * 2)
    return build_problem(fleet, forecast, config, PLAN_S).problem


def test_repair_moves_what_can_wait_to_another_night(crowded):
    greedy = GreedySolver().solve(crowded)
    assert greedy.window.tolist() == [0, -1]
    repaired = RepairSolver(GreedySolver(), budget=2.0, seed=0).solve(crowded)
    assert repaired.window.tolist() == [1, 0]
    assert (repaired.solver, repaired.status) == ("repair", "improved")
    assert repaired.objective == pytest.approx(0.9 * 4 - 2 * 0.3)


def test_without_time_the_base_plan_comes_back_and_says_so(crowded):
    greedy = GreedySolver().solve(crowded)
    kept = RepairSolver(GreedySolver(), budget=1e-9, seed=0).solve(crowded)
    assert kept.solver == "greedy (repair found nothing in its budget)"
    assert kept.status == "timed out"
    assert kept.window.tolist() == greedy.window.tolist()
    assert kept.objective == greedy.objective


def test_without_a_solver_the_base_plan_comes_back_and_says_so(crowded, monkeypatch):
    monkeypatch.setitem(sys.modules, "ortools.sat.python", None)
    kept = RepairSolver(GreedySolver(), budget=2.0, seed=0).solve(crowded)
    assert kept.solver.startswith("greedy (repair failed: import of ortools.sat.python halted")
    assert kept.status == "failed"
    assert kept.window.tolist() == [0, -1]


def test_where_nothing_waits_there_is_nothing_to_repair(make_fleet, even_forecast):
    config = RolloutConfig(solver="repair")
    plan = plan_fleet(make_fleet(hosts(3)), even_forecast([600] * 3), config, PLAN_S)
    assert plan.solver == "classes"


def test_the_plan_of_a_repair_is_the_same_each_time_and_depends_on_the_seed_only(
    make_fleet, even_forecast
):
    rng = np.random.default_rng(3)
    fleet = make_fleet(
        hosts(30),
        lanes=1,
        value=rng.uniform(0.5, 5, 30).tolist(),
        deadline_s=(OPEN_S + DAY_S * rng.integers(1, 4, 30)).tolist(),
    )
    forecast = even_forecast(rng.choice([900.0, 1_500.0, 2_100.0], 30).tolist())
    config = RolloutConfig(solver="repair", solver_budget_s=0.5, horizon_days=3)
    plan = plan_fleet(fleet, forecast, config, PLAN_S)
    assert plan.to_json() == plan_fleet(fleet, forecast, config, PLAN_S).to_json()
    assert check_fleet_plan(plan, fleet, config) == []


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(0.5, 5), min_size=4, max_size=14),
    days=st.lists(st.integers(1, 3), min_size=14, max_size=14),
    release=st.sampled_from(["", "r1"]),
    most=st.sampled_from(["", "2"]),
    seed=st.integers(0, 5),
)
def test_repair_is_never_worse_than_its_base_and_respects_its_bound(
    make_fleet, even_forecast, values, days, release, most, seed
):
    n = len(values)
    tasks = [(f"{'de'[i % 2]}-s-{i // 2}", "os", release) for i in range(n)]
    deadline_s = [OPEN_S + day * DAY_S for day in days[:n]]
    fleet = make_fleet(tasks, lanes=2, value=values, deadline_s=deadline_s, most=most)
    config = RolloutConfig(costs=FREE, horizon_days=3, canary_hosts=1, wave_shares=(0.5, 1.0))
    problem = build_problem(fleet, even_forecast([1_500] * n), config, PLAN_S).problem
    greedy = GreedySolver().solve(problem)
    repaired = RepairSolver(GreedySolver(), budget=0.2, seed=seed).solve(problem)
    assert greedy.objective <= repaired.objective <= repaired.bound + 1e-6


def test_a_task_taken_off_the_board_leaves_it_as_it_was(make_fleet, even_forecast):
    tasks = [(f"{'de'[i % 2]}-s-{i // 2}", "os", "r1") for i in range(12)]
    fleet = make_fleet(tasks, lanes=2, most="2")
    config = RolloutConfig(costs=FREE, horizon_days=3, canary_hosts=1, wave_shares=(0.5, 1.0))
    problem = build_problem(fleet, even_forecast([1_500] * 12), config, PLAN_S).problem
    board, order = Board(problem), placing_order(problem).tolist()
    fill(board, order)
    placed = dict(board.slots)
    slots = {task: board.remove(task) for task in reversed(list(placed))}
    assert slots == placed
    empty = Board(problem)
    assert board.free_gaps(0, 0) == empty.free_gaps(0, 0)
    assert not board.down.counts(0).any()
    assert [board.wave_span(0, wave) for wave in range(board.n_waves)] == [
        empty.wave_span(0, wave) for wave in range(board.n_waves)
    ]
    fill(board, order)
    assert board.slots == placed


def test_a_solution_goes_back_on_a_board(crowded):
    solution = GreedySolver().solve(crowded)
    board = board_of(crowded, solution)
    assert board.arrays()[0].tolist() == solution.window.tolist()
    assert board_of(crowded, replace(solution, window=np.array([-1, -1]))).slots == {}


def test_a_wave_on_which_others_rely_may_not_lose_its_quorum(make_fleet, even_forecast):
    fleet = make_fleet([(f"d-s-{i}", "os", "r1") for i in range(4)], lanes=4)
    config = RolloutConfig(costs=FREE, horizon_days=3, canary_hosts=1, wave_shares=(0.5, 1.0))
    problem = build_problem(fleet, even_forecast([600] * 4), config, PLAN_S).problem
    board = board_of(problem, GreedySolver().solve(problem))
    canary = int(np.flatnonzero(problem.tasks.wave == 0)[0])
    assert has_quorum(board, 0)
    slot = board.remove(canary)
    assert not has_quorum(board, 0)
    board.put(canary, slot)
    assert has_quorum(board, 0)
