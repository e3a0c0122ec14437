"""What `loom bench sharding` measures, and the numbers it makes of it."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from models.config import Config

Track = Literal["published", "landscapes"]


class ShardingBenchConfig(Config):
    """Tracks of the benchmark and how many answers count."""

    tracks: tuple[Track, ...] = ("published", "landscapes")
    """What is measured."""
    top: int = Field(3, ge=1, le=10)
    """Proposals of which one must be right; the paper makes 3."""
    most_meshes: int = Field(300, ge=10)
    """Meshes that are ranked with the prior, the fastest first."""
    prior_weights: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0, 3.0)
    """Weights of the prior over published layouts, of which training groups choose one."""
    random_draws: int = Field(200, ge=1)
    """Draws behind the figure of random layouts."""


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the interval of a share at 95 %, after Wilson (1927)."""
    if total == 0:
        return 0.0, 1.0
    share, square = hits / total, z * z
    middle = (share + square / (2 * total)) / (1 + square / total)
    spread = share * (1 - share) / total + square / (4 * total**2)
    half = z * math.sqrt(spread) / (1 + square / total)
    return max(0.0, middle - half), min(1.0, middle + half)
