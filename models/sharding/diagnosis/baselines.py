"""Rules that diagnose without counterfactuals, beside which ours stands."""

from __future__ import annotations

from collections.abc import Callable

from models.sharding.diagnosis.base import Kind
from models.sharding.diagnosis.transfers import axis_of
from models.sharding.profile.base import Profile

Rule = Callable[[Profile], Kind]
_BUSY = 0.9
"""Duty cycle from which an analyzer by thresholds calls a step busy; the paper's first case has
99.7 %."""
_TALKING = 0.1
"""Share of communication from which it calls a step bound by it; the paper's first case has
2.6 %."""


def always_compute(profile: Profile) -> Kind:
    """Call every step bound by computing."""
    return "compute"


def thresholds(profile: Profile) -> Kind:
    """Name one of three limits by fixed thresholds, communication by its longest axis.

    Source: what is told of the analyzer of PROMPTS: duty cycle, share of communication.
    """
    seconds = _by_axis(profile)
    talking = profile.exposed_comm_s
    if talking is None:
        talking = sum(seconds.values())
    step = profile.step_s
    if step is None:
        return max(seconds, key=lambda kind: seconds[kind]) if seconds else "compute"
    if talking / step > _TALKING and seconds:
        return max(seconds, key=lambda kind: seconds[kind])
    is_busy = profile.duty_cycle is None or profile.duty_cycle >= _BUSY
    waits = (profile.hbm_s or 0.0) > (profile.compute_s or 0.0)
    return "compute" if is_busy and not waits else "hbm"


def largest_field(profile: Profile) -> Kind:
    """Name the longest of the times that the profile has."""
    found: dict[Kind, float] = dict(_by_axis(profile))
    for kind, value in (
        ("compute", profile.compute_s), ("hbm", profile.hbm_s), ("bubble", profile.bubble_s),
        ("input", profile.idle_s),
    ):  # fmt: skip
        if value is not None:
            found[kind] = value  # type: ignore[index]
    return max(found, key=lambda kind: found[kind]) if found else "compute"


RULES: dict[str, Rule] = {
    "thresholds": thresholds,
    "largest field": largest_field,
    "always compute": always_compute,
}


def _by_axis(profile: Profile) -> dict[Kind, float]:
    """Return seconds in sight by axis; bytes where no collective has times."""
    seconds: dict[Kind, float] = {}
    has_times = any(one.seconds is not None for one in profile.collectives)
    for one in profile.collectives:
        kind = axis_of(one)
        if kind is None:
            continue
        time = one.exposed_s if one.exposed_s is not None else one.seconds
        seconds[kind] = seconds.get(kind, 0.0) + ((time or 0.0) if has_times else one.wire_bytes)
    return seconds
