"""What figures are made of: several measurements as one, and how fast the machine is just now."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Several measurements of one figure."""

    low: float
    median: float
    p95: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum measurements up."""
        ordered = sorted(values)
        place = min(len(ordered) - 1, int(0.95 * len(ordered)))
        return cls(ordered[0], statistics.median(ordered), ordered[place])

    def rounded(self) -> dict[str, float]:
        """Return the three numbers."""
        return {key: round(value, 4) for key, value in vars(self).items()}


def machine_ms(runs: int = 5) -> float:
    """Measure a fixed piece of Python that nothing of ours is in: median CPU milliseconds.

    A core that is shared does the same work in up to twice the CPU time: figures of two states
    compare only where this one is equal beside them.
    """
    costs = []
    for _ in range(runs):
        start = time.process_time()
        kept: dict[int, str] = {}
        for number in range(100_000):
            kept[number % 1_000] = str(number)
        for _ in range(10_000):
            hashlib.sha256(bytes(1_000)).digest()
        costs.append(1e3 * (time.process_time() - start))
    return round(statistics.median(costs), 2)
