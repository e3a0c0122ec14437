"""All that the page shows, as JSON takes it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.sharding.constants import Constants
from models.sharding.cost import StepCost
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable
from models.sharding.memory import memory_use
from models.sharding.propose import Interval, Proposal, cost_of
from models.sharding.report.inputs import PlanReportInput
from models.sharding.serving import ServeCost
from models.sharding.space import enumerate_layouts

MOST_POINTS = 2_500
"""Candidates that a chart shows; the frontier and the fastest are always among them."""
_FASTEST = 500
PARTS = ("weights", "gradients", "optimizer", "activations", "logits", "cache", "buffers")


def report_numbers(answer: PlanReportInput) -> dict[str, Any]:
    """Return the numbers of a page; what is not known is None.

    Keys:
        job: What was asked, in words and sizes.
        proposals: One per proposal: layout, times, memory by what holds it, terms, check.
        candidates: All legal layouts (or many of them): step, memory, frontier.
        products: Intensity of the matrix products of a layer under each proposal.
        rejected: How many layouts fell out, by reason.
        counterfactuals: Seconds that the step would save without each limit.
    """
    job, plan = answer.job, answer.plan
    checks = {one.layout: one for one in answer.checks}
    proposals = [
        _proposal(job, one, answer.constants) | {"check": _check(checks.get(one.layout))}
        for one in plan.proposals
    ]
    return {
        "job": _job(job),
        "capacity_bytes": job.place.chip.hbm_bytes,
        "proposals": proposals,
        "candidates": _candidates(answer) if plan.candidates else None,
        "products": [products(job, one.layout) for one in plan.proposals],
        "rejected": {reason: n for reason, n in plan.rejected.items() if n},
        "counted": plan.candidates,
        "counterfactuals": [
            {"kind": one.kind, "step_s": one.step_s, "saved_s": one.saved_s, "share": one.share}
            for one in (answer.diagnosis.counterfactuals if answer.diagnosis else ())
        ],
    }


def model_flops(job: Job) -> float:
    """Return FLOPs that a step needs, without recomputation; of serving: prompts and tokens."""
    model, work = job.model, job.workload
    if work.is_training:
        return model.train_flops(work.seq_len) * work.tokens
    forward = 2.0 * model.active_params
    prompts = (forward + model.attention_flops(work.seq_len)) * work.tokens
    longer = work.seq_len + work.output_len / 2
    decoded = work.global_batch * work.output_len
    return prompts + (forward + model.attention_flops(longer, is_causal=False)) * decoded


def mfu(job: Job, step_s: float) -> float:
    """Return the share of the peak that needed FLOPs take."""
    peak = job.place.chip.rate(job.workload.compute) * job.place.chips
    return model_flops(job) / (step_s * peak)


def _job(job: Job) -> dict[str, Any]:
    work, place = job.workload, job.place
    return {
        "model": job.model.name,
        "params": job.model.params,
        "active_params": job.model.active_params,
        "stage": work.stage,
        "seq_len": work.seq_len,
        "global_batch": work.global_batch,
        "compute": work.compute,
        "slice": place.text(),
        "pods": place.pods,
        "chips": place.chips,
        "kind": place.chip.kind,
    }


def _interval(interval: Interval) -> dict[str, float]:
    return {"low": interval.low, "middle": interval.middle, "high": interval.high}


def _proposal(job: Job, one: Proposal, constants: Constants) -> dict[str, Any]:
    use = memory_use(LayoutTable.of([one.layout]), job, constants)
    cost = cost_of(LayoutTable.of([one.layout]), job, constants)
    tokens = job.workload.tokens / (one.step_s.middle * job.place.chips)
    return {
        "rank": one.rank,
        "layout": one.layout.text(),
        "step_s": _interval(one.step_s),
        "memory_bytes": _interval(one.memory_bytes),
        "memory_parts": {name: float(getattr(use, name)[0]) for name in PARTS},
        "tokens_per_s": tokens if isinstance(cost, StepCost) else None,
        "ttft_s": float(cost.ttft_s[0]) if isinstance(cost, ServeCost) else None,
        "tpot_s": float(cost.tpot_s[0]) if isinstance(cost, ServeCost) else None,
        "mfu": mfu(job, one.step_s.middle),
        "terms_s": dict(one.terms_s),
        "justification": list(one.justification),
        "risks": list(one.risks),
    }


def _check(check: Any) -> dict[str, Any] | None:
    if check is None:
        return None
    held = check.compiled.argument_bytes if check.compiled is not None else None
    return {
        "verdict": check.verdict,
        "level": check.level,
        "legal": check.is_legal,
        "fits": check.fits,
        "compiled": check.is_compiled,
        "reasons": list(check.reasons),
        "warnings": list(check.warnings),
        "argument_bytes": held,
    }


def _candidates(answer: PlanReportInput) -> dict[str, Any]:
    job = answer.job
    table = enumerate_layouts(job) if answer.table is None else answer.table
    use = memory_use(table, job, answer.constants)
    steps = cost_of(table, job, answer.constants).step_s
    is_front = frontier(steps, use.high)
    kept = _kept(steps, is_front)
    return {
        "counted": table.size,
        "step_s": steps[kept].tolist(),
        "memory_bytes": use.high[kept].tolist(),
        "layout": [table.row(int(row)).text() for row in kept],
        "is_frontier": is_front[kept].tolist(),
    }


def frontier(steps: NDArray[np.float64], memory: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which layouts no other one beats in both step time and memory."""
    is_front = np.zeros(len(steps), dtype=np.bool_)
    least = math.inf
    for row in np.lexsort((memory, steps)):
        if memory[row] < least:
            is_front[row], least = True, float(memory[row])
    return is_front


