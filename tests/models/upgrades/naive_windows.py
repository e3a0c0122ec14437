"""The window simulation again, from its rules in docs/decisions/upgrades-simulator.md alone.

Plain Python, instant by instant, no array and no tree, and slow: it looks at everything
whenever anything may have changed. The numbers in comments are those of the rules.
"""

import math
from dataclasses import dataclass, field

import numpy as np

DAY_S = 86_400


@dataclass(eq=False)
class Task:
    row: int
    domain: str
    service: str
    host: int
    arrival_s: float
    duration_s: float
    reserved_s: float
    rollback_s: float
    tries: int = 0
    outcome: str = "waiting"


@dataclass(eq=False)
class Run:
    """One start; host and lane are held up to, not including, `free_s`."""

    task: Task
    lane: int
    start_s: float
    end_s: float
    free_s: float
    is_completed: bool
    open_s: float
    attempt: int


@dataclass
class World:
    """One domain: its line, in order, and every start so far."""

    line: list[Task]
    lanes: int
    caps: dict[str, int]
    window_s: float
    rollback_s: float
    runs: list[Run] = field(default_factory=list)
    open_s: float = 0.0

    @property
    def abort_s(self) -> float:
        return self.open_s + self.window_s - self.rollback_s

    def held(self, now_s: float) -> list[Run]:
        return [run for run in self.runs if run.start_s <= now_s < run.free_s]

    def is_lane_free(self, lane: int, now_s: float) -> bool:
        return all(run.lane != lane for run in self.held(now_s))

    def may_go(self, task: Task, now_s: float) -> bool:
        """Rule 5: its host is up and its service has a slot."""
        down = self.held(now_s)
        same = sum(run.task.service == task.service for run in down)
        is_up = all(run.task.host != task.host for run in down)
        return is_up and same < self.caps[task.service]

    def start(self, task: Task, lane: int, now_s: float) -> None:
        """Rule 6."""
        task.tries += 1
        end_s = now_s + task.duration_s
        is_completed = end_s <= self.abort_s
        if not is_completed:
            end_s = self.abort_s
        free_s = end_s if is_completed else end_s + task.rollback_s
        self.runs.append(
            Run(task, lane, now_s, end_s, free_s, is_completed, self.open_s, task.tries)
        )
        self.line.remove(task)

    def releases(self) -> list[float]:
        return [run.free_s for run in self.runs if run.free_s > self.open_s]

    def online(self) -> None:
        """Rule 7: lane by lane, the first in line that fits and may go."""
        now_s = self.open_s
        while now_s <= self.abort_s:
            for lane in range(self.lanes):
                if self.is_lane_free(lane, now_s):
                    for task in list(self.line):
                        if now_s + task.reserved_s <= self.abort_s and self.may_go(task, now_s):
                            self.start(task, lane, now_s)
                            break
            now_s = min((at for at in self.releases() if at > now_s), default=math.inf)

    def plan(self) -> list[tuple[float, int, Task]]:
        """Rule 8: online in a world where everything lasts as long as it is reserved."""
        twins = {}
        for task in self.line:
            twin = Task(**{**task.__dict__, "duration_s": task.reserved_s})
            twins[twin.row] = (twin, task)
        dream = World(
            [twin for twin, _ in twins.values()],
            *(self.lanes, self.caps, self.window_s, self.rollback_s),
            open_s=self.open_s,
        )
        dream.online()
        return [(run.start_s, run.lane, twins[run.task.row][1]) for run in dream.runs]

    def calendar(self) -> None:
        """Rule 9: planned starts are settled in the order of the plan."""
        over_from_before = self.held(self.open_s)
        settled: list[Run] = []
        for planned_s, lane, task in self.plan():
            before = [*over_from_before, *settled]
            waits = [run.free_s for run in before if run.lane == lane or run.task.host == task.host]
            slot_s = -math.inf
            cap = self.caps[task.service]
            if cap < self.lanes:
                # Whoever comes is the cap-th that is down once all but cap - 1 are back.
                back = sorted(
                    (run.free_s for run in before if run.task.service == task.service),
                    reverse=True,
                )
                slot_s = back[cap - 1] if len(back) >= cap else -math.inf
            start_s = max([planned_s, slot_s, *waits])
            if start_s < self.abort_s:
                self.start(task, lane, start_s)
                settled.append(self.runs[-1])

    def backfill(self) -> None:
        """Rule 10: what is due first, then the holes."""
        to_come = self.plan()
        now_s = self.open_s
        while now_s < self.abort_s:
            for lane in range(self.lanes):
                mine = [planned for planned in to_come if planned[1] == lane]
                is_due = bool(mine) and mine[0][0] <= now_s
                if is_due and self.is_lane_free(lane, now_s) and self.may_go(mine[0][2], now_s):
                    self.start(mine[0][2], lane, now_s)
                    to_come.remove(mine[0])
            for lane in range(self.lanes):
                mine = [planned for planned in to_come if planned[1] == lane]
                is_due = bool(mine) and mine[0][0] <= now_s
                if not is_due and self.is_lane_free(lane, now_s):
                    next_s = mine[0][0] if mine else math.inf
                    for task in list(self.line):
                        if self.may_fill(task, now_s, next_s, to_come):
                            self.start(task, lane, now_s)
                            break
            instants = [*self.releases(), *(planned[0] for planned in to_come)]
            now_s = min((at for at in instants if at > now_s), default=math.inf)

    def may_fill(
        self, task: Task, now_s: float, next_s: float, to_come: list[tuple[float, int, Task]]
    ) -> bool:
        planned = [other for _, _, other in to_come]
        if task in planned or any(other.host == task.host for other in planned):
            return False
        cap = self.caps[task.service]
        until_s = min(self.abort_s, next_s)
        if cap < self.lanes:
            down = sum(run.task.service == task.service for run in self.held(now_s))
            later = [at for at, _, other in to_come if other.service == task.service]
            if 0 < cap - down <= len(later):
                until_s = min(until_s, later[cap - down - 1])
        return now_s + task.reserved_s <= until_s and self.may_go(task, now_s)


