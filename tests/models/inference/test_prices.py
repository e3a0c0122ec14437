"""Prices from shapes or measured, and the backend that they choose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.inference import prices as prices_module
from models.inference.backends import choose
from models.inference.backends.choose import choose_backend
from models.inference.batch_input import Places, read_batch
from models.inference.cost import CostModel
from models.inference.job_config import JobConfig
from models.inference.local_model import LocalModel, find_model
from models.inference.prepare import batch_prices, plan_batch, prepare_job
from models.inference.prices import Prices, guessed_prices, known_prices, measured_prices
from models.inference.tiny_job import write_tiny_job
from tests.models.inference.engine_cases import tiny

SMOL = tiny(
    n_layers=30, hidden=576, n_heads=9, n_kv_heads=3, head_dim=64, mlp=1_536, vocabulary=49_152
)


@pytest.fixture
def job(tmp_path: Path) -> tuple[JobConfig, Places, LocalModel]:
    model, data = write_tiny_job(tmp_path, 2, 20)
    config = JobConfig(data=data, model=str(model), output=tmp_path / "out.jsonl")
    places = Places(tmp_path / "home", tmp_path)
    return config, places, find_model(config.model, places.cache)


def test_guesses_are_the_defaults_for_the_embedded_shapes_and_grow_with_the_model():
    assert SMOL.weights_per_token == 30 * (576 * (9 + 3 + 3 + 9) * 64 + 3 * 576 * 1_536)
    assert guessed_prices(SMOL) == Prices(CostModel(), False)
    double = guessed_prices(replace(SMOL, n_layers=60)).cost
    assert double.prefill_s == pytest.approx(2 * CostModel().prefill_s)
    assert double.sample_s == CostModel().sample_s
    assert double.copy_s == pytest.approx(2 * CostModel().copy_s)
    assert guessed_prices(None).cost == CostModel()


@pytest.mark.slow
def test_prices_are_measured_once_in_a_process_of_their_own(
    job: tuple[JobConfig, Places, LocalModel], monkeypatch: pytest.MonkeyPatch
):
    _, places, model = job
    assert not known_prices(model, "float32", places.cache).is_measured
    found = measured_prices(model, "float32", places.cache)
    assert found.is_measured
    assert found.cost != guessed_prices(model.config).cost

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("measured a second time")

    monkeypatch.setattr(prices_module.subprocess, "run", fail)
    assert measured_prices(model, "float32", places.cache) == found
    assert not known_prices(model, "bfloat16", places.cache).is_measured


def test_only_jobs_that_are_worth_it_are_measured(
    job: tuple[JobConfig, Places, LocalModel], monkeypatch: pytest.MonkeyPatch
):
    config, places, _ = job
    batch = read_batch(config, places)
    asked = []
    slow = Prices(replace(CostModel(), step_s=1e3), True)

    def measure(*_: object) -> Prices:
        asked.append(1)
        return slow

    monkeypatch.setattr("models.inference.prepare.measured_prices", measure)
    assert batch_prices(batch, places.cache) == batch.known_prices
    assert not asked
    large = replace(batch, known_prices=Prices(replace(CostModel(), step_s=1e2), False))
    assert batch_prices(large, places.cache) == slow
    assert batch_prices(replace(large, known_prices=slow), places.cache) == slow
    assert asked == [1]


def test_the_cheaper_backend_runs_and_says_why(
    job: tuple[JobConfig, Places, LocalModel], monkeypatch: pytest.MonkeyPatch
):
    config, places, model = job
    batch = read_batch(config, places)
    monkeypatch.setattr(choose, "has_vllm", lambda: True)
    # Steps that cost what no token of vLLM does, as on a machine without a compiler.
    slow = Prices(replace(CostModel(), step_s=1e3), True)
    plan = plan_batch(batch, 1, prices=slow)
    chosen = choose_backend(config, model, plan, slow, None)
    assert chosen.name == "vllm"
    assert "measured here" in chosen.why
    fast = plan_batch(batch, 1)
    assert choose_backend(config, model, fast, batch.known_prices, None).name == "native"
    kept = choose_backend(config, model, plan, slow, "native")
    assert (kept.name, kept.why) == ("native", "as in the start before, whose rows are kept")
    monkeypatch.setattr(choose, "has_vllm", lambda: False)
    assert choose_backend(config, model, plan, slow, "vllm").name == "native"


def test_what_vllm_is_predicted_to_take_depends_on_what_the_processor_multiplies(
    job: tuple[JobConfig, Places, LocalModel], monkeypatch: pytest.MonkeyPatch
):
    config, places, _ = job
    plan = plan_batch(read_batch(config, places), 1)
    found = []
    for has_products in (True, False):
        monkeypatch.setattr(choose, "multiplies_bfloat16", lambda has=has_products: has)
        found.append(choose.vllm_seconds(plan) - choose.VLLM_LOAD_S)
    prefill, decode = (
        getattr(choose.WITH_BFLOAT16, part) / getattr(choose.WITHOUT_BFLOAT16, part)
        for part in ("prefill", "decode")
    )
    assert 1 < found[0] / found[1] < max(prefill, decode)


def test_the_kernel_and_torch_agree_on_what_the_processor_multiplies():
    from_torch = torch.cpu.get_capabilities().get("avx512_bf16")
    assert choose.multiplies_bfloat16() == bool(from_torch)


def test_a_job_goes_on_with_the_backend_whose_rows_it_keeps(
    job: tuple[JobConfig, Places, LocalModel], monkeypatch: pytest.MonkeyPatch
):
    config, places, _ = job
    batch = read_batch(config, places)
    first = prepare_job(batch, 1, places)
    assert first.chosen.name == "native"
    monkeypatch.setattr(choose, "has_vllm", lambda: True)
    monkeypatch.setattr(choose, "NATIVE_LOAD_S", 1e6)
    assert prepare_job(batch, 1, places).chosen.name == "vllm"  # no row finished yet
    first.spec.write(batch.folder)
    (batch.folder / "journal").mkdir(exist_ok=True)
    (batch.folder / "journal" / "shard-0.segment").write_bytes(b"LOOMJRN1")
    assert prepare_job(batch, 1, places).chosen.name == "native"
    again = config.model_copy(update={"resume": False})
    assert prepare_job(replace(batch, config=again), 1, places).chosen.name == "vllm"
