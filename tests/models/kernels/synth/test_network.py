"""Layers of networks end to end: written by rules, linted, run against ATen."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("end_to_end.py")

LAYERS = (
    "max_pool2d",
    "max_pool1d",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool3d",
    "pixel_shuffle",
    "pixel_unshuffle",
    "upsample antialiased",
    "grid_sample",
    "batch_norm",
    "instance_norm",
    "cross_entropy",
    "embedding",
    "embedding_bag",
    "pdist",
    "cdist",
    "cov",
    "gradient",
    "kron",
    "bilinear",
    "huber_loss",
    "cosine_embedding_loss",
)


@pytest.fixture(scope="module")
def examined() -> dict[str, Any]:
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "131072", *LAYERS],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_rules_write_a_layer_that_equals_aten_and_passes_the_linter(
    examined: dict[str, Any], name: str
):
    found = examined[name]
    assert found["refused"] == {}
    assert found["wrong"] == []
    assert found["lint"] == ""


def test_no_width_of_a_pool_enters_its_source(examined: dict[str, Any]):
    source = examined["max_pool2d"]["source"]
    assert re.search(r"\bkernel_size(\[\d\])? == \d", source) is None
    assert "isinstance(kernel_size, int)" in source


def test_a_pool_without_places_runs_no_pass_for_them(examined: dict[str, Any]):
    functions = examined["max_pool2d"]["source"].split("def _program_")[1:]
    with_places = ["return b0, b1" in text for text in functions]
    assert {True, False} == set(with_places)
    assert with_places == ["torch.int64" in text for text in functions]
