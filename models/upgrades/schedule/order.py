"""In which order tasks are placed: value density, oldest first, prerequisites before."""

from __future__ import annotations

import numpy as np

from models.upgrades.schedule.base import NONE, Floats, Ints, Problem

# Densities closer than this factor count as equal, so that among them the oldest goes first.
DENSITY_STEP = 1.05


def best_gain(problem: Problem) -> Floats:
    """Value of each task at the opening of its domain's window, the best it can get."""
    tasks = problem.tasks
    left_s = (problem.window_s[tasks.domain] - tasks.rollback_s).astype(np.float64)
    return problem.gains.of(np.arange(len(tasks), dtype=np.int64), left_s)


def density_class(problem: Problem) -> Ints:
    """Logarithmic class of the gain per reserved second of each task, higher is better."""
    density = best_gain(problem) / np.maximum(problem.tasks.reserved_s, 1)
    steps = np.log(np.maximum(density, 1e-300)) / np.log(DENSITY_STEP)
    return np.asarray(np.floor(steps), dtype=np.int64)


def placing_order(problem: Problem) -> Ints:
    """Numbers of the open tasks in the order in which a greedy solver places them.

    A task that others wait for (an earlier type on its host, an earlier wave of its release)
    is at least as urgent as they are, so it comes before them; pinned tasks come first.
    """
    tasks = problem.tasks
    key = density_class(problem)
    key = np.where(tasks.pin != NONE, np.iinfo(np.int64).max, key)
    rank = problem.rank[tasks.type]
    key = _lifted(problem, key, rank)
    order = np.lexsort((np.arange(len(tasks)), tasks.arrival_s, tasks.wave, rank, -key))
    return np.asarray(order[tasks.is_open[order]], dtype=np.int64)


def _lifted(problem: Problem, key: Ints, rank: Ints) -> Ints:
    """Raise the keys of prerequisites to those of the tasks that wait for them."""
    tasks, key = problem.tasks, key.copy()
    lowest = np.iinfo(np.int64).min
    of_host = np.full(int(tasks.host.max()) + 1, lowest)
    of_group = np.full(int(tasks.group.max()) + 2, lowest)
    # From the last type and wave back: (rank, wave) is an order in which all waits point up.
    open_ = np.flatnonzero(tasks.is_open)
    by_rank = open_[np.argsort(-rank[open_], kind="stable")]
    for same_rank in np.split(by_rank, np.flatnonzero(np.diff(rank[by_rank])) + 1):
        for wave in np.unique(tasks.wave[same_rank])[::-1]:
            now = same_rank[tasks.wave[same_rank] == wave]
            key[now] = np.maximum(key[now], of_host[tasks.host[now]])
            in_group = now[tasks.group[now] != NONE]
            key[in_group] = np.maximum(key[in_group], of_group[tasks.group[in_group]])
            np.maximum.at(of_group, tasks.group[in_group], key[in_group])
        np.maximum.at(of_host, tasks.host[same_rank], key[same_rank])
    return key
