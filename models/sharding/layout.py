"""A layout, many of them as columns, and the rules that make one legal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError
from models.sharding.divisors import near_divisors
from models.sharding.job import Job

Remat = Literal["none", "selective", "full", "offload"]
REMATS: tuple[Remat, ...] = ("none", "selective", "full", "offload")
AXES = ("data", "fsdp", "fsdp_transpose", "tensor", "context", "expert", "pipeline")
LARGEST = 2**26
"""No size of a layout is larger than this; products of sizes may be, see `legal`."""
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Layout:
    """How a job is split over its chips; every size counts chips (or sequences) from 1 up."""

    data: int = 1
    """Replicas of the weights."""
    fsdp: int = 1
    """Shards of weights, gradients and optimizer that are gathered layer by layer."""
    fsdp_transpose: int = 1
    """The same along the other dimension of each matrix; as good as `fsdp` for time and memory."""
    tensor: int = 1
    """Shards of heads and of the width of each MLP; activations between are split by sequence."""
    context: int = 1
    """Shards of each sequence, attention included."""
    expert: int = 1
    """Shards of the routed experts: an axis of its own on a torus, a part of the others on GPUs."""
    pipeline: int = 1
    """Stages."""
    interleave: int = 1
    """Model chunks of each stage."""
    micro_batch: int = 1
    """Sequences that one batch shard computes at a time."""
    zero: int = 0
    """1: the optimizer is split over `data` too."""
    remat: Remat = "full"
    """What is recomputed in the backward pass: nothing, MLPs (selective) or whole layers; offload
    keeps inputs, queries, keys and values in the memory of the host and recomputes the rest."""

    def text(self) -> str:
        """Return the sizes above 1, the micro-batch and the policy in words."""
        sizes = [f"{axis}={getattr(self, axis)}" for axis in AXES if getattr(self, axis) > 1]
        sizes += [f"interleave={self.interleave}"] * (self.interleave > 1)
        sizes += ["zero=1"] * (self.zero > 0)
        return " ".join([*(sizes or ["one chip"]), f"micro={self.micro_batch}", self.remat])


_SIZES = tuple(f.name for f in fields(Layout))[:9]


class LayoutTable(NamedTuple):
    """Layouts as columns of equal length; `remat` holds positions in `REMATS`."""

    data: Ints
    fsdp: Ints
    fsdp_transpose: Ints
    tensor: Ints
    context: Ints
    expert: Ints
    pipeline: Ints
    interleave: Ints
    micro_batch: Ints
    zero: Ints
    remat: Ints

    @classmethod
    def of(cls, layouts: Iterable[Layout]) -> LayoutTable:
        """Collect layouts."""
        rows = [
            [*(getattr(one, f.name) for f in fields(Layout)[:-1]), REMATS.index(one.remat)]
            for one in layouts
        ]
        columns = np.array(rows, dtype=np.int64).reshape(len(rows), len(cls._fields)).T
        return cls(*columns)

    @classmethod
    def exact(cls, layout: Layout) -> LayoutTable:
        """Return one layout in numbers of Python, whose products are exact however large."""
        return cls(*(cast(Ints, column.astype(object)) for column in cls.of([layout])))

    @property
    def size(self) -> int:
        """Number of layouts."""
        return len(self.data)

    def take(self, rows: Bools | NDArray[np.intp]) -> LayoutTable:
        """Return some of the layouts, by mask or positions."""
        return LayoutTable(*(column[rows] for column in self))

    def row(self, index: int) -> Layout:
        """Return one layout."""
        *sizes, remat = (int(column[index]) for column in self)
        names = self._fields[:-1]
        return Layout(**dict(zip(names, sizes, strict=True)), remat=REMATS[remat])

    @property
    def weight_shards(self) -> Ints:
        """Shards that are gathered layer by layer."""
        return cast(Ints, self.fsdp * self.fsdp_transpose)

    def batch_shards(self, job: Job) -> Ints:
        """Return how many ways the global batch is split."""
        shards = self.data * self.weight_shards
        return cast(Ints, shards * self.expert if job.has_expert_axis else shards)

    def chips(self, job: Job) -> Ints:
        """Return how many chips each layout takes."""
        return cast(Ints, self.batch_shards(job) * self.tensor * self.context * self.pipeline)

    def micro_steps(self, job: Job) -> NDArray[np.float64]:
        """Return the micro-batches of one step of each batch shard."""
        one = self.batch_shards(job) * self.micro_batch
        return job.workload.global_batch / one


class Rule(NamedTuple):
    """What a layout must keep."""

    name: str
    breaks: Callable[[LayoutTable, Job], Bools]
    say: Callable[[Layout, Job], str]


def _kv_breaks(table: LayoutTable, job: Job) -> Bools:
    kv = job.model.kv_heads
    return cast(Bools, (kv % table.tensor != 0) & (table.tensor % kv != 0))


def _experts_break(table: LayoutTable, job: Job) -> Bools:
    if not job.model.experts:
        return table.expert > 1
    breaks = job.model.experts % table.expert != 0
    if not job.has_expert_axis:
        breaks |= (table.chips(job) // table.pipeline) % table.expert != 0
    return cast(Bools, breaks)


def _say_experts(layout: Layout, job: Job) -> str:
    if not job.model.experts:
        return f"expert={layout.expert}, but {job.model.name} has no experts: use expert=1"
    return (
        f"expert={layout.expert} must divide the {job.model.experts} experts and, on GPUs, the "
        f"chips of a stage; nearest: {near_divisors(job.model.experts, layout.expert)}"
    )


def _pods_break(table: LayoutTable, job: Job) -> Bools:
    pods = job.place.pods
    return cast(Bools, (table.data * table.weight_shards) % pods != 0)


RULES: tuple[Rule, ...] = (
    Rule(
        "chips",
        lambda t, j: cast(Bools, t.chips(j) != j.place.chips),
        lambda x, j: (
            f"the axes multiply to {int(LayoutTable.exact(x).chips(j)[0])}, the slice has "
            f"{j.place.chips} chips; axis sizes must divide {j.place.chips}"
        ),
    ),
    Rule(
        "heads",
        lambda t, j: cast(Bools, j.model.heads % t.tensor != 0),
        lambda x, j: (
            f"tensor={x.tensor} must divide the {j.model.heads} heads; nearest: "
            f"{near_divisors(j.model.heads, x.tensor)}"
        ),
    ),
    Rule(
        "kv_heads",
        _kv_breaks,
        lambda x, j: (
            f"tensor={x.tensor} neither divides nor is a multiple of the {j.model.kv_heads} "
            f"key-value heads; nearest: {near_divisors(j.model.kv_heads, x.tensor)}"
        ),
    ),
    Rule("experts", _experts_break, _say_experts),
    Rule(
        "batch",
        lambda t, j: j.workload.global_batch % (t.batch_shards(j) * t.micro_batch) > 0,
        lambda x, j: (
            f"the global batch of {j.workload.global_batch} is not divisible by "
            f"{int(LayoutTable.exact(x).batch_shards(j)[0])} batch shards x {x.micro_batch} "
            "sequences; nearest product: "
            + near_divisors(
                j.workload.global_batch,
                int(LayoutTable.exact(x).batch_shards(j)[0]) * x.micro_batch,
            )
        ),
    ),
    Rule(
        "sequence",
        lambda t, j: cast(Bools, j.workload.seq_len % (t.context * t.tensor) != 0),
        lambda x, j: (
            f"context x tensor = {x.context * x.tensor} must divide the sequence of "
            f"{j.workload.seq_len}; nearest: "
            f"{near_divisors(j.workload.seq_len, x.context * x.tensor)}"
        ),
    ),
    Rule(
        # Megatron counts the embedding and the loss as layers: 126 + 2 = 8 stages x 8 x 2.
        "layers",
        lambda t, j: t.pipeline * t.interleave > j.model.layers + 2,
        lambda x, j: (
            f"pipeline x interleave = {x.pipeline * x.interleave} exceeds the "
            f"{j.model.layers} layers (and embedding, loss); use at most {j.model.layers + 2}"
        ),
    ),
    Rule(
        "interleave",
        lambda t, j: cast(Bools, (t.interleave > 1) & (t.pipeline == 1)),
        lambda x, j: f"interleave={x.interleave} needs pipeline stages; use interleave=1",
    ),
    Rule(
        # 1F1B warms up with a micro-batch per following stage.
        "micro_steps",
        lambda t, j: t.micro_steps(j) < t.pipeline - 1,
        lambda x, j: (
            f"pipeline={x.pipeline} needs {x.pipeline - 1} micro-batches or more, there are "
            f"{float(LayoutTable.exact(x).micro_steps(j)[0]):g}; lower micro_batch or pipeline"
        ),
    ),
    Rule(
        "pods",
        _pods_break,
        lambda x, j: (
            f"{j.place.pods} pods are joined by the network: data x fsdp = "
            f"{x.data * x.fsdp * x.fsdp_transpose} must be a multiple of {j.place.pods}"
        ),
    ),
)


def legal(table: LayoutTable, job: Job, without: Collection[str] = ()) -> Bools:
    """Return which layouts keep every rule, but those that are named in `without`.

    A layout whose sizes multiply beyond what a column holds is none: 2**62 is far above what
    chips, experts and sequences can be together, and a product that wraps around looks legal.
    """
    wide = np.ones(table.size)
    for column in table[: len(_SIZES)]:
        wide *= column
    good = wide < 2.0**62
    for rule in RULES:
        if rule.name not in without:
            good &= ~rule.breaks(table, job)
    return good


def why_illegal(layout: Layout, job: Job) -> list[str]:
    """Return what a layout breaks, each with the nearest legal sizes; empty: it is legal.

    Raises:
        ConfigError: A size is below 1.
    """
    low = [name for name in _SIZES if getattr(layout, name) < 1]
    if low:
        raise ConfigError(f"layout sizes must be 1 or more: {', '.join(low)}; give 1 for unused")
    high = [name for name in _SIZES if getattr(layout, name) > LARGEST]
    if high:
        return [
            f"{', '.join(high)} above {LARGEST}: the slice has {job.place.chips} chips and the "
            f"batch {job.workload.global_batch} sequences; axis sizes must divide them"
        ]
    table = LayoutTable.exact(layout)
    return [rule.say(layout, job) for rule in RULES if rule.breaks(table, job)[0]]


def warnings(layout: Layout, job: Job) -> list[str]:
    """Return what is legal but usually slow."""
    said = []
    if layout.tensor > job.model.kv_heads:
        said.append(
            f"tensor={layout.tensor} exceeds the {job.model.kv_heads} key-value heads: "
            "they are replicated"
        )
    chip = job.place.chip
    if chip.kind == "gpu" and layout.tensor > chip.domain:
        said.append(f"tensor={layout.tensor} leaves the NVLink domain of {chip.domain} chips")
    return said
