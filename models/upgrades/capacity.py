"""Daily windows, lanes and service caps of each domain."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError
from models.upgrades.config import DAY_S, UpgradeConfig
from models.upgrades.history import History


def window_opens(from_s: int, until_s: int, config: UpgradeConfig) -> NDArray[np.int64]:
    """Opening times of the daily windows, seconds of the local clock.

    From the first opening at or after `from_s` through the first at or after `until_s`, so
    that the last arrival of a period meets one window.
    """
    first = math.ceil((from_s - config.window_start_s) / DAY_S)
    last = math.ceil((until_s - config.window_start_s) / DAY_S)
    return np.arange(first, last + 1, dtype=np.int64) * DAY_S + config.window_start_s


def lanes_by_domain(history: History, until_s: int, config: UpgradeConfig) -> Mapping[str, int]:
    """Lanes per domain so that past demand is `load` times their capacity, at least one.

    Demand counts what had ended before `until_s`, at most one window per task: no task can
    use more at a time. A domain without a past is not listed; it gets one lane.
    """
    events = history.events[history.events["end_s"] < until_s]
    demand_s = events["duration_s"].clip(upper=config.window_s).groupby(events["domain"]).sum()
    first_s = events.groupby("domain")["start_s"].min()
    days = np.maximum((until_s - first_s) / DAY_S, 1.0)
    lanes = (demand_s / days / (config.load * config.window_s)).round().clip(lower=1)
    return {str(domain): int(count) for domain, count in lanes.items()}


def caps_by_service(
    history: History, until_s: int, config: UpgradeConfig
) -> Mapping[tuple[str, str], int]:
    """Hosts of each (domain, service) that may be down at one time, at least one.

    A service's hosts are those on record before `until_s`; the record grows with failures,
    so a young domain has a tighter cap than its true size would give.
    """
    events = history.events[history.events["start_s"] < until_s]
    known = events[["domain", "service", "host_id"]].drop_duplicates()
    counts = Counter(zip(known["domain"], known["service"], strict=True))
    return {
        (str(domain), str(service)): max(1, math.floor(config.service_cap * count))
        for (domain, service), count in counts.items()
    }


def check_at_least_one(what: str, counts: Mapping[Any, int]) -> None:
    """Check lanes or caps: with none of them no task could ever start.

    Raises:
        ConfigError: A count is below one.
    """
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(
                f"{what} of {name!r} must be at least 1, got {count}; to keep everything "
                "there from starting, freeze it or exclude its hosts"
            )
