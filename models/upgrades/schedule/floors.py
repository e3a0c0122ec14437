"""How early each wave could start at best, whatever the plan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.upgrades.schedule.base import NONE, Ints, Problem


def wave_floors_s(problem: Problem) -> Ints:
    """Earliest start of each task in any plan, given the waves alone; shape (n_tasks,).

    Every wave needs its quorum, so it ends no earlier than the quorum-th of its tasks could
    if each had the fleet for itself; the next starts no earlier than that and the soak.
    """
    tasks, waves = problem.tasks, problem.waves
    floor_s = tasks.ready_s.copy()
    in_group = np.flatnonzero(tasks.group != NONE)
    order = in_group[np.lexsort((tasks.wave[in_group], tasks.group[in_group]))]
    keys = tasks.group[order] * waves.size.shape[1] + tasks.wave[order]
    n_groups, n_waves = waves.size.shape
    bounds = np.searchsorted(keys, np.arange(n_groups * n_waves + 1))
    for group in range(n_groups):
        from_s = 0
        for wave in range(n_waves):
            place = group * n_waves + wave
            members = order[bounds[place] : bounds[place + 1]]
            floor_s[members] = np.maximum(floor_s[members], from_s)
            if not waves.size[group, wave]:
                continue
            from_s = max(from_s, int(waves.done_end_s[group, wave]) + waves.soak_s)
            needed = np.ceil(np.round(waves.quorum * waves.size[group, wave], 9))
            needed = int(needed) - int(waves.done[group, wave])
            if 0 < needed <= len(members):
                ends_s = np.sort(_earliest_ends_s(problem, members, floor_s[members]))
                from_s = max(from_s, int(ends_s[needed - 1]) + waves.soak_s)
    return floor_s


def _earliest_ends_s(problem: Problem, members: Ints, from_s: Ints) -> Ints:
    """Earliest end of each member in a window of its own domain, freezes aside."""
    tasks = problem.tasks
    opens_s = problem.opens_s[tasks.domain[members]]
    closes_s = opens_s + problem.window_s[tasks.domain[members]][:, None]
    ends_s = np.maximum(opens_s, from_s[:, None]) + tasks.reserved_s[members][:, None]
    # Past the last window: beyond it, which is later than any that exists.
    is_inside = ends_s <= closes_s
    first = is_inside.argmax(axis=1)
    found = ends_s[np.arange(len(members)), first]
    return np.where(is_inside.any(axis=1), found, closes_s[:, -1]).astype(np.int64)


def too_late_for_waves(problem: Problem) -> NDArray[np.bool_]:
    """Tasks whose deadline passes before their wave could end them, shape (n_tasks,)."""
    tasks = problem.tasks
    floor_s = wave_floors_s(problem)
    could, can = np.zeros((2, len(tasks)), dtype=bool)
    for window in range(problem.opens_s.shape[1]):
        open_s = problem.opens_s[tasks.domain, window]
        end_s = np.maximum(open_s, floor_s) + tasks.reserved_s
        fits = end_s + tasks.rollback_s <= open_s + problem.window_s[tasks.domain]
        could |= fits
        can |= fits & (end_s <= tasks.deadline_s)
    return np.asarray((tasks.group != NONE) & could & ~can, dtype=np.bool_)
