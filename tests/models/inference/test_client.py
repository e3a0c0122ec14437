"""The engine behind the protocol of language models, on a tiny model with random weights."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models.errors import ConfigError
from models.inference.client import EngineModel
from models.inference.local_model import LocalModel
from models.inference.model.architecture import read_config
from models.inference.model.gguf_file import embedded_gguf
from models.inference.tokenizer import load_tokenizer
from models.llm import LanguageModel, Options, Request, language_model, user
from models.llm.blocking import run
from models.llm.bulk import BulkModel
from models.llm.errors import (
    BadRequestError,
    ContextLengthError,
    ServerError,
    UnsupportedError,
)
from models.llm.request import ToolSpec
from models.settings import get_settings

GREEDY = Options(temperature=0, max_tokens=12, extra={"ignore_eos": True})
MIB = 1 << 20


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    folder = tmp_path_factory.mktemp("model")
    shapes = {
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 64,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 49_152,
        "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2,
        "tie_word_embeddings": True, "architectures": ["LlamaForCausalLM"],
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(shapes))
    draws = torch.Generator().manual_seed(3)
    sizes = {"model.embed_tokens": (49_152, 64), "model.norm": (64,)}
    for layer in range(2):
        at = f"model.layers.{layer}."
        sizes |= {at + "input_layernorm": (64,), at + "post_attention_layernorm": (64,)}
        heads = {"q": (128, 64), "k": (64, 64), "v": (64, 64), "o": (64, 128)}
        sizes |= {f"{at}self_attn.{name}_proj": shape for name, shape in heads.items()}
        mlp = {"gate": (96, 64), "up": (96, 64), "down": (64, 96)}
        sizes |= {f"{at}mlp.{name}_proj": shape for name, shape in mlp.items()}
    tensors = {
        f"{name}.weight": (0.4 * torch.randn(*shape, generator=draws)).bfloat16()
        for name, shape in sizes.items()
    }
    save_file(tensors, folder / "model.safetensors")
    tokenizer = load_tokenizer(embedded_gguf())
    return LocalModel("tiny", folder, tokenizer, "0" * 32, read_config(folder))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "inference"  # the library is built once per test run


@pytest.fixture(scope="module")
def model(files: LocalModel, cache: Path) -> EngineModel:
    return EngineModel(files, cache, 8 * MIB)


def ask(text: str, conversation: str = "", **changes: Any) -> Request:
    options = Options(**{**vars(GREEDY), **changes})
    return Request((user(text),), options, conversation=conversation)


def test_calls_together_alone_and_in_a_batch_say_the_same(model: EngineModel):
    assert isinstance(model, LanguageModel)
    asked = [ask(f"Say {word}.") for word in ("one", "two", "three", "four")]
    alone = [model.blocking.generate(request) for request in asked]
    assert len({reply.text for reply in alone}) == 4

    async def together() -> list[str]:
        return [reply.text for reply in await asyncio.gather(*map(model.generate, asked))]

    batch = model.blocking.batch(asked)
    assert asyncio.run(together()) == [reply.text for reply in alone]
    assert [reply.text for reply in batch] == [reply.text for reply in alone]
    assert alone[0].usage.completion_tokens == 12
    assert alone[0].usage.prompt_tokens == model.count_tokens(asked[0])
    assert alone[0].cost_usd == 0
    assert alone[0].finish_reason == "length"
    # In the plan of the batch, what all prompts share was computed once.
    assert all(reply.usage.cached_tokens > 10 for reply in batch)
    assert model._live.ledger.used == model._live.ledger.recount() == 0


def test_calls_at_once_are_planned_together_and_share_their_beginning(model: EngineModel):
    asked = [ask("The same rules stand before each question. " * 4 + word) for word in "abc"]
    planned = model.blocking.batch(asked)
    bulk = BulkModel(model)

    async def together() -> list[Any]:
        return await asyncio.gather(*map(bulk.generate, asked))

    replies = run(together())
    assert [reply.text for reply in replies] == [reply.text for reply in planned]
    assert [reply.usage for reply in replies] == [reply.usage for reply in planned]
    assert all(reply.usage.cached_tokens > 30 for reply in replies)


def test_a_conversation_keeps_what_it_computed_and_says_the_same(model: EngineModel):
    first = model.blocking.generate(ask("Tell me of trains.", "talk"))
    assert first.usage.cached_tokens == 0
    turn = (user("Tell me of trains."), first.message, user("And of ships?"))
    fresh = model.blocking.generate(Request(turn, GREEDY))
    again = model.blocking.generate(Request(turn, GREEDY, conversation="talk"))
    assert again.text == fresh.text
    assert again.usage.cached_tokens >= first.usage.prompt_tokens
    assert fresh.usage.cached_tokens == 0
    other = model.blocking.generate(ask("Something else.", "talk"))
    assert other.text == model.blocking.generate(ask("Something else.")).text
    live = model._live
    assert live.ledger.used == live.ledger.recount() > 0
    live.release()
    assert live.ledger.used == 0


def test_the_least_recently_used_conversation_makes_room(files: LocalModel, cache: Path):
    token_bytes = files.token_bytes("bfloat16")
    small = EngineModel(files, cache, 130 * token_bytes)
    for name in ("first", "second", "first", "third"):
        small.blocking.generate(ask("Say something short.", name, max_tokens=4))
    ledger = small._live.ledger
    assert ledger.used == ledger.recount() <= ledger.peak <= ledger.budget
    assert list(small._live._resident) == ["first", "third"]
    with pytest.raises(ServerError, match="bytes of keys and values, the budget is"):
        small.blocking.generate(ask("word " * 200))
    assert small.blocking.generate(ask("Say something short.", max_tokens=4)).text


def test_a_stream_says_what_the_reply_says_and_may_be_left(model: EngineModel):
    asked = ask("Count.", logprobs=1)

    async def read() -> tuple[list[str], Any]:
        texts, reply = [], None
        async for chunk in model.stream(asked):
            texts.append(chunk.text)
            reply = chunk.reply or reply
        async for _ in model.stream(ask("Go on for long.", max_tokens=300)):
            break
        return texts, reply

    texts, reply = asyncio.run(read())
    assert "".join(texts) == reply.text
    assert len(texts) > 3
    assert len(reply.logprobs) == 12
    assert all(entry.top[0] == (entry.token, entry.logprob) for entry in reply.logprobs)
    assert model.blocking.generate(asked).text == reply.text


def test_a_caller_whose_loop_is_closed_takes_nobody_along(model: EngineModel):
    asked = ask("Count.")
    said = model.blocking.generate(asked).text

    def gone(_: object) -> None:
        raise RuntimeError("Event loop is closed")

    model._live.submit(*model._prepare(asked), "", gone)
    assert model.blocking.generate(asked).text == said


def test_stop_texts_are_held_back_until_they_are_sure(model: EngineModel):
    whole = model.blocking.generate(ask("Count.")).text
    stop = whole[5:9]

    async def read() -> list[str]:
        return [chunk.text async for chunk in model.stream(ask("Count.", stop=(stop,)))]

    texts = asyncio.run(read())
    assert "".join(texts) == whole[: whole.index(stop)]
    assert model.blocking.generate(ask("Count.", stop=(stop,))).finish_reason == "stop"


def test_a_schema_holds_in_calls_and_batches_and_keeps_its_order(model: EngineModel):
    schema = {
        "type": "object",
        "properties": {"b": {"enum": ["x", "y"]}, "a": {"type": "boolean"}},
        "required": ["b", "a"],
        "additionalProperties": False,
    }
    options = Options(temperature=1, seed=4, max_tokens=60, schema=schema)
    for reply in [model.blocking.generate("Go.", options), *model.blocking.batch(["Go."], options)]:
        assert list(json.loads(reply.text)) == ["b", "a"]


def test_what_cannot_be_served_is_told(model: EngineModel, tmp_path: Path):
    refused = [
        (ask("x", tools=(ToolSpec("t"),)), UnsupportedError, "put text: before"),
        (ask("x", extra={"beam": 2}), BadRequestError, "does not know beam"),
        (ask("x", max_tokens=600), ContextLengthError, "the context holds 512"),
        (ask("x", schema={"type": 5}), BadRequestError, "does not compile"),
    ]
    for request, kind, words in refused:
        with pytest.raises(kind, match=words):
            model.blocking.generate(request)
    rows = model.blocking.batch([refused[0][0], ask("Say one.")])
    assert isinstance(rows[0], UnsupportedError)
    assert rows[1].text == model.blocking.generate(ask("Say one.")).text
    bare = LocalModel("bare", tmp_path, None, "", model._config)
    with pytest.raises(ConfigError, match=r"no tokenizer\.json"):
        EngineModel(bare, tmp_path)


def test_the_address_local_leads_here(
    monkeypatch: pytest.MonkeyPatch, cache: Path, files: LocalModel
):
    tokenizer = files.tokenizer
    assert tokenizer is not None
    tokenizer.backend.save(str(files.folder / "tokenizer.json"))
    monkeypatch.setenv("LOOM_HOME", str(cache.parent))
    get_settings.cache_clear()
    try:
        model = language_model(f"local:{files.folder}")
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
    assert isinstance(model, EngineModel)
    assert model.blocking.generate("Hi.", GREEDY).usage.completion_tokens == 12
