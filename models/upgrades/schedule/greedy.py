"""Greedy by value density: each task at its earliest feasible start."""

from __future__ import annotations

from collections.abc import Iterable

from models.upgrades.schedule.base import Problem, Solution
from models.upgrades.schedule.board import Board
from models.upgrades.schedule.bound import knapsack_bound, objective
from models.upgrades.schedule.order import placing_order


class GreedySolver:
    """The base of the other solvers, and what is left when they run out of time."""

    name = "greedy"

    def solve(self, problem: Problem) -> Solution:
        """Place the tasks in order of value density; see `placing_order`."""
        board = Board(problem)
        fill(board, placing_order(problem).tolist())
        return solution_of(board, self.name, "heuristic", knapsack_bound(problem))


def fill(board: Board, order: Iterable[int]) -> None:
    """Place whatever of `order` has no place yet and finds one, in that order."""
    for task in order:
        if task not in board.slots:
            slot = board.find(task)
            if slot is not None:
                board.put(task, slot)


def solution_of(board: Board, solver: str, status: str, bound: float) -> Solution:
    """Freeze a board into a solution."""
    window, lane, start_s, latest_s = board.arrays()
    value = objective(board.problem, window, start_s, latest_s)
    return Solution(window, lane, start_s, latest_s, solver, status, value, bound)
