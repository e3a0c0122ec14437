"""What defines a generated fleet: same config, same bytes.

Where a value was published, docs/upgrades-data.md gives its source; all others are
assumptions with a range, and no claim about any operator's fleet.
"""

from __future__ import annotations

from datetime import date
from typing import Self

from pydantic import Field, model_validator

from models.config import Config

DAY_S = 86_400


class GeneratedType(Config):
    """One kind of upgrade."""

    name: str = Field(min_length=1, pattern=r"^[^;,\s]+$")
    """Name; no space, comma or semicolon."""
    apply_s: float = Field(gt=0, le=DAY_S)
    """Median of the apply stage, in seconds."""
    sigma: float = Field(ge=0, le=3)
    """Standard deviation of the logarithm of the whole, on one host and release."""
    rollback_s: int = Field(ge=0, le=DAY_S)
    """Time to undo it, in seconds."""
    needs_reboot: bool = True
    """Whether the host reboots."""
    after: tuple[str, ...] = ()
    """Types that must come before it on the same host."""
    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Share of the visits that it takes, relative to the other types."""
    release_days: float = Field(45.0, gt=0)
    """Days between two releases."""
    value: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Median value of one such task, in completed upgrades."""


class StageTimes(Config):
    """Medians of the stages around the apply stage, in seconds."""

    drain_s: float = Field(120.0, gt=0)
    """Move the load away; three times as long for a stateful service."""
    reboot_s: float = Field(174.0, gt=0)
    """Reboot and come back."""
    verify_s: float = Field(90.0, gt=0)
    """Check the host before it serves again."""
    undrain_s: float = Field(30.0, gt=0)
    """Take load again."""
    sigma: float = Field(0.35, ge=0, le=2)
    """Standard deviation of the logarithm of each of these."""


TYPES = (
    GeneratedType(name="bmc-firmware", apply_s=480, sigma=0.35, rollback_s=600, weight=0.6),
    GeneratedType(
        name="bios", apply_s=900, sigma=0.4, rollback_s=1_500, after=("bmc-firmware",), weight=0.5
    ),
    GeneratedType(
        name="nic-firmware", apply_s=420, sigma=0.45, rollback_s=900, after=("bios",), weight=0.6
    ),
    GeneratedType(
        name="os-kernel",
        apply_s=780,
        sigma=0.5,
        rollback_s=900,
        after=("nic-firmware",),
        weight=1.5,
        release_days=30,
        value=1.5,
    ),
    GeneratedType(
        name="driver", apply_s=300, sigma=0.55, rollback_s=420, after=("os-kernel",), weight=1.2
    ),
    GeneratedType(
        name="agent",
        apply_s=90,
        sigma=0.8,
        rollback_s=60,
        needs_reboot=False,
        after=("driver",),
        weight=2.0,
        release_days=14,
        value=0.5,
    ),
    GeneratedType(
        name="host-verification",
        apply_s=1_800,
        sigma=0.3,
        rollback_s=0,
        needs_reboot=False,
        after=("agent",),
        weight=0.6,
        release_days=90,
        value=0.7,
    ),
)


class FleetConfig(Config):
    """What defines a generated fleet: same config, same bytes."""

    hosts: int = Field(2_000, ge=1, le=10_000_000)
    """Hosts of the fleet."""
    hosts_per_rack: int = Field(20, ge=1)
    """Hosts of one rack; a rack lies in one domain."""
    domains: int = Field(8, ge=1)
    """Maintenance domains; racks are dealt out to them in turn."""
    services: int = Field(12, ge=1)
    """Services; the k-th has about 1/k of the hosts of the first."""
    stateful_share: float = Field(0.25, ge=0, le=1)
    """Share of the services that hold state: slower to drain, lower caps."""
    hardware_models: int = Field(6, ge=1)
    """Hardware models; all hosts of a rack have the same."""
    start: date = date(2025, 1, 1)
    """First day of the history, local clock."""
    days: int = Field(180, ge=1, le=3_650)
    """Days of the history; the backlog is planned after them."""
    cycle_days: int = Field(14, ge=1)
    """Days in which the maintenance train visits every host once."""
    batch_hosts: int = Field(8, ge=1)
    """Hosts of one domain that start one upgrade together, at most as many as it has lanes."""
    window_s: int = Field(14_400, ge=600, le=DAY_S)
    """Length of the nightly window of a domain, in seconds."""
    lanes_share: float = Field(0.04, gt=0, le=1)
    """Lanes of a domain as a share of its hosts; at least one."""
    types: tuple[GeneratedType, ...] = TYPES
    """Kinds of upgrades."""
    stages: StageTimes = StageTimes()
    """Stages around the apply stage."""
    straggler_share: float = Field(0.04, ge=0, le=1)
    """Share of the upgrades that straggle."""
    straggler_factor: float = Field(3.0, ge=1)
    """Least factor by which a straggler takes longer."""
    straggler_tail_index: float = Field(1.2, gt=0, le=10)
    """Pareto index of that factor: the lower, the heavier the tail."""
    batch_correlation: float = Field(0.3, ge=0, lt=1)
    """Share of a type's log variance that the hosts of one batch have in common."""
    frailty_sigma: float = Field(0.15, ge=0, le=2)
    """Standard deviation of a host's lasting log effect."""
    hardware_sigma: float = Field(0.25, ge=0, le=2)
    """Standard deviation of the log effect of a hardware model on a type."""
    release_sigma: float = Field(0.2, ge=0, le=2)
    """Standard deviation of the log step from one release to the next: drift."""
    failure_rate: float = Field(0.03, ge=0, lt=1)
    """Chance that one try of the apply stage fails and is done again."""
    abort_share: float = Field(0.02, ge=0, lt=1)
    """Share of the upgrades that are given up and rolled back: right-censored."""
    backlog_per_host: float = Field(1.5, ge=0)
    """Tasks that wait at the end of the history, per host."""
    deadline_share: float = Field(0.5, ge=0, le=1)
    """Share of the waiting tasks that have a deadline."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of everything that is drawn."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [kind.name for kind in self.types]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"types must be one or more with different names, got {names}")
        for place, kind in enumerate(self.types):
            late = [name for name in kind.after if name not in names[:place]]
            if late:
                raise ValueError(
                    f"type '{kind.name}' comes after {', '.join(late)}, which must stand before "
                    f"it in the list of types ({', '.join(names)}): no cycles"
                )
        if sum(kind.weight for kind in self.types) <= 0:
            raise ValueError("all types have weight 0; give at least one a positive weight")
        racks = -(-self.hosts // self.hosts_per_rack)
        if self.domains > racks:
            raise ValueError(
                f"domains is {self.domains}, but {self.hosts} hosts fill only {racks} racks of "
                f"{self.hosts_per_rack}; lower domains or hosts_per_rack"
            )
        if self.backlog_per_host > len(names):
            raise ValueError(
                f"backlog_per_host is {self.backlog_per_host}, but there are only {len(names)} "
                "types and a host needs each once; lower it"
            )
        return self
