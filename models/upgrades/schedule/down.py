"""Hosts of each service that are down: caps, and the domains that a service is touched in."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from models.upgrades.schedule.base import NEVER_S, NONE, Problem

# Hosts down are counted on this grid, widened outwards, so a cap is never exceeded inside it.
STEP_S = 60

Counts = NDArray[np.int32]


class Down:
    """Counts of placed tasks per service, and what its rules leave free.

    Attributes:
        origin_s: Begin of the grid.
        caps: Hosts of each service that may be down at a time.
        can_bind: Services whose rules could stand in the way of a free lane.
        spread_freely: Service whose rules about domains do not count for now; -1: none.
    """

    def __init__(self, problem: Problem) -> None:
        services = problem.services
        self.origin_s: int = int(problem.opens_s.min()) // STEP_S * STEP_S
        end_s = int((problem.opens_s[:, -1] + problem.window_s).max())
        self._n_steps = -(-(end_s - self.origin_s) // STEP_S)
        self._nights: list[list[int]] = problem.nights.tolist()
        self.caps: list[int] = services.caps.tolist()
        self._max_domains: list[int] = services.max_domains.tolist()
        self._is_alone: list[bool] = services.is_alone.tolist()
        self.can_bind = binding_services(problem)
        self.spread_freely = NONE
        self._counts = np.zeros((len(self.caps), self._n_steps), dtype=np.int32)
        # Of services in one domain at a time: hosts down per domain.
        self._of_domain: dict[tuple[int, int], Counts] = {}
        self._touched: dict[tuple[int, int], Counter[int]] = {}

    def counts(self, service: int) -> Counts:
        """Hosts down per step of the grid, shape (n_steps,)."""
        found: Counts = self._counts[service]
        return found

    def is_restricted(self, service: int) -> bool:
        """Whether the service has a rule about its domains."""
        return self._is_alone[service] or self._max_domains[service] < NEVER_S

    def max_domains(self, service: int) -> int:
        """Domains of the service that may be touched in one night."""
        return self._max_domains[service]

    def touched(self, service: int, domain: int, window: int) -> list[int]:
        """Domains in which the service is touched in the night of a window."""
        found = self._touched.get((service, self._nights[domain][window]), ())
        return sorted(found)

    def allows(self, service: int, domain: int, window: int) -> bool:
        """Whether the service may be touched in a window of a domain."""
        most = self._max_domains[service]
        if most >= NEVER_S or service == self.spread_freely:
            return True
        touched = self._touched.get((service, self._nights[domain][window]), ())
        return domain in touched or len(touched) < most

    def free_from(self, service: int, domain: int, start_s: int, length_s: int) -> int:
        """First start from `start_s` on at which one more host may be down throughout."""
        counts, cap = self._counts[service], self.caps[service]
        is_alone = self._is_alone[service] and service != self.spread_freely
        own = self._of_domain.get((service, domain)) if is_alone else None
        while True:
            first, last = self._steps(start_s, start_s + length_s)
            is_full = counts[first:last] >= cap
            if is_alone:
                is_full |= counts[first:last] > (0 if own is None else own[first:last])
            if not is_full.any():
                return start_s
            full = int(np.flatnonzero(is_full)[-1])
            start_s = self.origin_s + (first + full + 1) * STEP_S

    def count(self, service: int, domain: int, window: int, span: tuple[int, int], by: int) -> None:
        """Add (1) or take (-1) a task that holds its host from begin to end, seconds."""
        if not self.can_bind[service]:
            return
        first, last = self._steps(*span)
        self._counts[service, first:last] += by
        if self._is_alone[service]:
            zeros = np.zeros(self._n_steps, dtype=np.int32)
            self._of_domain.setdefault((service, domain), zeros)[first:last] += by
        if self._max_domains[service] < NEVER_S:
            night = (service, self._nights[domain][window])
            touched = self._touched.setdefault(night, Counter())
            touched[domain] += by
            if not touched[domain]:
                del touched[domain]

    def _steps(self, start_s: int, end_s: int) -> tuple[int, int]:
        first = (start_s - self.origin_s) // STEP_S
        return first, -(-(end_s - self.origin_s) // STEP_S)


def binding_services(problem: Problem) -> list[bool]:
    """Whether a service has rules about domains, or the lanes of all together exceed its cap."""
    services = problem.services
    pairs = np.unique(np.column_stack([problem.tasks.service, problem.tasks.domain]), axis=0)
    lanes = np.bincount(
        pairs[:, 0], weights=problem.lanes[pairs[:, 1]], minlength=len(services.caps)
    )
    binds = (lanes > services.caps) | services.is_alone | (services.max_domains < NEVER_S)
    return [bool(bind) for bind in binds]
