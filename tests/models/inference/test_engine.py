"""The engine against one prompt at a time: same tokens, no byte over the budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from models.inference.attention.base import Piece
from models.inference.attention.reference import ReferenceAttention
from models.inference.config import BatchConfig
from models.inference.engine import Engine
from models.inference.kv import KvLedger
from models.inference.loads import RowLoads
from models.inference.memory import KvBudget
from models.inference.model.decoder import Decoder
from models.inference.outputs import Output
from models.inference.plan import Plan
from models.inference.planner import plan_job
from models.inference.replay import ExactDecoder
from models.inference.requests import Sampling
from tests.models.inference.engine_cases import TINY, random_tree, random_weights, run_alone, table

TOKEN_BYTES = TINY.kv_values_per_token * 4


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(TINY, random_weights(TINY), ReferenceAttention(TINY, torch.float32))


def decode(ids: Sequence[int]) -> str:
    return "".join(chr(32 + i) for i in ids)


def plan_for(
    prompts: list[list[int]], samplings: list[Sampling], kv_tokens: int, **config: int
) -> tuple[Plan, KvBudget]:
    budget = KvBudget(kv_tokens * TOKEN_BYTES, TOKEN_BYTES)
    n = len(prompts)
    loads = RowLoads(
        np.array([s.max_tokens for s in samplings]),
        np.array([s.n for s in samplings]),
        np.zeros(n, np.int64),
        np.full(n, -1),
    )
    return plan_job(table(prompts), loads, budget, BatchConfig(**config)), budget


def run(
    decoder: Decoder, prompts: list[list[int]], samplings: list[Sampling], kv_tokens: int, **c: int
) -> tuple[dict[int, Output], Engine]:
    plan, budget = plan_for(prompts, samplings, kv_tokens, **c)
    engine = Engine(decoder, budget.bytes, decode)
    got = {o.prompt: o for o in engine.run(plan, 0, table(prompts), samplings)}
    return got, engine


def greedy(n: int) -> Sampling:
    return Sampling(max_tokens=n, temperature=0.0)


@pytest.mark.parametrize("seed", range(12))
def test_shared_prefixes_give_the_tokens_of_each_prompt_alone(
    decoder: Decoder, seed: int, monkeypatch: pytest.MonkeyPatch
):
    prompts, lengths = random_tree(seed)
    draws = np.random.default_rng(seed)
    kv_tokens = int(max(map(len, prompts)) + max(lengths)) * int(draws.choice([1, 2, 20]))
    steps = []
    forward = Engine._forward

    def watched(self: Engine, step: list) -> torch.Tensor:
        assert self.ledger.used == self.ledger.recount() <= self.ledger.budget
        steps.append(sum(len(item.tokens) for item in step))
        return forward(self, step)

    monkeypatch.setattr(Engine, "_forward", watched)
    samplings = [greedy(n) for n in lengths]
    step_tokens = int(draws.choice([8, 64, 256]))
    got, engine = run(decoder, prompts, samplings, kv_tokens, step_tokens=step_tokens)
    assert sorted(got) == list(range(len(prompts)))
    for index, output in got.items():
        (choice,) = output.choices
        assert list(choice.token_ids) == run_alone(decoder, prompts[index], lengths[index])
        assert choice.finish_reason == ("stop" if choice.token_ids[-1] == 2 else "length")
    assert engine.ledger.used == 0
    assert engine.ledger.peak <= engine.ledger.budget
    assert max(steps) <= step_tokens


def test_with_room_every_distinct_prompt_token_is_computed_once(decoder: Decoder):
    for seed in range(8):
        prompts, lengths = random_tree(seed)
        samplings = [greedy(n) for n in lengths]
        plan, budget = plan_for(prompts, samplings, 20_000)
        engine = Engine(decoder, budget.bytes, decode)
        list(engine.run(plan, 0, table(prompts), samplings))
        computed = sum(step.prefix_tokens + step.prompt_tokens for step in engine.trace)
        assert computed == plan.stats.planned
        assert engine.preempted == 0


def test_rows_that_outgrow_their_guess_give_way_and_lose_nothing(decoder: Decoder):
    prompts = [[*range(3, 33), 40 + i] for i in range(6)]
    samplings = [Sampling(max_tokens=18, temperature=0.0, ignore_eos=True)] * 6
    plan, budget = plan_for(prompts, samplings, 120)
    engine = Engine(decoder, budget.bytes, decode)
    engine.lengths.observe(np.full(50, 2))  # two tokens each, says the past
    got = {o.prompt: o for o in engine.run(plan, 0, table(prompts), samplings)}
    assert engine.preempted > 0
    free, _ = run(decoder, prompts, samplings, 5_000)
    assert {i: o.choices for i, o in got.items()} == {i: o.choices for i, o in free.items()}


def test_a_drawn_row_gives_the_same_tokens_alone_and_in_any_batch(decoder: Decoder):
    prompts, _ = random_tree(5)
    base = Sampling(max_tokens=12, temperature=0.9, top_p=0.9, seed=7, n=3)
    together, _ = run(decoder, prompts, [base] * len(prompts), 5_000)
    crowded, _ = run(decoder, prompts, [base] * len(prompts), 260, step_tokens=16)
    assert together.keys() == crowded.keys()
    for index in range(0, len(prompts), 3):
        alone, _ = run(decoder, [prompts[index]], [base], 5_000)
        same = [c.token_ids for c in alone[0].choices]
        assert [c.token_ids for c in together[index].choices] == same
        assert [c.token_ids for c in crowded[index].choices] == same
        assert len(same) == 3
    assert any(len(set(o.choices)) > 1 for o in together.values())


def test_rows_with_a_result_are_left_out_and_the_others_are_the_same(decoder: Decoder):
    prompts, lengths = random_tree(2)
    samplings = [greedy(n) for n in lengths]
    plan, budget = plan_for(prompts, samplings, 4_000)
    whole = {o.prompt: o for o in Engine(decoder, budget.bytes, decode).run(
        plan, 0, table(prompts), samplings)}  # fmt: skip
    skip = frozenset(range(0, len(prompts), 2))
    rest = {o.prompt: o for o in Engine(decoder, budget.bytes, decode).run(
        plan, 0, table(prompts), samplings, skip)}  # fmt: skip
    assert rest.keys() == whole.keys() - skip
    assert all(rest[i].choices == whole[i].choices for i in rest)


def test_stop_texts_and_tokens_end_a_row_and_are_not_in_its_text(decoder: Decoder):
    prompt = [5, 6, 7, 8]
    (free,), _ = (list(run(decoder, [prompt], [greedy(12)], 500)[0].values()), None)
    ids = free.choices[0].token_ids
    text = decode(ids)
    by_text = Sampling(max_tokens=12, temperature=0.0, stop=(text[4:6],))
    cut = run(decoder, [prompt], [by_text], 500)[0][0].choices[0]
    at = text.index(text[4:6])
    assert cut.finish_reason == "stop"
    assert cut.text == text[:at]
    by_token = Sampling(max_tokens=12, temperature=0.0, stop_token_ids=(ids[3],))
    cut = run(decoder, [prompt], [by_token], 500)[0][0].choices[0]
    assert cut.finish_reason == "stop"
    assert cut.token_ids[-1] == ids[3]
    assert cut.text == decode(cut.token_ids[:-1])


def spoil(monkeypatch: pytest.MonkeyPatch, decoder: Decoder, at_calls: set[int] | None) -> None:
    """Make token 96 give no numbers in the fast decoder: always, or in some of its steps."""
    hidden, calls = Decoder.hidden, []

    def spoiled(self: Decoder, ids: torch.Tensor, pieces: list[Piece], wanted: torch.Tensor):
        values = hidden(self, ids, pieces, wanted).clone()
        if self is not decoder:
            return values
        calls.append(1)
        rows = [i for i, at in enumerate(wanted.tolist()) if int(ids[at]) == 96]
        if at_calls is None or len(calls) in at_calls:
            values[rows] = torch.nan
        return values

    monkeypatch.setattr(Decoder, "hidden", spoiled)


def test_a_row_whose_logits_are_no_numbers_is_computed_once_more_in_float32(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
):
    prompts = [[5, 6, 96], [5, 6, 7], [5, 6, 8, 9, 96]]
    samplings = [greedy(6), greedy(6), greedy(6)]
    samplings[2] = Sampling(max_tokens=6, temperature=0.8, seed=3)
    sound, _ = run(decoder, prompts, samplings, 500)
    spoil(monkeypatch, decoder, {1, 2})
    got, engine = run(decoder, prompts, samplings, 500, step_tokens=64)
    assert {i: o.choices for i, o in got.items()} == {i: o.choices for i, o in sound.items()}
    assert engine.preempted == 2  # what they had computed is not trusted any more
    assert engine.ledger.used == 0


def test_a_row_without_numbers_in_float32_either_fails_alone(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        ExactDecoder, "logits", lambda *_: torch.full((1, TINY.vocabulary), torch.nan)
    )
    spoil(monkeypatch, decoder, None)
    got, engine = run(decoder, [[5, 6, 96], [5, 6, 7]], [greedy(1), greedy(1)], 500)
    assert got[0].choices == ()
    assert got[0].code == "invalid_logits"
    assert "no numbers" in str(got[0].failure)
    assert got[1].failure is None
    assert engine.ledger.used == 0


def test_the_ledger_refuses_what_does_not_fit():
    ledger = KvLedger(ReferenceAttention(TINY, torch.float32), 10 * TOKEN_BYTES)
    first = ledger.take(6)
    assert first is not None
    assert ledger.take(5) is None
    assert not ledger.grow(first, 7)  # old and new place are alive while it moves
    ledger.give_back(first)
    assert ledger.used == ledger.recount() == 0
    assert ledger.peak == 6 * TOKEN_BYTES
