"""Contradictions of a profile: with itself, with its layout, with the cost model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.profile.base import Collective, Op, Profile

Good = Callable[[float | None, str], float | None]
FACTOR = 3.0
"""Measured over predicted, or the inverse, from which a profile is called incomplete: the cost
model's own interval, P10 to P90 of published steps, is below a factor of two."""
_SENTINEL = 2.0**62
"""Values from here up stand for "not known" in HLO of TPUs (the largest int64)."""
_NUMBERS = (
    "step_s", "compute_s", "hbm_s", "exposed_comm_s", "bubble_s", "idle_s", "peak_hbm_bytes",
    "argument_bytes", "flops", "hbm_traffic_bytes", "duty_cycle",
)  # fmt: skip
_SECONDS = ("compute_s", "hbm_s", "exposed_comm_s", "bubble_s", "idle_s")
_NEEDED = {
    "tensor": ("tensor",), "context": ("context",), "expert": ("expert",),
    "pipeline": ("pipeline",), "fsdp": ("fsdp", "fsdp_transpose"), "data": ("data",),
}  # fmt: skip
"""Axes over which a training step must communicate where they are larger than 1."""


def clean(profile: Profile) -> tuple[Profile, list[str]]:
    """Replace what is no measurement (NaN, infinite, negative, sentinel) by None, and say so.

    A step of zero seconds is none either.
    """
    said: list[str] = []

    def good(value: float | None, name: str) -> float | None:
        if value is None:
            return None
        # FLOPs of a large step do exceed the sentinel; only the sentinel itself is refused there.
        huge = value == 2.0**63 or (value >= _SENTINEL and name != "flops")
        if not math.isfinite(value) or value < 0 or huge:
            said.append(f"{name} is no measurement ({value!r}) and is left out")
            return None
        return value

    values = {name: good(getattr(profile, name), name) for name in _NUMBERS}
    if values["step_s"] == 0:
        said.append("step_s is zero and is left out")
        values["step_s"] = None
    duty = values["duty_cycle"]
    if duty is not None and duty > 1:
        said.append(f"duty_cycle is outside 0 to 1 ({duty!r}) and is left out")
        values["duty_cycle"] = None
    collectives = tuple(_clean_collective(one, good) for one in profile.collectives)
    ops = tuple(_clean_op(one, good) for one in profile.top_ops)
    patterns = tuple(
        one for one in profile.patterns if good(one.wasted_bytes, f"pattern {one.kind}") is not None
    )
    cleaned = replace(profile, collectives=collectives, top_ops=ops, patterns=patterns, **values)  # type: ignore[arg-type]
    return cleaned, list(dict.fromkeys(said))


def _clean_collective(one: Collective, good: Good) -> Collective:
    name = f"collective {one.name or one.kind}"
    return replace(
        one,
        wire_bytes=good(one.wire_bytes, f"{name}, wire_bytes") or 0.0,
        count=good(one.count, f"{name}, count") or 0.0,
        seconds=good(one.seconds, f"{name}, seconds"),
        exposed_s=good(one.exposed_s, f"{name}, exposed_s"),
    )


def _clean_op(one: Op, good: Good) -> Op:
    return replace(
        one,
        seconds=good(one.seconds, f"op {one.name}, seconds"),
        flops=good(one.flops, f"op {one.name}, flops"),
        hbm_bytes=good(one.hbm_bytes, f"op {one.name}, hbm_bytes"),
    )


def check(profile: Profile, model: Profile, job: Job, layout: Layout) -> list[str]:
    """Return what is wrong with a cleaned profile, in sentences without numbers of their own.

    Args:
        profile: What was read.
        model: `analytic_profile` of the same job and layout.
        job: Model, workload, slice.
        layout: The one that was asked for.
    """
    return [
        *_sums(profile),
        *_memory(profile, job),
        *_axes(profile, job, layout),
        *_depth(profile, model, job),
        *_model(profile, model),
    ]


