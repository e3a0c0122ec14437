"""The profile of a compile: its text read with the axes of its mesh."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from models.sharding.compile.result import Compiled
from models.sharding.export.jax_mesh import Entry, mesh_axes
from models.sharding.job import Job
from models.sharding.profile.base import CollectiveKind, CompiledMemory, Profile
from models.sharding.profile.compiled import profile_of_hlo

_CARVED = "_expert"


def profile_of(compiled: Compiled, job: Job) -> Profile:
    """Return what a compile says of one step.

    Args:
        compiled: With a program text.
        job: What was asked; a compile on fewer devices is read with its rates.

    Raises:
        NotEnoughDataError: The compile gave no text.
        DatasetUnreadableError: The text was damaged.
    """
    sizes = (compiled.argument_bytes, compiled.output_bytes, compiled.temp_bytes)
    memory = None
    if None not in sizes:
        argument, output, temp = (float(size or 0) for size in sizes)
        told = float(compiled.peak_bytes or 0) if compiled.where == "tpu" else None
        memory = CompiledMemory(argument, output, temp, float(compiled.alias_bytes or 0), told)
    mesh = dict(mesh_axes(compiled.layout, job))
    profile = profile_of_hlo(
        compiled.hlo_text(),
        job,
        compiled.layout,
        source="cpu_hlo" if compiled.where == "cpu" else "tpu_aot",
        memory=memory,
        mesh=mesh,
    )
    return replace(
        profile,
        collectives=tuple(
            replace(one, axes=layout_axes(one.axes, one.kind, mesh)) for one in profile.collectives
        ),
        warnings=(*profile.warnings, *compiled.notes),
    )


def layout_axes(axes: tuple[str, ...], kind: CollectiveKind, mesh: Collection[str]) -> Entry:
    """Name axes of a layout where experts took a part of others.

    With the rest of its axis a part is that axis: weights are gathered over both. All parts
    together are `expert`. One alone is `expert` where tokens are exchanged or it is a share of
    its axis; else it is all of its axis, such as the heads that experts took over.

    Args:
        axes: Mesh axes of a collective.
        kind: What it does.
        mesh: All mesh axes.
    """
    whole = [axis for axis in axes if not axis.endswith(_CARVED)]
    parts = [axis.removesuffix(_CARVED) for axis in axes if axis.endswith(_CARVED)]
    if parts and not whole:
        carved = sum(axis.endswith(_CARVED) for axis in mesh)
        is_all = len(parts) == carved > 1
        if is_all or kind == "all-to-all" or any(axis in mesh for axis in parts):
            return ("expert",)
    return tuple(dict.fromkeys((*whole, *parts)))
