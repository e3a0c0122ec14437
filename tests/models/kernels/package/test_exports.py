import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import ConfigError
from models.kernels.candidate import KernelCandidate
from models.kernels.package import (
    FolderTakenError,
    Package,
    PackageEntry,
    export_backendbench,
    export_importable,
    read_package,
    write_package,
)
from models.kernels.package.backendbench import module_name
from tests.models.kernels.package.modules import ABS, entry, three

# What BackendBench's directory backend does with a folder, told in its own words above
# `export_backendbench`; written from the description, with torch's own operators as oracle.
JUDGE = """
import importlib.util, json, os, sys
import torch
root = sys.argv[1]
kernels, passed_over = {}, []
for name in sorted(os.listdir(root)):
    inside = os.path.join(root, name)
    if not os.path.isdir(inside):
        continue
    files = sorted(f for f in os.listdir(inside)
                   if f.endswith(".py") and f.startswith(name + "_implementation"))
    if not files:
        passed_over.append(name)
        continue
    spec = importlib.util.spec_from_file_location("op_" + name, os.path.join(inside, files[0]))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    base, overload = name.rsplit("__", 1)
    operator = getattr(getattr(torch.ops.aten, base), overload)
    kernels[name] = (operator, getattr(module, name + "_kernel_impl"))
x = torch.linspace(-2, 2, 100)
right = {}
for name, (operator, kernel) in kernels.items():
    if name.startswith("positive"):
        due = -x.abs()
    else:
        due = operator(x)
    given = [kernel(x), kernel(self=x)]
    right[name] = all(torch.equal(one, due) for one in given)
print(json.dumps({"right": right, "passed_over": passed_over}))
"""
IMPORTS = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch, mine
from mine.ops import abs as module
x = torch.linspace(-2, 2, 100)
print(json.dumps([torch.equal(mine.wrapper("positive")(x), -x.abs()),
                  torch.equal(module.wrapper(x), x.abs()), mine.PACKAGE_SHA]))
"""


@pytest.fixture
def package(tmp_path: Path) -> Package:
    write_package(tmp_path / "package", three())
    return read_package(tmp_path / "package")


def interpreted(program: str, *arguments: str) -> object:
    """Run a program under Triton's interpreter; returns what it printed last."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=300,
        env={**os.environ, "TRITON_INTERPRET": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_loader_that_does_as_backendbench_finds_kernels_that_agree_with_aten(
    package: Package, tmp_path: Path
) -> None:
    export = export_backendbench(package, tmp_path / "export")
    found = interpreted(JUDGE, str(tmp_path / "export"))
    assert found == {
        "right": {"abs__default": True, "neg__default": True, "positive__default": True},
        "passed_over": ["_modules"],
    }
    assert set(export.folders) == {"abs__default", "neg__default", "positive__default"}


@pytest.mark.slow
def test_the_plain_package_is_imported_without_a_build(package: Package, tmp_path: Path) -> None:
    export_importable(package, tmp_path / "plain", "mine")
    assert interpreted(IMPORTS, str(tmp_path / "plain")) == [True, True, package.sha]


def exported(tmp_path: Path, op_id: str, source: str) -> tuple[set[str], dict[str, str], Path]:
    write_package(tmp_path / "one", [entry(op_id, source)])
    export = export_backendbench(read_package(tmp_path / "one"), tmp_path / "out")
    return set(export.folders), export.skipped, tmp_path / "out"


def names_of(file: Path) -> dict[str, str]:
    """Return the wrapper's names by an overload's, as the exported file has them."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "names":
            found: dict[str, str] = ast.literal_eval(node.value)
            return found
    raise AssertionError(f"no names in {file}")


def test_every_functional_overload_that_the_wrapper_serves_gets_a_folder(tmp_path: Path) -> None:
    source = ABS.replace("def wrapper(input)", "def wrapper(input, other, *, alpha=1)")
    folders, _, out = exported(tmp_path, "add", source)
    assert folders == {"add__Tensor", "add__Scalar"}
    names = names_of(out / "add__Tensor/add__Tensor_implementation_v1.py")
    assert names == {"self": "input", "other": "other", "alpha": "alpha"}


def test_an_overload_with_a_parameter_that_the_wrapper_lacks_is_skipped_with_the_reason(
    tmp_path: Path,
) -> None:
    folders, skipped, _ = exported(tmp_path, "sum", ABS.replace("(input)", "(self, *, dtype=None)"))
    assert folders == {"sum__default"}
    assert skipped == {"sum (sum.dim_IntList)": "the wrapper lacks some of its parameters"}


def test_an_overload_of_types_that_the_module_was_not_written_for_is_skipped(
    tmp_path: Path,
) -> None:
    source = ABS.replace("(input)", "(self, other, *, alpha=1)")
    policy = '{"signature": "add(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor"}'
    candidate = KernelCandidate.of("add", source, policy=policy)
    write_package(tmp_path / "one", [PackageEntry.of(candidate)])
    export = export_backendbench(read_package(tmp_path / "one"), tmp_path / "out")
    assert set(export.folders) == {"add__Tensor"}
    assert export.skipped == {"add (add.Scalar)": "no program of the module takes its Scalar other"}


def test_a_masked_operator_does_not_pose_as_the_plain_one(tmp_path: Path) -> None:
    folders, skipped, _ = exported(tmp_path, "masked.sum", ABS)
    assert folders == set()
    assert "no functional overload" in skipped["masked.sum"]


def test_of_two_operators_for_one_overload_the_namesake_has_it(tmp_path: Path) -> None:
    write_package(tmp_path / "two", [entry("relu", ABS), entry("nn.functional.relu", ABS)])
    export = export_backendbench(
        read_package(tmp_path / "two"),
        tmp_path / "out",
        lambda _: ("aten::relu(Tensor self) -> Tensor",),
    )
    assert export.folders == {"relu__default": "relu"}
    assert export.skipped["nn.functional.relu (relu.default)"] == "served by relu"


def test_names_of_operators_become_different_names_of_modules() -> None:
    names = ["nn.functional.relu", "nn_functional_relu", "nn_functional.relu", "and", "and_", "a.b"]
    assert len({module_name(name) for name in names}) == len(names)
    assert all(module_name(name).isidentifier() for name in names)


def test_exports_do_not_write_over_what_is_there(package: Package, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("mine")
    with pytest.raises(FolderTakenError, match="holds something"):
        export_backendbench(package, tmp_path / "taken")
    with pytest.raises(FolderTakenError, match="holds something"):
        export_importable(package, tmp_path / "taken")


@pytest.mark.parametrize("name", ["", "a-b", "class", "1st"])
def test_a_name_that_python_cannot_import_is_refused(
    package: Package, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match="names no Python package"):
        export_importable(package, tmp_path / "plain", name)
