"""A layout as a JAX mesh and a PartitionSpec for every array; plain Python, no JAX."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.errors import ConfigError
from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.program.tensors import Part, Tensor, is_adapter, parameters

MESH_ORDER = ("pipeline", "data", "fsdp", "fsdp_transpose", "expert", "context", "tensor")
"""Axes from the slowest to the fastest device number: what talks most has the nearest chips."""
_CARVED_FROM = ("tensor", "fsdp", "fsdp_transpose", "context", "data")
"""On GPUs experts take chips of these axes, in this order (Megatron: tensor is innermost)."""

Entry = tuple[str, ...]
Spec = tuple[Entry, ...]
"""Mesh axes per dimension, as in `jax.sharding.PartitionSpec`; () is not split."""


@dataclass(frozen=True)
class MeshSpec:
    """Mesh axes and how every array lies on them."""

    axes: tuple[tuple[str, int], ...]
    """Name and size of each mesh axis above 1, the fastest device number last."""
    params: dict[str, Spec]
    """Parameters as they rest between steps."""
    weights: dict[str, Spec]
    """Parameters as a step starts with them: without the shards over replicas of `zero`."""
    gathered: dict[str, Spec]
    """Parameters as they are multiplied, without leading dimensions: weight shards gathered."""
    activations: dict[str, Spec]
    """What passes between matrices, tokens and the cache, by name."""
    repeated: tuple[str, ...]
    """Where an axis divides no dimension of an array, so that every shard holds all of it."""

    @property
    def devices(self) -> int:
        """Devices of the mesh."""
        return math.prod(size for _, size in self.axes)

    def size(self, entry: Entry) -> int:
        """Return into how many parts an entry splits a dimension."""
        sizes = dict(self.axes)
        return math.prod(sizes[axis] for axis in entry)

    def shards(self, spec: Spec) -> int:
        """Return into how many different parts an array is split."""
        return math.prod(self.size(entry) for entry in spec)


@dataclass(frozen=True)
class _Axes:
    """Layout axes as mesh axes."""

    mesh: tuple[tuple[str, int], ...]
    of: dict[str, Entry]
    """Mesh axes of each layout axis: two where experts took a part of it."""
    expert: Entry

    def without_experts(self, name: str) -> Entry:
        return tuple(axis for axis in self.of[name] if axis not in self.expert)


def _axes_of(layout: Layout, job: Job) -> _Axes:
    sizes = {axis: getattr(layout, axis) for axis in MESH_ORDER}
    carved: dict[str, int] = {}
    if not job.has_expert_axis:
        left = sizes.pop("expert")
        for axis in _CARVED_FROM:
            carved[axis] = math.gcd(left, sizes[axis])
            left //= carved[axis]
        if left > 1:
            raise ConfigError(
                f"expert={layout.expert} cannot be made of the axes tensor={layout.tensor} "
                f"fsdp={layout.fsdp} context={layout.context} data={layout.data}: {left} is left; "
                "choose a size whose factors they have"
            )
    mesh: list[tuple[str, int]] = []
    of: dict[str, Entry] = dict.fromkeys(MESH_ORDER, ())
    for axis in MESH_ORDER:
        size, part = sizes.get(axis, 1), carved.get(axis, 1)
        pieces = [(axis, size // part), (f"{axis}_expert", part)]
        pieces = [(name, count) for name, count in pieces if count > 1]
        mesh += pieces
        of[axis] = tuple(name for name, _ in pieces)
    expert = of["expert"] or tuple(name for name, _ in mesh if name.endswith("_expert"))
    return _Axes(tuple(mesh), of, expert)


def mesh_axes(layout: Layout, job: Job) -> tuple[tuple[str, int], ...]:
    """Return names and sizes of the mesh axes, the fastest device number last.

    Raises:
        ConfigError: On GPUs, the other axes have no factors that make up `expert`.
    """
    return _axes_of(layout, job).mesh


def _parts(axes: _Axes, layout: Layout, job: Job, at_rest: bool) -> dict[Part, Entry]:
    """Return the mesh axes that split parameters; the rules of `memory.weight_groups`."""
    fsdp, context = axes.of["fsdp"], axes.of["context"]
    zero = axes.of["data"] if layout.zero and at_rest else ()
    tensor, transpose = axes.of["tensor"], axes.of["fsdp_transpose"]
    if job.has_expert_axis:
        spread = (*fsdp, *context)
        dense = (*spread, *axes.expert)
        routed_tensor, routed_transpose = tensor, transpose
    else:
        is_sharded = layout.fsdp * layout.fsdp_transpose > 1
        dense = (*fsdp, *context) if is_sharded else fsdp
        spread = tuple(axis for axis in dense if axis not in axes.expert)
        routed_tensor, routed_transpose = (), axes.without_experts("fsdp_transpose")
    free = tuple(axis for axis in zero if axis not in axes.expert)
    return {
        "stage": axes.of["pipeline"],
        "weights": (*dense, *zero),
        "transpose": transpose,
        "tensor": tensor,
        "vocab": (*tensor, *axes.of["pipeline"]),
        "experts": axes.expert,
        "routed": (*spread, *free),
        "routed_transpose": routed_transpose,
        "routed_tensor": routed_tensor,
    }


def fit(
    shape: Sequence[int], wants: Sequence[Iterable[str]], sizes: dict[str, int], leading: int = 0
) -> tuple[Spec, tuple[str, ...]]:
    """Split dimensions evenly by the axes that want them, else by what divides another one.

    Args:
        shape: Sizes of the array.
        wants: Mesh axes that want each dimension.
        sizes: Size of each mesh axis.
        leading: Dimensions in front that take only the axes that want them.

    Returns:
        The spec, and the axes that divide no dimension: they repeat the array.
    """
    left = list(shape)
    entries: list[list[str]] = [[] for _ in shape]
    lost = []
    for dimension, axes in enumerate(wants):
        others = [d for d in range(leading, len(shape)) if d != dimension]
        for axis in axes:
            places = [dimension] if dimension < leading else [dimension, *others]
            place = next((d for d in places if left[d] % sizes[axis] == 0), None)
            if place is None:
                lost.append(axis)
                continue
            left[place] //= sizes[axis]
            entries[place].append(axis)
    return tuple(tuple(entry) for entry in entries), tuple(lost)


def mesh_spec(job: Job, layout: Layout) -> MeshSpec:
    """Return the mesh of a layout and the specs of all arrays of the job's program.

    Raises:
        ConfigError: On GPUs, the other axes have no factors that make up `expert`.
    """
    axes = _axes_of(layout, job)
    sizes = dict(axes.mesh)
    rest, step = _parts(axes, layout, job, True), _parts(axes, layout, job, False)
    kept: dict[Part, Entry] = {name: step[name] for name in ("tensor", "vocab", "experts")}
    kept["routed_tensor"] = step["routed_tensor"]

    def place(one: Tensor, parts: dict[Part, Entry]) -> tuple[Spec, tuple[str, ...]]:
        wants = [[axis for part in want for axis in parts.get(part, ())] for want in one.wants]
        return fit(one.shape, wants, sizes, one.leading)

    params, weights, gathered, repeated = {}, {}, {}, []
    for name, one in parameters(job, layout).items():
        # Frozen parameters have no optimizer that replicas could share.
        is_frozen = job.workload.stage in ("lora", "serve") and not is_adapter(name)
        params[name], lost = place(one, step if is_frozen else rest)
        weights[name] = place(one, step)[0]
        gathered[name] = place(one, kept)[0][one.leading :]
        if lost and one.size > 2**20:
            shape = "x".join(map(str, one.shape))
            repeated.append(f"{name} ({shape}) is not split over {', '.join(dict.fromkeys(lost))}")
    return MeshSpec(
        axes.mesh, params, weights, gathered, _activations(axes, job, layout), tuple(repeated)
    )


def _activations(axes: _Axes, job: Job, layout: Layout) -> dict[str, Spec]:
    names = ("data", "fsdp", "fsdp_transpose")
    batch = tuple(axis for name in names for axis in axes.of[name])
    batch += axes.of["expert"]
    context, tensor, stage = axes.of["context"], axes.of["tensor"], axes.of["pipeline"]
    sequence = (*context, *tensor)
    free_batch = tuple(axis for axis in batch if axis not in axes.expert)
    width = tensor if job.has_expert_axis else ()
    # A decoded token has no sequence to split.
    between = sequence if job.workload.is_training else context
    free_between = tuple(axis for axis in between if axis not in axes.expert)
    return {
        "tokens": ((), batch, context),
        "residual": (batch, between, ()),
        "all_residuals": ((), batch, between, ()),
        "one_token": (batch, (), ()),
        "whole": (batch, context, ()),
        "heads": (batch, context, tensor, ()),
        "keys": (batch, (), tensor, ()),
        "inner": (batch, context, tensor),
        "logits": (batch, context, (*tensor, *stage)),
        "grouped": (batch, between, (), ()),
        "routed": (free_batch, free_between, axes.expert, (), ()),
        "routed_inner": (free_batch, tuple(a for a in free_between if a not in width),
                         axes.expert, (), width),
        "cache": ((), batch, (), tensor, ()),
        "latents": ((), batch, (), ()),
        "stages": (stage, batch, between, ()),
    }  # fmt: skip
