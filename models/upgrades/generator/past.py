"""The past of a fleet: trains visit the domains, batches start, some are given up."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.generator.config import DAY_S, FleetConfig
from models.upgrades.generator.durations import (
    LONGEST_S,
    Effects,
    Floats,
    Ints,
    Work,
    draw_durations,
)
from models.upgrades.generator.layout import (
    Layout,
    end_s,
    hosts_table,
    labels,
    lanes_of,
    start_s,
)
from models.upgrades.history.base import ABORTED, COMPLETED, RUNNING, overlap_s

# Assumptions: somebody watches at least half of the upgrades and gives up those that take
# too long, judged against the plan with a log-normal error; the others run to their end.
WATCHED_SHARE = 0.5
PATIENCE_SIGMA = 0.5
# The last part of a window is kept for what has been started.
STARTS_SHARE = 0.6


def release_at(time_s: Ints, kind: Ints, config: FleetConfig) -> Ints:
    """Return the number of the release of a type that is current at a time."""
    days = np.array([of.release_days for of in config.types])[kind]
    number: Ints = np.floor((time_s - start_s(config)) / (days * DAY_S)).astype(np.int64)
    return number


def releases(config: FleetConfig) -> int:
    """Return how many releases a type can have at most, the waiting one included."""
    return int(config.days / min(kind.release_days for kind in config.types)) + 3


def release_names(kind: Ints, number: Ints, config: FleetConfig) -> NDArray[np.object_]:
    """Return names like `os-kernel-r003`, shape (n,)."""
    n = releases(config)
    names = np.array(
        [f"{of.name}-r{place:03d}" for of in config.types for place in range(n)], dtype=object
    )
    chosen: NDArray[np.object_] = names[kind * n + number]
    return chosen


def past_events(
    layout: Layout, effects: Effects, config: FleetConfig, rng: np.random.Generator
) -> pd.DataFrame:
    """Return events.parquet: what was started in the history, in order of the starts.

    An aborted upgrade ends at the instant at which it was given up: that is a lower bound
    of its duration. The rollback comes after and keeps the host busy. What has not ended
    with the history is running. No host has two upgrades at a time.
    """
    work, begin_s = _visits(layout, config, rng)
    drawn = draw_durations(work, layout, effects, config, rng)
    total_s = np.maximum(1, np.round(drawn.total_s)).astype(np.int64)
    patience_s = _patience(drawn.planned_s, drawn.total_s, config, rng)
    aborted = total_s > patience_s
    elapsed_s = np.where(aborted, patience_s, total_s)
    rollback_s = np.array([kind.rollback_s for kind in config.types])[work.kind]
    until_s = begin_s + elapsed_s + np.where(aborted, rollback_s, 0)
    free = overlap_s(work.host, begin_s, until_s) == 0
    order = np.lexsort((work.host, begin_s))
    rows = order[free[order]]
    return _table(work, begin_s, begin_s + elapsed_s, aborted, rows, layout, config)


def _visits(layout: Layout, config: FleetConfig, rng: np.random.Generator) -> tuple[Work, Ints]:
    """Deal the hosts of each domain into batches anew in each cycle of the train."""
    cycles = -(-config.days // config.cycle_days)
    cycle = np.repeat(np.arange(cycles, dtype=np.int64), config.hosts)
    host = np.tile(np.arange(config.hosts, dtype=np.int64), cycles)
    domain = layout.domain[host]
    order = np.lexsort((rng.random(len(host)), domain, cycle))
    cycle, host, domain = cycle[order], host[order], domain[order]
    group = cycle * config.domains + domain
    first = np.searchsorted(group, group, "left")
    at_once = np.tile(np.minimum(config.batch_hosts, lanes_of(layout, config)), cycles)
    place = (np.arange(len(group)) - first) // at_once[group]
    per_group = -(-np.bincount(group, minlength=len(at_once)) // at_once)
    offset = np.concatenate([[0], np.cumsum(per_group)[:-1]])
    batch = offset[group] + place
    # Of each batch: its place in the cycle, its window, its type.
    group_of = np.repeat(np.arange(len(at_once)), per_group)
    place_of = np.arange(len(group_of)) - offset[group_of]
    day = (group_of // config.domains) * config.cycle_days
    day = day + place_of * config.cycle_days // per_group[group_of]
    weights = np.array([kind.weight for kind in config.types])
    kind = rng.choice(len(weights), size=len(group_of), p=weights / weights.sum())
    slot_s = rng.integers(0, max(1, int(STARTS_SHARE * config.window_s) // 60), len(group_of)) * 60
    begin = (
        start_s(config) + day * DAY_S + layout.window_start_s[group_of % config.domains] + slot_s
    )
    number = release_at(begin, kind, config)
    inside = (begin < end_s(config))[batch]
    work = Work(host[inside], kind[batch][inside], number[batch][inside], batch[inside])
    return work, begin[batch][inside]


def _patience(
    planned_s: Floats, total_s: Floats, config: FleetConfig, rng: np.random.Generator
) -> Ints:
    """Return the seconds after which each upgrade is given up, at least 1.

    In proportion to what was planned, so that the long ones are given up: censoring is
    informative, as in real fleets. The factor is the one at which the asked share is given up.
    """
    n = len(planned_s)
    expected_s = planned_s * np.exp(rng.normal(0.0, PATIENCE_SIGMA, n))
    watched_share = min(1.0, max(WATCHED_SHARE, 2 * config.abort_share))
    watched = rng.random(n) < watched_share
    endless = np.full(n, LONGEST_S)
    if config.abort_share == 0 or not watched.any():
        return endless
    level = 1.0 - config.abort_share / watched_share
    factor = np.quantile((total_s / expected_s)[watched], level)
    patience_s = np.clip(factor * expected_s, 1, LONGEST_S).astype(np.int64)
    chosen: Ints = np.where(watched, patience_s, endless)
    return chosen


def _table(
    work: Work,
    begin_s: Ints,
    until_s: Ints,
    aborted: NDArray[np.bool_],
    rows: Ints,
    layout: Layout,
    config: FleetConfig,
) -> pd.DataFrame:
    host, kind, batch = work.host[rows], work.kind[rows], work.batch[rows]
    until = pd.Series(until_s[rows].astype("datetime64[s]"))
    running = until_s[rows] > end_s(config)
    outcome = np.where(running, RUNNING, np.where(aborted[rows], ABORTED, COMPLETED))
    hosts = hosts_table(layout, config)
    types = np.array([of.name for of in config.types], dtype=object)
    # Numbered in order of the first start, whatever was left out.
    numbers, named = pd.factorize(batch)
    return pd.DataFrame(
        {
            **{name: hosts[name].to_numpy(object)[host] for name in ("host_id", "domain")},
            "service": hosts["service"].to_numpy(object)[host],
            "type": types[kind],
            "release": release_names(kind, work.release[rows], config),
            "started": begin_s[rows].astype("datetime64[s]"),
            "ended": until.where(~running),
            "outcome": outcome.astype(object),
            **{name: hosts[name].to_numpy(object)[host] for name in ("hardware", "firmware")},
            "batch_id": labels("b", len(named), 6)[numbers],
        }
    )