def _sums(profile: Profile) -> list[str]:
    said = []
    step = profile.step_s
    parts = [getattr(profile, name) for name in _SECONDS]
    known = sum(one for one in parts if one is not None)
    # Measured op times scatter by 20 %: only what is beyond is a contradiction.
    if step is not None and known > 1.25 * step:
        said.append("the parts of the step add up to more than the step: they overlap or repeat")
    if step is not None and None not in parts and known < 0.75 * step:
        said.append("the parts of the step leave a quarter of it unexplained: ops were dropped")
    for one in profile.collectives:
        if one.seconds is not None and (one.exposed_s or 0.0) > 1.01 * one.seconds:
            said.append(
                f"collective {one.name or one.kind} is exposed for longer than it takes: "
                "its times are of different steps"
            )
    duty = profile.duty_cycle
    idle = profile.idle_s
    if duty is not None and idle is not None and step and idle + duty * step > 1.1 * step:
        said.append("duty cycle and idle time contradict each other")
    return said


def _memory(profile: Profile, job: Job) -> list[str]:
    said = []
    peak, capacity = profile.peak_hbm_bytes, job.place.chip.hbm_bytes
    if peak is not None and peak > capacity:
        said.append(
            f"peak memory is above the capacity of {job.place.chip.name}: a compile that would "
            "fail there, or a profile of another chip"
        )
    if peak is not None and (profile.argument_bytes or 0.0) > 1.01 * peak:
        said.append("arguments need more memory than the peak: one of both is of another program")
    return said


def _axes(profile: Profile, job: Job, layout: Layout) -> list[str]:
    said = []
    used = {axis for one in profile.collectives if one.group_size > 1 for axis in one.axes}
    strange = sorted(axis for axis in used if getattr(layout, axis, 1) == 1)
    if strange:
        said.append(
            f"collectives run over {', '.join(strange)}, which the layout does not split: "
            "the profile is of another layout"
        )
    if profile.layout is not None and profile.layout != layout:
        said.append("the profile names another layout than the one that was asked for")
    if profile.chips is not None and profile.chips != job.place.chips:
        said.append("the profile is of another number of chips than the slice has")
    is_told = profile.collectives and all(one.axes for one in profile.collectives)
    if is_told and job.workload.is_training:
        for name, axes in _NEEDED.items():
            if any(getattr(layout, axis) > 1 for axis in axes) and not used & set(axes):
                said.append(
                    f"no collective over {name} in the profile, which the layout must have: "
                    "ops were dropped, or the program is sharded in another way"
                )
    return said


def _depth(profile: Profile, model: Profile, job: Job) -> list[str]:
    """Tell a run of a model with fewer layers, as people profile to debug."""
    ratio = _ratio(profile.flops, model.flops)
    if ratio is None or job.model.layers < 4:
        return []
    few = max(2.0 / job.model.layers, 0.02)
    trips = profile.trip_counts
    if ratio < 1.5 * few or (trips and max(trips) == 1 and ratio < 0.5):
        return [
            "the program computes a small part of what the model needs: a debug run of one or "
            "two layers, or loop bodies that were counted once"
        ]
    return []


def _model(profile: Profile, model: Profile) -> list[str]:
    said = []
    step = _ratio(profile.step_s, model.step_s)
    if step is not None and step > FACTOR:
        said.append("the step takes far longer than the cost model explains: it does not know this")
    if step is not None and step < 1 / FACTOR:
        said.append("the step is far shorter than the cost model allows: the profile is incomplete")
    flops = _ratio(profile.flops, model.flops)
    if flops is not None and not 1 / FACTOR <= flops <= FACTOR:
        said.append("FLOPs of the profile are far from those of the job: another job, or no trips")
    compute = _ratio(profile.compute_s, model.compute_s)
    if compute is not None and compute < 1 / FACTOR:
        said.append("products take far less time than the chip needs for them: ops were dropped")
    return said


def _ratio(found: float | None, expected: float | None) -> float | None:
    return found / expected if found is not None and expected else None
