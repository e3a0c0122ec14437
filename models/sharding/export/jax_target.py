"""JAX as an export target: a module with the mesh and a PartitionSpec for every array."""

from __future__ import annotations

import ast
import math
import re

from models.errors import ConfigError
from models.sharding.export.base import Exported, Imported
from models.sharding.export.jax_mesh import mesh_axes, mesh_spec
from models.sharding.export.jax_module import jax_module, module_name
from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.words import parse_layout

_FIRST_LINE = re.compile(r'\A"""How [^\n]* lies on [^\n]*?: (?P<layout>[^\n:]*)\.\n')
_AXES = re.compile(r"^AXES = (?P<axes>\{[^}]*\})", re.MULTILINE)


class Jax:
    """Exports any layout to a Python module for JAX."""

    name = "jax"
    title = "JAX (a Python module: mesh and PartitionSpecs)"

    def why_not(self, job: Job, layout: Layout) -> list[str]:
        """Return what a mesh cannot express."""
        try:
            mesh_axes(layout, job)
        except ConfigError as error:
            return [str(error)]
        return []

    def write(self, job: Job, layout: Layout) -> Exported:
        """Return the module."""
        notes = ["micro-batches, stages and recomputation are the program's: the module splits"]
        notes += [f"held whole: {one}" for one in mesh_spec(job, layout).repeated[:8]]
        name = f"{module_name(job)}.py"
        return Exported(self.name, {name: jax_module(job, layout)}, f"python {name}", tuple(notes))

    def read(self, text: str, job: Job) -> Imported:
        """Return the layout that a module of ours says; the module is not run."""
        found, axes = _FIRST_LINE.match(text), _AXES.search(text)
        if not found or not axes:
            raise ConfigError("this is no module that the JAX export wrote; give its whole text")
        layout = parse_layout(found["layout"])
        try:
            sizes = ast.literal_eval(axes["axes"])
            devices = math.prod(int(size) for size in sizes.values())
        except (ValueError, TypeError, AttributeError, SyntaxError):
            raise ConfigError("AXES of this module is no mesh; export it again") from None
        notes = []
        if devices != job.place.chips:
            notes.append(f"the mesh has {devices} devices, the job {job.place.chips} chips")
        return Imported(self.name, layout, tuple(notes))
