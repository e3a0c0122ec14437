"""A step composed of its parts: the profile's own where it has them, else the cost model's."""

from __future__ import annotations

from dataclasses import dataclass, replace

from models.sharding.cost import REPEATED
from models.sharding.diagnosis.base import Kind
from models.sharding.diagnosis.ledger import FEEDS, Known, Ledger, named_s
from models.sharding.diagnosis.products import add_capacity, add_products, add_relayout
from models.sharding.diagnosis.transfers import HIDEABLE, Transfer, transfers, waiting_s
from models.sharding.diagnosis.waits import add_transfers
from models.sharding.layout import REMATS
from models.sharding.profile.base import Profile, Trust

_LAUNCH_S = {"gpu": 4e-4, "tpu": 3e-5}
"""Idle seconds per layer and pass up to which launching explains them: tens of kernels of 10 µs;
a TPU runs whole compiled programs."""


@dataclass(frozen=True)
class Parts:
    """Seconds that each kind would save, before they shorten the bubble too."""

    step_s: float
    step_trust: Trust
    seconds: dict[Kind, float]
    trust: dict[Kind, Trust]
    transfers: tuple[Transfer, ...]
    hidden_s: dict[Kind, float]
    """Transfers over each axis that run beside something else."""
    window_s: dict[Kind, float]
    """What those run beside: products, memory, launches, what other axes have in sight."""


def compose(known: Known) -> Parts:
    """Split a step into what each kind would save by itself."""
    profile, model = known.profile, known.model
    has_parts = profile.compute_s is not None or profile.flops is not None or profile.collectives
    is_log = profile.source == "maxtext_log" or not has_parts
    if is_log and profile.step_s is not None and model.step_s:
        # Nothing but the length is known: the shares are those of the model.
        stretched = _stretched(model, profile, profile.step_s / model.step_s)
        parts = _compose(known._replace(profile=stretched))
        return replace(parts, step_trust=known.trust("step_s"))
    return _compose(known)


def _compose(known: Known) -> Parts:
    profile, model, job, layout, constants = known
    ledger = Ledger()
    compute = profile.compute_s
    if compute is None:
        per_flop = (model.compute_s or 0.0) / (model.flops or 1.0)
        compute = profile.flops * per_flop if profile.flops is not None else model.compute_s or 0.0
    else:
        ledger.trust["compute"] = ledger.trust["recompute"] = known.trust("compute_s")
    moved = transfers(replace(profile, compute_s=compute), model, job, layout, constants)
    in_sight = sum(one.exposed_s for one in moved)
    hbm = profile.hbm_s
    if hbm is None:
        is_told = all(one.trust == "measured" for one in moved)
        is_told = is_told or profile.exposed_comm_s is not None
        hbm = _memory_s(known, compute, in_sight, is_told)
    else:
        ledger.trust["hbm"] = known.trust("hbm_s")
    work = compute + hbm + in_sight

    bubble, idle = profile.bubble_s, waiting_s(profile)
    if idle is not None and bubble is not None:
        idle = max(idle - bubble, 0.0)
    if bubble is not None:
        ledger.trust["bubble"] = known.trust("bubble_s")
    elif layout.pipeline > 1:
        bubble = work * (layout.pipeline - 1) / layout.interleave / known.micro_steps
        if idle is not None:
            # A profile of one stage shows waiting for others as nothing running.
            bubble = min(bubble, idle)
            idle = idle - bubble
    bubble = bubble or 0.0
    step, step_trust = profile.step_s, known.trust("step_s")
    if step is None:
        step = work + bubble + (idle if idle is not None else model.idle_s or 0.0)
        step_trust = "modelled"
    ledger.put("hbm", hbm)
    ledger.put("bubble", bubble)
    _add_idle(ledger, known, idle)
    add_transfers(ledger, moved, compute, step, job.workload.is_training)
    add_products(ledger, known, compute)
    add_relayout(ledger, known, moved)
    add_capacity(ledger, known)
    hidden, window = _covers(moved, compute + hbm + in_sight + ledger.seconds["launch"])
    return Parts(
        max(float(step), 1e-9), step_trust, ledger.seconds, ledger.trust, tuple(moved), hidden,
        window,
    )  # fmt: skip


