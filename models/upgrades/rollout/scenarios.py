"""How likely a service has more hosts down than its cap: joint durations over a finished plan.

A plan keeps caps as long as tasks keep to their reservations. Here they do not: durations
are drawn from the forecast, with what all tasks, a release, and a domain's night have in
common; an overrun holds its lane and host until it ends or, from its latest safe instant
on, is rolled back. What would then start with less time than it reserved does not start.
Nobody intervenes, so an operator who watches caps at every start does better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.plan import CAP_RISK_COLUMNS
from models.upgrades.rollout.config import RolloutConfig
from models.upgrades.schedule.base import NONE, Floats, Ints, Problem, Solution
from models.upgrades.schedule.down import binding_services
from models.upgrades.schedule.gains import Gains

# Draws held at a time: 8 million are about 200 MB over all arrays.
BLOCK = 4_000_000
# A plan that breaks a cap in one night of ten is worth a warning though no limit was asked for.
LIKELY_BREACH = 0.1


@dataclass(frozen=True)
class CapRisk:
    """What scenarios say of the caps; arrays of shape (n_rows,), a row per service and window.

    Attributes:
        service: Code of the service.
        open_s: Opening of the first of the windows that overlap, seconds.
        hosts: Tasks of the service placed in them.
        peak: Most hosts down at once in each scenario, shape (n_rows, n_scenarios).
    """

    service: Ints
    open_s: Ints
    hosts: Ints
    peak: Ints

    def p_breach(self, caps: Ints) -> Floats:
        """Share of the scenarios with more hosts down than the cap of the row's service."""
        if not self.peak.size:
            return np.zeros(len(self.service))
        share: Floats = (self.peak > caps[self.service][:, None]).mean(axis=1)
        return share

    def excess(self, caps: Ints, eps: float) -> Ints:
        """Hosts above the cap that only a share of `eps` of the scenarios exceeds, at least 0.

        The worst window of each service counts; shape (n_services,).
        """
        over = np.zeros(len(caps), dtype=np.int64)
        if self.peak.size:
            high = np.quantile(self.peak, 1 - eps, axis=1, method="higher").astype(np.int64)
            np.maximum.at(over, self.service, high - caps[self.service])
        return over

    def frame(self, caps: Ints, names: NDArray[np.object_], eps: float | None) -> pd.DataFrame:
        """Return `CAP_RISK_COLUMNS`, the likeliest breach first."""
        share = self.p_breach(caps)
        columns = (names[self.service], self.open_s, caps[self.service], self.hosts, share)
        above = share > breach_limit(eps)
        table = pd.DataFrame(dict(zip(CAP_RISK_COLUMNS, (*columns, above), strict=True)))
        by = ["p_breach", "service", "window_open_s"]
        return table.sort_values(by, ascending=[False, True, True], ignore_index=True)


def breach_limit(eps: float | None) -> float:
    """Share of the scenarios above which a breach is marked: as asked, or `LIKELY_BREACH`."""
    return LIKELY_BREACH if eps is None else eps


