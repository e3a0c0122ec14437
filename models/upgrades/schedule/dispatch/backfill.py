"""Planned starts that are kept, and tasks in line that fill the holes before them."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from models.upgrades.schedule.dispatch.base import (
    STARTED,
    WINDOW,
    Codes,
    Domain,
    Seconds,
    Starts,
    State,
    compiled,
)
from models.upgrades.schedule.dispatch.line import (
    first_in_line,
    line_up,
    list_schedule,
    start,
    unblock,
)


@compiled
def fill_holes(d: Domain, s: State, starts: Starts, plan: Starts) -> None:
    """Keep the planned starts; give lanes that wait for one a task that ends before it."""
    now_s = d.open_s[s.cursor[WINDOW]]
    close_s = now_s + d.window_s
    n_planned = list_schedule(d, s, plan, True)
    plan_group = d.group[plan.task[:n_planned]]
    next_on_lane, later_on_lane = _chains(plan.lane[:n_planned], d.lanes)
    next_in_group, later_in_group = _chains(plan_group, len(d.cap))
    is_to_come = np.ones(n_planned, np.bool_)
    down = np.zeros(len(d.cap), np.int64)
    events = [(plan.start_s[i], -1) for i in range(n_planned)]
    for i in range(n_planned):
        s.to_come[d.host[plan.task[i]]] += 1
    for lane in range(d.lanes):
        if s.real.lane_free_s[lane] > now_s:
            down[d.group[s.real.lane_task[lane]]] += 1
            events.append((s.real.lane_free_s[lane], lane))
    heapq.heapify(events)
    longest_s = np.empty(len(d.cap))
    while now_s < close_s - d.rollback_s:
        # What is due first, then the holes, at every instant at which something changes.
        for is_filling in (False, True):
            for lane in range(d.lanes):
                i = next_on_lane[lane]
                is_due = i >= 0 and plan.start_s[i] <= now_s
                if s.real.lane_free_s[lane] > now_s or is_due == is_filling:
                    continue
                if is_due:
                    task = plan.task[i]
                    g, host = d.group[task], d.host[task]
                    if s.real.host_free_s[host] > now_s or down[g] >= d.cap[g]:
                        continue
                    next_on_lane[lane], is_to_come[i] = later_on_lane[i], False
                    s.to_come[host] -= 1
                else:
                    left_s = close_s - now_s
                    if i >= 0:
                        left_s = min(left_s, plan.start_s[i] - now_s + d.rollback_s)
                    longest_s[:] = left_s
                    _leave_slots(
                        d, plan, is_to_come, next_in_group, later_in_group, down, now_s, longest_s
                    )
                    task = first_in_line(d, s, s.real.host_free_s, now_s, longest_s)
                    if task < 0:
                        continue
                free_s = start(d, s, starts, s.cursor[STARTED], False, task, lane, now_s)
                heapq.heappush(events, (free_s, lane))
                down[d.group[task]] += 1
        if len(events) == 0:
            break
        now_s = events[0][0]
        while len(events) > 0 and events[0][0] == now_s:
            lane = heapq.heappop(events)[1]
            if lane >= 0:
                down[d.group[s.real.lane_task[lane]]] -= 1
                unblock(d, s, d.host[s.real.lane_task[lane]])
    for lane in range(d.lanes):
        if s.real.lane_task[lane] >= 0:
            unblock(d, s, d.host[s.real.lane_task[lane]])
    for i in range(n_planned):
        if is_to_come[i]:
            line_up(d, s, plan.task[i])
        s.to_come[d.host[plan.task[i]]] = 0
        unblock(d, s, d.host[plan.task[i]])


@compiled
def _chains(keys: Codes, n_keys: int) -> tuple[Codes, Codes]:
    """First position of each key, and for each position the next one of its key; or -1."""
    first, later = np.full(n_keys, -1), np.empty(len(keys), np.int64)
    for i in range(len(keys) - 1, -1, -1):
        later[i] = first[keys[i]]
        first[keys[i]] = i
    return first, later


@compiled
def _leave_slots(
    d: Domain,
    plan: Starts,
    is_to_come: NDArray[np.bool_],
    next_in_group: Codes,
    later_in_group: Codes,
    down: Codes,
    now_s: float,
    longest_s: Seconds,
) -> None:
    """Cut `longest_s` of each group to the planned start that would find it full.

    Nobody is expected to end before: that planned starts are not delayed must not rest on
    a forecast.
    """
    for g in range(len(d.cap)):
        while next_in_group[g] >= 0 and not is_to_come[next_in_group[g]]:
            next_in_group[g] = later_in_group[next_in_group[g]]
        slots, i = d.cap[g] - down[g], next_in_group[g]
        if slots <= 0:
            longest_s[g] = -np.inf
        if d.cap[g] >= d.lanes:
            continue
        while i >= 0 and slots > 0:
            slots -= is_to_come[i]
            if slots == 0:
                longest_s[g] = min(longest_s[g], plan.start_s[i] - now_s + d.rollback_s)
            i = later_in_group[i]
