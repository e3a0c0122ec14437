"""A layout as a Python module of its own: mesh, PartitionSpecs and a helper that places arrays."""

from __future__ import annotations

import keyword
import pprint
import re
from pathlib import Path

from models.errors import ConfigError
from models.sharding.export.jax_mesh import Spec, mesh_spec
from models.sharding.job import Job
from models.sharding.layout import Layout, why_illegal
from models.sharding.program.tensors import parameters

_TEMPLATE = '''"""How {model} lies on {place}: {layout}.

Written by Loomworks; needs jax and numpy alone. Matrices are (inputs, outputs); the layers of a
stack are one array with leading dimensions that count them.

    mesh = make_mesh()
    params = shard(params, mesh)                      # a dict by the names in PARAMS
    tokens = jax.device_put(tokens, sharding(mesh, ACTIVATIONS["tokens"]))
"""

import math

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXES = {axes}
"""Name and size of each mesh axis, the fastest device number last."""

PARAMS = {params}
"""Mesh axes per dimension of each parameter, as it rests between steps; () is not split."""

SHAPES = {shapes}
"""Shape of each parameter."""

ACTIVATIONS = {activations}
"""The same of what passes between matrices, of tokens and of the cache."""


def make_mesh(devices=None):
    """Lay the axes onto devices (all that JAX sees, or those given)."""
    devices = jax.devices() if devices is None else list(devices)
    needed = math.prod(AXES.values())
    if len(devices) < needed:
        raise ValueError(
            f"the mesh {{AXES}} needs {{needed}} devices, there are {{len(devices)}}; on a CPU set "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={{needed}}"
        )
    names, sizes = tuple(AXES) or ("one",), tuple(AXES.values()) or (1,)
    if devices[0].platform == "tpu" and len(devices) == needed > 1:
        from jax.experimental import mesh_utils

        return Mesh(
            mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True), names
        )
    return Mesh(np.array(devices[:needed]).reshape(sizes), names)


def spec(entries):
    """Return the PartitionSpec of one array."""
    return PartitionSpec(*(tuple(entry) or None for entry in entries))


def sharding(mesh, entries):
    """Return where one array lies on a mesh."""
    return NamedSharding(mesh, spec(entries))


def shardings(mesh):
    """Return where every parameter lies, by name: for `in_shardings` and `out_shardings`."""
    return {{name: sharding(mesh, entries) for name, entries in PARAMS.items()}}


def shard(params, mesh=None):
    """Place parameters, a dict by the names in PARAMS, on a mesh."""
    mesh = make_mesh() if mesh is None else mesh
    unknown = sorted(set(params) - set(PARAMS))
    if unknown:
        raise KeyError(f"no parameters named {{unknown}}; known: {{sorted(PARAMS)}}")
    for name, array in params.items():
        if tuple(np.shape(array)) != SHAPES[name]:
            raise ValueError(f"{{name}} must be {{SHAPES[name]}}, got {{np.shape(array)}}")
    where = shardings(mesh)
    return {{name: jax.device_put(array, where[name]) for name, array in params.items()}}


if __name__ == "__main__":
    print("mesh:", AXES)
    for name, entries in PARAMS.items():
        print(f"{{name:<28}} {{SHAPES[name]!s:<28}} {{spec(entries)}}")
    for name, entries in ACTIVATIONS.items():
        print(f"{{name:<28}} {{'':<28}} {{spec(entries)}}")
'''
_OF_STAGE = {
    True: ("tokens", "residual", "whole", "heads", "keys", "inner", "logits"),
    False: ("one_token", "whole", "heads", "keys", "inner", "logits", "cache", "latents"),
}


def module_name(job: Job) -> str:
    """Return the name of the module: `sharding_` and the model's name as an identifier."""
    plain = re.sub(r"\W+", "_", job.model.name.lower(), flags=re.ASCII).strip("_")[:60]
    name = f"sharding_{plain or 'model'}"
    return name if not keyword.iskeyword(name) else f"{name}_"


def jax_module(job: Job, layout: Layout) -> str:
    """Return the source of the module.

    Raises:
        ConfigError: The layout is illegal, or on GPUs its axes do not make up `expert`.
    """
    reasons = why_illegal(layout, job)
    if reasons:
        raise ConfigError(f"an illegal layout is not exported: {'; '.join(reasons)}")
    spec = mesh_spec(job, layout)
    shapes = {name: one.shape for name, one in parameters(job, layout).items()}
    used = [*_OF_STAGE[job.workload.is_training], *(("routed",) if job.model.experts else ())]
    kept: dict[str, Spec] = {name: spec.activations[name] for name in used}
    return _TEMPLATE.format(
        # A name may come from a file of somebody else: it must not end the docstring.
        model=re.sub(r"[^\w .:/+-]", "_", job.model.name)[:100],
        place=job.place.text(),
        layout=layout.text(),
        axes=_literal(dict(spec.axes)),
        params=_literal(spec.params),
        shapes=_literal(shapes),
        activations=_literal(kept),
    )


def write_jax_module(job: Job, layout: Layout, folder: Path) -> Path:
    """Write `sharding_<model>.py` into a folder and return its path.

    Raises:
        ConfigError: The layout is illegal, or on GPUs its axes do not make up `expert`.
    """
    source = jax_module(job, layout)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{module_name(job)}.py"
    file.write_text(source, encoding="utf-8")
    return file


def _literal(values: object) -> str:
    return pprint.pformat(values, width=96, sort_dicts=False)
