"""The compiled dispatchers against a slow one written from their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.upgrades import UpgradeConfig
from models.upgrades.config import DAY_S
from models.upgrades.policy import DISPATCHES
from models.upgrades.simulate import SimulatedTasks, run_windows

HOUR_S = 3_600


class SlowWindow:
    """One window by its definition: every choice looks at every task and every run.

    `runs` are (task, lane, planned or real start, end, release, is_completed) of the domain.
    """

    def __init__(self, tasks, line, open_s, lanes, caps, config, real_rollback_s, runs):
        self.tasks, self.line, self.open_s, self.lanes = tasks, list(line), open_s, lanes
        self.caps, self.rollback_s, self.real_rollback_s = caps, config.rollback_s, real_rollback_s
        self.close_s, self.runs = open_s + config.window_s, runs
        self.abort_s = self.close_s - config.rollback_s

    def same(self, runs, task):
        service = self.tasks.service
        return [run for run in runs if service[run[0]] == service[task]]

    def can_start(self, runs, task, now_s):
        down = [run for run in runs if run[4] > now_s]
        is_up = all(self.tasks.host[run[0]] != self.tasks.host[task] for run in down)
        return is_up and len(self.same(down, task)) < self.caps(task)

    def fits(self, task, left_s):
        return self.reserved_s[task] + self.rollback_s <= left_s

    def is_idle(self, runs, lane, now_s):
        return all(run[1] != lane or run[4] <= now_s for run in runs)

    def begin(self, runs, task, lane, start_s):
        end_s = start_s + self.tasks.duration_s[task]
        if end_s <= self.abort_s:
            runs.append((task, lane, start_s, end_s, end_s, True))
        else:
            free_s = self.abort_s + self.real_rollback_s[task]
            runs.append((task, lane, start_s, self.abort_s, free_s, False))

    def plan(self):
        planned, line = [], list(self.line)
        times = [self.open_s]
        while times:
            now_s = times.pop(0)
            for lane in range(self.lanes):
                if not self.is_idle(planned, lane, now_s):
                    continue
                for task in line:
                    if self.fits(task, self.close_s - now_s) and self.can_start(
                        planned, task, now_s
                    ):
                        end_s = now_s + self.reserved_s[task]
                        planned.append((task, lane, now_s, end_s, end_s, True))
                        times = sorted({*times, end_s})
                        line.remove(task)
                        break
        return planned

    def online(self):
        first = len(self.runs)
        times = sorted({self.open_s, *(run[4] for run in self.runs if run[4] > self.open_s)})
        while times and times[0] < self.close_s:
            now_s = times.pop(0)
            for lane in range(self.lanes):
                if not self.is_idle(self.runs, lane, now_s):
                    continue
                task = self.choose(now_s)
                if task is not None:
                    self.line.remove(task)
                    self.begin(self.runs, task, lane, now_s)
                    times = sorted({*times, self.runs[-1][4]})
        return self.runs[first:]

    def choose(self, now_s):
        for task in self.line:
            if self.fits(task, self.close_s - now_s) and self.can_start(self.runs, task, now_s):
                return task
        return None

    def calendar(self):
        first, holding = len(self.runs), [run for run in self.runs if run[4] > self.open_s]
        for task, lane, planned_s, *_ in self.plan():
            blocking = [
                *(run[4] for run in self.runs if run[1] == lane),
                *(r[4] for r in self.runs if self.tasks.host[r[0]] == self.tasks.host[task]),
            ]
            start_s = max([planned_s, *blocking])
            if self.caps(task) < self.lanes:
                # Planned later, so it waits until fewer than cap of those before it are down.
                releases = sorted(run[4] for run in self.same(holding, task))
                if len(releases) >= self.caps(task):
                    start_s = max(start_s, releases[-self.caps(task)])
            if start_s < self.abort_s:
                self.begin(self.runs, task, lane, start_s)
                holding.append(self.runs[-1])
        return self.runs[first:]

    def backfill(self):
        first, to_come = len(self.runs), self.plan()
        self.line = [task for task in self.line if task not in {run[0] for run in to_come}]
        held = [run[4] for run in self.runs if run[4] > self.open_s]
        times = sorted({self.open_s, *held, *(run[2] for run in to_come)})
        while times and times[0] < self.abort_s:
            now_s = times.pop(0)
            for is_filling in (False, True):
                for lane in range(self.lanes):
                    if not self.is_idle(self.runs, lane, now_s):
                        continue
                    mine = [run for run in to_come if run[1] == lane][:1]
                    is_due = bool(mine) and mine[0][2] <= now_s
                    if is_due and not is_filling and self.can_start(self.runs, mine[0][0], now_s):
                        to_come.remove(mine[0])
                        self.begin(self.runs, mine[0][0], lane, now_s)
                    elif not is_due and is_filling:
                        due_s = mine[0][2] if mine else math.inf
                        task = self.fill(now_s, due_s, to_come)
                        if task is not None:
                            self.line.remove(task)
                            self.begin(self.runs, task, lane, now_s)
                    times = sorted({*times, *(run[4] for run in self.runs if run[4] > now_s)})
        return self.runs[first:]

    def fill(self, now_s, due_s, to_come):
        for task in self.line:
            if any(self.tasks.host[run[0]] == self.tasks.host[task] for run in to_come):
                continue
            down = [run for run in self.runs if run[4] > now_s]
            full_s = math.inf
            if self.caps(task) < self.lanes:
                slots = self.caps(task) - len(self.same(down, task))
                later = sorted(run[2] for run in self.same(to_come, task))
                full_s = later[slots - 1] if 0 < slots <= len(later) else math.inf
            latest_s = min(due_s, full_s)
            if (
                self.fits(task, self.close_s - now_s)
                and self.can_start(self.runs, task, now_s)
                and now_s + self.reserved_s[task] <= latest_s
            ):
                return task
        return None


class Easy(SlowWindow):
    """EASY backfilling: the head of the line has a reservation, others may pass it.

    What has outrun its reservation is expected to last until the close.
    """

    def choose(self, now_s):
        def expected_s(run):
            end_s = run[2] + self.reserved_s[run[0]]
            return end_s if end_s > now_s else self.close_s

        running = [run for run in self.runs if run[4] > now_s]
        expected = [(*run[:4], expected_s(run), run[5]) for run in running]
        head, shadow_s = None, math.inf
        for task in self.line:
            if not self.fits(task, self.close_s - now_s):
                continue
            can_start = self.can_start(self.runs, task, now_s)
            if head is None and can_start:
                return task
            if head is None:
                shadow_s = min(
                    (r[4] for r in expected if self.can_start(expected, task, r[4])),
                    default=math.inf,
                )
                head = task if self.fits(task, self.close_s - shadow_s) else None
                continue
            still = [run for run in expected if run[4] > shadow_s]
            leaves_room = (
                len(still) + 1 < self.lanes
                and self.tasks.host[task] != self.tasks.host[head]
                and len(self.same([*still, (task,)], head)) < self.caps(head)
            )
            if can_start and (now_s + self.reserved_s[task] <= shadow_s or leaves_room):
                return task
        return None


def slow_simulation(tasks, dispatch, lanes, config, caps, retry=None, window=SlowWindow):
    """Return starts (row, attempt, open, lane, start, end, release, completed), outcomes."""
    drawn = np.random.default_rng(config.seed).standard_normal(len(tasks.rows))
    spread = config.rollback_spread
    real_rollback_s = config.rollback_s * np.exp(spread * drawn - spread**2 / 2)
    limit_s = config.window_s - config.rollback_s
    reserved_s, tries = tasks.reserved_s.copy(), [0] * len(tasks.rows)
    outcomes = ["refused" if need > limit_s else "waiting" for need in reserved_s]
    starts = []
    for domain in sorted(set(tasks.domain)):
        mine = [task for task in range(len(tasks.rows)) if tasks.domain[task] == domain]
        runs = []

        def cap(task, domain=domain):
            if not config.simulation_caps:
                return math.inf
            return caps.get((domain, tasks.service[task]), 1)

        day = math.ceil(min(tasks.arrival_s[task] for task in mine) / DAY_S)
        while (day - 1) * DAY_S < tasks.arrival_s.max():
            open_s = day * DAY_S
            day += 1
            line = [t for t in mine if outcomes[t] == "waiting" and tasks.arrival_s[t] <= open_s]
            now = window(
                tasks, line, open_s, lanes[domain], cap, config, real_rollback_s, list(runs)
            )
            now.reserved_s = reserved_s
            for task, lane, start_s, end_s, free_s, is_completed in getattr(now, dispatch)():
                tries[task] += 1
                starts.append(
                    (task, tries[task], open_s, lane, start_s, end_s, free_s, is_completed)
                )
                runs.append((task, lane, start_s, end_s, free_s, is_completed))
                if is_completed:
                    outcomes[task] = "completed"
                    continue
                if retry is not None:
                    reserved_s[task] = retry(np.array([task]), np.array([end_s - start_s]))[0]
                if tries[task] == config.max_tries or reserved_s[task] > limit_s:
                    outcomes[task] = "given up"
    return starts, outcomes


@st.composite
def periods(draw, spread=(0.0, 1.0, 1.0), service_of_host=False):
    """Tasks, lanes, config and caps.

    The columns come from a drawn seed: lists that hypothesis draws item by item are mostly
    short or equal, and then hosts, services and rollbacks hardly ever meet.
    """
    n = draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    host = rng.integers(0, rng.integers(2, 12), n)
    is_long = rng.random(n) < draw(st.sampled_from([0.1, 0.4]))
    # Whole hours, so that ends, starts and closes often fall together; mostly much shorter
    # than reserved, so that calendars have holes.
    tasks = SimulatedTasks(
        rows=np.arange(n),
        domain=np.where(host % 4 == 3, "b", "a").astype(object),
        host=host,
        arrival_s=rng.integers(0, draw(st.sampled_from([1, 50])), n) * HOUR_S,
        duration_s=np.where(is_long, rng.integers(5, 30, n), rng.integers(1, 5, n)) * float(HOUR_S),
        reserved_s=rng.integers(1, draw(st.sampled_from([8, 26])), n) * float(HOUR_S),
        service=np.array(["s", "t"], object)[
            host % 2 if service_of_host else rng.integers(0, 2, n)
        ],
    )
    config = UpgradeConfig(
        window_s=draw(st.sampled_from([10, 24])) * HOUR_S,
        rollback_s=draw(st.sampled_from([0, 2, 6])) * HOUR_S,
        rollback_spread=draw(st.sampled_from(spread)),
        simulation_caps=draw(st.sampled_from([False, True, True])),
        max_tries=draw(st.integers(1, 3)),
        seed=draw(st.integers(0, 9)),
    )
    lanes = {"a": draw(st.integers(1, 5)), "b": draw(st.integers(1, 2))}
    return tasks, lanes, config, {(d, s): draw(st.integers(1, 3)) for d in "ab" for s in "st"}


def doubled(places, elapsed_s):
    return 2 * elapsed_s + HOUR_S * (places % 3)


def rows_of(result):
    columns = ["row", "attempt", "window_open_s", "lane", "start_s", "end_s", "free_s"]
    return list(result.attempts[[*columns, "is_completed"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("dispatch", DISPATCHES)
@settings(max_examples=400, deadline=None)
@given(period=periods(), retry=st.sampled_from([None, doubled]))
def test_every_start_equals_that_of_the_slow_dispatcher(dispatch, period, retry):
    tasks, lanes, config, caps = period
    fast = run_windows(tasks, dispatch, lanes, config, retry, caps)
    starts, outcomes = slow_simulation(tasks, dispatch, lanes, config, caps, retry)
    assert rows_of(fast) == starts
    assert fast.outcomes.tolist() == outcomes


@settings(max_examples=400, deadline=None)
@given(period=periods(spread=(0.0,), service_of_host=True))
def test_for_tasks_on_one_lane_easy_backfilling_is_the_online_dispatcher(period):
    tasks, lanes, config, caps = period
    online = run_windows(tasks, "online", lanes, config, None, caps)
    easy, _ = slow_simulation(tasks, "online", lanes, config, caps, window=Easy)
    assert rows_of(online) == easy