def _kept(steps: NDArray[np.float64], is_front: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return rows to draw: the frontier, the fastest, and every so manieth of the rest."""
    order = np.argsort(steps, kind="stable")
    if len(order) <= MOST_POINTS:
        return order
    rest = order[_FASTEST:]
    stride = -(-len(rest) // (MOST_POINTS - _FASTEST))
    chosen = np.zeros(len(steps), dtype=np.bool_)
    chosen[order[:_FASTEST]] = True
    chosen[rest[::stride]] = True
    chosen |= is_front
    return order[chosen[order]]


def products(job: Job, layout: Layout) -> list[dict[str, Any]]:
    """Return matrix products of one layer on one chip: FLOPs, bytes and what the chip allows.

    Operands and result pass the memory once, in the number format of the weights.
    """
    model, work, chip = job.model, job.workload, job.place.chip
    tokens = layout.micro_batch * work.seq_len / layout.context
    kinds = {"prefill" if not work.is_training else "training": tokens}
    if not work.is_training:
        kinds["decode"] = float(layout.micro_batch)
    heads = model.heads * model.head_dim
    wide = heads + 2 * model.kv_heads * model.head_dim
    shapes = {"queries, keys, values": (model.hidden, wide), "output": (heads, model.hidden)}
    if model.moe_layers < model.layers:
        shapes["MLP"] = (model.hidden, model.ffn)
    if model.experts:
        shapes["an expert"] = (model.hidden, model.expert_ffn)
    shapes["vocabulary"] = (model.hidden, model.vocab)
    found = []
    for phase, rows in kinds.items():
        for name, (inner, outer) in shapes.items():
            mine = rows
            if name == "an expert":
                spread = layout.expert if job.has_expert_axis else 1
                mine = max(rows * model.experts_per_token * spread / model.experts, 1.0)
            outer_here = outer / layout.tensor
            flops = 2.0 * mine * inner * outer_here
            moved = work.weight_bytes * (mine * inner + inner * outer_here + mine * outer_here)
            intensity = flops / moved
            peak = chip.rate(work.compute)
            found.append(
                {
                    "name": name,
                    "phase": phase,
                    "flops": flops,
                    "bytes": moved,
                    "intensity": intensity,
                    "flops_per_s": min(peak, intensity * chip.hbm_bytes_per_s),
                }
            )
    return found
