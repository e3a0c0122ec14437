"""How fast the simulator is: made-up fleets of any size, CPU seconds, time per decision."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from models.upgrades.config import DAY_S, UpgradeConfig
from models.upgrades.policy import Dispatch
from models.upgrades.simulate.base import SimulatedTasks
from models.upgrades.simulate.engine import Caps, run_windows

DOMAINS, LANES, SERVICES, TASKS_PER_HOST = 10, 48, 8, 5
# Service caps bind (half of the lanes in all), rollbacks take a quarter of an hour or so.
CONFIG = UpgradeConfig(simulation_caps=True, rollback_s=900, rollback_spread=0.5)
CAP = LANES // 2 // SERVICES
DECISIONS = 2_000


@dataclass(frozen=True)
class SimulationSpeed:
    """CPU time of one simulation and of single decisions, compilation apart.

    Attributes:
        tasks: Tasks of the made-up period, 40 % of them in line when it begins.
        starts: Starts that were simulated.
        cpu_s: CPU seconds from tasks to metrics.
        compile_s: CPU seconds to load numba and to compile, or to read machine code from
            the cache.
        in_line: Tasks in line at the single decisions.
        decision_median_ms: CPU milliseconds of one choice of a task, called from Python.
        decision_p99_ms: The same, 99th percentile of `DECISIONS`.
    """

    tasks: int
    starts: int
    cpu_s: float
    compile_s: float
    in_line: int
    decision_median_ms: float
    decision_p99_ms: float


def measure(n_events: int, seed: int, dispatch: Dispatch = "online") -> SimulationSpeed:
    """Simulate about `n_events` starts, with caps, rollbacks and retries.

    Args:
        n_events: Tasks to make; online starts about as many, aborted ones again.
        seed: Seed of the made-up tasks.
        dispatch: Who starts them.
    """
    began = time.process_time()
    _simulate(200, seed, dispatch)
    _decision_times_ms(200, seed)
    compile_s = time.process_time() - began
    began = time.process_time()
    n_tasks, starts = _simulate(max(n_events, DOMAINS), seed, dispatch)
    cpu_s = time.process_time() - began
    in_line = max(n_events // 10, 10)
    decision_ms = _decision_times_ms(in_line, seed)
    return SimulationSpeed(
        tasks=n_tasks,
        starts=starts,
        cpu_s=cpu_s,
        compile_s=compile_s,
        in_line=in_line,
        decision_median_ms=float(np.median(decision_ms)),
        decision_p99_ms=float(np.quantile(decision_ms, 0.99)),
    )


def _simulate(n_tasks: int, seed: int, dispatch: Dispatch) -> tuple[int, int]:
    tasks, lanes, caps = made_up_fleet(n_tasks, DOMAINS, seed)
    result = run_windows(tasks, dispatch, lanes, CONFIG, None, caps)
    return n_tasks, result.metrics.scheduled


def made_up_fleet(
    n_tasks: int, n_domains: int, seed: int
) -> tuple[SimulatedTasks, dict[str, int], Caps]:
    """Make tasks, lanes per domain and caps: lognormal durations, reservations near their P90.

    Caps let half of the lanes be busy, which is 1.4 times what the tasks need in all.
    """
    rng = np.random.default_rng(seed)
    duration_s = np.ceil(rng.lognormal(np.log(3_000), 0.5, n_tasks))
    host = rng.integers(0, max(n_tasks // TASKS_PER_HOST, 1), n_tasks)
    days = np.ceil(1.4 * duration_s.sum() / (n_domains * LANES / 2 * CONFIG.window_s))
    arrival_s = np.sort(np.maximum(rng.uniform(-0.4 / 0.6, 1, n_tasks), 0) * days * DAY_S)
    domain = np.array([f"domain-{code}" for code in range(n_domains)], object)
    service = np.array([f"service-{code}" for code in range(SERVICES)], object)
    tasks = SimulatedTasks(
        rows=np.arange(n_tasks),
        domain=domain[host % n_domains],
        host=host,
        arrival_s=arrival_s.astype(np.int64),
        duration_s=duration_s,
        reserved_s=np.ceil(3_000 * rng.lognormal(np.log(1.9), 0.2, n_tasks)),
        service=service[host // n_domains % SERVICES],
    )
    lanes = {str(name): LANES for name in domain}
    return tasks, lanes, {(str(d), str(s)): CAP for d in domain for s in service}


def _decision_times_ms(n_tasks: int, seed: int) -> list[float]:
    """Time single choices in a line of `n_tasks`, each from Python, with hosts held."""
    from models.upgrades.schedule.dispatch.line import first_in_line, line_up, put_need
    from models.upgrades.simulate.arrays import domain_arrays

    tasks, _, _ = made_up_fleet(n_tasks, 1, seed)
    group = pd.factorize(np.asarray(tasks.service, object))[0].astype(np.int64)
    domain, state = domain_arrays(
        *(tasks, np.arange(n_tasks), np.zeros(1, np.int64), LANES, np.zeros(n_tasks)),
        *(group, np.full(int(group.max()) + 1, LANES), CONFIG),
    )
    for task in range(n_tasks):
        line_up(domain, state, task)
    left_s = np.random.default_rng(seed).uniform(0, CONFIG.window_s, DECISIONS)
    times_ms = []
    for now_s, left in enumerate(left_s):
        longest_s = np.full(len(domain.cap), left)
        began = time.process_time_ns()
        task = first_in_line(domain, state, state.real.host_free_s, float(now_s), longest_s)
        if task >= 0:
            put_need(domain, state, task, np.inf)
        times_ms.append((time.process_time_ns() - began) / 1e6)
        if task >= 0:
            state.real.host_free_s[domain.host[task]] = now_s + LANES
    return times_ms
