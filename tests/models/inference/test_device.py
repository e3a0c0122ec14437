"""The engine beside the processor: on a device that refuses what CUDA refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file

from models.errors import ConfigError
from models.inference.backends.base import Watch, Work
from models.inference.backends.native import NativeBackend
from models.inference.device import CPU, device_for
from models.inference.model.weights import load_weights
from models.settings import ROOT, get_settings
from tests.models.inference.engine_cases import tiny


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.inference.device_cases"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


@pytest.mark.parametrize("case", ["batch", "spoilt", "live", "gaps"])
def test_with_its_weights_on_a_second_device_the_engine_does_the_same(
    found: dict[str, Any], case: str
):
    assert found[case]["there"] == found[case]["here"]
    assert found[case]["here"]


def test_keys_and_values_lie_with_the_weights_and_the_way_taken_is_told(found: dict[str, Any]):
    about = found["about"]
    assert about["span"] == "second"
    assert (about["attention"], about["steps"]) == ("reference", "torch")
    (said,) = about["said"]
    assert "attention on second:0 runs in torch, slower" in said


def test_the_second_device_refuses_tensors_of_the_host(found: dict[str, Any]):
    assert found["about"]["refused"] == ["add", "embedding", "gather", "copies are allowed"]


def test_a_device_that_is_not_there_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_for("auto") == device_for("cpu") == CPU
    with pytest.raises(ConfigError, match=r"sees no device; .* set it to auto or cpu"):
        device_for("cuda")


def test_a_device_that_is_there_is_taken_unless_the_host_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert device_for("auto") == device_for("cuda") == torch.device("cuda", 1)
    assert device_for("cpu") == CPU


def test_the_backend_refuses_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("LOOM_INFERENCE_DEVICE", "cuda")
    get_settings.cache_clear()
    model = SimpleNamespace(config=tiny(), tokenizer=None, folder=Path("/nowhere"))
    config = SimpleNamespace(dtype="float32", deterministic=False, seed=0)
    work = SimpleNamespace(model=model, config=config, threads=1)
    with pytest.raises(ConfigError, match="LOOM_INFERENCE_DEVICE=cuda"):
        NativeBackend(cast(Work, work), Watch())


def test_weights_are_read_to_the_device(tmp_path: Path):
    config = tiny(n_layers=0)
    embedding, norm = torch.randn(config.vocabulary, config.hidden), torch.ones(config.hidden)
    save_file(
        {"model.embed_tokens.weight": embedding, "model.norm.weight": norm},
        tmp_path / "model.safetensors",
    )
    weights = load_weights(tmp_path, config, torch.float16, torch.device("meta"))
    assert weights.device == weights.norm.device == torch.device("meta")
    assert weights.embedding.dtype is torch.float16


def test_the_environment_says_which_device(monkeypatch: pytest.MonkeyPatch):
    assert get_settings().inference_device == "auto"
    get_settings.cache_clear()
    monkeypatch.setenv("LOOM_INFERENCE_DEVICE", "tpu")
    with pytest.raises(ConfigError, match="LOOM_INFERENCE_DEVICE"):
        get_settings()
