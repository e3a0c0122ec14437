"""The program under a layout computes what it computes alone, on real virtual devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.settings import ROOT

CHILD = Path(__file__).with_name("run_layouts.py")
DENSE = {
    "name": "dense", "layers": 4, "hidden": 32, "ffn": 64, "heads": 4, "kv_heads": 2,
    "head_dim": 8, "vocab": 64,
}  # fmt: skip
ROUTED = DENSE | {
    "name": "routed", "layers": 3, "experts": 4, "experts_per_token": 2, "expert_ffn": 32,
    "dense_layers": 1, "shared_experts": 1,
}  # fmt: skip
LATENT = ROUTED | {
    "name": "latent", "kv_heads": 4, "q_lora": 16, "kv_lora": 16, "rope_dim": 4, "v_dim": 8,
}  # fmt: skip
WORK = {"seq_len": 16, "global_batch": 8}
CASES = {
    "every chip a shard": (DENSE, "v5e:2x4", {"fsdp": 8}, 8),
    "heads": (DENSE, "v5e:2x4", {"fsdp": 2, "tensor": 4, "remat": "selective"}, 8),
    "replicas": (DENSE, "v5e:2x4", {"data": 2, "fsdp": 2, "tensor": 2, "remat": "none"}, 4),
    "replicas with a split optimizer": (DENSE, "h100:8", {"data": 4, "fsdp": 2, "zero": 1}, 8),
    "sequence": (DENSE, "v5e:2x4", {"context": 4, "fsdp_transpose": 2}, 8),
    "stages": (DENSE, "h100:8", {"pipeline": 4, "tensor": 2}, 8),
    "stages in turns, one layer short": (
        DENSE | {"layers": 3}, "h100:8", {"pipeline": 2, "interleave": 2, "data": 4}, 2,
    ),
    "experts on a torus": (ROUTED, "v5e:2x4", {"fsdp": 2, "expert": 4}, 8),
    "experts of heads and shards": (ROUTED, "h100:8", {"fsdp": 4, "tensor": 2, "expert": 4}, 8),
    "experts and stages": (ROUTED, "h100:8", {"pipeline": 2, "fsdp": 4, "expert": 2}, 8),
    "latent attention": (LATENT, "v5e:2x4", {"fsdp": 2, "tensor": 2, "context": 2}, 8),
}  # fmt: skip


@pytest.fixture(scope="module")
def found() -> dict[str, dict]:
    cases = [
        {"model": model, "work": WORK, "slice": place, "layout": layout}
        for model, place, layout, _ in CASES.values()
    ]
    done = subprocess.run(
        [sys.executable, str(CHILD)], input=json.dumps(cases), capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(CASES, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_steps_under_a_layout_have_the_losses_of_one_device(name, found):
    one = found[name]
    assert one["spread"] == pytest.approx(one["alone"], rel=2e-5)
    # The second loss is that of new weights: gradients and the optimizer are compared too.
    assert one["alone"][1] < one["alone"][0] - 0.05
    assert one["parts"] == CASES[name][3]
