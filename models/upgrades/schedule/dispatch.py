"""Who starts a task: a calendar made when the window opens, or a free lane.

Both see the same queue, judge it by the same reservation and are cut off by the same
closing time; they differ only in what they do when a task ends early or late.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]


class Window(NamedTuple):
    """One maintenance window of one domain; times in seconds of the local clock."""

    open_s: float
    close_s: float
    lanes: int


class Queue(NamedTuple):
    """Tasks that wait, first in line first; arrays of shape (n_waiting,)."""

    reserved_s: Seconds
    duration_s: Seconds
    host: NDArray[np.int64]


class Run(NamedTuple):
    """One start: its place in the queue, its lane, its time on the lane in seconds."""

    place: int
    lane: int
    start_s: float
    end_s: float
    is_completed: bool


class Dispatcher(Protocol):
    """Runs one window."""

    def run(self, window: Window, queue: Queue) -> list[Run]:
        """Start tasks of the queue inside the window, each at most once."""


class OnlineDispatcher:
    """When a lane frees, starts the first task in line whose reservation fits."""

    def run(self, window: Window, queue: Queue) -> list[Run]:
        """Start tasks as their predecessors really end."""
        return [
            _cut_off(window, queue, place, lane, start_s)
            for place, lane, start_s in _fill_lanes(window, queue, queue.duration_s)
        ]


class CalendarDispatcher:
    """Plans every start from reservations when the window opens, and keeps to the plan.

    A start is never early; it is late if its lane or host is still busy, and dropped
    (back to the queue, not counted) if that lasts until the window closes.
    """

    def run(self, window: Window, queue: Queue) -> list[Run]:
        """Start tasks at their planned time or as soon after as the lane is free."""
        planned = _fill_lanes(window, queue, queue.reserved_s)
        lane_free_s: dict[int, float] = {}
        host_free_s: dict[int, float] = {}
        runs = []
        for place, lane, planned_s in sorted(planned, key=lambda p: (p[2], p[1])):
            host = int(queue.host[place])
            start_s = max(planned_s, lane_free_s.get(lane, 0.0), host_free_s.get(host, 0.0))
            if start_s >= window.close_s:
                continue
            run = _cut_off(window, queue, place, lane, start_s)
            lane_free_s[lane] = host_free_s[host] = run.end_s
            runs.append(run)
        return runs


DISPATCHERS: Mapping[str, Dispatcher] = {
    "calendar": CalendarDispatcher(),
    "online": OnlineDispatcher(),
}


def _fill_lanes(window: Window, queue: Queue, occupied_s: Seconds) -> list[tuple[int, int, float]]:
    """List-schedule the queue: (place, lane, start) in order of start.

    A task may start with R left iff its reservation is at most R; it then holds its lane
    and its host for `occupied_s`, cut off at the close.
    """
    free = [(window.open_s, lane) for lane in range(window.lanes)]
    waits = np.ones(len(queue.host), dtype=bool)
    host_free_s: dict[int, float] = {}
    starts = []
    while free:
        now_s, lane = heapq.heappop(free)
        fitting = np.flatnonzero(waits & (queue.reserved_s <= window.close_s - now_s))
        chosen, retry_s = _first_with_free_host(fitting, queue.host, host_free_s, now_s)
        if chosen is None:
            # Time left only shrinks: a lane that finds nothing closes, one that found
            # busy hosts looks again when the first of them is free.
            if retry_s < window.close_s:
                heapq.heappush(free, (retry_s, lane))
            continue
        starts.append((chosen, lane, now_s))
        waits[chosen] = False
        end_s = min(now_s + float(occupied_s[chosen]), window.close_s)
        host_free_s[int(queue.host[chosen])] = end_s
        if end_s < window.close_s:
            heapq.heappush(free, (end_s, lane))
    return starts


def _first_with_free_host(
    fitting: NDArray[np.intp],
    host: NDArray[np.int64],
    host_free_s: Mapping[int, float],
    now_s: float,
) -> tuple[int | None, float]:
    retry_s = np.inf
    for place in fitting:
        free_s = host_free_s.get(int(host[place]), -np.inf)
        if free_s <= now_s:
            return int(place), now_s
        retry_s = min(retry_s, free_s)
    return None, retry_s


def _cut_off(window: Window, queue: Queue, place: int, lane: int, start_s: float) -> Run:
    end_s = start_s + float(queue.duration_s[place])
    return Run(place, lane, start_s, min(end_s, window.close_s), end_s <= window.close_s)