def _covers(moved: list[Transfer], whole_s: float) -> tuple[dict[Kind, float], dict[Kind, float]]:
    """Return what hides over each axis, and what it hides behind."""
    hidden: dict[Kind, float] = {}
    seen: dict[Kind, float] = {}
    for one in moved:
        if one.kind in HIDEABLE and one.kind is not None and not one.is_sync:
            hidden[one.kind] = hidden.get(one.kind, 0.0) + one.seconds - one.exposed_s
            seen[one.kind] = seen.get(one.kind, 0.0) + one.exposed_s
    window = {kind: whole_s - seen[kind] for kind in hidden}
    return {kind: min(one, window[kind]) for kind, one in hidden.items()}, window


def _memory_s(known: Known, compute: float, in_sight: float, is_told: bool) -> float:
    """Return the wait for memory where the profile has none: traffic, model, what is left.

    `is_told`: whether the transfers in sight are measured.
    """
    profile, job = known.profile, known.job
    reading = (profile.hbm_traffic_bytes or 0.0) / job.place.chip.hbm_bytes_per_s - compute
    hbm = max(known.model.hbm_s or 0.0, reading)
    waits = waiting_s(profile)
    if profile.step_s is None or profile.compute_s is None or waits is None:
        return hbm
    left = max(profile.step_s - compute - in_sight - waits, 0.0)
    # Decoding reads memory for as long as nothing else is known to run.
    if not job.workload.is_training:
        return left
    # Products may be a fifth too short: less is no sign of waiting for memory.
    return left if is_told and left > hbm + 0.2 * compute else min(hbm, left)


def _stretched(model: Profile, log: Profile, factor: float) -> Profile:
    def times(value: float | None) -> float | None:
        return None if value is None else value * factor

    collectives = tuple(
        replace(one, seconds=times(one.seconds), exposed_s=times(one.exposed_s))
        for one in model.collectives
    )
    ops = tuple(replace(one, seconds=times(one.seconds)) for one in model.top_ops)
    return replace(
        model, step_s=log.step_s, compute_s=times(model.compute_s), hbm_s=times(model.hbm_s),
        exposed_comm_s=times(model.exposed_comm_s), bubble_s=times(model.bubble_s),
        idle_s=times(model.idle_s), collectives=collectives, top_ops=ops,
        peak_hbm_bytes=log.peak_hbm_bytes, patterns=log.patterns,
    )  # fmt: skip


def _add_idle(ledger: Ledger, known: Known, idle: float | None) -> None:
    """Tell apart what the chip does nothing for: input, launches, transfers to the host."""
    profile, model, job, layout, _ = known
    feeding = named_s(profile, FEEDS)
    host, launching = named_s(model, frozenset({"host"})), named_s(model, frozenset({"latency"}))
    if idle is None:
        ledger.put("launch", launching)
        ledger.put("host", host)
        ledger.put("input", feeding, known.trust("top_ops") if feeding else None)
        return
    host = min(host, idle)
    ledger.put("host", host)
    feeding = min(feeding, idle - host)
    rest = idle - host - feeding
    steps = known.micro_steps * (3.0 + float(REPEATED[REMATS.index(layout.remat)]))
    if not job.workload.is_training:
        steps = 1.0 + job.workload.output_len
    # Launches cost every layer a little; the host's input costs a step once.
    most = _LAUNCH_S[job.place.chip.kind] * job.model.layers / layout.pipeline * steps
    is_launching = rest <= most and feeding < 0.5 * rest
    launch = rest if is_launching else min(launching, rest, most)
    trust = known.trust("idle_s" if profile.idle_s is not None else "duty_cycle")
    ledger.put("launch", launch, trust)
    ledger.put("input", feeding + rest - launch, trust)
