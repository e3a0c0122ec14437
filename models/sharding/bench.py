"""What `loom bench sharding` measures, and the numbers it makes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field

from models.config import Config

Track = Literal["published", "landscapes", "shots", "diagnosis", "plans"]


class ShardingBenchConfig(Config):
    """Tracks of the benchmark and how many answers count."""

    tracks: tuple[Track, ...] = ("published", "landscapes", "shots", "diagnosis", "plans")
    """What is measured."""
    top: int = Field(3, ge=1, le=10)
    """Proposals of which one must be right; the paper makes 3."""
    ridges: tuple[float, ...] = Field((0.1, 0.3, 1.0, 3.0), min_length=1)
    """How strongly weights of the conventions are pulled to zero; their shares are averaged."""
    random_draws: int = Field(200, ge=1)
    """Draws behind the figure of random layouts."""
    shots_seeds: int = Field(3, ge=1)
    """Runs of each tuner per measured scenario; figures of a release take 20."""
    shots_sites: int = Field(3, ge=0)
    """Simulated sites per job, none with a file of one's own; figures of a release take 10."""
    shots_budget: int = Field(50, ge=1)
    """Most runs of a tuner; what needs more counts as not found."""
    diagnosis_profiles: int = Field(200, ge=1)
    """Profiles with injected limits that are drawn."""
    plans_compile: bool = True
    """Whether the proposals of whole questions are compiled; some four CPU minutes."""
    shots_gp_seeds: int = Field(0, ge=0)
    """Runs of Optuna's Gaussian process, which needs torch and seconds per run."""


def as_rows(cases: Sequence[Any]) -> list[dict[str, object]]:
    """Return cases (dataclasses) as JSON objects, so that every figure can be recomputed."""
    return [asdict(one) for one in cases]


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the interval of a share at 95 %, after Wilson (1927)."""
    if total == 0:
        return 0.0, 1.0
    share, square = hits / total, z * z
    middle = (share + square / (2 * total)) / (1 + square / total)
    spread = share * (1 - share) / total + square / (4 * total**2)
    half = z * math.sqrt(spread) / (1 + square / total)
    return max(0.0, middle - half), min(1.0, middle + half)
