"""Window after window of one domain: arrivals, starts, aborts that come back."""

from __future__ import annotations

from models.upgrades.schedule.dispatch.backfill import fill_holes
from models.upgrades.schedule.dispatch.base import (
    ARRIVAL,
    CALENDAR,
    COMPLETED,
    GIVEN_UP,
    IN_LINE,
    ONLINE,
    SETTLED,
    STARTED,
    WAITING,
    WINDOW,
    Domain,
    Starts,
    State,
    compiled,
)
from models.upgrades.schedule.dispatch.calendar import keep_calendar
from models.upgrades.schedule.dispatch.line import line_up, list_schedule


@compiled
def run_domain(
    d: Domain, s: State, starts: Starts, plan: Starts, dispatch: int, is_informed: bool
) -> bool:
    """Run windows from the cursor on; return whether all are done.

    Stops early after a window with aborts if `is_informed`, for the caller to set their
    reservations, and when `starts` might not hold another window, for it to empty them.
    """
    while True:
        _settle(d, s, starts)
        if s.cursor[WINDOW] == len(d.open_s):
            return True
        _admit(d, s)
        if s.cursor[IN_LINE] > len(starts.task) - s.cursor[STARTED]:
            return False
        if s.cursor[IN_LINE] > 0:
            if dispatch == ONLINE:
                list_schedule(d, s, starts, False)
            elif dispatch == CALENDAR:
                keep_calendar(d, s, starts, plan)
            else:
                fill_holes(d, s, starts, plan)
        s.cursor[WINDOW] += 1
        new = starts.is_completed[s.cursor[SETTLED] : s.cursor[STARTED]]
        if is_informed and not new.all():
            return False


@compiled
def _admit(d: Domain, s: State) -> None:
    """Line up the tasks that have arrived by the opening and were not refused."""
    while s.cursor[ARRIVAL] < len(d.by_arrival):
        task = d.by_arrival[s.cursor[ARRIVAL]]
        if d.arrival_s[task] > d.open_s[s.cursor[WINDOW]]:
            break
        s.cursor[ARRIVAL] += 1
        if s.status[task] == WAITING:
            line_up(d, s, task)
            s.cursor[IN_LINE] += 1


@compiled
def _settle(d: Domain, s: State, starts: Starts) -> None:
    """Close completed tasks; line aborted ones up again or give them up."""
    for row in range(s.cursor[SETTLED], s.cursor[STARTED]):
        task = starts.task[row]
        is_too_long = s.reserved_s[task] + d.rollback_s > d.window_s
        if starts.is_completed[row]:
            s.status[task] = COMPLETED
        elif s.tries[task] == d.max_tries or is_too_long:
            s.status[task] = GIVEN_UP
        else:
            line_up(d, s, task)
            s.cursor[IN_LINE] += 1
    s.cursor[SETTLED] = s.cursor[STARTED]
