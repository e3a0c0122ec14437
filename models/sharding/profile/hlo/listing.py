"""List scheduling on two resources: what computes, and the network."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Resource = Literal["compute", "network", "both"]


class Step(NamedTuple):
    """Something that takes time, or no time at all."""

    resource: Resource
    seconds: float
    before: tuple[int, ...]
    """Positions of what must have ended, all lower than its own."""


@dataclass
class _Lane:
    """Steps that wait for one resource."""

    waiting: list[tuple[float, float, int]] = field(default_factory=list)
    """By the time at which their operands are there."""
    ready: list[tuple[float, int]] = field(default_factory=list)
    """By what still follows them, the most first."""

    def start_s(self, free_s: float) -> float | None:
        """Return when the next one can start; None: there is none."""
        while self.waiting and self.waiting[0][0] <= free_s:
            _, rank, place = heapq.heappop(self.waiting)
            heapq.heappush(self.ready, (rank, place))
        if self.ready:
            return free_s
        return self.waiting[0][0] if self.waiting else None

    def pop(self) -> int:
        return heapq.heappop(self.ready)[1] if self.ready else heapq.heappop(self.waiting)[2]


class _Schedule:
    """The state of one pass."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self.after: list[list[int]] = [[] for _ in steps]
        for place, step in enumerate(steps):
            for source in step.before:
                self.after[source].append(place)
        # What follows a step at least, itself included.
        self.follows = [0.0] * len(steps)
        for place in reversed(range(len(steps))):
            longest = max((self.follows[user] for user in self.after[place]), default=0.0)
            self.follows[place] = steps[place].seconds + longest
        self.left = [len(step.before) for step in steps]
        self.ready_s = [0.0] * len(steps)
        self.lanes = {"compute": _Lane(), "network": _Lane(), "both": _Lane()}
        self.end_s = 0.0
        for place, step in enumerate(steps):
            if not step.before:
                self.offer(place)

    def offer(self, place: int) -> None:
        """Queue a step whose operands are there; what takes no time is done at once."""
        todo = [place]
        while todo:
            place = todo.pop()
            step = self.steps[place]
            if step.seconds > 0:
                entry = (self.ready_s[place], -self.follows[place], place)
                heapq.heappush(self.lanes[step.resource].waiting, entry)
            else:
                todo += self.release(place, self.ready_s[place])

    def release(self, place: int, at_s: float) -> list[int]:
        """End a step; return what waits for nothing more."""
        self.end_s = max(self.end_s, at_s)
        freed = []
        for user in self.after[place]:
            self.ready_s[user] = max(self.ready_s[user], at_s)
            self.left[user] -= 1
            if self.left[user] == 0:
                freed.append(user)
        return freed


def list_schedule(steps: Sequence[Step]) -> tuple[float, dict[int, float]]:
    """Start each step as early as its operands and its resource allow, the longest path first.

    Returns:
        Seconds until all have ended, and of each step on the network how much of it runs while
        nothing computes. Computing, and these, add up to the total.
    """
    state = _Schedule(steps)
    free = {"compute": 0.0, "network": 0.0}
    gaps: list[tuple[float, float]] = []
    sends: list[tuple[float, float, int]] = []
    while True:
        both = max(free.values())
        starts = [
            (start, name)
            for name, lane in state.lanes.items()
            if (start := lane.start_s(free.get(name, both))) is not None
        ]
        if not starts:
            break
        start, name = min(starts)
        place = state.lanes[name].pop()
        end = start + steps[place].seconds
        if name != "network":
            if start > free["compute"]:
                gaps.append((free["compute"], start))
            free["compute"] = end
        else:
            sends.append((start, end, place))
        if name != "compute":
            free["network"] = end
        for user in state.release(place, end):
            state.offer(user)
    if state.end_s > free["compute"]:
        gaps.append((free["compute"], state.end_s))
    return state.end_s, _meet(gaps, sends)


def _meet(
    gaps: list[tuple[float, float]], sends: list[tuple[float, float, int]]
) -> dict[int, float]:
    """Return how long each step on the network runs within gaps; both come in order of time."""
    found = {place: 0.0 for _, _, place in sends}
    first = 0
    for low, high in gaps:
        while first < len(sends) and sends[first][1] <= low:
            first += 1
        for start, end, place in sends[first:]:
            if start >= high:
                break
            found[place] += max(min(end, high) - max(start, low), 0.0)
    return found
