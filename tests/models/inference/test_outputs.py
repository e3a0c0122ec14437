"""Stop texts are found at the token that completes them, whatever the tokens are."""

from __future__ import annotations

import numpy as np
import pytest

from models.inference.model.gguf_file import embedded_gguf
from models.inference.outputs import Outputs
from models.inference.requests import Sampling
from models.inference.running import Sequence as Row
from models.inference.sample import Drawn
from models.inference.tokenizer import Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(embedded_gguf())


def ends_at(outputs: Outputs, tokens: list[int], stop: tuple[str, ...]) -> int | None:
    """Index of the token at which an output ends by its stop text, or None."""
    sampling = Sampling(max_tokens=len(tokens) + 1, stop=stop, ignore_eos=True)
    row = Row(0, 0, sampling, np.array([5]), None, 0)
    for place, token in enumerate(tokens):
        if outputs.take(row, Drawn(token)) == "stop":
            return place
    return None


def test_a_stop_text_ends_an_output_where_decoding_all_of_it_would(tokenizer: Tokenizer):
    draws = np.random.default_rng(3)
    outputs = Outputs(tokenizer.decode, (2,))
    found = 0
    for trial in range(60):
        # Any tokens: halves of characters, special ones that decode to nothing, long runs.
        tokens = draws.integers(0, tokenizer.vocabulary, draws.integers(1, 70)).tolist()
        if trial % 3 == 0:
            tokens = [2] * 40 + tokens
        text = tokenizer.decode(tokens)
        begin = int(draws.integers(0, max(len(text) - 1, 1)))
        stop = text[begin : begin + int(draws.integers(1, 40))] or "x"
        whole = [tokenizer.decode(tokens[: i + 1]) for i in range(len(tokens))]
        expected = next((i for i, said in enumerate(whole) if stop in said), None)
        assert ends_at(outputs, tokens, ("never here", stop)) == expected
        found += expected is not None
    assert found > 40


def test_looking_for_a_stop_text_costs_the_same_at_every_token(tokenizer: Tokenizer):
    decoded = 0

    def decode(ids: list[int]) -> str:
        nonlocal decoded
        decoded += len(ids)
        return tokenizer.decode(ids)

    (tokens,) = tokenizer.encode(["the quick brown fox jumps over the lazy dog " * 60])
    assert ends_at(Outputs(decode, ()), tokens, ("no such text",)) is None
    assert decoded <= 2 * 32 * len(tokens)
