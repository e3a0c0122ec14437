"""The ratios that the room promises, with what was reached, losing rows included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.inference.bench.contest import Contest, Kind
from models.inference.bench.corners import (
    BFLOAT16,
    DEFAULT,
    HF,
    LLAMACPP,
    OURS,
    SAME_KV,
    TUNED,
    WITH_PLAN,
)
from models.inference.bench.ratios import Line, mean_ratio, ratio


@dataclass(frozen=True)
class Promise:
    """A ratio of CPU seconds: the slow corner's over the fast one's.

    Attributes:
        words: What is compared.
        slow, fast: Corners.
        kinds: Kinds of contests that the geometric mean is over.
        target, stretch: What it should be at least; None: reported only.
    """

    words: str
    slow: str
    fast: str
    kinds: tuple[Kind, ...]
    target: float | None
    stretch: float | None


PROMISES = (
    Promise("vllm default / ours, shared, random order", DEFAULT, OURS, ("shared",), 2.5, 3.0),
    Promise("vllm tuned / ours, shared", TUNED, OURS, ("shared",), 1.3, 1.6),
    Promise("vllm tuned / ours, decode heavy", TUNED, OURS, ("decode",), 1.0, 1.2),
    Promise("vllm tuned / ours, nothing shared", TUNED, OURS, ("unshared",), 0.95, 1.2),
    Promise("vllm default / ours, a third of the KV", DEFAULT, OURS, ("pressure",), 4.0, 8.0),
    Promise("vllm / vllm with our plan, same KV", SAME_KV, WITH_PLAN, ("pressure",), 2.0, 4.0),
    Promise("vllm with our plan / ours, same KV", WITH_PLAN, OURS, ("pressure",), None, None),
    Promise("vllm default in bfloat16 / ours, D", BFLOAT16, OURS, ("shared",), None, None),
    Promise("hf generate / ours", HF, OURS, ("shared",), 6.0, 10.0),
    Promise("llama.cpp / ours", LLAMACPP, OURS, ("shared",), None, None),
)


@dataclass(frozen=True)
class Verdict:
    """A promise and what was measured.

    Attributes:
        promise: Which.
        found: Geometric mean over its contests; None: nobody ran.
        worst: The contest where it is smallest, with its ratio.
        contests: How many it is over.
    """

    promise: Promise
    found: float | None
    worst: tuple[str, float] | None
    contests: int

    @property
    def is_kept(self) -> bool | None:
        """Whether the target was reached; None: no target, or not measured."""
        if self.found is None or self.promise.target is None:
            return None
        return self.found >= self.promise.target


def verdicts(contests: Sequence[Contest], table: Sequence[Line]) -> list[Verdict]:
    """Judge every promise."""
    found = []
    for promise in PROMISES:
        mine = [contest for contest in contests if contest.kind in promise.kinds]
        each = {c.name: ratio(table, c.name, promise.slow, promise.fast) for c in mine}
        known = {name: value for name, value in each.items() if value is not None}
        worst = min(known.items(), key=lambda item: item[1], default=None)
        mean = mean_ratio(table, mine, promise.slow, promise.fast)
        found.append(Verdict(promise, mean, worst, len(known)))
    return found
