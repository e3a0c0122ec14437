"""Our forward pass against Hugging Face's, in float32, for every architecture that we run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.errors import DataError
from models.inference.attention.base import Piece
from models.inference.attention.reference import ReferenceAttention
from models.inference.model.architecture import UnsupportedModelError, parse_config, read_config
from models.inference.model.decoder import Decoder
from models.inference.model.gguf_file import convert_gguf, embedded_gguf
from models.inference.model.weights import load_weights
from tests.models.inference.engine_cases import NONE, run_alone

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 211,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CASES = {
    "llama": {},
    "llama scaled": {"rope_parameters": LLAMA3, "tie_word_embeddings": True},
    "mistral": {"sliding_window": None, "head_dim": 32},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 32},
}


def reference(name: str, folder: Path) -> Any:
    """A small model of the library with random weights, saved."""
    import transformers

    family = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}[
        name.split()[0]
    ]
    config = getattr(transformers, f"{family}Config")(**{**SIZES, **CASES[name]})
    torch.manual_seed(1)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # its own draws are so small that all tokens tie
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    return model


def ours(folder: Path) -> Decoder:
    config = read_config(folder)
    weights = load_weights(folder, config, torch.float32)
    return Decoder(config, weights, ReferenceAttention(config, torch.float32))


@pytest.mark.parametrize("name", CASES)
def test_logits_and_greedy_tokens_are_those_of_hugging_face(name: str, tmp_path: Path):
    model = reference(name, tmp_path)
    decoder = ours(tmp_path)
    draws = torch.Generator().manual_seed(2)
    for length in (1, 7, 120):
        prompt = torch.randint(3, 211, (length,), generator=draws)
        span = decoder.attention.new_span(length)
        logits = decoder.step(prompt, [Piece(slice(0, length), None, span)], torch.arange(length))
        with torch.no_grad():
            theirs = model(prompt[None]).logits[0]
        torch.testing.assert_close(logits, theirs, rtol=2e-4, atol=2e-4)
        out = model.generate(
            *(prompt[None],), max_new_tokens=16, do_sample=False, pad_token_id=0
        )  # fmt: skip
        assert run_alone(decoder, prompt.tolist(), 16) == out[0, length:].tolist()


def test_a_prefix_in_chunks_and_a_tail_give_the_logits_of_one_piece(tmp_path: Path):
    reference("qwen3", tmp_path)
    decoder = ours(tmp_path)
    prompt = torch.randint(3, 211, (60,), generator=torch.Generator().manual_seed(3))
    span = decoder.attention.new_span(60)
    whole = decoder.step(prompt, [Piece(slice(0, 60), None, span)], torch.tensor([59]))
    prefix = decoder.attention.new_span(41)
    for begin, end in ((0, 16), (16, 41)):
        decoder.step(prompt[begin:end], [Piece(slice(0, end - begin), None, prefix)], NONE)
    own = decoder.attention.new_span(19)
    parts = decoder.step(prompt[41:], [Piece(slice(0, 19), prefix, own)], torch.tensor([18]))
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_embedded_model_gives_the_tokens_of_hugging_face(tmp_path: Path):
    """And what it says is English: rows of queries and keys are in their order again."""
    from transformers import AutoModelForCausalLM

    folder = convert_gguf(embedded_gguf(), tmp_path)
    assert convert_gguf(embedded_gguf(), tmp_path) == folder
    decoder = ours(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompt = torch.randint(3, 49_000, (40,), generator=torch.Generator().manual_seed(4))
    out = model.generate(prompt[None], max_new_tokens=24, do_sample=False, pad_token_id=2)
    assert run_alone(decoder, prompt.tolist(), 24) == out[0, 40:].tolist()
    asked = [504, 3575, 282, 4649, 314]  # "The capital of France is"
    assert run_alone(decoder, asked, 1) == [7042]  # " Paris"


def saved(folder: Path) -> dict[str, Any]:
    reference("llama", folder)
    return dict(json.loads((folder / "config.json").read_text()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "runs LlamaForCausalLM, .*take the backend vllm"),
        ({"architectures": None}, "asks for no architecture"),
        ({"hidden_act": "gelu"}, "activation gelu"),
        ({"mlp_bias": True}, "has MLP biases"),
        ({"quantization_config": {"bits": 4}}, "has quantised weights"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2}}, "by 'yarn'"),
    ],
)
def test_a_model_that_we_cannot_run_names_the_backend_that_can(change: dict[str, Any], words: str):
    raw = {**SIZES, "architectures": ["LlamaForCausalLM"], **change}
    with pytest.raises(UnsupportedModelError, match=words):
        parse_config(raw, "config.json")


def test_mistral_with_a_short_window_is_refused():
    raw = {**SIZES, "architectures": ["MistralForCausalLM"], "sliding_window": 100}
    with pytest.raises(UnsupportedModelError, match="sliding window of 100 tokens"):
        parse_config(raw, "config.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": None}, "field of another type"),
        ({"hidden_size": 0}, "sizes below 1: hidden 0"),
        ({"num_key_value_heads": 3}, "4 query heads for 3 KV heads"),
    ],
)
def test_a_config_that_makes_no_sense_is_told(change: dict[str, Any], words: str):
    with pytest.raises(DataError, match=words):
        parse_config({**SIZES, "architectures": ["LlamaForCausalLM"], **change}, "config.json")


def test_a_config_without_a_field_names_it():
    raw = {key: value for key, value in SIZES.items() if key != "vocab_size"}
    with pytest.raises(DataError, match="lacks 'vocab_size'"):
        parse_config({**raw, "architectures": ["LlamaForCausalLM"]}, "config.json")


def test_a_broken_directory_is_told_by_file_and_remedy(tmp_path: Path):
    with pytest.raises(DataError, match=r"has no config\.json"):
        read_config(tmp_path)
    saved(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match="not readable as JSON"):
        read_config(tmp_path)
    saved(tmp_path)
    config, file = read_config(tmp_path), tmp_path / "model.safetensors"
    whole = file.read_bytes()
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}

    def refused(words: str) -> None:
        with pytest.raises(DataError, match=words):
            load_weights(tmp_path, config, torch.float32)

    name = "model.layers.1.mlp.up_proj.weight"
    file.write_bytes(whole[: len(whole) // 2])
    refused("cannot be read .*truncated")
    save_file({k: v for k, v in tensors.items() if k != name}, file)
    refused(f"has no tensor {name}")
    save_file({**tensors, name: tensors[name][:-1].clone()}, file)
    refused("config.json says")
    save_file({**tensors, name: tensors[name].to(torch.int8)}, file)
    refused("of type torch.int8")
    save_file({**tensors, name: tensors[name] * torch.nan}, file)
    refused("no numbers")
    index = {"weight_map": {name: "gone.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    refused("lacks 1 of the files")
    (tmp_path / "model.safetensors.index.json").unlink()
    file.unlink()
    refused("holds no")


def test_a_file_that_is_no_gguf_is_told(tmp_path: Path):
    with pytest.raises(DataError, match="does not exist"):
        convert_gguf(tmp_path / "gone.gguf", tmp_path)
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"nothing of the kind, but long enough to have a header")
    with pytest.raises(DataError, match="not readable as GGUF"):
        convert_gguf(bad, tmp_path / "cache")
    assert list((tmp_path / "cache").glob("*/")) == []
