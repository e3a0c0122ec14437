"""The profile that the cost and memory models predict, in the form of a measured one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from models.errors import ConfigError
from models.sharding.constants import DEFAULT, Constants
from models.sharding.cost import REPEATED, Floats, step_cost
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable, why_illegal
from models.sharding.memory import held_params, memory_use, replicas, weight_groups
from models.sharding.profile.base import Collective, CollectiveKind, Op, Profile, trusted
from models.sharding.serving import serve_cost

_CATEGORIES = {
    "compute": "matmul", "recompute": "matmul", "imbalance": "matmul", "optimizer": "elementwise",
    "prefill": "matmul", "decode": "memory", "bubble": "wait", "latency": "wait", "host": "copy",
}  # fmt: skip


@dataclass(frozen=True)
class _Parts:
    """A step by what it waits for, in seconds; all of them add up to it."""

    compute: dict[str, float]
    memory: dict[str, float]
    bubble: float
    idle: dict[str, float]
    collectives: tuple[Collective, ...]
    flops: float

    @property
    def exposed_s(self) -> float:
        return sum(one.exposed_s or 0.0 for one in self.collectives)

    @property
    def step_s(self) -> float:
        busy = sum(self.compute.values()) + sum(self.memory.values())
        return busy + self.exposed_s + self.bubble + sum(self.idle.values())


class _Sizes(NamedTuple):
    """Bytes of one collective of each sort on one chip, and how often it runs per step."""

    size: float
    times: float


def analytic_profile(job: Job, layout: Layout, constants: Constants = DEFAULT) -> Profile:
    """Return what the cost model says of a step, everything marked as modelled.

    `compute_s`, `hbm_s`, `exposed_comm_s`, `bubble_s` and `idle_s` add up to `step_s`. Waiting
    for the busiest expert is computing; transfers to the host that do not hide are idle.

    Args:
        job: Model, workload, slice; training or serving.
        layout: One that takes all chips. Other broken rules become warnings.
        constants: Of the literature, or fitted on runs of a site (`calibrate`).

    Raises:
        ConfigError: The axes do not multiply to the chips of the slice.
    """
    table = LayoutTable.of([layout])
    broken = why_illegal(layout, job)
    # Exactly: in columns of 64 bits a product of large sizes wraps around.
    if int(LayoutTable.exact(layout).chips(job)[0]) != job.place.chips:
        raise ConfigError(f"no profile of {layout.text()}: {'; '.join(broken)}")
    training = job.workload.is_training
    parts = (_training if training else _serving)(table, layout, job, constants)
    use = memory_use(table, job, constants)
    step_s, idle_s = parts.step_s, sum(parts.idle.values())
    asked = repr((job, layout, constants)).encode()
    profile = Profile(
        "analytic",
        step_s=step_s,
        compute_s=sum(parts.compute.values()),
        hbm_s=sum(parts.memory.values()),
        collectives=parts.collectives,
        exposed_comm_s=parts.exposed_s,
        bubble_s=parts.bubble,
        idle_s=idle_s,
        peak_hbm_bytes=float(use.total[0]),
        argument_bytes=float((use.weights + use.optimizer)[0]),
        flops=parts.flops,
        duty_cycle=1 - (parts.bubble + idle_s) / step_s,
        top_ops=_top_ops(parts),
        layout=layout,
        chips=job.place.chips,
        warnings=tuple(broken),
        digest=hashlib.sha256(asked).hexdigest(),
    )
    return trusted(profile, "modelled")


def _training(table: LayoutTable, layout: Layout, job: Job, constants: Constants) -> _Parts:
    """Split the terms of `step_cost`; run without overlap it tells what hides."""
    cost = _firsts(step_cost(table, job, constants).terms())
    bare = replace(constants, overlap=0.0, tensor_overlap=0.0, expert_imbalance=1.0)
    alone = _firsts(step_cost(table, job, bare).terms())
    # Without imbalance what is left of the term is the exchange.
    imbalance = cost["expert"] - alone["expert"]
    exposed = cost | {"expert": alone["expert"]}
    sizes = _training_sizes(table, job)
    found = []
    for term, kind, share, axes in _training_kinds(layout, job):
        if alone[term] > 0:
            found.append(_collective(term, kind, share, axes, sizes[term], alone, exposed, layout))
    model, work = job.model, job.workload
    passes = 2.0 if work.stage == "lora" else 3.0
    forward = 2.0 * model.active_params + model.attention_flops(work.seq_len)
    repeated = float(REPEATED[table.remat][0])
    return _Parts(
        {"compute": cost["compute"], "recompute": cost["recompute"], "imbalance": imbalance},
        {"optimizer": cost["optimizer"]},
        cost["bubble"],
        {"latency": cost["latency"], "host": cost["host"]},
        tuple(found),
        (passes + repeated) * forward * work.tokens / job.place.chips,
    )


def _training_kinds(
    layout: Layout, job: Job
) -> list[tuple[str, CollectiveKind, float, tuple[str, ...]]]:
    """Return term of the cost model, kind, share of the term and axes of each collective."""
    joint = ("fsdp", "fsdp_transpose", "context", *(("expert",) if job.has_expert_axis else ()))
    weights = tuple(axis for axis in joint if getattr(layout, axis) > 1)
    return [
        ("tensor", "all-gather", 1 / 2, ("tensor",)),
        ("tensor", "reduce-scatter", 1 / 2, ("tensor",)),
        ("context", "all-gather", 1.0, ("context",)),
        ("expert", "all-to-all", 1.0, ("expert",)),
        ("weights", "all-gather", 2 / 3, weights),
        ("weights", "reduce-scatter", 1 / 3, weights),
        ("gradients", "all-reduce", 1.0, ("data",)),
        ("stages", "collective-permute", 1.0, ("pipeline",)),
    ]


def _training_sizes(table: LayoutTable, job: Job) -> dict[str, _Sizes]:
    """Return what each term of `step_cost` moves: its volumes, in bytes."""
    model, work = job.model, job.workload
    tensor, pipeline = float(table.tensor[0]), float(table.pipeline[0])
    steps = max(float(table.micro_steps(job)[0]), 1.0)
    tokens = float(table.micro_batch[0]) * work.seq_len / float(table.context[0])
    layers = np.ceil(model.layers / pipeline)
    repeated = float(REPEATED[table.remat][0])
    width = 2 * model.kv_heads * model.head_dim / min(tensor, model.kv_heads)
    dense, routed = (float(held[0]) for held in held_params(table, job))
    dense_group, routed_group = (float(group[0]) for group in weight_groups(table, job))
    dense_copies, routed_copies = (float(copies[0]) for copies in replicas(table, job))
    gathered = dense * (dense_group > 1) + routed * (routed_group > 1)
    summed = dense / dense_group * (dense_copies > 1) + routed / routed_group * (routed_copies > 1)
    often = 8.0 + 4.0 * (1.0 if repeated >= 1 else 0.5 * (repeated > 0))
    visits = max(model.experts_per_token, 1)
    exchanges = model.moe_layers / pipeline * (4.0 + 2.0 * (repeated >= 1))
    sends = 2.0 * float(table.interleave[0]) * (steps + pipeline - 1)
    activations = tokens * model.hidden * 2.0
    return {
        "tensor": _Sizes(activations, layers * often * steps),
        "context": _Sizes(tokens * float(table.context[0]) * width * 2.0, 3 * layers * steps),
        "expert": _Sizes(activations / tensor * visits, exchanges * steps),
        "weights": _Sizes(gathered * work.weight_bytes / layers, 3 * layers * steps),
        "gradients": _Sizes(summed * work.grad_bytes, 1.0),
        "stages": _Sizes(activations / tensor, sends),
    }


def _collective(
    term: str, kind: CollectiveKind, share: float, axes: tuple[str, ...], sizes: _Sizes,
    alone: dict[str, float], exposed: dict[str, float], layout: Layout,
) -> Collective:  # fmt: skip
    group = int(np.prod([getattr(layout, axis) for axis in axes]))
    count = sizes.times * share
    return Collective(
        kind, axes, group, sizes.size * count, count, alone[term] * share, exposed[term] * share,
        term,
    )  # fmt: skip


def _serving(table: LayoutTable, layout: Layout, job: Job, constants: Constants) -> _Parts:
    """Split the terms of `serve_cost`: prompts compute, produced tokens read memory."""
    cost = _firsts(serve_cost(table, job, constants).terms())
    bare = replace(constants, tensor_overlap=0.0)
    alone = _firsts(serve_cost(table, job, bare).terms())
    model, work = job.model, job.workload
    batch = float(table.micro_batch[0])
    row = batch * model.hidden * 2.0
    axes = tuple(axis for axis in ("tensor", "expert") if getattr(layout, axis) > 1)
    sums = 2.0 * model.layers
    sizes = {
        "prefill_collectives": _Sizes(row * work.seq_len, sums),
        "decode_collectives": _Sizes(row, sums * work.output_len),
    }
    found = tuple(
        _collective(term, "all-reduce", 1.0, axes, sizes[term], alone, cost, layout)
        for term in sizes
        if alone[term] > 0
    )
    prompt = (2.0 * model.active_params + model.attention_flops(work.seq_len)) * work.seq_len
    produced = 2.0 * model.active_params * work.output_len
    split = layout.tensor * (layout.expert if job.has_expert_axis else 1)
    return _Parts(
        {"prefill": cost["prefill"]},
        {"decode": cost["decode_memory"]},
        0.0,
        {},
        found,
        (prompt + produced) * batch / split,
    )


def _firsts(terms: Mapping[str, Floats]) -> dict[str, float]:
    """Return the seconds of the only layout of a table."""
    return {name: float(seconds[0]) for name, seconds in terms.items()}


def _top_ops(parts: _Parts) -> tuple[Op, ...]:
    """Return the terms that take time, the longest first."""
    ops = [Op(n, _CATEGORIES[n], s, limit="compute") for n, s in parts.compute.items()]
    ops += [Op(n, _CATEGORIES[n], s, limit="memory") for n, s in parts.memory.items()]
    ops += [Op(n, _CATEGORIES[n], s) for n, s in (*parts.idle.items(), ("bubble", parts.bubble))]
    ops += [
        Op(f"{one.name} {one.kind}", "collective", one.exposed_s, limit="network")
        for one in parts.collectives
    ]
    timed = [one for one in ops if one.seconds]
    return tuple(sorted(timed, key=lambda one: -(one.seconds or 0.0)))
