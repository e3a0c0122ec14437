"""How long upgrades take: stages, lasting effects, stragglers, retries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.upgrades.generator.config import DAY_S, FleetConfig
from models.upgrades.generator.layout import Layout

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

STAGES = ("drain", "apply", "reboot", "verify", "undrain")
# Median of what a stateful service takes to drain, relative to others: an assumption.
STATEFUL_DRAIN = 3.0
# The longest one; longer records are not upgrades any more but lost hosts.
LONGEST_S = 30 * DAY_S


@dataclass(frozen=True)
class Work:
    """Upgrades to draw durations for, as codes, shape (n_upgrades,) each."""

    host: Ints
    kind: Ints
    release: Ints
    batch: Ints


@dataclass(frozen=True)
class Effects:
    """Lasting log effects of a fleet: whoever draws twice draws from the same fleet.

    Attributes:
        frailty: Of each host, shape (n_hosts,).
        hardware: Of each type on each hardware model, shape (n_types, n_models).
        release: Of each release of each type, shape (n_types, n_releases); a random walk.
    """

    frailty: Floats
    hardware: Floats
    release: Floats


@dataclass(frozen=True)
class Durations:
    """Drawn durations.

    Attributes:
        stages_s: Seconds per stage in the order of `STAGES`, shape (n_upgrades, 5).
        planned_s: Median of the same upgrade without its luck: batch, residual, retries and
            straggling left out, shape (n_upgrades,).
        is_straggler: Shape (n_upgrades,).
        tries: Tries of the apply stage, at least 1, shape (n_upgrades,).
    """

    stages_s: Floats
    planned_s: Floats
    is_straggler: NDArray[np.bool_]
    tries: Ints

    @property
    def total_s(self) -> Floats:
        """Seconds from the start of the drain to the end of the undrain."""
        total: Floats = np.minimum(self.stages_s.sum(axis=1), LONGEST_S)
        return total


def draw_effects(config: FleetConfig, n_releases: int, rng: np.random.Generator) -> Effects:
    """Draw what lasts: hosts, hardware, releases."""
    n_types = len(config.types)
    steps = rng.normal(0.0, config.release_sigma, (n_types, n_releases))
    return Effects(
        frailty=rng.normal(0.0, config.frailty_sigma, config.hosts),
        hardware=rng.normal(0.0, config.hardware_sigma, (n_types, config.hardware_models)),
        release=np.cumsum(steps, axis=1),
    )


def draw_durations(
    work: Work, layout: Layout, effects: Effects, config: FleetConfig, rng: np.random.Generator
) -> Durations:
    """Draw one duration per upgrade.

    A body of log-normal stages, scaled by what the host, its hardware, the release and the
    batch have in common; geometric retries of apply and reboot; a Pareto factor on the
    apply stage of stragglers.
    """
    n = len(work.host)
    sigma = np.array([kind.sigma for kind in config.types])[work.kind]
    lasting = (
        effects.frailty[work.host]
        + effects.hardware[work.kind, layout.hardware[work.host]]
        + effects.release[work.kind, work.release]
    )
    shared = rng.normal(size=int(work.batch.max()) + 1 if n else 0)[work.batch]
    own = rng.normal(size=n)
    rho = config.batch_correlation
    luck = sigma * (np.sqrt(rho) * shared + np.sqrt(1.0 - rho) * own)
    medians = _medians(work, layout, config)
    stages = medians * np.exp(config.stages.sigma * rng.normal(size=medians.shape))
    stages[:, 1] = medians[:, 1]  # the apply stage varies by the luck of the whole
    stages *= np.exp(lasting + luck)[:, np.newaxis]
    tries = rng.geometric(1.0 - config.failure_rate, size=n).astype(np.int64)
    stages[:, 1:3] *= tries[:, np.newaxis]
    is_straggler = rng.random(n) < config.straggler_share
    tail = config.straggler_factor * (1.0 - rng.random(n)) ** (-1.0 / config.straggler_tail_index)
    # Such a factor can be beyond any float's sense: what counts is "longer than the longest".
    stages[:, 1] *= np.where(is_straggler, np.minimum(tail, 1e9), 1.0)
    return Durations(stages, medians.sum(axis=1) * np.exp(lasting), is_straggler, tries)


def _medians(work: Work, layout: Layout, config: FleetConfig) -> Floats:
    """Medians of the stages, shape (n_upgrades, 5)."""
    times = config.stages
    stateful = layout.is_stateful[layout.service[work.host]]
    reboots = np.array([kind.needs_reboot for kind in config.types])[work.kind]
    medians = np.empty((len(work.host), len(STAGES)))
    medians[:, 0] = times.drain_s * np.where(stateful, STATEFUL_DRAIN, 1.0)
    medians[:, 1] = np.array([kind.apply_s for kind in config.types])[work.kind]
    medians[:, 2] = np.where(reboots, times.reboot_s, 0.0)
    medians[:, 3] = times.verify_s
    medians[:, 4] = times.undrain_s
    return medians
