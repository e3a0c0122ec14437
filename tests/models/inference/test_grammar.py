"""Constrained outputs: whatever the logits are, what comes out fits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from models.inference.attention.reference import ReferenceAttention
from models.inference.config import BatchConfig
from models.inference.engine import Engine, Output
from models.inference.grammar import GrammarError, Grammars
from models.inference.loads import RowLoads
from models.inference.memory import KvBudget
from models.inference.model.decoder import Decoder
from models.inference.model.gguf_file import embedded_gguf
from models.inference.planner import plan_job
from models.inference.requests import Sampling
from models.inference.tokenizer import Tokenizer, load_tokenizer
from tests.models.inference.engine_cases import random_weights, table, tiny

CONFIG = tiny(n_layers=1, vocabulary=49_152)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "verdict": {"enum": ["benign", "attack"]},
        "score": {"type": "integer", "minimum": 0, "maximum": 99},
        "why": {"type": "string", "maxLength": 12},
        "steps": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["verdict", "score", "why", "steps"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(embedded_gguf())


@pytest.fixture(scope="module")
def grammars(tokenizer: Tokenizer) -> Grammars:
    return Grammars(tokenizer, CONFIG.vocabulary, CONFIG.eos_ids)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(CONFIG, random_weights(CONFIG), ReferenceAttention(CONFIG, torch.float32))


def run(
    decoder: Decoder, grammars: Grammars | None, samplings: list[Sampling], tokenizer: Tokenizer
) -> dict[int, Output]:
    prompts = [[5, 6, 7 + index] for index in range(len(samplings))]
    n = len(prompts)
    loads = RowLoads(
        np.array([sampling.max_tokens for sampling in samplings]),
        *(np.array([s.n for s in samplings]), np.zeros(n, np.int64), np.full(n, -1)),
    )
    budget = KvBudget(64 << 20)
    plan = plan_job(table(prompts), loads, budget, BatchConfig())
    engine = Engine(decoder, budget.bytes, tokenizer.decode, grammars=grammars)
    return {one.prompt: one for one in engine.run(plan, 0, table(prompts), samplings)}


def test_outputs_of_random_logits_fit_their_schema_and_end_by_themselves(
    decoder: Decoder, grammars: Grammars, tokenizer: Tokenizer
):
    schema = json.dumps(SCHEMA)
    samplings = [Sampling(150, 1.0, seed=seed, schema=schema) for seed in range(6)]
    samplings += [Sampling(150, 1.0, seed=9, n=3, schema=schema), Sampling(150, 0.0, schema=schema)]
    texts = []
    for output in run(decoder, grammars, samplings, tokenizer).values():
        assert output.failure is None
        for choice in output.choices:
            assert choice.finish_reason == "stop"
            jsonschema.validate(json.loads(choice.text), SCHEMA)
            texts.append(choice.text)
    assert len(texts) == 10
    assert len(set(texts)) > 5


def test_regular_expressions_and_grammars_hold_too(
    decoder: Decoder, grammars: Grammars, tokenizer: Tokenizer
):
    ebnf = 'root ::= "yes" | "no" ws number\nws ::= " "\nnumber ::= [1-3]'
    samplings = [Sampling(40, 1.0, seed=seed, regex="[a-c]{3}-[0-9]{2}") for seed in range(4)]
    samplings += [Sampling(40, 1.0, seed=seed, grammar=ebnf) for seed in range(4)]
    samplings += [Sampling(40, 1.0, seed=1, logprobs=2, regex="[0-9]{4}")]
    got = run(decoder, grammars, samplings, tokenizer)
    texts = [got[index].choices[0].text for index in range(9)]
    assert all(re.fullmatch("[a-c]{3}-[0-9]{2}", text) for text in texts[:4])
    assert all(re.fullmatch("yes|no [1-3]", text) for text in texts[4:8])
    assert re.fullmatch("[0-9]{4}", texts[8])
    # Log-probabilities are the model's own, not those of what the grammar left over.
    assert max(got[8].choices[0].logprobs or ()) < -1


def test_a_schema_that_does_not_compile_fails_its_row_alone(
    decoder: Decoder, grammars: Grammars, tokenizer: Tokenizer
):
    bad = Sampling(5, 1.0, schema='{"type": 5}', n=2)
    two = Sampling(5, 1.0, regex="a", grammar='root ::= "a"')
    got = run(decoder, grammars, [bad, Sampling(5, 0.0, ignore_eos=True), two], tokenizer)
    assert got[0].code == got[2].code == "invalid_json_schema"
    assert "schema of a request does not compile" in str(got[0].failure)
    assert "one of schema, regex and grammar" in str(got[2].failure)
    # The compiler says when and where in its source it failed: other bytes in every run.
    assert not re.search(r"\d\d:\d\d:\d\d|\.cc", str(got[0].failure))
    assert len(got[1].choices[0].token_ids) == 5
    with pytest.raises(GrammarError, match="regex of a request does not compile"):
        grammars.check(Sampling(regex="(["))
    lone = run(decoder, None, [Sampling(5, 1.0, regex="a")], tokenizer)
    assert "no tokenizer" in str(lone[0].failure)


def test_a_grammar_that_allows_nothing_is_told_from_logits_that_are_no_numbers(
    decoder: Decoder, grammars: Grammars, tokenizer: Tokenizer
):
    endless = Sampling(5, 1.0, grammar='root ::= root "a"')
    got = run(decoder, grammars, [endless, Sampling(5, 0.0, ignore_eos=True)], tokenizer)
    assert got[0].code == "invalid_json_schema"
    assert "no token is allowed" in str(got[0].failure)
    assert len(got[1].choices[0].token_ids) == 5


def test_a_grammar_is_compiled_once_and_control_tokens_are_no_text(
    grammars: Grammars, monkeypatch: pytest.MonkeyPatch
):
    sampling = Sampling(regex="[^x]*")
    grammars.check(sampling)
    monkeypatch.setattr(Grammars, "_compile", None)  # a second compilation would call it
    state = grammars.start(sampling)
    assert state is not None
    logits = torch.zeros(CONFIG.vocabulary)
    state.forbid(logits)
    allowed = torch.isfinite(logits)
    assert allowed[100:].any()
    assert allowed[2]  # the end
    assert not allowed[[0, 1, 3, 4]].any()
    with pytest.raises(ValueError, match="token 1 is not allowed"):
        state.accept(1)


@pytest.mark.slow
def test_the_embedded_model_keeps_to_a_schema(tmp_path: Path):
    from models.inference.client import EngineModel
    from models.inference.local_model import find_model
    from models.llm import Options

    model = EngineModel(find_model("smollm2", tmp_path), tmp_path)
    for seed in range(5):
        options = Options(temperature=1, seed=seed, max_tokens=150, schema=SCHEMA)
        reply = model.blocking.generate("Is 'ls -la' an attack? Answer in JSON.", options)
        assert reply.finish_reason == "stop"
        jsonschema.validate(json.loads(reply.text), SCHEMA)
    reply = model.blocking.generate("What is the capital of France?", Options(temperature=0))
    assert "Paris" in reply.text