def cap_risk(problem: Problem, solution: Solution, config: RolloutConfig) -> CapRisk:
    """Play `config.scenarios` draws of all durations over a plan; the same seed, the same draws."""
    tasks, n = problem.tasks, config.scenarios
    rng = np.random.default_rng(config.seed)
    placed = np.flatnonzero(solution.is_placed)
    placed = placed[np.argsort(solution.start_s[placed], kind="stable")]
    cluster, opens_s = _clusters(problem, solution, placed)
    rows: list[tuple[int, int, int, Ints]] = []
    can_bind = np.array(binding_services(problem), dtype=bool)
    fleet_wide = rng.standard_normal(n)
    of_release = rng.standard_normal((int(tasks.group.max(initial=-1)) + 2, n))
    for number, open_s in enumerate(opens_s.tolist()):
        members = placed[cluster == number]
        of_domain = rng.standard_normal((len(problem.lanes), n))
        levels = _levels(problem, solution, members)
        size = max(1, BLOCK // max(len(members), 1))
        blocks = []
        for first in range(0, n, size):
            part = slice(first, min(n, first + size))
            effects = (fleet_wide[None, part], of_release[:, part], of_domain[:, part])
            uniform = _uniform(problem, members, effects, config, rng)
            duration_s = durations(problem.gains, members, uniform)
            spans = _play(problem, solution, members, levels, duration_s)
            blocks.append(list(_peaks(problem, members, spans, can_bind)))
        for found in zip(*blocks, strict=True):
            service, hosts = found[0][:2]
            rows.append((service, open_s, hosts, np.concatenate([peak for _, _, peak in found])))
    service, opened_s, hosts = (
        np.array([row[:3] for row in rows], dtype=np.int64).reshape(len(rows), 3).T
    )
    peaks = np.array([row[3] for row in rows], dtype=np.int64).reshape(len(rows), n)
    return CapRisk(service, opened_s, hosts, peaks)


def durations(gains: Gains, tasks: Ints, uniform: Floats) -> Floats:
    """Draw durations by inverting P(D <= t), straight lines between the times of its grid.

    Args:
        gains: Forecasts.
        tasks: Numbers of the tasks, shape (n,).
        uniform: Uniform draws, shape (n, n_scenarios).

    Returns:
        Seconds, shape (n, n_scenarios); infinite beyond the last time of the grid.
    """
    curves, row = np.unique(gains.curve[tasks], return_inverse=True)
    reached = np.maximum.accumulate(gains.probability[curves], axis=1)
    n_slots = reached.shape[1]
    # One sorted array of all curves: each is shifted by twice its number.
    shift = 2.0 * np.arange(len(curves))[:, None]
    found = np.searchsorted((reached + shift).ravel(), (uniform + shift[row]).ravel(), "left")
    slot = found.reshape(uniform.shape) - row[:, None] * n_slots
    left_s = np.concatenate([[0.0], gains.left_s, [np.inf]])
    padded = np.pad(reached, ((0, 0), (1, 1)), constant_values=(0.0, 1.0))
    low, high = padded[row[:, None], slot], padded[row[:, None], slot + 1]
    share = (uniform - low) / np.where(high > low, high - low, 1.0)
    is_inside = slot < n_slots
    above_s = left_s[np.where(is_inside, slot + 1, slot)]
    drawn: Floats = np.where(is_inside, left_s[slot] + share * (above_s - left_s[slot]), np.inf)
    return drawn


def _clusters(problem: Problem, solution: Solution, placed: Ints) -> tuple[Ints, Ints]:
    """Number windows that overlap in time alike; per placed task, and the opening of each."""
    opens_s = problem.opens_s[problem.tasks.domain[placed], solution.window[placed]]
    closes_s = opens_s + problem.window_s[problem.tasks.domain[placed]]
    order = np.argsort(opens_s, kind="stable")
    if not len(order):
        return order, order
    last_s = np.maximum.accumulate(closes_s[order])
    is_new = np.concatenate([[True], opens_s[order][1:] >= last_s[:-1]])
    cluster = np.empty(len(placed), dtype=np.int64)
    cluster[order] = np.cumsum(is_new) - 1
    return cluster, opens_s[order][is_new]


def _levels(problem: Problem, solution: Solution, members: Ints) -> list[Ints]:
    """Places in `members` by how many tasks come before them on their lane or host."""
    tasks = problem.tasks
    lane = zip(
        tasks.domain[members].tolist(),
        solution.window[members].tolist(),
        solution.lane[members].tolist(),
        strict=True,
    )
    on_lane: dict[tuple[int, int, int], int] = {}
    on_host: dict[int, int] = {}
    depth = []
    for key, host in zip(lane, tasks.host[members].tolist(), strict=True):
        level = max(on_lane.get(key, 0), on_host.get(host, 0))
        on_lane[key] = on_host[host] = level + 1
        depth.append(level)
    depths = np.array(depth, dtype=np.int64)
    return [np.flatnonzero(depths == level) for level in range(max(depth, default=-1) + 1)]


def _uniform(
    problem: Problem,
    members: Ints,
    effects: tuple[Floats, Floats, Floats],
    config: RolloutConfig,
    rng: np.random.Generator,
) -> Floats:
    """Uniform draws with normal effects in common (a Gaussian copula), (n, n_scenarios)."""
    from scipy.special import ndtr

    everyone, release, domain = np.sqrt(config.shared_variance)
    own = np.sqrt(max(0.0, 1 - sum(config.shared_variance)))
    fleet_wide, of_release, of_domain = effects
    z = own * rng.standard_normal((len(members), fleet_wide.shape[1]))
    z += everyone * fleet_wide
    group = problem.tasks.group[members]
    alone = np.flatnonzero(group == NONE)
    z += release * of_release[group]
    # Tasks without a release have nothing of one in common with others.
    fresh = rng.standard_normal((len(alone), z.shape[1]))
    z[alone] += release * (fresh - of_release[NONE])
    z += domain * of_domain[problem.tasks.domain[members]]
    uniform: Floats = np.clip(ndtr(z), 1e-9, 1 - 1e-9)
    return uniform


def _play(
    problem: Problem, solution: Solution, members: Ints, levels: list[Ints], duration_s: Floats
) -> tuple[Ints, Ints]:
    """Begin and end of every host's absence; what does not start has begin = end."""
    tasks = problem.tasks
    n_lanes, n_windows = int(problem.lanes.max()), problem.opens_s.shape[1]
    key = (tasks.domain[members] * n_windows + solution.window[members]) * n_lanes
    lane = np.unique(key + solution.lane[members], return_inverse=True)[1]
    host = np.unique(tasks.host[members], return_inverse=True)[1]
    n_draws = duration_s.shape[1]
    lane_free_s = np.zeros((int(lane.max(initial=-1)) + 1, n_draws), dtype=np.int64)
    host_free_s = np.zeros((int(host.max(initial=-1)) + 1, n_draws), dtype=np.int64)
    begin_s, end_s = np.zeros((2, len(members), n_draws), dtype=np.int64)
    for rows in levels:
        own = members[rows]
        start_s = np.maximum(lane_free_s[lane[rows]], host_free_s[host[rows]])
        start_s = np.maximum(start_s, solution.start_s[own][:, None])
        latest_s = solution.latest_s[own][:, None]
        has_time = start_s + tasks.reserved_s[own][:, None] <= latest_s
        ends_s = start_s + np.ceil(np.minimum(duration_s[rows], 1e9)).astype(np.int64)
        back_s = latest_s + tasks.rollback_s[own][:, None]
        ends_s = np.where(ends_s <= latest_s, ends_s, back_s)
        ends_s = np.where(has_time, ends_s, start_s)
        lane_free_s[lane[rows]] = ends_s
        host_free_s[host[rows]] = ends_s
        begin_s[rows], end_s[rows] = start_s, ends_s
    return begin_s, end_s


def _peaks(
    problem: Problem, members: Ints, spans: tuple[Ints, Ints], can_bind: NDArray[np.bool_]
) -> Iterator[tuple[int, int, Ints]]:
    """Service, tasks and most hosts down at once per scenario."""
    begin_s, end_s = spans
    service = problem.tasks.service[members]
    for code in np.unique(service).tolist():
        rows = np.flatnonzero(service == code)
        n_draws = begin_s.shape[1]
        if not can_bind[code]:
            # Each lane has one host: all of them together keep the cap.
            yield code, len(rows), np.zeros(n_draws, dtype=np.int64)
            continue
        origin_s = int(begin_s[rows].min())
        # A begin is odd, an end even, so that at one instant ends come first.
        begins = ((begin_s[rows] - origin_s) * 2 + 1).T
        ends = ((end_s[rows] - origin_s) * 2).T
        has_begun = (end_s[rows] > begin_s[rows]).T
        never = np.iinfo(np.int32).max - 1
        events = np.concatenate(
            [np.where(has_begun, begins, never), np.where(has_begun, ends, never)], axis=1
        ).astype(np.int32)
        events.sort(axis=1)
        steps = np.where(events == never, 0, np.where(events % 2 == 1, 1, -1)).astype(np.int32)
        yield code, len(rows), np.cumsum(steps, axis=1).max(axis=1).astype(np.int64)
