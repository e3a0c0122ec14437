"""Export as a plain Python package: one module per operator, no build needed to import it."""

from __future__ import annotations

import json
import keyword
from pathlib import Path

from models.errors import ConfigError
from models.kernels.candidate import GENERATED
from models.kernels.package.backendbench import module_name
from models.kernels.package.folder import write_folder
from models.kernels.package.meta import LICENCE
from models.kernels.package.read import Package
from models.kernels.package.write import HEADER


def export_importable(package: Package, folder: Path, name: str = "generated_kernels") -> Path:
    """Write `folder/name`, importable where `folder` is on Python's path, and a pyproject.toml.

    `name.wrapper("add")` returns an operator's function; `from name.ops import add` gives its
    module. `pip wheel folder` makes a wheel of it.

    Args:
        package: What to export.
        folder: New or empty.
        name: Of the Python package.

    Returns:
        The package's folder.

    Raises:
        ConfigError: `name` is no name of a Python package.
        FolderTakenError: `folder` holds something already.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ConfigError(f"'{name}' names no Python package; use letters, digits and _")
    modules = {op_id: module_name(op_id) for op_id in sorted(package.operators)}
    files = {
        "pyproject.toml": _PROJECT.format(name=name, licence=LICENCE),
        f"{name}/__init__.py": _INIT.format(
            count=len(modules), sha=package.sha, operators=json.dumps(modules, indent=4)
        ),
        f"{name}/ops/__init__.py": '"""One module per operator."""\n',
    }
    for op_id, module in modules.items():
        called = package.meta(op_id).depends_on
        imports = "".join(
            f"from . import {modules[other]} as _called_{place}\n"
            for place, other in enumerate(called)
        )
        table = ", ".join(
            f"{other!r}: _called_{place}.wrapper" for place, other in enumerate(called)
        )
        link = f"{imports}\n{GENERATED} = {{{table}}}\n" if called else ""
        files[f"{name}/ops/{module}.py"] = HEADER + link + package.sources[op_id]
    encoded = {path: text.encode("utf-8", "surrogatepass") for path, text in files.items()}
    write_folder(folder, encoded)
    return folder / name


_INIT = '''"""{count} generated Triton kernels; `wrapper("add")` is that of an operator."""

from importlib import import_module

PACKAGE_SHA = "{sha}"
OPERATORS = {operators}


def wrapper(op_id):
    """Return an operator's function; its module is imported on the first call."""
    if op_id not in OPERATORS:
        raise KeyError(f"no kernel for {{op_id}}; OPERATORS lists those that are here")
    return import_module(f"{{__name__}}.ops.{{OPERATORS[op_id]}}").wrapper
'''
_PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "0"
description = "Generated Triton kernels"
license = "{licence}"
dependencies = ["torch", "triton"]

[tool.setuptools]
packages = ["{name}", "{name}.ops"]
"""