def naive_simulation(tasks, dispatch, lanes, config, caps, retry=None):
    """Return all starts as `Run`s, domain by domain, and the outcome of each row."""
    usable_s = config.window_s - config.rollback_s
    # Rule 6: the draws belong to rows, whatever the line.
    draws = np.random.default_rng(config.seed).standard_normal(len(tasks.rows))
    by_row = dict(zip(sorted(tasks.rows.tolist()), draws.tolist(), strict=True))
    spread = config.rollback_spread
    everyone = [
        Task(
            *(row, tasks.domain[i], tasks.service[i], int(tasks.host[i])),
            *(float(tasks.arrival_s[i]), float(tasks.duration_s[i]), float(tasks.reserved_s[i])),
            config.rollback_s * math.exp(spread * by_row[row] - spread**2 / 2),
        )
        for i, row in enumerate(tasks.rows.tolist())
    ]
    place = {task.row: i for i, task in enumerate(everyone)}
    last_s = max(task.arrival_s for task in everyone)
    runs = []
    for domain in sorted({task.domain for task in everyone}):
        mine = [task for task in everyone if task.domain == domain]
        kept = {
            service: caps.get((domain, service), 1) if config.simulation_caps else math.inf
            for service in {task.service for task in mine}
        }
        for task in mine:
            # Rule 3.
            if task.reserved_s > usable_s:
                task.outcome = "refused"
        world = World([], lanes.get(domain, 1), kept, config.window_s, config.rollback_s)
        # Rule 1.
        first_s = min(task.arrival_s for task in mine)
        day = math.ceil((first_s - config.window_start_s) / DAY_S)
        is_last = False
        while not is_last:
            world.open_s = day * DAY_S + config.window_start_s
            is_last = world.open_s >= last_s
            day += 1
            # Rule 2.
            world.line = [
                task
                for task in mine
                if task.outcome == "waiting" and task.arrival_s <= world.open_s
            ]
            n_before = len(world.runs)
            getattr(world, dispatch)()
            # Rule 4, once the window is over.
            for run in world.runs[n_before:]:
                task = run.task
                if run.is_completed:
                    task.outcome = "completed"
                    continue
                if retry is not None:
                    places, ran_s = np.array([place[task.row]]), np.array([run.end_s - run.start_s])
                    task.reserved_s = float(retry(places, ran_s)[0])
                if task.tries == config.max_tries or task.reserved_s > usable_s:
                    task.outcome = "given up"
        runs += world.runs
    return runs, {task.row: task.outcome for task in everyone}
