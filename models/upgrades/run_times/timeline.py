"""Who runs when, and who waits for whom, if every run takes its reserved time."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Line:
    """One schedule, as the timeline sees it.

    Attributes:
        name: Deployment.
        took_s: Time that each of its runs is given, seconds.
        keys: Limits that a run counts against while it goes on.
        own_key: The one of `keys` that is its deployment's; "" for none.
        cancels_new: Whether a run that finds its deployment's limit reached is cancelled.
    """

    name: str
    took_s: int
    keys: tuple[str, ...]
    own_key: str = ""
    cancels_new: bool = False


class Span(NamedTuple):
    """One run of a timeline."""

    line: int
    due_s: int
    start_s: int | None
    """None: it was cancelled, since its deployment's limit was reached."""
    end_s: int | None
    behind: frozenset[int]
    """Lines whose runs held the places that it waited for when it was due."""

    @property
    def wait_s(self) -> int:
        """Seconds from when it was due to its start."""
        return 0 if self.start_s is None else self.start_s - self.due_s


def simulate(
    lines: Sequence[Line], due_s: Sequence[Sequence[int]], limits: Mapping[str, int]
) -> list[list[Span]]:
    """Let runs start when they are due, or as soon as every limit of theirs has room.

    Those that wait start in the order in which they were due, as workers take them.

    Args:
        lines: Schedules.
        due_s: When the runs of each are due, seconds since 1970.
        limits: Key -> runs at a time; a key without a limit never blocks.

    Returns:
        The runs of each line, in the order of `due_s`.
    """
    spans: list[list[Span | None]] = [[None] * len(times) for times in due_s]
    arrivals = sorted((at, i, k) for i, times in enumerate(due_s) for k, at in enumerate(times))
    in_use: Counter[str] = Counter()
    going: list[tuple[int, int, int]] = []
    waiting: list[tuple[int, int, int, frozenset[int]]] = []

    def full(line: int) -> list[str]:
        return [key for key in lines[line].keys if in_use[key] >= limits.get(key, math.inf)]

    def start(at: int, line: int, place: int, due: int, behind: frozenset[int]) -> None:
        end = at + lines[line].took_s
        spans[line][place] = Span(line, due, at, end, behind)
        in_use.update(lines[line].keys)
        heapq.heappush(going, (end, line, place))

    def release_until(at: float) -> None:
        nonlocal waiting
        while going and going[0][0] <= at:
            now = going[0][0]
            while going and going[0][0] == now:
                in_use.subtract(lines[heapq.heappop(going)[1]].keys)
            left = []
            for due, line, place, behind in waiting:
                if full(line):
                    left.append((due, line, place, behind))
                else:
                    start(now, line, place, due, behind)
            waiting = left

    for due, line, place in arrivals:
        release_until(due)
        blocked = full(line)
        if not blocked:
            start(due, line, place, due, frozenset())
            continue
        behind = frozenset(i for _, i, _ in going if not set(blocked).isdisjoint(lines[i].keys))
        if lines[line].cancels_new and lines[line].own_key in blocked:
            spans[line][place] = Span(line, due, None, None, behind)
        else:
            waiting.append((due, line, place, behind))
    release_until(math.inf)
    return [[span for span in own if span is not None] for own in spans]
