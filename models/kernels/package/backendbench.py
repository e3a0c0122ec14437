"""Export in the layout that BackendBench's directory backend reads, so that others can judge us.

BackendBench (meta-pytorch/BackendBench, BSD-3) walks a folder of folders, one per ATen overload,
named `add__Tensor` for `add.Tensor`. Of each it loads the first file by name that begins with
`<folder>_implementation` and takes the function `<folder>_kernel_impl`, which it calls with the
overload's own arguments. A folder without such a file is passed over: modules that others call
lie in `_modules`.
"""

from __future__ import annotations

import ast
import json
import keyword
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.kernels.candidate import GENERATED
from models.kernels.lint.signature import Parameter, SchemaError, Signature
from models.kernels.operators import find_operator
from models.kernels.package.folder import write_folder
from models.kernels.package.meta import OperatorMeta
from models.kernels.package.read import Package
from models.kernels.package.write import HEADER

MODULES = "_modules"
_FUNCTIONAL = "nn.functional."
_NUMBERS = frozenset({"Scalar", "int", "SymInt", "float", "bool", "number"})


@dataclass(frozen=True)
class BackendBenchExport:
    """What was exported."""

    folders: dict[str, str]
    """Operator of the catalogue by folder."""
    skipped: dict[str, str]
    """Why an operator of the package, or one of its overloads, has no folder."""


def export_backendbench(
    package: Package,
    folder: Path,
    overloads: Callable[[str], tuple[str, ...]] | None = None,
) -> BackendBenchExport:
    """Write one folder per ATen overload that a module of the package serves.

    Args:
        package: What to export.
        folder: New or empty; what BackendBench takes as `--ops-directory`.
        overloads: Schemas of ATen by operator; None: those of the catalogue.

    Raises:
        FolderTakenError: `folder` holds something already.
    """
    listed = overloads or (lambda op_id: find_operator(op_id).overloads)
    folders: dict[str, str] = {}
    skipped: dict[str, str] = {}
    files: dict[str, str] = {}
    # Where two operators reach one overload (softmax, nn.functional.softmax), the namesake has it.
    for op_id in sorted(package.operators, key=lambda name: (name.startswith(_FUNCTIONAL), name)):
        parameters = wrapper_parameters(package.sources[op_id])
        written = _written_types(package.meta(op_id))
        found = 0
        for overload, signature in _functional(op_id, listed(op_id)):
            place = overload.replace(".", "__")
            names = _renamed(signature.parameters, parameters)
            if names is None:
                skipped[f"{op_id} ({overload})"] = "the wrapper lacks some of its parameters"
            elif (alien := _alien(signature.parameters, names, written)) is not None:
                skipped[f"{op_id} ({overload})"] = f"no program of the module takes its {alien}"
            elif place in folders:
                skipped[f"{op_id} ({overload})"] = f"served by {folders[place]}"
            else:
                folders[place] = op_id
                text = _implementation(package, op_id, place, names)
                files[f"{place}/{place}_implementation_v1.py"] = text
                found += 1
        if not found:
            skipped.setdefault(op_id, "no functional overload of ATen has its name")
    for op_id in sorted({called for name in folders.values() for called in _called(package, name)}):
        files[f"{MODULES}/{module_name(op_id)}.py"] = _module_text(package, op_id, "here")
    files["README.md"] = _README.format(count=len(folders))
    encoded = {path: text.encode("utf-8", "surrogatepass") for path, text in files.items()}
    write_folder(folder, encoded)
    return BackendBenchExport(folders, skipped)


def wrapper_parameters(source: str) -> tuple[str, ...]:
    """Return the names of the parameters of `wrapper`, in order."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == "wrapper":
            taken = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            return tuple(one.arg for one in taken)
    return ()


def module_name(op_id: str) -> str:
    """Return an operator's name as that of a Python module; no two operators share one."""
    plain = op_id.replace("_", "__").replace(".", "_")
    return plain + "_" if keyword.iskeyword(plain) else plain


