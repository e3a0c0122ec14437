"""Counts of like tasks per window by a linear programme.

Tasks that differ in nothing the windows look at (domain, freezes, a cap that can bind,
length, value, earliest and latest window) are one class, so a large fleet has few: the
upper level of two-level placement as in RAS (Newell et al., SOSP 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.upgrades.schedule.base import NONE, Floats, Ints, Problem
from models.upgrades.schedule.order import best_gain

# Reservations within a step and gains within a factor are alike; a calendar's grain.
RESERVED_STEP_S = 900
GAIN_STEP = 1.1
# Deterministic time of one programme, about seconds: more, and there is no answer.
WORK = 30.0


@dataclass(frozen=True)
class Classes:
    """Classes of open tasks; arrays of shape (n_classes,) unless said otherwise.

    Attributes:
        tasks: Numbers of the tasks, shape (n_open,).
        of_task: Class of each of them, shape (n_open,).
        first: One task of each class.
        count: Tasks of the class.
        reserved_s: Least reservation of the class, so that the programme bounds.
        gain: Greatest gain of the class, for the same reason.
        earliest: First window that may be used.
        latest: Last one.
    """

    tasks: Ints
    of_task: Ints
    first: Ints
    count: Ints
    reserved_s: Floats
    gain: Floats
    earliest: Ints
    latest: Ints


@dataclass(frozen=True)
class Counts:
    """Optimal value, and how many of each class go where, shape (n_classes, n_windows)."""

    value: float
    counts: Floats


def classes_of(problem: Problem, order: Ints, from_s: Ints, can_bind: NDArray[np.bool_]) -> Classes:
    """Group tasks that a programme need not tell apart.

    Args:
        problem: The problem.
        order: Numbers of the open tasks, most urgent first.
        from_s: Earliest start of each task of the problem, shape (n_tasks,).
        can_bind: Services whose cap can bind.
    """
    tasks, gain = problem.tasks, best_gain(problem)[order]
    earliest, latest = _window_range(problem, order, from_s[order])
    steps = np.log(np.maximum(gain, 1e-9)) / np.log(GAIN_STEP)
    service = tasks.service[order]
    _, freeze = np.unique(longest_parts_s(problem), axis=0, return_inverse=True)
    columns = (
        *(tasks.domain[order], np.where(can_bind[service], service, NONE)),
        *(freeze.ravel()[tasks.pair[order]], tasks.rollback_s[order]),
        *(tasks.reserved_s[order] // RESERVED_STEP_S, np.floor(steps).astype(np.int64)),
        *(earliest, latest),
    )
    _, first, of_task, count = np.unique(
        np.column_stack(columns), axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    of_task = of_task.ravel()
    least_s = np.full(len(first), np.inf)
    np.minimum.at(least_s, of_task, tasks.reserved_s[order].astype(np.float64))
    most = np.zeros(len(first))
    np.maximum.at(most, of_task, np.maximum(gain, 0.0))
    return Classes(
        order, of_task, order[first], count, least_s, most, earliest[first], latest[first]
    )


def _window_range(problem: Problem, order: Ints, from_s: Ints) -> tuple[Ints, Ints]:
    tasks = problem.tasks
    opens_s = problem.opens_s[tasks.domain[order]]
    closes_s = opens_s + problem.window_s[tasks.domain[order]][:, None]
    earliest = (closes_s < (from_s + tasks.reserved_s[order])[:, None]).sum(axis=1)
    last_s = tasks.deadline_s[order] - tasks.reserved_s[order]
    latest = (opens_s <= last_s[:, None]).sum(axis=1) - 1
    pin = tasks.pin[order]
    is_free = pin == NONE
    return np.where(is_free, earliest, pin), np.where(is_free, latest, pin)


def longest_parts_s(problem: Problem) -> Ints:
    """Longest part of each window that no freeze covers, seconds, (n_pairs, n_windows)."""
    return np.array(
        [
            [max((b - a for a, b in parts), default=0) for parts in windows]
            for windows in problem.segments
        ],
        dtype=np.int64,
    )


def solve_counts(
    problem: Problem, classes: Classes, can_bind: NDArray[np.bool_], work: float = WORK
) -> Counts | None:
    """Solve the programme with GLOP; None if it ended without an optimum.

    Maximise the gains of the counts, under: as many as the class has; the lane time of
    each (domain, window); and for each service whose cap can bind, the cap times the time
    in which any of its windows is open.

    Args:
        problem: The problem.
        classes: Its classes.
        can_bind: Services whose cap can bind.
        work: Deterministic time to give up after, about seconds.
    """
    # Imported here: half a second of processor time that greedy plans need not pay.
    from ortools.linear_solver.python import model_builder

    class_, window = _variables(problem, classes)
    shape = (len(classes.count), problem.opens_s.shape[1])
    if not len(class_):
        return Counts(0.0, np.zeros(shape))
    matrix, most = _rows(problem, classes, class_, window, can_bind)
    model: Any = model_builder.Model()  # type: ignore[no-untyped-call]
    model.helper.fill_model_from_sparse_data(
        np.zeros(len(class_)),
        classes.count[class_].astype(np.float64),
        # The default sense is to minimise.
        -classes.gain[class_],
        np.full(len(most), -np.inf),
        most,
        matrix,
    )
    solver = model_builder.Solver("GLOP")
    solver.set_solver_specific_parameters(f"max_deterministic_time: {work}")
    if solver.solve(model) != model_builder.SolveStatus.OPTIMAL:
        return None
    counts = np.zeros(shape)
    counts[class_, window] = solver.values(model.get_variables()).to_numpy()
    return Counts(-float(solver.objective_value), counts)


def _variables(problem: Problem, classes: Classes) -> tuple[Ints, Ints]:
    """Class and window of each variable: where a part of the window is long enough."""
    tasks = problem.tasks
    needs_s = classes.reserved_s + tasks.rollback_s[classes.first]
    window = np.arange(problem.opens_s.shape[1])
    may = (
        (longest_parts_s(problem)[tasks.pair[classes.first]] >= needs_s[:, None])
        & (window >= classes.earliest[:, None])
        & (window <= classes.latest[:, None])
    )
    found = np.nonzero(may)
    return found[0].astype(np.int64), found[1].astype(np.int64)


def _rows(
    problem: Problem, classes: Classes, class_: Ints, window: Ints, can_bind: NDArray[np.bool_]
) -> tuple[Any, Floats]:
    """Sparse matrix of the rows and the most that each may reach."""
    from scipy.sparse import coo_array, csr_matrix

    tasks, n_windows = problem.tasks, problem.opens_s.shape[1]
    reserved_s, first = classes.reserved_s[class_], classes.first[class_]
    domain, service = tasks.domain[first], tasks.service[first]
    binds = np.flatnonzero(can_bind[service])
    n_classes, n_lane_rows = len(classes.count), len(problem.lanes) * n_windows
    rows = (
        class_,
        n_classes + domain * n_windows + window,
        n_classes + n_lane_rows + service[binds] * n_windows + window[binds],
    )
    number = np.arange(len(class_))
    entries = (np.ones(len(class_)), reserved_s, reserved_s[binds])
    lane_s = np.repeat(problem.lanes * problem.window_s, n_windows)
    most = np.concatenate([classes.count, lane_s, _cap_time_s(problem, can_bind).ravel()])
    matrix = coo_array(
        (np.concatenate(entries), (np.concatenate(rows), np.concatenate([number, number, binds]))),
        shape=(len(most), len(class_)),
    )
    return csr_matrix(matrix), most.astype(np.float64)


def _cap_time_s(problem: Problem, can_bind: NDArray[np.bool_]) -> Floats:
    """Cap times the time in which any window of a service is open, (n_services, n_windows)."""
    n_windows = problem.opens_s.shape[1]
    host_s = np.zeros((len(problem.services.caps), n_windows))
    pairs = np.unique(np.column_stack([problem.tasks.service, problem.tasks.domain]), axis=0)
    for service in np.flatnonzero(can_bind):
        domains = pairs[pairs[:, 0] == service, 1]
        for window in range(n_windows if len(domains) else 0):
            opens_s = problem.opens_s[domains, window]
            order = np.argsort(opens_s, kind="stable")
            closes_s = np.maximum.accumulate((opens_s + problem.window_s[domains])[order])
            gaps_s = np.maximum(opens_s[order][1:] - closes_s[:-1], 0).sum()
            union_s = closes_s[-1] - opens_s[order][0] - gaps_s
            host_s[service, window] = problem.services.caps[service] * union_s
    return host_s
