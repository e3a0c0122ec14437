"""The compiled steps and packed products against float32 torch."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import ConfigError
from models.inference.attention.base import Piece
from models.inference.attention.reference import ReferenceAttention
from models.inference.config import BatchConfig
from models.inference.engine import Engine
from models.inference.loads import RowLoads
from models.inference.memory import KvBudget
from models.inference.model.assemble import assemble
from models.inference.model.decoder import Decoder
from models.inference.model.linear import Linear
from models.inference.model.native_steps import NativeSteps
from models.inference.model.steps import TorchSteps
from models.inference.native import build
from models.inference.native.build import load_library
from models.inference.native.symbols import Level
from models.inference.planner import plan_job
from models.inference.replay import widened
from models.inference.requests import Sampling
from tests.models.inference.engine_cases import narrowed, random_tree, random_weights, table, tiny

# Widths that fill no register evenly, and one that does.
CONFIG = tiny(hidden=72, n_heads=2, n_kv_heads=1, head_dim=64, mlp=100)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "inference" / "native"  # built once per test run


@pytest.mark.parametrize("level", list(Level))
def test_compiled_steps_agree_with_float32_torch(level: Level, libraries: Path):
    if level > load_library(libraries).loom_level():
        pytest.skip(f"this processor has no {level.name}")
    weights = narrowed(random_weights(CONFIG))
    native = NativeSteps(CONFIG, weights, libraries, n_threads=2, level=level)
    exact = TorchSteps(CONFIG, widened(weights))
    ids = torch.arange(37) % CONFIG.vocabulary
    heads = torch.randn(37, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        mine, wide = native.open(ids), exact.open(ids)
        assert torch.equal(mine[0], wide[0])
        for layer in range(CONFIG.n_layers):
            torch.testing.assert_close(mine[1].float(), wide[1], rtol=0.03, atol=0.03)
            qkv = native.qkv(layer, mine[1]).float()
            torch.testing.assert_close(qkv, exact.qkv(layer, wide[1]), rtol=0.05, atol=0.12)
            mine = native.close(layer, mine[0].clone(), heads.to(level.activations))
            wide = exact.close(layer, wide[0], heads)
        # bfloat16 keeps 8 bits; products sum 72 to 128 of them.
        error = (mine[0] - wide[0]).abs().max() / wide[0].abs().max()
        assert error < 0.01
        values, tokens = native.best(mine[1])
        logits = native.logits(mine[1])
        assert torch.equal(values, logits.max(dim=-1).values)
        assert torch.equal(logits.gather(1, tokens[:, None])[:, 0], values)


@pytest.mark.parametrize("level", list(Level))
def test_a_row_without_numbers_is_found_by_any_sign_and_place(level: Level, libraries: Path):
    library = load_library(libraries)
    if level > library.loom_level():
        pytest.skip(f"this processor has no {level.name}")
    logits = torch.full((6, 97), -3.0, dtype=level.activations)
    logits[0, 96], logits[1, 5] = torch.nan, -torch.nan
    logits[2, 40] = torch.inf
    logits[3, 11] = logits[3, 80] = -0.5
    logits[4] = -torch.inf
    logits[5, 0] = 7.0
    values, places = torch.empty(6), torch.empty(6, dtype=torch.int64)
    assert not library.loom_largest(
        level, logits.data_ptr(), 6, 97, values.data_ptr(), places.data_ptr(), 1
    )
    assert values.isnan().tolist() == [True, True, False, False, False, False]
    assert values[2:].tolist() == [torch.inf, -0.5, -torch.inf, 7.0]
    assert places[2:].tolist() == [40, 11, 0, 0]


def test_packed_products_are_those_of_torch_and_tiles_make_rows_independent():
    draws = torch.Generator().manual_seed(0)
    weight = torch.randn(96, 64, generator=draws).bfloat16()
    bias = torch.randn(96, generator=draws).bfloat16()
    packed, tiled = Linear(weight, bias), Linear(weight, bias, tile=16)
    for rows in (0, 1, 15, 16, 33):
        x = torch.randn(rows, 64, generator=draws).bfloat16()
        exact = x.float() @ weight.float().T + bias.float()
        for linear in (packed, tiled):
            out = linear(x)
            assert out.is_contiguous()
            torch.testing.assert_close(out.float(), exact, rtol=0.01, atol=0.05)
        assert all(torch.equal(tiled(x[i : i + 1])[0], tiled(x)[i]) for i in range(rows))
    kept = Linear(weight.float(), is_packed=False)
    x = torch.randn(5, 64, generator=draws)
    assert not kept.is_packed
    assert torch.equal(kept(x), torch.nn.functional.linear(x, weight.float()))


def test_a_bad_id_or_type_is_refused(libraries: Path):
    weights = random_weights(CONFIG)
    with pytest.raises(ConfigError, match=r"take bfloat16 weights, got torch\.float32"):
        NativeSteps(CONFIG, weights, libraries)
    native = NativeSteps(CONFIG, narrowed(weights), libraries)
    with pytest.raises(IndexError, match=r"must be in \[0, 97\)"):
        native.open(torch.tensor([97]))


def test_without_a_compiler_the_engine_runs_in_torch_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(build, "FLAGS", ("--no-such-flag",))
    decoder = assemble(CONFIG, narrowed(random_weights(CONFIG)), tmp_path)
    assert (decoder.attention.name, decoder.steps.name) == ("reference", "torch")
    assert "no-such-flag" in caplog.text


def test_deterministic_values_are_equal_to_the_bit_in_company_and_alone(libraries: Path):
    weights = narrowed(random_weights(CONFIG))
    for layer in weights.layers:
        layer.qkv.mul_(0.4)  # or each softmax has one winner, and sums in any order are equal
    decoder = assemble(CONFIG, weights, libraries, is_deterministic=True)
    attention, draws = decoder.attention, torch.Generator().manual_seed(5)
    ids = torch.randint(3, 97, (440,), generator=draws)

    def prefix(cuts: list[int]) -> object:
        span = attention.new_span(400)
        for begin, end in itertools.pairwise([0, *cuts, 400]):
            piece = Piece(slice(0, end - begin), None, span)
            decoder.hidden(ids[begin:end], [piece], torch.tensor([], dtype=torch.int64))
        return span

    whole, parts = prefix([]), prefix([3, 50])
    together = [Piece(slice(2 * i, 2 * i + 2), whole, attention.new_span(2)) for i in range(20)]
    crowd = decoder.hidden(ids[400:], together, torch.arange(40))
    for i in range(20):
        for shared in (whole, parts):
            piece = Piece(slice(0, 2), shared, attention.new_span(2))
            alone = decoder.hidden(ids[400 + 2 * i : 402 + 2 * i], [piece], torch.arange(2))
            assert torch.equal(alone, crowd[2 * i : 2 * i + 2])


def outputs(decoder: Decoder, seed: int, step_tokens: int, only: int | None = None) -> dict:
    """Tokens of a random job by prompt, alone or together."""
    prompts, lengths = random_tree(seed)
    chosen = list(range(len(prompts))) if only is None else [only]
    prompts, lengths = [prompts[i] for i in chosen], [lengths[i] for i in chosen]
    samplings = [Sampling(max_tokens=n, temperature=0.0, ignore_eos=True) for n in lengths]
    loads = RowLoads.uniform(np.array(lengths))
    budget = KvBudget(64 << 20)
    config = BatchConfig(step_tokens=step_tokens)
    plan = plan_job(table(prompts), loads, budget, config)
    engine = Engine(decoder, budget.bytes, lambda ids: "")
    got = engine.run(plan, 0, table(prompts), samplings)
    return {chosen[one.prompt]: one.choices[0].token_ids for one in got}


def test_deterministic_steps_give_the_same_values_whatever_shares_them(libraries: Path):
    weights = narrowed(random_weights(CONFIG))
    decoder = assemble(CONFIG, weights, libraries, is_deterministic=True)
    exact = Decoder(CONFIG, widened(weights), ReferenceAttention(CONFIG, torch.float32))
    n_same = 0
    for seed in range(4):
        whole = outputs(decoder, seed, 256)
        assert outputs(decoder, seed, 8) == whole
        assert outputs(decoder, seed, 64) == whole
        n_same += sum(whole[i] == tokens for i, tokens in outputs(exact, seed, 64).items())
    assert n_same > 0  # and they are the model's
