"""A fixed set of operators end to end: written by rules, linted, run against ATen."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("end_to_end.py")
OPERATORS = (
    "exp",
    "tanh",
    "lgamma",
    "abs",
    "gelu",
    "add",
    "where",
    "maximum",
    "remainder",
    "clamp",
    "sum",
    "var",
    "amax",
    "argmax",
    "softmax",
    "layer_norm",
    "cumsum",
    "cat",
    "flip",
    "gather",
    "scatter_add",
    "index_add",
    "sort",
    "mm",
    "conv2d",
    "full",
    "nonzero",
    "nonzero_static",
    "masked_select",
    "index by a mask",
    "index_put by a mask",
    "masked_scatter",
    "repeat_interleave",
    "unique",
    "unique_consecutive",
    "stable sort",
    "mode",
    "histc",
    "histogram",
    "bincount",
    "searchsorted",
    "segment_reduce",
    "put",
    "one_hot",
    "allclose",
    "take_along_dim",
    "combinations",
    "transpose",
    "chunk",
    "unsafe_chunk",
    "flatten",
    "squeeze",
    "logsumexp",
    "mul",
)


def run(*arguments: str) -> dict[str, Any]:
    root = Path(__file__).resolve().parents[4]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        cwd=root,
        env=environment,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def examined() -> dict[str, Any]:
    return run("131072")


@pytest.mark.parametrize("name", OPERATORS)
def test_rules_write_a_module_that_equals_aten_and_passes_the_linter(
    examined: dict[str, Any], name: str
):
    found = examined[name]
    assert found["refused"] == {}
    assert found["wrong"] == []
    assert found["lint"] == ""


def test_no_size_of_a_sample_enters_a_source(examined: dict[str, Any]):
    # Samples of sum have sizes 4, 6, 3 and 0: none of them may stand beside a shape.
    source = examined["sum"]["source"]
    assert "shape[0] == 4" not in source
    assert "shape[1] == 6" not in source
    assert "self.shape[1]" in source


def test_the_rules_that_wrote_a_module_are_named(examined: dict[str, Any]):
    assert examined["softmax"]["rules"] == ["pointwise", "reduction", "views"]
    assert examined["sort"]["rules"] == ["slices", "sorting"]


def test_small_blocks_give_the_same_results():
    found = run("64", "sum", "argmax", "softmax", "cumsum", "add", "stable sort", "unique")
    assert [one["wrong"] for one in found.values()] == [[]] * 7


def test_views_run_no_kernel_where_aten_gives_views(examined: dict[str, Any]):
    for name in ("transpose", "chunk", "squeeze"):
        assert examined[name]["rules"] == ["metadata"]
        assert examined[name]["launches"] == []
    # A view of what has gaps cannot be flattened: that layout has a kernel.
    assert "is_contiguous()" in examined["flatten"]["source"]
    assert "views" in examined["flatten"]["rules"]


def test_one_program_serves_sizes_of_zero_and_one_too(examined: dict[str, Any]):
    wrapper = examined["mul"]["source"].split("def wrapper")[1]
    assert "> 1" not in wrapper
    # What a size of 1 changes keeps a program of its own.
    assert "self.shape[0] == 1" in examined["squeeze"]["source"]
