"""Planned starts that are kept, late if they must be, never early."""

from __future__ import annotations

import numpy as np

from models.upgrades.schedule.dispatch.base import STARTED, WINDOW, Domain, Starts, State, compiled
from models.upgrades.schedule.dispatch.line import line_up, list_schedule, start


@compiled
def keep_calendar(d: Domain, s: State, starts: Starts, plan: Starts) -> None:
    """Start planned tasks in planned order, each as soon as lane, host and service allow."""
    open_s = d.open_s[s.cursor[WINDOW]]
    abort_s = open_s + d.window_s - d.rollback_s
    n_planned = list_schedule(d, s, plan, True)
    # Until when each slot of a service is held; a cap of all lanes binds nobody.
    n_slots = np.where(d.cap < d.lanes, d.cap, 0)
    first_slot = np.cumsum(n_slots) - n_slots
    slot_free_s = np.full(n_slots.sum(), -np.inf)
    for lane in range(d.lanes):
        if s.real.lane_free_s[lane] > open_s:
            g = d.group[s.real.lane_task[lane]]
            slots = slot_free_s[first_slot[g] : first_slot[g] + n_slots[g]]
            if len(slots) > 0:
                slots[slots.argmin()] = s.real.lane_free_s[lane]
    for i in range(n_planned):
        task, lane = plan.task[i], plan.lane[i]
        g = d.group[task]
        slots = slot_free_s[first_slot[g] : first_slot[g] + n_slots[g]]
        start_s = max(plan.start_s[i], s.real.lane_free_s[lane])
        start_s = max(start_s, s.real.host_free_s[d.host[task]])
        if len(slots) > 0:
            start_s = max(start_s, slots.min())
        if start_s >= abort_s:
            line_up(d, s, task)
            continue
        free_s = start(d, s, starts, s.cursor[STARTED], False, task, lane, start_s)
        if len(slots) > 0:
            slots[slots.argmin()] = free_s
