"""Turn a fleet, a forecast and a config into the arrays that solvers work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.fleet.base import Fleet
from models.upgrades.plan import RefusalReason
from models.upgrades.rollout.config import RolloutConfig
from models.upgrades.rollout.forecast import TaskForecast, check_forecast, reservations
from models.upgrades.rollout.waves import WaveTable, assign_waves, no_waves, spread_of, wave_table
from models.upgrades.rollout.windows import (
    excluded_tasks,
    nights_of,
    open_segments,
    opening_times,
    pinned_windows,
)
from models.upgrades.schedule.base import (
    NEVER_S,
    NONE,
    Ints,
    Problem,
    Segment,
    Services,
    TaskArrays,
)
from models.upgrades.schedule.floors import too_late_for_waves
from models.upgrades.schedule.gains import gains_of
from models.upgrades.schedule.precedence import precedence_ranks, predecessors

# Each round refuses those that the last one made late; more than a few are rare.
MAX_REASSIGNMENTS = 8

Segments = Sequence[Sequence[Sequence[Segment]]]


@dataclass(frozen=True)
class FleetProblem:
    """A problem with the names that its codes stand for.

    Attributes:
        problem: Arrays.
        tasks: `Fleet.tasks`, in the same order.
        refused: Reason of each task that no plan could place, None for the others.
        least_s: Least time left at which each task pays, seconds; infinite: never.
        table: Release groups.
        plan_s: When the plan is made.
    """

    problem: Problem
    tasks: pd.DataFrame
    refused: NDArray[np.object_]
    least_s: NDArray[np.float64]
    table: WaveTable
    plan_s: int


def build_problem(
    fleet: Fleet, forecast: TaskForecast, config: RolloutConfig, plan_s: int
) -> FleetProblem:
    """Derive windows, freezes, caps, waves and gains; decide what cannot be placed at all.

    Raises:
        ConfigError: An exclude pattern matches no host, or the forecast is not one of this
            backlog.
        FleetTableError: The pin file names an unknown task or time, or a task twice.
    """
    tasks = fleet.tasks
    check_forecast(forecast, len(tasks))
    gains = gains_of(forecast.in_time, tasks["value"].to_numpy(float), config.costs)
    reserved_s, least_s = reservations(forecast, gains)
    arrays, domains, pairs = _arrays(fleet, tasks, reserved_s, plan_s)
    about = fleet.domains.set_index("domain").loc[domains]
    window_s = about["window_s"].to_numpy(np.int64)
    opens_s = opening_times(about["window_start_s"].to_numpy(np.int64), plan_s, config.horizon_days)
    segments = _segments(fleet, pairs, domains, opens_s, window_s)
    table = wave_table(fleet, tasks, plan_s)
    arrays = replace(
        arrays,
        group=table.group,
        pin=pinned_windows(config.pin, tasks, opens_s, arrays.domain),
    )
    first_window, last_window, refused = _without_a_place(arrays, segments, opens_s, window_s)
    refused[np.isinf(least_s) & np.isfinite(forecast.reserved_s)] = RefusalReason.DOES_NOT_PAY
    is_shut = np.array([gate.is_shut(config) for gate in table.gates] + [False])
    refused[is_shut[table.group]] = RefusalReason.WAVE_GATE
    refused[excluded_tasks(fleet, config.exclude)] = RefusalReason.EXCLUDED
    ranks, before = precedence_ranks(fleet.after), predecessors(fleet.after)
    types = fleet.types["type"].tolist()
    lanes = about["lanes"].to_numpy(np.int64)
    problem = Problem(
        tasks=arrays,
        opens_s=opens_s,
        window_s=window_s,
        lanes=lanes,
        segments=segments,
        services=_services(fleet),
        nights=nights_of(opens_s),
        ancestors=[frozenset(types.index(first) for first in before[name]) for name in types],
        rank=np.array([ranks[name] for name in types], dtype=np.int64),
        waves=no_waves(config),
        gains=gains,
        lane_capacity_s=float((lanes * window_s).sum() * opens_s.shape[1]),
    )
    stateful = tasks["service"].map(fleet.services.set_index("service")["is_stateful"])
    queue = (spread_of(tasks["host"], config.seed), first_window, stateful.to_numpy(bool))
    problem = _with_waves(problem, refused, table, (*queue, last_window), config)
    return FleetProblem(problem, tasks, refused, least_s, table, plan_s)


def _with_waves(
    problem: Problem,
    refused: NDArray[np.object_],
    table: WaveTable,
    queue: tuple[NDArray[Any], ...],
    config: RolloutConfig,
) -> Problem:
    """Assign waves; refuse, in place, tasks whose deadline is too early for their wave.

    A task that can no longer be in time would otherwise count in its wave's quorum and
    hold up the rest. With it gone the waves shrink a little, so this is done again.
    """
    for _ in range(MAX_REASSIGNMENTS):
        is_open = np.array([reason is None for reason in refused], dtype=bool)
        group = np.where(is_open, table.group, NONE)
        tasks = replace(problem.tasks, group=group, is_open=is_open)
        wave, waves = assign_waves(table, tasks, problem.rank, queue, config)
        problem = replace(problem, tasks=replace(tasks, wave=wave), waves=waves)
        is_late = too_late_for_waves(problem)
        if not is_late.any():
            break
        refused[is_late] = RefusalReason.DEADLINE
    else:
        # What is still late stays in its wave and is refused when the tasks are placed.
        refused[is_late] = None
    return problem


def _services(fleet: Fleet) -> Services:
    most = fleet.services["max_domains_per_window"]
    return Services(
        caps=np.array([fleet.caps[name] for name in fleet.services["service"]], dtype=np.int64),
        max_domains=most.fillna(float(NEVER_S)).to_numpy(float).astype(np.int64),
        is_alone=fleet.services["one_domain_at_a_time"].to_numpy(bool),
    )


def _arrays(
    fleet: Fleet, tasks: pd.DataFrame, reserved_s: Ints, plan_s: int
) -> tuple[TaskArrays, list[str], list[tuple[str, str]]]:
    """Code the columns of the backlog; windows, waves and pins come later."""
    domain, domains = pd.factorize(tasks["domain"], sort=True)
    keys = pd.MultiIndex.from_frame(tasks[["domain", "service"]])
    pair, pairs = keys.factorize(sort=True)
    codes = {name: code for code, name in enumerate(fleet.types["type"])}
    service_codes = {name: code for code, name in enumerate(fleet.services["service"])}
    rollback_s = tasks["type"].map(fleet.types.set_index("type")["rollback_s"])
    none = np.full(len(tasks), NONE, dtype=np.int64)
    arrays = TaskArrays(
        host=pd.factorize(tasks["host"])[0].astype(np.int64),
        domain=domain.astype(np.int64),
        service=tasks["service"].map(service_codes).to_numpy(np.int64),
        pair=pair.astype(np.int64),
        type=tasks["type"].map(codes).to_numpy(np.int64),
        hardware=pd.factorize(tasks["hardware"])[0].astype(np.int64),
        group=none,
        wave=none,
        reserved_s=reserved_s,
        rollback_s=rollback_s.to_numpy(np.int64),
        arrival_s=tasks["arrival_s"].to_numpy(np.int64),
        ready_s=np.maximum(tasks["arrival_s"].to_numpy(np.int64), plan_s),
        deadline_s=np.minimum(tasks["deadline_s"].to_numpy(np.int64), NEVER_S),
        pin=none,
        is_open=np.ones(len(tasks), dtype=bool),
    )
    return arrays, list(domains), [(str(a), str(b)) for a, b in pairs]


def _segments(
    fleet: Fleet,
    pairs: Sequence[tuple[str, str]],
    domains: Sequence[str],
    opens_s: Ints,
    window_s: Ints,
) -> Segments:
    code_of = {name: code for code, name in enumerate(domains)}
    segments = []
    for domain, service in pairs:
        freezes = [freeze for freeze in fleet.freezes if freeze.covers(domain, service)]
        code = code_of[domain]
        length_s = int(window_s[code])
        opens = opens_s[code].tolist()
        segments.append([open_segments(a, a + length_s, freezes) for a in opens])
    return segments


def _without_a_place(
    arrays: TaskArrays, segments: Segments, opens_s: Ints, window_s: Ints
) -> tuple[Ints, Ints, NDArray[np.object_]]:
    """First and last window that each task could use on an empty fleet, or why none.

    Where there is none, the first is the number of windows and the last is -1.
    """
    n_tasks, n_windows = len(arrays), opens_s.shape[1]
    length_s, rollback_s = arrays.reserved_s, arrays.rollback_s
    first, last = np.full(n_tasks, n_windows), np.full(n_tasks, NONE)
    is_unfrozen, is_undated = np.zeros((2, n_tasks), dtype=bool)
    for window in range(n_windows):
        may = (arrays.pin == NONE) | (arrays.pin == window)
        open_s = opens_s[arrays.domain, window]
        end_s = np.maximum(open_s, arrays.ready_s) + length_s
        fits = may & (end_s + rollback_s <= open_s + window_s[arrays.domain])
        is_undated |= fits
        is_unfrozen |= fits & (end_s <= arrays.deadline_s)
        by_pair = [part[window] for part in segments]
        for place in range(max(map(len, by_pair))):
            pieces = [part[place] if place < len(part) else (0, 0) for part in by_pair]
            a, b = np.array(pieces, dtype=np.int64)[arrays.pair].T
            end_s = np.maximum(a, arrays.ready_s) + length_s
            fits = may & (end_s + rollback_s <= b) & (end_s <= arrays.deadline_s)
            first = np.where(fits, np.minimum(first, window), first)
            last = np.where(fits, window, last)
    refused = np.full(n_tasks, None, dtype=object)
    has_none = first == n_windows
    refused[has_none] = RefusalReason.NO_CAPACITY
    refused[has_none & is_undated] = RefusalReason.DEADLINE
    # Without freezes it would end in time, so these and not its deadline are in the way.
    refused[has_none & is_unfrozen] = RefusalReason.FREEZE
    is_long = length_s + rollback_s > window_s[arrays.domain]
    refused[is_long] = RefusalReason.NEEDS_LONGER_WINDOW
    return first, last, refused
