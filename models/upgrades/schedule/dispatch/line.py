"""The line of waiting tasks, and lanes that take from it as they free."""

from __future__ import annotations

import heapq

import numpy as np

from models.upgrades.schedule.dispatch.base import (
    IN_LINE,
    STARTED,
    WINDOW,
    Domain,
    Seconds,
    Starts,
    State,
    compiled,
)


@compiled
def put_need(d: Domain, s: State, task: int, need_s: float) -> None:
    """Write a leaf of the tree; nodes above change only as long as their least need does."""
    base, node = d.base[d.group[task]], d.leaf[task]
    s.tree[base + node] = need_s
    node //= 2
    while node >= 1:
        least_s = min(s.tree[base + 2 * node], s.tree[base + 2 * node + 1])
        if s.tree[base + node] == least_s:
            break
        s.tree[base + node] = least_s
        node //= 2


@compiled
def line_up(d: Domain, s: State, task: int) -> None:
    """Let a task be found again; its place in line is its number."""
    put_need(d, s, task, s.reserved_s[task] + d.rollback_s)


@compiled
def unblock(d: Domain, s: State, host: int) -> None:
    """Let the tasks of a host be found that were out of the tree while it was held."""
    task = s.blocked[host]
    s.blocked[host] = -1
    while task >= 0:
        line_up(d, s, task)
        task = s.next_blocked[task]


@compiled
def first_in_line(
    d: Domain, s: State, host_free_s: Seconds, now_s: float, longest_s: Seconds
) -> int:
    """First task that needs at most `longest_s` of its group, on a host that is up; or -1."""
    best = -1
    for g in range(len(d.cap)):
        base = d.base[g]
        while s.tree[base + 1] <= longest_s[g]:
            node = 1
            while node < d.size[g]:
                node *= 2
                if s.tree[base + node] > longest_s[g]:
                    node += 1
            task = d.task_at[base + node]
            if best >= 0 and task > best:
                break
            host = d.host[task]
            if host_free_s[host] <= now_s and s.to_come[host] == 0:
                best = task
                break
            # Out of the tree until the host is released, so that nobody meets it again.
            put_need(d, s, task, np.inf)
            s.next_blocked[task], s.blocked[host] = s.blocked[host], task
    return best


@compiled
def start(
    d: Domain, s: State, out: Starts, row: int, is_plan: bool, task: int, lane: int, start_s: float
) -> float:
    """Write one start, hold its lane and host, and return when they are released.

    A planned start lasts as long as its reservation, a real one as long as it lasts.
    """
    holds = s.planned if is_plan else s.real
    abort_s = d.open_s[s.cursor[WINDOW]] + d.window_s - d.rollback_s
    end_s = start_s + (s.reserved_s[task] if is_plan else d.duration_s[task])
    free_s, is_completed = end_s, end_s <= abort_s
    if not is_completed:
        end_s = abort_s
        free_s = abort_s + (0.0 if is_plan else d.real_rollback_s[task])
    out.task[row], out.window[row], out.lane[row] = task, s.cursor[WINDOW], lane
    out.start_s[row], out.end_s[row], out.free_s[row] = start_s, end_s, free_s
    out.is_completed[row] = is_completed
    holds.lane_free_s[lane] = holds.host_free_s[d.host[task]] = free_s
    holds.lane_task[lane] = task
    put_need(d, s, task, np.inf)
    if not is_plan:
        s.tries[task] += 1
        out.attempt[row] = s.tries[task]
        s.cursor[STARTED] += 1
        s.cursor[IN_LINE] -= 1
    return float(free_s)


@compiled
def list_schedule(d: Domain, s: State, out: Starts, is_plan: bool) -> int:
    """Give each lane that frees, lowest first, the first task that fits; count the starts."""
    holds = s.planned if is_plan else s.real
    now_s = d.open_s[s.cursor[WINDOW]]
    close_s = now_s + d.window_s
    first = 0 if is_plan else s.cursor[STARTED]
    row = first
    # A rollback may outlast its window and hold a lane in the next one.
    held = [(holds.lane_free_s[x], x) for x in range(d.lanes) if holds.lane_free_s[x] > now_s]
    idle = [x for x in range(d.lanes) if holds.lane_free_s[x] <= now_s]
    heapq.heapify(held)
    down = np.zeros(len(d.cap), np.int64)
    for _, lane in held:
        down[d.group[holds.lane_task[lane]]] += 1
    longest_s = np.empty(len(d.cap))
    while True:
        while len(idle) > 0:
            for g in range(len(d.cap)):
                longest_s[g] = close_s - now_s if down[g] < d.cap[g] else -np.inf
            task = first_in_line(d, s, holds.host_free_s, now_s, longest_s)
            if task < 0:
                break
            lane = heapq.heappop(idle)
            heapq.heappush(held, (start(d, s, out, row, is_plan, task, lane, now_s), lane))
            down[d.group[task]] += 1
            row += 1
        if len(held) == 0 or held[0][0] >= close_s:
            break
        now_s = held[0][0]
        while len(held) > 0 and held[0][0] == now_s:
            lane = heapq.heappop(held)[1]
            heapq.heappush(idle, lane)
            down[d.group[holds.lane_task[lane]]] -= 1
            unblock(d, s, d.host[holds.lane_task[lane]])
    for _, lane in held:
        unblock(d, s, d.host[holds.lane_task[lane]])
    return row - first
