"""The planning problem of a fleet as arrays, and the solver that every variant is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.upgrades.schedule.gains import Gains

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Segment = tuple[int, int]

NONE = -1
NEVER_S = np.iinfo(np.int64).max // 4
"""A time that never comes; sums of a few of them do not overflow."""


@dataclass(frozen=True)
class TaskArrays:
    """The backlog, one entry per task; arrays of shape (n_tasks,), codes from 0.

    Attributes:
        host: Code of the host.
        domain: Code of the domain.
        service: Code of the service.
        pair: Code of the (domain, service) pair; `Problem.segments` is by pair.
        type: Code of the type.
        hardware: Code of the hardware.
        group: Code of the (type, release) that goes out in waves; -1: none.
        wave: Wave within the group, from 0; -1: none.
        reserved_s: Lane time to reserve, at least 1; `NEVER_S` where no window is enough.
        rollback_s: Time that must remain after the reserved end to undo the task.
        arrival_s: When the task was requested; among equals the oldest goes first.
        ready_s: No earlier start.
        deadline_s: No later reserved end.
        pin: Window that the task must go to; -1: any.
        is_open: Whether the task may be placed at all.
    """

    host: Ints
    domain: Ints
    service: Ints
    pair: Ints
    type: Ints
    hardware: Ints
    group: Ints
    wave: Ints
    reserved_s: Ints
    rollback_s: Ints
    arrival_s: Ints
    ready_s: Ints
    deadline_s: Ints
    pin: Ints
    is_open: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.host)


@dataclass(frozen=True)
class Waves:
    """How far each group already is; arrays of shape (n_groups, n_waves).

    Attributes:
        size: Tasks of the wave, done ones included.
        done: Those that had ended before the plan.
        done_end_s: Latest end of those; 0 where there is none.
        soak_s: Time between the end of a wave and the start of the next.
        quorum: Share of a wave that must be done or placed before the next may start.
    """

    size: Ints
    done: Ints
    done_end_s: Ints
    soak_s: int
    quorum: float


@dataclass(frozen=True)
class Services:
    """How much of each service may be down; arrays of shape (n_services,).

    Attributes:
        caps: Hosts down at a time.
        max_domains: Domains that may be touched in one night; `NEVER_S`: any number.
        is_alone: Whether only one domain may be touched at a time.
    """

    caps: Ints
    max_domains: Ints
    is_alone: NDArray[np.bool_]


@dataclass(frozen=True)
class Problem:
    """What is to be planned; times in whole seconds of the local clock.

    Attributes:
        tasks: The backlog.
        opens_s: Openings of the windows per domain, rising, shape (n_domains, n_windows).
        window_s: Length of the windows per domain, shape (n_domains,).
        lanes: Tasks at a time per domain, shape (n_domains,).
        segments: Per pair and window the parts [a, b) that no freeze covers.
        services: How much of each service may be down.
        nights: Night of each window, counted from noon to noon, shape (n_domains, n_windows).
        ancestors: Per type those that must come before it on a host.
        rank: Order of types that respects `ancestors`, shape (n_types,).
        waves: Progress of the release groups.
        gains: What a start is worth.
        lane_capacity_s: Lane time of all windows.
    """

    tasks: TaskArrays
    opens_s: Ints
    window_s: Ints
    lanes: Ints
    segments: Sequence[Sequence[Sequence[Segment]]]
    services: Services
    nights: Ints
    ancestors: Sequence[frozenset[int]]
    rank: Ints
    waves: Waves
    gains: Gains
    lane_capacity_s: float


@dataclass(frozen=True)
class Solution:
    """Where each task goes; arrays of shape (n_tasks,).

    Attributes:
        window: Number of the domain's window; -1: no place.
        lane: Lane in it.
        start_s: Reserved start.
        latest_s: When the task is rolled back if it is not done: the end of its part of the
            window less its rollback time.
        solver: Who found it.
        status: "heuristic", "improved", "timed out" or "failed".
        objective: Expected value, see `Gains`.
        bound: No solution is worth more.
    """

    window: Ints
    lane: Ints
    start_s: Ints
    latest_s: Ints
    solver: str
    status: str
    objective: float
    bound: float

    @property
    def is_placed(self) -> NDArray[np.bool_]:
        """Which tasks have a place."""
        return self.window >= 0


class Solver(Protocol):
    """One way to place the tasks of a fleet."""

    @property
    def name(self) -> str:
        """Name in configs and plans."""
        ...

    def solve(self, problem: Problem) -> Solution:
        """Place as much as pays; the solution breaks no rule of the problem."""
        ...
