"""Service levels: hosts down above the cap of their service, and after a close."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.upgrades.forecast.base import Floats


class Breach(NamedTuple):
    """Host-seconds in breach; a host that is both counts in both."""

    over_cap_s: float
    after_close_s: float

    @property
    def total_s(self) -> float:
        """Return the host-seconds that the metrics report."""
        return self.over_cap_s + self.after_close_s


def slo_breach(
    start_s: Floats,
    free_s: Floats,
    close_s: Floats,
    service: NDArray[np.int64] | None = None,
    cap: NDArray[np.int64] | None = None,
) -> Breach:
    """Measure what starts did to the services.

    Args:
        start_s: When each host went down, seconds, shape (n_starts,).
        free_s: When it was back, after a rollback if there was one, shape (n_starts,).
        close_s: When its window closed, shape (n_starts,).
        service: Code of the service in its domain, shape (n_starts,); None: no caps.
        cap: Hosts of each service that may be down at one time, shape (n_services,).
    """
    after_close_s = float(np.maximum(free_s - close_s, 0.0).sum())
    if service is None or cap is None or not len(start_s):
        return Breach(0.0, after_close_s)
    of = np.concatenate([service, service])
    at_s = np.concatenate([start_s, free_s])
    step = np.repeat([1, -1], len(start_s))
    # Ends before starts at one instant, so that hand-overs are no breach.
    order = np.lexsort((step, at_s, of))
    # Every service ends with nobody down, so one sum serves all, and what lies between the
    # last end of a service and the first start of the next counts zero hosts.
    down = np.cumsum(step[order])[:-1]
    above = np.maximum(down - cap[of[order]][:-1], 0)
    return Breach(float((above * np.diff(at_s[order]))[above > 0].sum()), after_close_s)
