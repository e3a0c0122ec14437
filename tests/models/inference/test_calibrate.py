"""Measured step prices, and the gap to float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.inference import calibrate as calibration
from models.inference.attention.reference import ReferenceAttention
from models.inference.calibrate import Calibration, calibrate
from models.inference.cost import CostModel
from models.inference.gap import GATE, continued, measure_gaps
from models.inference.model.decoder import Decoder
from tests.models.inference.engine_cases import narrowed, random_weights, run_alone, tiny

CONFIG = tiny(eos_ids=())


def test_a_measurement_is_kept_per_model_and_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    decoder = Decoder(CONFIG, random_weights(CONFIG), ReferenceAttention(CONFIG, torch.float32))
    first = calibrate(decoder, "a", tmp_path)
    assert first.tokens == (1, 32, 128, 256, 512)
    assert min(first.cost.prefill_s, first.cost.sample_s, first.cost.copy_s) > 0
    assert first.cost.decode_s == first.cost.prefill_s
    monkeypatch.setattr(calibration, "measure", lambda _: Calibration(CostModel(), (1,), (1.0,)))
    assert calibrate(decoder, "a", tmp_path) == first
    assert calibrate(decoder, "b", tmp_path).tokens == (1,)
    assert calibrate(decoder, "a", tmp_path, n_threads=2).tokens == (1,)
    for file in tmp_path.glob("*.json"):
        file.write_text("{")
    assert calibrate(decoder, "a", tmp_path).tokens == (1,)


def test_gaps_are_zero_where_arithmetic_is_float32_and_small_in_bfloat16():
    weights = narrowed(random_weights(CONFIG))
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12]]
    narrow = Decoder(CONFIG, weights, ReferenceAttention(CONFIG, torch.bfloat16))
    gaps = measure_gaps(narrow, prompts, 20)
    assert gaps.values.shape == (40,)
    assert 0 <= gaps.mean <= gaps.largest < 2
    assert gaps.same >= 30
    wide = Decoder(CONFIG, random_weights(CONFIG), ReferenceAttention(CONFIG, torch.float32))
    assert measure_gaps(wide, prompts, 20).largest < 1e-4
    assert continued(wide, prompts, 6) == [run_alone(wide, prompt, 6) for prompt in prompts]


@pytest.mark.slow
def test_no_token_of_the_embedded_model_is_far_from_float32(tmp_path: Path):
    from models.inference.local_model import find_model
    from models.inference.model.assemble import assemble
    from models.inference.model.weights import load_weights

    model = find_model("smollm2", tmp_path)
    assert model.config is not None
    assert model.tokenizer is not None
    weights = load_weights(model.folder, model.config, torch.bfloat16)
    text = Path("LICENSE").read_text()
    (ids,) = model.tokenizer.encode([text])
    prompts = [ids[begin : begin + 60] for begin in range(0, 8 * 60, 60)]
    assert all(len(prompt) == 60 for prompt in prompts)
    for is_deterministic in (False, True):
        decoder = assemble(model.config, weights, tmp_path, 1, is_deterministic)
        gaps = measure_gaps(decoder, prompts, 32)
        assert len(gaps.values) == 256
        assert gaps.largest <= GATE
        assert gaps.mean <= 0.01
