"""The Triton kernels without a graphics processor: interpreted, and compiled for two.

Interpreter and compiler exclude each other in a process, and neither may touch the Triton of the
other tests, so each runs once in a process of its own; see `triton_cases`, `triton_compiled`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from models.inference.model.assemble import device_attention
from models.settings import ROOT
from tests.models.inference.engine_cases import tiny

pytestmark = pytest.mark.slow

# Float32 sums of some hundred terms up to 4, in another order: 64 units of 2**-23.
FLOAT_BOUND = 64 * torch.finfo(torch.float32).eps
# Float16 keeps 11 bits: numbers from 2 to 4 lie 2 eps apart. Queries, keys, weights and results
# are rounded, the result to half of that; two such steps are 4 eps.
HALF_BOUND = 4 * torch.finfo(torch.float16).eps
# What a program gets on devices of capability 8.6 and 8.9; 8.0 has 163 KiB, 9.0 has 227.
SHARED_BYTES = 99 * 1024


def process(module: str, cache: Path, **variables: str) -> dict[str, Any]:
    """Run a module of this folder and read the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.models.inference.{module}"],
        env={**os.environ, "TRITON_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1", **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return process("triton_cases", tmp_path_factory.mktemp("triton"), TRITON_INTERPRET="1")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return process("triton_compiled", tmp_path_factory.mktemp("triton"), TRITON_INTERPRET="0")


def test_prefixes_chunks_and_decoding_agree_with_torch(interpreted: dict[str, Any]):
    errors = interpreted["agreement"]
    bounds = {"float32": FLOAT_BOUND, "float16": HALF_BOUND}
    assert len(errors) == 6
    for name, error in errors.items():
        assert error <= bounds[name.split(":")[0]], name


def test_a_planted_fault_is_seen(interpreted: dict[str, Any]):
    errors = dict(interpreted["faults"])
    assert errors.pop("none") <= FLOAT_BOUND
    assert len(errors) == 7
    # Not near misses: rounding in 16 bits would hide none of them either.
    assert min(errors.values()) > 10 * HALF_BOUND


def test_the_engine_emits_the_tokens_of_plain_torch(interpreted: dict[str, Any]):
    engine = interpreted["engine"]
    assert engine["same"]
    assert engine["tokens"] == 5 * 6 + 2 * 4 + 6
    assert engine["copied"] == 30  # a prefix begins with another one's tokens
    assert engine["forks"] == 2
    assert engine["preempted"] > 0
    assert engine["left"] == 0


def test_in_deterministic_mode_a_row_has_the_same_bits_in_any_company(
    interpreted: dict[str, Any],
):
    assert interpreted["same_bits"]["deterministic"]


def test_kernels_are_trusted_after_a_trial_only(interpreted: dict[str, Any]):
    choice = interpreted["choice"]
    assert choice["sound"] == ["triton", []]
    name, (said,) = choice["faulty"]
    assert name == "reference"
    assert "differ by 1.5 from torch" in said
    name, (said,) = choice["wide"]
    assert name == "reference"
    assert "heads of 80 values do not fit" in said
    assert choice["normed"] <= FLOAT_BOUND


def test_without_a_driver_the_reference_stands_in(caplog: pytest.LogCaptureFixture):
    config = tiny(head_dim=32)
    attention = device_attention(config, torch.float32, torch.device("cpu"))
    assert attention.name == "reference"
    (record,) = caplog.records
    assert "attention on cpu runs in torch, slower" in record.getMessage()


def test_kernels_compile_for_ampere_and_hopper_in_sixteen_bits(compiled: dict[str, Any]):
    assert len(compiled) == 9
    for name, made in compiled.items():
        kernel, capability, _, _ = name.split()
        assert made["is_elf"], name
        assert made["target"] == f"sm_{capability}"
        assert made["shared_bytes"] <= SHARED_BYTES, name
        if kernel == "attend_parts":
            assert made["tensor_core_products"] > 0, name
            # Keys and values stream in 16 bytes at a time while others are computed on.
            assert made["async_copies"] > 0, name
