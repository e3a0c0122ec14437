"""Flow runs from a seed, and deployments, for the tests of run times."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.upgrades.run_times import Deployment, DeploymentSchedule

MONDAY_S = 1_749_427_200
"""2025-06-09 00:00 UTC."""
# Flow and deployment -> hours of the day, median seconds, spread and trend of the log.
KINDS: dict[str, tuple[tuple[int, ...], float, float, float]] = {
    "plan/nightly": ((3,), 1_500, 0.25, 0.8),
    "monitor/daily": ((5,), 300, 0.2, 0.0),
    "collect/hourly": (tuple(range(0, 24, 2)), 60, 0.5, 0.3),
    "train/daily": ((9, 21), 4_000, 0.4, -0.5),
}


def synthetic_runs(days: int, seed: int, broken_share: float = 0.05) -> list[dict[str, Any]]:
    """Runs whose length drifts; some fail, having run for a part of their time."""
    rng = np.random.default_rng(seed)
    rows = []
    for day in range(days):
        for name, (hours, median_s, spread, trend) in KINDS.items():
            flow, _, deployment = name.partition("/")
            for hour in hours:
                due = MONDAY_S + day * 86_400 + hour * 3_600
                took = median_s * np.exp(spread * rng.normal() + trend * day / days)
                is_broken = rng.random() < broken_share
                took *= rng.random() if is_broken else 1.0
                rows.append(
                    {
                        "flow": flow,
                        "deployment": deployment,
                        "work_pool": "loom",
                        "expected": due,
                        "started": due + 5,
                        "ended": due + 5 + took,
                        "state": "Failed" if is_broken else "Completed",
                    }
                )
    return rows


def deployment(
    name: str, *crons: str, tags: tuple[str, ...] = ("upgrades",), zone: str = "UTC", **more: Any
) -> Deployment:
    """A deployment of the pool `loom` whose ids are its name."""
    schedules = tuple(
        DeploymentSchedule(f"{name} {n}", f"s{n}", c, zone) for n, c in enumerate(crons)
    )
    return Deployment(name, name, frozenset(tags), "loom", "none", schedules, **more)
