"""PartitionSpecs as a grid: arrays x dimensions -> mesh axes."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from models.errors import ConfigError
from models.sharding.export.jax_mesh import Spec, mesh_spec
from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.program.tensors import parameters
from models.sharding.report.style import axis_colour


def specs_table(job: Job, layout: Layout) -> str:
    """Return parameters and activations with the mesh axes that split each dimension."""
    try:
        mesh = mesh_spec(job, layout)
    except ConfigError as error:
        return f"<p>This layout has no mesh: {escape(str(error))}</p>"
    if not mesh.axes:
        return "<p>One chip: no array is split.</p>"
    shapes = {name: one.shape for name, one in parameters(job, layout).items()}
    sizes = ", ".join(f"{chip(name)} {size}" for name, size in mesh.axes)
    repeated = "".join(f"<li>{escape(one)}</li>" for one in mesh.repeated)
    return (
        f"<p>Mesh, the fastest device number last: {sizes}.</p>"
        f"<div class='wide'>{_grid('parameter', mesh.params, shapes)}</div>"
        f"<details><summary>Activations</summary><div class='wide'>"
        f"{_grid('activation', mesh.activations, {})}</div></details>"
        + (f"<p>Repeated on some chips:</p><ul>{repeated}</ul>" if repeated else "")
    )


def chip(axis: str) -> str:
    """Return a mesh axis on its colour."""
    return f"<span class='chip' style='background:{axis_colour(axis)}'>{escape(axis)}</span>"


def _grid(kind: str, specs: Mapping[str, Spec], shapes: Mapping[str, tuple[int, ...]]) -> str:
    most = max((len(spec) for spec in specs.values()), default=0)
    head = "".join(f"<th class='word'>dimension {d}</th>" for d in range(most))
    rows = []
    for name, spec in specs.items():
        shape = shapes.get(name, ())
        cells = []
        for dimension in range(most):
            if dimension >= len(spec):
                cells.append("<td></td>")
                continue
            size = f"{shape[dimension]:,} " if dimension < len(shape) else ""
            split = " ".join(chip(axis) for axis in spec[dimension]) or "<small>whole</small>"
            cells.append(f"<td class='word'>{size}{split}</td>")
        rows.append(f"<tr><td class='word'><code>{escape(name)}</code></td>{''.join(cells)}</tr>")
    return f"<table><tr><th class='word'>{kind}</th>{head}</tr>{''.join(rows)}</table>"
