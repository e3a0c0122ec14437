"""Products by kind: needed, repeated, of the busiest expert; data laid out anew; short memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from models.sharding.cost import REPEATED
from models.sharding.diagnosis.base import Kind
from models.sharding.diagnosis.ledger import COPIES, Known, Ledger, expert_ops, named_s
from models.sharding.diagnosis.transfers import UNLISTED, Transfer
from models.sharding.job import Job
from models.sharding.layout import REMATS, LayoutTable
from models.sharding.memory import memory_use
from models.sharding.profile.base import Profile

_MOST_AGAIN = 0.35
"""Share of repeated FLOPs beyond which they are something else: whole layers are a quarter."""
_AGAIN: dict[str, dict[Kind, float]] = {
    "full": {"tensor": 1 / 3, "expert": 1 / 3, "context": 1 / 4, "hbm": 1 / 4},
    "selective": {"tensor": 1 / 5, "expert": 1 / 3},
}
"""Share of each that the repeated pass does: 4 of 12 (MLPs: 2 of 10) transfers over tensor per
layer, 2 of 6 exchanges, 1 of 4 rings, about a quarter of elementwise reading."""
_EXPERT_RATE = 0.75
"""Rate of products of experts over that of the rest, where only the sum of both is known."""


def again_share(remat: str, job: Job) -> float:
    """Return the share of the forward FLOPs that a policy repeats: its layers, without logits.

    `selective` repeats the MLPs, which are more than the half that `cost.py` takes where heads
    are few.
    """
    model = job.model
    attention = model.attention_flops(job.workload.seq_len)
    forward = 2.0 * model.active_params + attention
    layers = forward - 2.0 * model.embedding_params
    if remat == "full":
        return layers / forward
    if remat == "selective":
        return (layers - attention - 2.0 * model.layers * model.attention_params) / forward
    return 0.0 if remat == "none" else float(REPEATED[REMATS.index("offload")])


def add_products(ledger: Ledger, known: Known, compute: float) -> None:
    """Split products into needed ones, repeated ones and those of the busiest expert."""
    profile, job, layout = known.profile, known.job, known.layout
    training = job.workload.is_training
    passes = 2.0 if job.workload.stage == "lora" else 3.0
    repeated = again_share(layout.remat, job) if training else 0.0
    share = repeated / (passes + repeated)
    forward = 2.0 * job.model.active_params + job.model.attention_flops(job.workload.seq_len)
    needed = forward * job.workload.tokens / job.place.chips
    imbalance = 0.0
    if job.model.experts and layout.expert > 1:
        imbalance = _imbalance_s(ledger, known, passes + repeated, needed, compute)
    elif profile.flops and training:
        share = float(np.clip(1 - passes * needed / profile.flops, 0.0, _MOST_AGAIN))
    again = max(compute - imbalance, 0.0) * share
    for kind, part in _AGAIN.get(layout.remat, {}).items() if training else ():
        again += part * ledger.seconds[kind]
    ledger.put("recompute", again)
    ledger.put("compute", max((compute - imbalance) * (1 - share), 0.0))


def _imbalance_s(
    ledger: Ledger, known: Known, passes: float, forward_flops: float, compute: float
) -> float:
    """Return, and enter, what the busiest expert computes and receives beyond its share."""
    profile, shape = known.profile, known.job.model
    routed = 2.0 * shape.moe_layers * shape.experts_per_token * shape.expert_params
    expected = passes * routed * known.job.workload.tokens / known.job.place.chips
    whole = passes * forward_flops
    spent, flops = expert_ops(profile)
    if spent and flops:
        fuller = flops / expected
    elif profile.flops is not None and profile.compute_s is not None:
        fuller = 1 + (profile.flops - whole) / expected
        weight = max(fuller, 1.0) * expected / _EXPERT_RATE
        spent = compute * weight / (weight + whole - expected)
    elif (sent := _sent_ratio(known)) is not None:
        fuller = sent
        weight = max(fuller, 1.0) * expected / _EXPERT_RATE
        spent = compute * weight / (weight + whole - expected)
    else:
        # An assumption about experts is no evidence: only the cost model itself may name it.
        assumed = named_s(known.model, frozenset({"imbalance"}))
        assumed = assumed if profile.source == "analytic" else 0.0
        ledger.put("imbalance", assumed)
        return assumed
    uneven = 1 - 1 / max(fuller, 1.0)
    received = ledger.seconds["expert"] * uneven
    ledger.put("imbalance", spent * uneven + received, known.trust("flops"))
    return min(spent * uneven, compute)


def _sent_ratio(known: Known) -> float | None:
    """Return bytes that a chip exchanges with experts over those of an even split."""
    expected = _sent_bytes(known.model)
    found = _sent_bytes(known.profile)
    is_traced = known.profile.source == "xprof"
    return found / expected if is_traced and found and expected else None


def _sent_bytes(profile: Profile) -> float:
    return sum(
        one.wire_bytes for one in profile.collectives if one.kind == "all-to-all" and one.axes
    )


def add_relayout(ledger: Ledger, known: Known, moved: Sequence[Transfer]) -> None:
    """Sum what patterns waste: their share of ops that have times, else bytes over links."""
    profile, chip = known.profile, known.job.place.chip
    wasted = {name: one.wasted_bytes for one in profile.patterns for name in one.instructions}
    copies = 0.0 if profile.source == "analytic" else named_s(profile, COPIES)
    spent = copies
    # Copies wait for memory and are counted there.
    ledger.put("hbm", max(ledger.seconds["hbm"] - copies, 0.0))
    for each in moved:
        is_strange = each.kind is None and not each.is_sync and each.name != UNLISTED
        if not is_strange and each.name not in wasted:
            continue
        bare = each.wire_bytes or wasted.get(each.name, 0.0) or 1.0
        share = 1.0 if is_strange else min(wasted[each.name] / bare, 1.0)
        spent += share * each.exposed_s
        if each.kind is not None:
            left = max(ledger.seconds[each.kind] - share * each.exposed_s, 0.0)
            ledger.put(each.kind, left)
    timed = {one.name for one in moved}
    rate = chip.link_bytes_per_s * known.constants.link_share
    for one in profile.patterns:
        if not timed & set(one.instructions):
            spent += one.wasted_bytes / rate
        if one.kind == "relayout" and not copies:
            # A read and a write beside the transfer.
            spent += 2 * one.wasted_bytes / chip.hbm_bytes_per_s
    ledger.put("relayout", spent, known.trust("patterns") if profile.patterns else None)


def add_capacity(ledger: Ledger, known: Known) -> None:
    """Split recomputation into what could go at once and what needs more memory."""
    profile, model, job, layout, constants = known
    again = ledger.seconds["recompute"]
    if again <= 0 or not job.workload.is_training:
        return
    variants = LayoutTable.of([replace(layout, remat=remat) for remat in REMATS[:3]])
    need = memory_use(variants, job, constants).total
    here = float(memory_use(LayoutTable.of([layout]), job, constants).total[0])
    peak = profile.peak_hbm_bytes if profile.peak_hbm_bytes is not None else model.peak_hbm_bytes
    if profile.source == "cpu_hlo" or peak is None:
        # Temporaries of a CPU program are not those of the chip.
        peak = here
    fits = need - here + peak <= job.place.chip.hbm_bytes
    now = again_share(layout.remat, job)
    least = [again_share(one, job) for one, does in zip(REMATS, fits, strict=False) if does]
    kept = min(min(least, default=now) / now, 1.0) if now else 1.0
    ledger.put("recompute", again * (1 - kept))
    ledger.put("capacity", again * kept, ledger.trust["recompute"])
