"""Linear algebra written by rules: factors multiply back, on sizes that no program saw."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("linear_algebra.py")
NAMES = (
    "svd", "eigh", "eig", "qr", "lu", "solve", "slogdet", "cholesky", "ldl", "matrix_exp", "pinv",
    "lstsq",
)  # fmt: skip


def run(*arguments: str) -> dict[str, Any]:
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True, text=True, cwd=root, timeout=600, check=False,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def examined() -> dict[str, Any]:
    return run("131072")


@pytest.mark.parametrize("name", NAMES)
def test_results_are_what_defines_them_on_unseen_sizes(examined: dict[str, Any], name: str):
    found = examined[name]
    assert found["refused"] == {}
    assert found["failed"] == []
    assert max(found["gaps"]) < 3e-6, found["gaps"]


@pytest.mark.parametrize("name", NAMES)
def test_modules_pass_the_linter_and_hold_no_size(examined: dict[str, Any], name: str):
    found = examined[name]
    assert found["lint"] == ""
    assert "next_power_of_2(max(d" in found["source"]
    assert "linalg" in found["rules"]


def test_many_matrices_share_a_program_where_the_block_is_large(examined: dict[str, Any]):
    batches = {one["constexprs"]["BATCH"] for one in examined["qr"]["launches"]}
    assert batches == {1, 2, 4}


def test_small_blocks_give_the_same_results():
    found = run("64", "svd", "lu", "solve")
    assert max(gap for one in found.values() for gap in one["gaps"]) < 3e-6
    assert {launch["constexprs"]["BATCH"] for launch in found["lu"]["launches"]} == {1, 2}