def _functional(op_id: str, schemas: tuple[str, ...]) -> Iterator[tuple[str, Signature]]:
    """Yield the overloads that return new tensors and are this operator, not one it is like.

    The catalogue lists for `masked.sum` the overloads of `sum`: near enough to read, not to serve.
    """
    own = {op_id.replace(".", "_"), op_id.removeprefix(_FUNCTIONAL)}
    for schema in schemas:
        text = schema.removeprefix("aten::")
        base, _, overload = text[: text.index("(")].partition(".")
        if base not in own:
            continue
        try:
            signature = Signature.parse(text)
        except SchemaError:
            continue
        kinds = {kind for one in signature.parameters for kind in one.types}
        is_written = any(one.is_written for one in signature.parameters)
        if "Tensor" in text[text.rfind("->") :] and not is_written and "Dimname" not in kinds:
            yield f"{base}.{overload or 'default'}", signature


def _renamed(overload: tuple[Parameter, ...], wrapper: tuple[str, ...]) -> Mapping[str, str] | None:
    """Return the wrapper's name for each parameter of an overload; None: one has no place.

    By name, else by position: torch's Python functions say `input` where ATen says `self`.
    """
    names = {one.name for one in overload}
    renamed: dict[str, str] = {}
    for place, one in enumerate(overload):
        if one.name in wrapper:
            target = one.name
        elif place < len(wrapper) and wrapper[place] not in names and not one.is_keyword_only:
            target = wrapper[place]
        else:
            return None
        raw = one.name[:-1] if keyword.iskeyword(one.name[:-1]) else one.name
        renamed[raw] = target
    return renamed


def _written_types(meta: OperatorMeta) -> dict[str, frozenset[str]]:
    """Return the types that a module was written for, by parameter; empty: not recorded.

    They are those of the proposer's record: the catalogue's signature names one overload only.
    """
    try:
        signature = Signature.parse(json.loads(meta.policy)["signature"])
    except (ValueError, KeyError, TypeError):
        return {}
    return {one.name: _kinds(one) for one in signature.parameters}


def _kinds(parameter: Parameter) -> frozenset[str]:
    return frozenset("number" if kind in _NUMBERS else kind for kind in parameter.types)


def _alien(
    overload: tuple[Parameter, ...], names: Mapping[str, str], written: Mapping[str, frozenset[str]]
) -> str | None:
    """Return an overload's parameter, in words, whose type the module was not written for."""
    for one in overload:
        due = written.get(names.get(one.name, one.name), frozenset({"Any"}))
        if "Any" not in due and not due & _kinds(one):
            return f"{'|'.join(one.types)} {one.name}"
    return None


def _called(package: Package, op_id: str) -> tuple[str, ...]:
    return tuple(one.op_id for one in package.dependencies(op_id))


def _implementation(package: Package, op_id: str, place: str, names: Mapping[str, str]) -> str:
    return _module_text(package, op_id, "beside") + _ADAPTER.format(
        place=place, names=dict(names), op_id=op_id, sha=package.meta(op_id).sha
    )


def _module_text(package: Package, op_id: str, where: str) -> str:
    """Return an operator's module with the imports it needs, those of other modules included."""
    called = package.meta(op_id).depends_on
    loader = ""
    if called:
        loader = _LOADER.format(
            folder="" if where == "here" else f'.parent / "{MODULES}"', generated=GENERATED,
            files={name: f"{module_name(name)}.py" for name in called},
        )  # fmt: skip
    return HEADER + loader + package.sources[op_id]


_ADAPTER = '''

def {place}_kernel_impl(*args, **kwargs):
    """Call the module generated for {op_id}, source {sha}."""
    names = {names!r}
    given = dict(zip(names, args)) | kwargs
    return wrapper(**{{names[name]: value for name, value in given.items()}})
'''
_LOADER = """
import importlib.util
import pathlib


def _load(file):
    path = pathlib.Path(__file__).resolve().parent{folder} / file
    spec = importlib.util.spec_from_file_location("generated_" + path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.wrapper


{generated} = {{name: _load(file) for name, file in {files!r}.items()}}
"""
_README = """\
# Generated kernels

{count} folders, one per ATen overload, for the directory backend of BackendBench:

    python -m BackendBench.scripts.main --backend directory --ops-directory THIS --suite opinfo

Every file holds one generated module (Apache-2.0) and the function that BackendBench looks for.
"""
