"""Service levels of a replayed plan: hosts down at one time against the cap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from models.upgrades.forecast.base import Floats


@dataclass(frozen=True)
class ServiceLoad:
    """Hosts of one service of one domain that were down, as a step function.

    Attributes:
        domain: The domain.
        service: The service.
        cap: Hosts that may be down at one time.
        at_s: Instants at which a host went down or came back, rising, shape (n_steps,).
        down: Hosts down from each instant to the next, shape (n_steps,).
    """

    domain: str
    service: str
    cap: int
    at_s: Floats
    down: Floats

    @property
    def peak(self) -> int:
        """Most hosts that were down at one time."""
        lasts = np.append(np.diff(self.at_s) > 0, False)
        return int(self.down[lasts].max(initial=0))

    @property
    def above_cap_s(self) -> float:
        """Time during which more were down than the cap allows, in seconds."""
        return float(np.diff(self.at_s)[self.down[:-1] > self.cap].sum())


def service_loads(
    outcome: pd.DataFrame, caps: Mapping[tuple[str, str], int]
) -> tuple[ServiceLoad, ...]:
    """Follow each service of each domain through a replayed plan.

    Args:
        outcome: `PlanOutcome.frame`.
        caps: Hosts down at a time per (domain, service), one where absent.

    Returns:
        Least headroom (cap less peak) first.
    """
    started = outcome[outcome["real_start_s"].notna()]
    loads = []
    for (domain, service), group in started.groupby(["domain", "service"]):
        at_s = np.concatenate([group["real_start_s"], group["real_end_s"]]).astype(float)
        step = np.repeat([1.0, -1.0], len(group))
        # Ends before starts at one instant, so that hand-overs are no breach.
        order = np.lexsort((step, at_s))
        key = (str(domain), str(service))
        loads.append(ServiceLoad(*key, caps.get(key, 1), at_s[order], np.cumsum(step[order])))
    return tuple(sorted(loads, key=lambda load: (load.cap - load.peak, -load.above_cap_s)))
