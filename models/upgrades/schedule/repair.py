"""Neighbourhood repair: free some tasks of a finished plan, place them better, keep what pays.

Source: Shaw (1998), "Using Constraint Programming and Local Search Methods to Solve Vehicle
Routing Problems": large neighbourhood search.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from models.upgrades.schedule.base import NEVER_S, NONE, Problem, Solution, Solver
from models.upgrades.schedule.board import Board, Slot
from models.upgrades.schedule.bound import objective
from models.upgrades.schedule.greedy import fill, solution_of
from models.upgrades.schedule.neighbourhood import Neighbourhoods
from models.upgrades.schedule.neighbourhood_model import Question, solve
from models.upgrades.schedule.order import best_gain, placing_order

# Deterministic time of one neighbourhood, and what its model and each task that is put back
# cost in the same unit: about 5 s of processor time.
ROUND_WORK = 0.05
BUILD_WORK = 0.02
MOVE_WORK = 2e-5
# A sum of floats in another order is no improvement.
LEAST_RISE = 1e-6


class RepairSolver:
    """Improves the plan of another solver within a budget, or returns it and says so."""

    name = "repair"

    def __init__(self, base: Solver, budget: float, seed: int) -> None:
        """Take whose plan to improve, the deterministic time in about seconds, and a seed."""
        self.base, self.budget, self.seed = base, budget, seed

    def solve(self, problem: Problem) -> Solution:
        """Improve the plan of the base; it comes back as it was if nothing was found."""
        start = self.base.solve(problem)
        board = board_of(problem, start)
        gain = best_gain(problem).tolist()
        draws = Neighbourhoods(board, placing_order(problem), gain, self.seed)
        if not draws.waiting():
            return start
        try:
            _improve(board, draws, self.budget, self.seed)
        except (ImportError, RuntimeError) as error:
            # Without a solver, or with one that fails, the plan of the base is still a plan.
            return _kept(start, f"repair failed: {error}", "failed")
        # What a later repair made room for in another domain.
        fill(board, draws.order)
        after = solution_of(board, self.name, "improved", start.bound)
        if after.objective <= start.objective + LEAST_RISE:
            return _kept(start, "repair found nothing in its budget", "timed out")
        return after


def board_of(problem: Problem, solution: Solution) -> Board:
    """Put a solution on an empty board."""
    board = Board(problem)
    columns = (solution.window, solution.lane, solution.start_s, solution.latest_s)
    for task in solution.is_placed.nonzero()[0].tolist():
        board.put(task, Slot(*(int(column[task]) for column in columns)))
    return board


def _kept(start: Solution, why: str, status: str) -> Solution:
    return replace(start, solver=f"{start.solver} ({why})", status=status)


def _improve(board: Board, draws: Neighbourhoods, budget: float, seed: int) -> None:
    """Repair until the budget is spent or nothing waits any more."""
    spent, turn = 0.0, 0
    while spent < budget and (free := draws.draw()) is not None:
        spent += _repair(board, free, draws.order, min(ROUND_WORK, budget - spent), seed + turn)
        turn += 1


def _value(board: Board) -> float:
    window, _, start_s, latest_s = board.arrays()
    return objective(board.problem, window, start_s, latest_s)


def _repair(board: Board, free: list[int], order: Sequence[int], work: float, seed: int) -> float:
    """Repair one neighbourhood; the board is as before unless its value rises.

    Returns the deterministic time that it took.
    """
    before = _value(board)
    limits = {task: _limits(board, task, is_late=bool(seed % 2)) for task in free}
    domains = {board.domain[task] for task in free}
    # Lanes are colours: whatever shares a domain may have to change its lane.
    moved = [task for task in board.slots if board.domain[task] in domains]
    taken = {task: board.slots[task] for task in moved}
    needed = _needed(board, free)
    for task in free:
        if task in board.slots:
            board.remove(task)
    hint = {task: (taken[task].window, taken[task].start_s) for task in free if task in taken}
    answer = solve(Question(board, free, limits, hint, needed), work, seed)
    is_kept = False
    if answer.places:
        free_set = set(free)
        kept = {t: (s.window, s.start_s) for t, s in taken.items() if t not in free_set}
        for task in kept:
            board.remove(task)
        _place(board, {**kept, **answer.places})
        fill(board, (task for task in order if board.domain[task] in domains))
        groups = {board.group[task] for task in moved} - {NONE}
        is_kept = _value(board) > before + LEAST_RISE and all(
            has_quorum(board, group) for group in groups
        )
    if not is_kept:
        _restore(board, domains, taken)
    return answer.work + BUILD_WORK + MOVE_WORK * len(moved)


def _place(board: Board, places: dict[int, tuple[int, int]]) -> None:
    """Place at the planned starts or earlier, in order of these: later ones find room."""
    for task in sorted(places, key=lambda task: (places[task][1], task)):
        slot = board.find(task, (places[task][0],))
        if slot is not None:
            board.put(task, slot)


def has_quorum(board: Board, group: int) -> bool:
    """Whether no wave lost a place on which waves in other domains rely."""
    starts_s = [board.wave_span(group, wave)[0] for wave in range(board.n_waves)]
    last = max((wave for wave, start_s in enumerate(starts_s) if start_s < NEVER_S), default=0)
    return all(board.spare(group, wave) >= 0 for wave in range(last))


def _restore(board: Board, domains: Iterable[int], taken: dict[int, Slot]) -> None:
    touched = set(domains)
    for task in [task for task in board.slots if board.domain[task] in touched]:
        board.remove(task)
    for task, slot in taken.items():
        board.put(task, slot)


def _limits(board: Board, task: int, is_late: bool) -> tuple[int, int]:
    """Bounds of a task that hold whatever else of its neighbourhood moves.

    Between two waves there is one boundary: the end of the earlier one as it is, or the
    start of the later one. One of them for all waves, or both would give way at once.
    """
    from_s, until_s = board.ready_s[task], board.deadline_s[task]
    group, wave = board.group[task], board.wave[task]
    if group == NONE:
        return from_s, until_s
    wave_from_s, wave_until_s = board.wave_limits(group, wave)
    start_s, end_s = board.wave_span(group, wave)
    if is_late:
        wave_from_s = max(wave_from_s, start_s)
    elif wave + 1 < board.n_waves and end_s:
        wave_until_s = min(wave_until_s, end_s)
    return max(from_s, wave_from_s), min(until_s, wave_until_s)


def _needed(board: Board, free: list[int]) -> dict[tuple[int, int], int]:
    """How many of the free tasks of each wave later waves rely on."""
    in_wave: dict[tuple[int, int], int] = {}
    for task in free:
        if task in board.slots and board.group[task] != NONE:
            key = (board.group[task], board.wave[task])
            in_wave[key] = in_wave.get(key, 0) + 1
    return {key: n for key, held in in_wave.items() if (n := held - board.spare(*key)) > 0}
