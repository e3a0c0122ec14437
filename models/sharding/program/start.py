"""Programs to begin with: a mesh, arrays on it, and what they look like before they exist."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from models.errors import ConfigError
from models.sharding.export.jax_mesh import MeshSpec, mesh_spec
from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.program.layers import Program
from models.sharding.program.tensors import parameters


def mesh_of(spec: MeshSpec, devices: Sequence[Any]) -> Mesh:
    """Lay the mesh axes onto devices; on a torus so that each axis runs along its links.

    Raises:
        ConfigError: The number of devices is not that of the mesh.
    """
    from jax.experimental import mesh_utils

    names, sizes = [name for name, _ in spec.axes], [size for _, size in spec.axes]
    if len(devices) != spec.devices:
        raise ConfigError(
            f"the mesh {dict(spec.axes)} needs {spec.devices} devices, there are {len(devices)}; "
            "set --xla_force_host_platform_device_count or take another layout"
        )
    if not names:
        return Mesh(np.array(devices).reshape(1), ("one",))
    # JAX places the two devices of a v4 chip on no torus (it wants megacore): they stay in order.
    has_cores = getattr(devices[0], "device_kind", "") == "TPU v4" and len(devices) > 1
    if getattr(devices[0], "platform", "cpu") == "tpu" and not has_cores:
        placed = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
        return Mesh(placed, names)
    return Mesh(np.array(devices).reshape(sizes), names)


def program_of(
    job: Job, layout: Layout, devices: Sequence[Any] | None, dtype: Any = jnp.bfloat16,
    capacity: float = 1.0,
) -> Program:  # fmt: skip
    """Return the program of a job under a layout.

    Args:
        job: Model, workload, slice.
        layout: How it is split.
        devices: As many as the layout has; None: one, nothing is constrained.
        dtype: Number format of matrix products.
        capacity: Slots of experts over routed tokens.

    Raises:
        ConfigError: The devices are not as many as the layout needs.
    """
    spec = mesh_spec(job, layout)
    mesh = mesh_of(spec, devices) if devices is not None else None
    can_offload = devices is not None and getattr(devices[0], "platform", "cpu") == "tpu"
    return Program(job, layout, spec, mesh, dtype, capacity, can_offload)


def start_params(job: Job, layout: Layout, seed: int) -> dict[str, Array]:
    """Return parameters in float32, the same values under every layout.

    Values are drawn per layer, in order; blocks that only fill up a stage are zero.
    """
    plain = parameters(job, Layout())
    found = {}
    for number, (name, one) in enumerate(parameters(job, layout).items()):
        base = plain[name]
        if base.fill is not None:
            flat = jnp.full(base.size, base.fill, jnp.float32)
        else:
            key = jax.random.fold_in(jax.random.key(seed), number)
            fan = base.shape[-2] if name != "embed" else 1
            flat = jax.random.normal(key, (base.size,)) / math.sqrt(fan)
        found[name] = jnp.pad(flat, (0, one.size - base.size)).reshape(one.shape)
    return found
