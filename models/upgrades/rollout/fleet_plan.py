"""Plan the upgrades of a fleet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from models.upgrades.fleet.base import Fleet
from models.upgrades.plan import (
    FLEET_ASSIGNMENT_COLUMNS,
    FLEET_REFUSAL_COLUMNS,
    RolloutPlan,
)
from models.upgrades.rollout.config import RolloutConfig
from models.upgrades.rollout.forecast import TaskForecast
from models.upgrades.rollout.problem import FleetProblem, build_problem
from models.upgrades.rollout.reasons import Explainer
from models.upgrades.rollout.scenarios import CapRisk, cap_risk
from models.upgrades.schedule.base import NONE, Problem, Solution, Solver
from models.upgrades.schedule.classes import ClassSolver
from models.upgrades.schedule.greedy import GreedySolver
from models.upgrades.schedule.repair import RepairSolver, board_of

SOLVERS: Mapping[str, Solver] = {"greedy": GreedySolver(), "classes": ClassSolver()}

# Each round of repair puts the tasks of a domain back: in a larger fleet the budget is spent
# before it has been everywhere.
MAX_REPAIRED = 20_000
# Rounds under lower caps; where the third is not enough, the cap is 1 or overruns are rare.
MAX_ROUNDS = 4
# With fewer deadlines than this inside the horizon, or only on tasks in waves, counting
# classes gained nothing (docs/decisions/upgrades-solvers.md).
CROWDED_SHARE = 0.05


def plan_fleet(
    fleet: Fleet,
    forecast: TaskForecast,
    config: RolloutConfig,
    plan_s: int,
    policy: str = "forecast",
    solver: Solver | None = None,
) -> RolloutPlan:
    """Place the backlog of a fleet; the same inputs give the same plan.

    Args:
        fleet: Checked tables.
        forecast: What is known of each task's duration, in the order of the backlog.
        config: Horizon, waves, costs, solver.
        plan_s: When the plan is made, seconds of the local clock; nothing starts earlier,
            and only events that had ended count.
        policy: Name of whatever made the reservations, kept in the plan.
        solver: Another solver than the config's.

    Raises:
        ConfigError: An exclude pattern matches nothing, or the forecast is of another backlog.
        FleetTableError: The pin file does not fit the fleet.
    """
    built = build_problem(fleet, forecast, config, plan_s)
    chosen = solver or _solver_for(built.problem, config)
    problem, solution, risk = _solve(built.problem, chosen, config)
    caps, services = built.problem.services.caps, fleet.services["service"].to_numpy(object)
    built = replace(built, problem=problem)
    return RolloutPlan(
        assignments=_assignments(built, forecast, solution),
        refusals=_refusals(fleet, built, forecast, solution, config),
        policy=policy,
        plan_s=plan_s,
        inputs_hash=_inputs_hash(fleet, forecast, config, plan_s, policy, chosen),
        solver=solution.solver,
        solver_status=solution.status,
        objective=solution.objective,
        bound=solution.bound,
        cap_risk=None if risk is None else risk.frame(caps, services, config.cap_breach_eps),
    )


def _solve(
    problem: Problem, solver: Solver, config: RolloutConfig
) -> tuple[Problem, Solution, CapRisk | None]:
    """Solve; where scenarios breach caps too often, again with caps lower by the excess.

    Returns the problem as it was solved last, its solution, and what scenarios say of it
    under the caps that were asked for.
    """
    solution, eps, asked = solver.solve(problem), config.cap_breach_eps, problem.services
    if not config.scenarios:
        return problem, solution, None
    risk = cap_risk(problem, solution, config)
    for _ in range(MAX_ROUNDS - 1 if eps is not None else 0):
        over = risk.excess(asked.caps, eps or 0.0)
        caps = np.maximum(1, problem.services.caps - np.maximum(over, 0))
        if (caps == problem.services.caps).all():
            break
        problem = replace(problem, services=replace(asked, caps=caps))
        solution = solver.solve(problem)
        risk = cap_risk(problem, solution, config)
    return problem, solution, risk


def _solver_for(problem: Problem, config: RolloutConfig) -> Solver:
    repair = RepairSolver(SOLVERS["classes"], config.solver_budget_s, config.seed)
    if config.solver != "auto":
        return repair if config.solver == "repair" else SOLVERS[config.solver]
    tasks = problem.tasks
    last_s = (problem.opens_s[:, -1] + problem.window_s)[tasks.domain]
    is_dated = tasks.is_open & (tasks.group == NONE) & (tasks.deadline_s < last_s)
    if is_dated.sum() <= CROWDED_SHARE * len(tasks):
        return SOLVERS["greedy"]
    return repair if len(tasks) <= MAX_REPAIRED else SOLVERS["classes"]


def _assignments(built: FleetProblem, forecast: TaskForecast, solution: Solution) -> pd.DataFrame:
    problem, placed = built.problem, np.flatnonzero(solution.is_placed)
    tasks, start_s, latest_s = problem.tasks, solution.start_s[placed], solution.latest_s[placed]
    left_s = (latest_s - start_s).astype(np.float64)
    frame = built.tasks.iloc[placed].assign(
        window_open_s=problem.opens_s[tasks.domain[placed], solution.window[placed]],
        lane=solution.lane[placed],
        start_s=start_s,
        reserved_s=tasks.reserved_s[placed],
        end_s=start_s + tasks.reserved_s[placed],
        deadline_s=latest_s,
        p50_s=forecast.p50_s[placed],
        p90_s=forecast.p90_s[placed],
        wave=tasks.wave[placed],
        p_in_time=problem.gains.in_time(placed, left_s),
        gain=problem.gains.of(placed, left_s),
    )
    by_start = ["window_open_s", "domain", "lane", "start_s"]
    columns = list(FLEET_ASSIGNMENT_COLUMNS)
    return frame[columns].sort_values(by_start, kind="stable", ignore_index=True)


def _refusals(
    fleet: Fleet,
    built: FleetProblem,
    forecast: TaskForecast,
    solution: Solution,
    config: RolloutConfig,
) -> pd.DataFrame:
    board = board_of(built.problem, solution)
    explainer = Explainer(fleet, built, forecast, board, config)
    refused = np.flatnonzero(~solution.is_placed)
    found = [explainer.explain(task) for task in refused.tolist()]
    # Of objects even where nothing was refused: an empty list would become numbers.
    frame = built.tasks.iloc[refused].assign(
        wave=built.problem.tasks.wave[refused],
        reason=np.array([refusal.reason.value for refusal in found], dtype=object),
        detail=np.array([refusal.detail for refusal in found], dtype=object),
    )
    columns = list(FLEET_REFUSAL_COLUMNS)
    return frame[columns].sort_values("task", kind="stable", ignore_index=True)


def _inputs_hash(
    fleet: Fleet,
    forecast: TaskForecast,
    config: RolloutConfig,
    plan_s: int,
    policy: str,
    solver: Solver,
) -> str:
    digest = hashlib.sha256()
    for part in (fleet.digest, config.model_dump_json(), plan_s, policy, solver.name):
        digest.update(f"{part}\x1e".encode())
    if config.pin is not None:
        digest.update(config.pin.read_bytes())
    for array in (
        forecast.in_time.left_s,
        forecast.in_time.probability,
        forecast.reserved_s,
        forecast.p50_s,
        forecast.p90_s,
    ):
        digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return digest.hexdigest()
