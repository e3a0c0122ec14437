"""One neighbourhood as a constraint programme: optional intervals, whole minutes.

Tasks outside it hold their lanes and caps; waves keep the limits that they are given. The
answer is a proposal: whoever places it asks the board, which knows every rule to the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from models.upgrades.schedule.base import NONE, Floats, Ints
from models.upgrades.schedule.board import Board
from models.upgrades.schedule.down import STEP_S

# Gains fall in steps as a start moves into its window; so many of them are told apart.
LEVELS = 4
SCALE = 1_000


@dataclass(frozen=True)
class Question:
    """What may move, on a board from which it was taken off.

    Attributes:
        board: Everything else, in its place.
        free: Tasks that may be placed.
        limits: Earliest start and latest end of each, seconds, waves and deadlines included.
        hint: Window and start of those that had a place, seconds.
        needed: Per (group, wave) how many of `free` must have a place for later waves.
    """

    board: Board
    free: Sequence[int]
    limits: Mapping[int, tuple[int, int]]
    hint: Mapping[int, tuple[int, int]]
    needed: Mapping[tuple[int, int], int]


class Answer(NamedTuple):
    """Window and start of the tasks that are to be placed, and the deterministic time spent."""

    places: dict[int, tuple[int, int]]
    work: float


class _Range(NamedTuple):
    """Starts that keep a task in one part of a window, steps of the grid, last included."""

    window: int
    first: int
    last: int
    latest_s: int


class _Task(NamedTuple):
    start: Any
    interval: Any
    is_present: Any
    ranges: list[_Range]


def solve(question: Question, work: float, seed: int) -> Answer:
    """Place as much value as the neighbourhood allows; no places if none was found in time.

    Args:
        question: The neighbourhood.
        work: Deterministic time to stop after, about seconds.
        seed: Seed of the search.
    """
    # Imported here: half a second of processor time that other plans need not pay.
    from ortools.sat.python import cp_model

    model, board = cp_model.CpModel(), question.board
    tasks, value = {}, []
    for task in question.free:
        ranges = _ranges(question, task)
        if ranges:
            tasks[task], terms = _task(model, question, task, ranges)
            value += terms
    _lanes(model, board, tasks)
    _caps(model, board, tasks)
    _hosts(model, board, tasks)
    for key, n in question.needed.items():
        own = [t for t in tasks if (board.group[t], board.wave[t]) == key]
        model.add(sum(tasks[task].is_present for task in own) >= n)
    model.maximize(sum(value))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    solver.parameters.max_deterministic_time = work
    status = solver.solve(model)
    spent = float(solver.response_proto.deterministic_time)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Answer({}, spent)
    places = {}
    for task, about in tasks.items():
        if solver.boolean_value(about.is_present):
            step = solver.value(about.start)
            window = next(r.window for r in about.ranges if r.first <= step <= r.last)
            places[task] = (window, board.down.origin_s + step * STEP_S)
    return Answer(places, spent)


def _ranges(question: Question, task: int) -> list[_Range]:
    """Starts that the windows, freezes, limits and fixed tasks of the host leave."""
    board = question.board
    from_s, until_s = question.limits[task]
    length_s, rollback_s = board.reserved_s[task], board.rollback_s[task]
    origin_s, problem = board.down.origin_s, board.problem
    held = [(s.start_s, s.start_s + board.reserved_s[t]) for t, s in board.on_host(task)]
    found = []
    for window, parts in enumerate(problem.segments[board.pair[task]]):
        if board.pin[task] not in (NONE, window):
            continue
        for a, b in parts:
            latest_s = b - rollback_s
            spans = [(max(a, from_s), min(latest_s, until_s) - length_s)]
            for begin_s, end_s in held:
                spans = [
                    piece
                    for x, y in spans
                    for piece in ((x, min(y, begin_s - length_s)), (max(x, end_s), y))
                    if piece[0] <= piece[1]
                ]
            for x, y in sorted(set(spans)):
                first, last = -(-(x - origin_s) // STEP_S), (y - origin_s) // STEP_S
                if first <= last:
                    found.append(_Range(window, first, last, latest_s))
    return found


def _task(
    model: Any, question: Question, task: int, ranges: list[_Range]
) -> tuple[_Task, list[Any]]:
    """Variables of a task, and its terms in the objective."""
    from ortools.sat.python import cp_model

    board = question.board
    spans = [[r.first, r.last] for r in ranges]
    start = model.new_int_var_from_domain(cp_model.Domain.from_intervals(spans), f"s{task}")
    is_present = model.new_bool_var(f"p{task}")
    length = -(-board.reserved_s[task] // STEP_S)
    interval = model.new_optional_fixed_size_interval_var(start, length, is_present, f"i{task}")
    hint = question.hint.get(task)
    step = -(-(hint[1] - board.down.origin_s) // STEP_S) if hint else ranges[0].first
    model.add_hint(is_present, hint is not None)
    model.add_hint(start, step)
    literals, terms = [], []
    for number, (gain, allowed) in enumerate(_levels(board, task, ranges)):
        literal = model.new_bool_var(f"g{task}-{number}")
        domain = cp_model.Domain.from_intervals(allowed)
        model.add_linear_expression_in_domain(start, domain).only_enforce_if(literal)
        literals.append(literal)
        terms.append(round(gain * SCALE) * literal)
    model.add(sum(literals) == is_present)
    return _Task(start, interval, is_present, ranges), terms


def _levels(board: Board, task: int, ranges: list[_Range]) -> list[tuple[float, list[list[int]]]]:
    """Gains that can be had, each with the starts that give at least as much."""
    gains, origin_s = board.problem.gains, board.down.origin_s
    lefts_s = [r.latest_s - origin_s - step * STEP_S for r in ranges for step in (r.first, r.last)]
    most_s, least_s = max(lefts_s), min(lefts_s)
    inside = gains.left_s[(gains.left_s > least_s) & (gains.left_s <= most_s)]
    left_s: Floats = np.concatenate([[float(least_s)], inside])
    gain = gains.of(np.full(len(left_s), task, dtype=np.int64), left_s)
    wanted = np.linspace(gain[0], gain[-1], LEVELS)
    chosen: Ints = np.unique(np.searchsorted(gain, wanted - 1e-12).clip(max=len(gain) - 1))
    found = []
    for place in chosen.tolist():
        allowed = []
        for r in ranges:
            last = int((r.latest_s - origin_s - left_s[place]) // STEP_S)
            if last >= r.first:
                allowed.append([r.first, min(r.last, last)])
        found.append((float(gain[place]), allowed))
    return found


def _lanes(model: Any, board: Board, tasks: Mapping[int, _Task]) -> None:
    """No more tasks at a time in a domain than it has lanes; which lane is a matter of colour."""
    by_domain: dict[int, list[Any]] = {}
    for task, about in tasks.items():
        by_domain.setdefault(board.domain[task], []).append(about.interval)
    n_steps = len(board.down.counts(0))
    origin_s = board.down.origin_s
    change = {domain: np.zeros(n_steps + 1, dtype=np.int64) for domain in by_domain}
    for task, slot in board.slots.items():
        if board.domain[task] in change:
            end_s = slot.start_s + board.reserved_s[task]
            steps = change[board.domain[task]]
            steps[(slot.start_s - origin_s) // STEP_S] += 1
            steps[-(-(end_s - origin_s) // STEP_S)] -= 1
    for domain, intervals in by_domain.items():
        held = np.cumsum(change[domain])[:-1]
        _at_most(model, intervals, int(board.problem.lanes[domain]), held)


def _caps(model: Any, board: Board, tasks: Mapping[int, _Task]) -> None:
    """No more hosts of a service down than its cap, with those that stay where they are."""
    by_service: dict[int, list[Any]] = {}
    for task, about in tasks.items():
        service = board.service[task]
        if board.down.can_bind[service]:
            by_service.setdefault(service, []).append(about.interval)
    for service, intervals in by_service.items():
        held = board.down.counts(service).astype(np.int64)
        _at_most(model, intervals, board.down.caps[service], held)


def _at_most(model: Any, intervals: list[Any], capacity: int, held: Ints) -> None:
    """Cumulative of optional intervals over a profile that is held already."""
    # Widened to whole minutes, what follows on one lane counts twice for a moment.
    held = np.minimum(held, capacity)
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(held)) + 1, [len(held)]])
    fixed, demands = [], []
    for first, last in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        if held[first]:
            fixed.append(model.new_fixed_size_interval_var(first, last - first, f"f{first}"))
            demands.append(int(held[first]))
    model.add_cumulative([*intervals, *fixed], [*([1] * len(intervals)), *demands], capacity)


def _hosts(model: Any, board: Board, tasks: Mapping[int, _Task]) -> None:
    """One task at a time on a host, and types in their order."""
    types, ancestors = board.problem.tasks.type, board.problem.ancestors
    by_host: dict[int, list[int]] = {}
    for task in tasks:
        by_host.setdefault(int(board.problem.tasks.host[task]), []).append(task)
    for task, about in tasks.items():
        first = ancestors[int(types[task])]
        for other in board.siblings.get(task, ()):
            if int(types[other]) not in first or other in board.slots:
                continue
            if other in tasks:
                before = tasks[other]
                model.add_implication(about.is_present, before.is_present)
                length = -(-board.reserved_s[other] // STEP_S)
                ends = before.start + length
                model.add(ends <= about.start).only_enforce_if(about.is_present)
            else:
                model.add(about.is_present == 0)
    for members in by_host.values():
        if len(members) > 1:
            model.add_no_overlap([tasks[task].interval for task in members])
