"""Decoding with a cache says what reading all at once says, alone and under a layout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.settings import ROOT

CHILD = Path(__file__).with_name("run_serving.py")
DENSE = {
    "name": "dense", "layers": 2, "hidden": 32, "ffn": 64, "heads": 8, "kv_heads": 2,
    "head_dim": 8, "vocab": 64, "qk_norm": True, "o_bias": True, "qkv_bias": True,
}  # fmt: skip
ROUTED = {
    "name": "routed", "layers": 4, "hidden": 32, "ffn": 64, "heads": 4, "kv_heads": 2,
    "head_dim": 8, "vocab": 64, "experts": 4, "experts_per_token": 2, "expert_ffn": 32,
    "moe_every": 2, "is_tied": True,
}  # fmt: skip
LATENT = ROUTED | {
    "name": "latent", "kv_heads": 4, "q_lora": 16, "kv_lora": 16, "rope_dim": 4, "v_dim": 8,
    "moe_every": 1, "dense_layers": 1,
}  # fmt: skip
CASES = {
    "keys repeated over heads": (DENSE, "h100:8", {"data": 2, "tensor": 4}),
    "experts between dense layers": (ROUTED, "v5e:2x4", {"expert": 4, "tensor": 2}),
    "latents in place of keys": (LATENT, "h100:8", {"data": 4, "tensor": 2, "expert": 4}),
}


@pytest.fixture(scope="module")
def found() -> dict[str, dict]:
    cases = [
        {"model": model, "slice": place, "layout": layout}
        for model, place, layout in CASES.values()
    ]
    done = subprocess.run(
        [sys.executable, str(CHILD)], input=json.dumps(cases), capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(CASES, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_cache_changes_no_logit(name, found):
    one = found[name]
    assert one["size"] > 0.5
    # Alone at once, alone with a cache, under a layout at once, under a layout with a cache.
    assert len(one["apart"]) == 4
    assert max(one["apart"]) < 2e-5 * one["size"]
