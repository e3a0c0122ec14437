"""What a contestant is told and what it reports."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from models.inference.bench.contest import Contest


@dataclass(frozen=True)
class Setup:
    """How a contestant is loaded.

    Attributes:
        engine: `native`, `vllm`, `hf` or `llamacpp`.
        model: `smollm2`, or a Hugging Face directory.
        cache: Folder for converted models and built libraries.
        dtype: Number type of weights and products.
        threads: Compute threads.
        options: What only this engine knows.
    """

    engine: str
    model: str
    cache: Path
    dtype: str
    threads: int = 1
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """One run of one contest.

    Attributes:
        cpu_s: User and system seconds of the process, all threads; planning included, loading
            not.
        wall_s: Seconds by the clock.
        computed_tokens: Prompt tokens that were computed, not found in a cache; None: the
            engine does not tell.
        output_tokens: Tokens emitted.
        kv_peak_bytes: Most bytes of keys and values; None: the engine does not tell.
        tokens: Emitted ids of each row, in the order of arrival.
    """

    cpu_s: float
    wall_s: float
    computed_tokens: int | None
    output_tokens: int
    kv_peak_bytes: int | None
    tokens: list[list[int]]


class Contestant(Protocol):
    """An engine that has loaded its model."""

    about: str
    """Version and settings, for the table of contestants."""

    def run(self, contest: Contest, options: dict[str, Any]) -> Score:
        """Run all rows; nothing is kept from one run to the next."""
        ...


class Clock:
    """CPU and wall seconds since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = cpu_s(), time.perf_counter()

    def stop(self) -> tuple[float, float]:
        """Return both."""
        return cpu_s() - self._cpu, time.perf_counter() - self._wall


def cpu_s() -> float:
    """User and system seconds of this process and of the children that it waited for."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


Build = Callable[[Setup], Contestant]
