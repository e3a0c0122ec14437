"""Class-aggregated planning: counts from a linear programme, then hosts, oldest first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.upgrades.schedule.base import NONE, Floats, Ints, Problem, Solution
from models.upgrades.schedule.board import Board
from models.upgrades.schedule.bound import idle_cost, knapsack_bound
from models.upgrades.schedule.floors import wave_floors_s
from models.upgrades.schedule.greedy import fill, solution_of
from models.upgrades.schedule.order import placing_order
from models.upgrades.schedule.programme import WORK, Classes, classes_of, solve_counts


class ClassSolver:
    """Greedy, then tasks in the windows that the programme counted, whichever is better."""

    name = "classes"

    def __init__(self, work: float = WORK) -> None:
        """Set the deterministic time of one programme, about seconds."""
        self.work = work

    def solve(self, problem: Problem) -> Solution:
        """Place the tasks; if the programme runs out of time, as the greedy solver does."""
        board, order = Board(problem), placing_order(problem)
        fill(board, order.tolist())
        before = solution_of(board, self.name, "heuristic", knapsack_bound(problem))
        can_bind = np.array(board.down.can_bind, dtype=bool)
        relaxed = classes_of(problem, order, wave_floors_s(problem), can_bind)
        bound = solve_counts(problem, relaxed, can_bind, self.work)
        # The programme knows no clock inside a wave; the greedy plan tells when waves start.
        classes = classes_of(problem, order, _starts_s(problem, board), can_bind)
        counted = solve_counts(problem, classes, can_bind, self.work)
        if bound is None or counted is None:
            return replace(before, status="timed out")
        before = replace(before, bound=min(before.bound, bound.value - idle_cost(problem)))
        target = _targets(classes, counted.counts, len(problem.tasks))
        board = Board(problem)
        for task, window in zip(order.tolist(), target[order].tolist(), strict=True):
            slot = board.find(task, (window,)) if window != NONE else None
            if slot is not None:
                board.put(task, slot)
        fill(board, order.tolist())
        after = solution_of(board, self.name, "improved", before.bound)
        return after if after.objective > before.objective else before


def _starts_s(problem: Problem, board: Board) -> Ints:
    """Earliest start of each task if waves begin when they do on this board."""
    tasks, known = problem.tasks, {}
    from_s = tasks.ready_s.copy()
    for task in np.flatnonzero(tasks.group != NONE).tolist():
        key = (board.group[task], board.wave[task])
        if key not in known:
            known[key] = board.wave_limits(*key)[0]
        from_s[task] = max(from_s[task], known[key])
    return from_s


def _targets(classes: Classes, counts: Floats, n_tasks: int) -> Ints:
    """Window that each task should go to, -1 for none: the most urgent of a class first."""
    target = np.full(n_tasks, NONE, dtype=np.int64)
    # Sums are rounded, not counts, so that a class keeps its total to half a task.
    reached = np.floor(np.cumsum(counts, axis=1) + 0.5).astype(np.int64)
    each = np.diff(np.minimum(reached, classes.count[:, None]), axis=1, prepend=0)
    by_class = np.argsort(classes.of_task, kind="stable")
    ends = np.cumsum(classes.count)
    windows = np.arange(counts.shape[1])
    for begin, end, row in zip(ends - classes.count, ends, each, strict=True):
        chosen = np.repeat(windows, row)
        target[classes.tasks[by_class[begin:end]][: len(chosen)]] = chosen
    return target
