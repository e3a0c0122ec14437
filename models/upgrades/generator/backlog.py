"""What waits to be upgraded when the history ends."""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.upgrades.generator.config import DAY_S, FleetConfig
from models.upgrades.generator.layout import end_s, host_names, labels
from models.upgrades.generator.past import release_at, release_names

NO_DEADLINE_S = 253_402_300_799
"""9999-12-31T23:59:59: no deadline, and still a date."""
# Assumptions: tasks arrived in the last two weeks and are due in one to eight.
ARRIVED_DAYS = 14
DUE_DAYS = (7, 56)
VALUE_SIGMA = 0.4


def draw_backlog(config: FleetConfig, rng: np.random.Generator) -> pd.DataFrame:
    """Return backlog.parquet: the next release of some types for some hosts, each once.

    The release has not been seen in the history: that is why the tasks wait.
    """
    n_types, now_s = len(config.types), end_s(config)
    n = round(config.backlog_per_host * config.hosts)
    drawn = np.sort(rng.choice(config.hosts * n_types, size=n, replace=False)).astype(np.int64)
    host, kind = drawn // n_types, drawn % n_types
    number = release_at(np.full(n, now_s), kind, config) + 1
    arrival_s = now_s - rng.integers(0, ARRIVED_DAYS * DAY_S, n)
    due_s = now_s + rng.integers(DUE_DAYS[0], DUE_DAYS[1] + 1, n) * DAY_S
    median = np.array([of.value for of in config.types])[kind]
    return pd.DataFrame(
        {
            "task": labels("t", n, 7),
            "host_id": host_names(config)[host],
            "type": np.array([of.name for of in config.types], dtype=object)[kind],
            "release": release_names(kind, number, config),
            "value": np.round(median * rng.lognormal(0.0, VALUE_SIGMA, n), 3).clip(0.001),
            "arrival_s": arrival_s.astype(np.int64),
            "deadline_s": np.where(rng.random(n) < config.deadline_share, due_s, NO_DEADLINE_S),
        }
    )
