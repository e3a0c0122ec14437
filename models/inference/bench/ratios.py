"""Medians over repeats and geometric means over contests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, median

from models.inference.bench.bout import Result
from models.inference.bench.contest import Contest


@dataclass(frozen=True)
class Line:
    """One corner on one contest, over its repeats.

    Attributes:
        contest, corner: Names.
        cpu_s, low_s, high_s: Median, least and most CPU seconds.
        wall_s: Median.
        computed_tokens: Prompt tokens computed, or None.
        kv_peak_bytes: Or None.
        repeats: How many.
    """

    contest: str
    corner: str
    cpu_s: float
    low_s: float
    high_s: float
    wall_s: float
    computed_tokens: int | None
    kv_peak_bytes: int | None
    repeats: int


def lines(results: Iterable[Result]) -> list[Line]:
    """Summarise runs by contest and corner, in the order of their first run."""
    runs: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        runs.setdefault((result.contest, result.corner), []).append(result)
    found = []
    for (contest, corner), of in runs.items():
        cpu = [run.score.cpu_s for run in of]
        found.append(
            Line(
                *(contest, corner, median(cpu), min(cpu), max(cpu)),
                median(run.score.wall_s for run in of),
                of[0].score.computed_tokens,
                of[0].score.kv_peak_bytes,
                len(of),
            )
        )
    return found


def ratio(table: Sequence[Line], contest: str, slow: str, fast: str) -> float | None:
    """CPU seconds of one corner over those of another on one contest; None: not both ran."""
    cpu = {line.corner: line.cpu_s for line in table if line.contest == contest}
    return cpu[slow] / cpu[fast] if slow in cpu and fast in cpu else None


def mean_ratio(
    table: Sequence[Line], contests: Iterable[Contest], slow: str, fast: str
) -> float | None:
    """Geometric mean of `ratio` over contests where both ran; None: nowhere."""
    found = [ratio(table, contest.name, slow, fast) for contest in contests]
    known = [value for value in found if value is not None]
    return geometric_mean(known) if known else None
