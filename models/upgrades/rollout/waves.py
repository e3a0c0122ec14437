"""Canary waves: who goes first, and whether a release may go on.

A release of a type goes to a few canaries, then to rising shares of its hosts. A wave may
start once the one before it has ended and soaked; hosts that already have the release
count as the first of its waves.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.fleet.base import NO_RELEASE, Fleet
from models.upgrades.rollout.config import RolloutConfig
from models.upgrades.schedule.base import NONE, Ints, TaskArrays, Waves

COMPLETED = "completed"


class Gate(NamedTuple):
    """What the past says of one release: ended upgrades and failed ones among them."""

    ended: int
    failed: int

    def is_shut(self, config: RolloutConfig) -> bool:
        """Whether the release has failed too often to go on."""
        return (
            self.ended >= config.gate_min_ended
            and self.failed > config.gate_failure_share * self.ended
        )


@dataclass(frozen=True)
class WaveTable:
    """Groups of the backlog; a group is a (type, release) pair.

    Attributes:
        keys: The pairs, by code.
        group: Group of each task, -1 without a release; shape (n_tasks,).
        gates: Past outcomes of each group.
        done_end_s: Per group the ends of hosts that have the release, rising.
    """

    keys: list[tuple[str, str]]
    group: Ints
    gates: list[Gate]
    done_end_s: list[Ints]


def wave_table(fleet: Fleet, tasks: pd.DataFrame, plan_s: int) -> WaveTable:
    """Group the backlog by release and read from past events how far each release is."""
    pairs = pd.MultiIndex.from_frame(tasks[["type", "release"]])
    has_release = ~tasks["release"].isin(NO_RELEASE).to_numpy(bool)
    codes, keys = pairs[has_release].factorize(sort=True)
    group = np.full(len(tasks), NONE, dtype=np.int64)
    group[has_release] = codes
    events = fleet.events[fleet.events["ended"].notna()]
    ended_s = pd.to_datetime(events["ended"]).astype("datetime64[s]").astype("int64")
    past = events.assign(end_s=ended_s)[ended_s <= plan_s]
    by_key = dict(list(past.groupby(["type", "release"]))) if len(past) else {}
    gates, done_end_s = [], []
    for key in keys:
        rows = by_key.get(key, past.iloc[:0])
        is_done = (rows["outcome"] == COMPLETED).to_numpy(bool)
        gates.append(Gate(len(rows), int((~is_done).sum())))
        last = rows[is_done].groupby("host_id")["end_s"].min()
        done_end_s.append(np.sort(last.to_numpy(np.int64)))
    return WaveTable([(str(a), str(b)) for a, b in keys], group, gates, done_end_s)


def assign_waves(
    table: WaveTable,
    arrays: TaskArrays,
    rank: Ints,
    queue: tuple[NDArray[Any], ...],
    config: RolloutConfig,
) -> tuple[Ints, Waves]:
    """Give each open task of a group its wave, shape (n_tasks,); others are in none.

    Hosts on which what must come first is in an early wave, or is not wanted, go first: a
    canary that waits for another release's last wave would hold up its own release for
    days. Within these, `queue` decides.

    Args:
        table: The groups.
        arrays: The backlog.
        rank: Order of types on a host, by type, shape (n_types,).
        queue: Keys per task, lowest first, the last one first in importance (as in
            `numpy.lexsort`).
        config: Sizes, soak time and quorum.
    """
    n_waves = len(config.wave_shares) + 1
    shape = (len(table.keys), n_waves)
    size, done, done_end_s = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    wave = np.full(len(arrays), NONE, dtype=np.int64)
    host_wave = np.full(int(arrays.host.max()) + 1, NONE, dtype=np.int64)
    order = np.lexsort((np.arange(len(arrays)), *queue, table.group))
    order = order[arrays.is_open[order] & (table.group[order] != NONE)]
    bounds = np.searchsorted(table.group[order], np.arange(len(table.keys) + 1))
    members = [order[bounds[g] : bounds[g + 1]] for g in range(len(table.keys))]
    ranks = [int(rank[arrays.type[tasks]].min(initial=rank.max())) for tasks in members]
    for _, same_rank in groupby(
        sorted(range(len(ranks)), key=ranks.__getitem__), ranks.__getitem__
    ):
        groups = list(same_rank)
        for group in groups:
            before = host_wave[arrays.host[members[group]]]
            members[group] = members[group][np.argsort(before, kind="stable")]
            ends_s = table.done_end_s[group]
            n_hosts = len(ends_s) + len(members[group])
            reached = wave_quotas(n_hosts, config)
            waves = np.searchsorted(reached, np.arange(n_hosts), "right")
            wave[members[group]] = waves[len(ends_s) :]
            size[group] = np.bincount(waves, minlength=n_waves)
            done[group] = np.bincount(waves[: len(ends_s)], minlength=n_waves)
            np.maximum.at(done_end_s[group], waves[: len(ends_s)], ends_s)
        for group in groups:
            np.maximum.at(host_wave, arrays.host[members[group]], wave[members[group]])
    return wave, Waves(size, done, done_end_s, config.soak_s, config.wave_quorum)


def no_waves(config: RolloutConfig) -> Waves:
    """Return the progress of no group at all."""
    none = np.zeros((0, len(config.wave_shares) + 1), dtype=np.int64)
    return Waves(none, none, none, config.soak_s, config.wave_quorum)


def spread_of(hosts: pd.Series, seed: int) -> NDArray[np.uint64]:
    """Hash of each host, the same on every machine; another seed gives another order."""
    salted = np.array([f"{seed}/{host}" for host in hosts], dtype=object)
    return np.asarray(pd.util.hash_array(salted), dtype=np.uint64)


def wave_quotas(n_hosts: int, config: RolloutConfig) -> Ints:
    """Hosts reached at the end of each wave, canaries first; the last is `n_hosts`."""
    shares = np.ceil(np.round(np.asarray(config.wave_shares) * n_hosts, 9)).astype(np.int64)
    reached = np.concatenate([[config.canary_hosts], shares])
    return np.asarray(np.minimum(np.maximum.accumulate(reached), n_hosts), dtype=np.int64)
