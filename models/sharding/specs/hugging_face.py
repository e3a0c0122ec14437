"""Shapes from a `config.json` of Hugging Face.

What a config leaves out is what the configuration class of its `model_type` in transformers takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.errors import ConfigError, DatasetMissingError
from models.sharding.specs.model import ModelSpec

_TIED = frozenset({
    "bloom", "cohere", "cohere2", "gemma", "gemma2", "gemma3", "gpt2", "gpt_bigcode", "gpt_neo",
    "mpt", "opt", "smollm3", "starcoder2",
})  # fmt: skip
"""Types whose embeddings are one matrix where the config does not say. Falcon's are tied in
transformers too, but its published checkpoints hold, and count, both."""
_PLAIN = frozenset({
    "bloom", "codegen", "falcon", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "mpt",
    "nemotron", "opt", "phi", "starcoder2",
})  # fmt: skip
"""Types whose MLPs have no gate."""
_NESTED = ("text_config", "language_config", "llm_config")
_NO_NAME = frozenset({"", ".", "..", "hf", "config", "model", "models", "checkpoint", "snapshots"})
_REVISION = re.compile(r"[0-9a-f]{40}")
_LARGEST = 2**40


def read_hugging_face(path: Path) -> ModelSpec:
    """Read a `config.json`; the model is named as the config or else its folder is.

    Raises:
        DatasetMissingError: There is no such file.
        ConfigError: It is no JSON object, or it lacks a size.
    """
    path = path / "config.json" if path.is_dir() else path
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetMissingError(f"model config {path} does not exist; check the path") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"model config {path} is no JSON ({error}); fetch it again") from None
    if not isinstance(values, dict):
        raise ConfigError(f"model config {path} must be an object, found {type(values).__name__}")
    return from_hugging_face(values, name=_named(values, path))


def _named(config: Mapping[str, Any], path: Path) -> str:
    """Return the name that a config, its folder or its file tells; empty: none of them."""
    folder = path.absolute().parent
    found = [_told(config), folder.name]
    if _REVISION.fullmatch(folder.name):
        # The cache of the hub: models--OWNER--NAME/snapshots/REVISION/config.json.
        found.append(folder.parent.parent.name.split("--")[-1])
    return next((one for one in [*found, path.stem] if _is_name(one)), "")


def _told(config: Mapping[str, Any]) -> str:
    """Return the last part of the path or repository that a config was loaded from."""
    told = config.get("_name_or_path")
    name = told.replace("\\", "/").rstrip("/").split("/")[-1] if isinstance(told, str) else ""
    return name if _is_name(name) else ""


def _is_name(text: str) -> bool:
    return text.lower() not in _NO_NAME and not _REVISION.fullmatch(text)


def _is_decoder(architecture: str) -> bool:
    return architecture.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"))


class _Keys:
    """Values of a config by key, of which each is a number or a switch."""

    def __init__(self, values: Mapping[str, Any], name: str) -> None:
        self.values = values
        self.name = name

    def size(self, *keys: str, default: int | None = None) -> int:
        """Return the first of several keys that has a value, a whole number."""
        for key in keys:
            found = self.values.get(key)
            if isinstance(found, list | tuple) and found:
                if any(one != found[0] for one in found):
                    raise self.wrong(key, "differs from layer to layer; layers must be alike")
                found = found[0]
            if found is None or isinstance(found, list | tuple):
                continue
            if isinstance(found, bool) or not isinstance(found, int | float):
                raise self.wrong(key, f"must be a whole number, found {str(found)[:40]!r}")
            if not abs(found) <= _LARGEST or found != int(found):
                raise self.wrong(key, f"must be a whole number up to {_LARGEST}")
            return int(found)
        if default is not None:
            return default
        raise ConfigError(
            f"model config '{self.name}' has no {keys[0]} (looked for {', '.join(keys)}); "
            "it must be the config.json of a decoder-only transformer"
        )

    def switch(self, key: str, default: bool) -> bool:
        """Return a switch."""
        found = self.values.get(key)
        if found is None:
            return default
        if not isinstance(found, bool):
            raise self.wrong(key, f"must be true or false, found {str(found)[:40]!r}")
        return found

    def wrong(self, key: str, why: str) -> ConfigError:
        """Return the error for a value."""
        return ConfigError(f"model config '{self.name}': {key} {why}")


def from_hugging_face(config: Mapping[str, Any], name: str = "") -> ModelSpec:
    """Build the shape from the keys of a config; that of the language model if it is nested.

    Args:
        config: The object in `config.json`.
        name: Name of the model; empty: that of the config, else its type.

    Raises:
        ConfigError: A size that a transformer needs is missing or no number, or sizes contradict
            each other.
    """
    name = name or _told(config)
    inner = next((config[key] for key in _NESTED if isinstance(config.get(key), Mapping)), None)
    values = config if inner is None else {**_outer(config), **inner}
    kind = str(values.get("model_type", "")).removesuffix("_text")
    _refuse_others(values, name)
    keys = _Keys(values, name)
    hidden = keys.size("hidden_size", "n_embd", "d_model")
    heads = keys.size("num_attention_heads", "n_head", "n_heads")
    if min(hidden, heads) < 1:
        raise ConfigError(f"model config '{name}': hidden_size {hidden}, heads {heads}; need >= 1")
    latent = keys.size("kv_lora_rank", default=0)
    ffn = keys.size("intermediate_size", "n_inner", "ffn_dim", default=4 * hidden)
    experts = keys.size("n_routed_experts", "num_local_experts", "num_experts", default=0)
    expert_ffn = keys.size("moe_intermediate_size", default=ffn) if experts else 0
    layers = keys.size("num_hidden_layers", "n_layer", "n_layers")
    dense = keys.size("first_k_dense_replace", default=0) if experts else 0
    if dense > layers:
        raise keys.wrong(
            "first_k_dense_replace", f"asks too much: dense_layers {dense} exceeds layers {layers}"
        )
    is_llama4 = kind == "llama4"
    activation = str(values.get("hidden_act", values.get("activation_function", "")))
    try:
        spec = ModelSpec(
            name=(name or kind or "model").lower(),
            family=kind,
            layers=layers,
            hidden=hidden,
            ffn=keys.size("intermediate_size_mlp", default=ffn) if is_llama4 else ffn,
            heads=heads,
            kv_heads=heads if latent else _kv_heads(keys, heads),
            head_dim=keys.size("qk_nope_head_dim")
            if latent
            else keys.size("head_dim", default=hidden // heads),
            vocab=keys.size("vocab_size"),
            is_tied=keys.switch("tie_word_embeddings", kind in _TIED),
            mlp_matrices=2 if kind in _PLAIN or activation in ("relu", "gelu_new") else 3,
            experts=experts,
            experts_per_token=keys.size("num_experts_per_tok", default=0),
            shared_experts=_shared(keys, expert_ffn, int(is_llama4)) if experts else 0,
            expert_ffn=expert_ffn,
            dense_layers=dense,
            moe_every=keys.size("interleave_moe_layer_step", "decoder_sparse_step", default=1),
            q_lora=keys.size("q_lora_rank", default=0),
            kv_lora=latent,
            rope_dim=keys.size("qk_rope_head_dim", default=0) if latent else 0,
            v_dim=keys.size("v_head_dim", default=0) if latent else 0,
            qkv_bias=keys.switch("attention_bias", kind in ("qwen2", "qwen2_moe")),
            o_bias=kind == "gpt_oss",
            qk_norm=kind in ("qwen3", "qwen3_moe", "gemma3"),
            expert_bias=kind == "gpt_oss",
        )
    except ValidationError as error:
        said = str(error).replace("\n", " ")
        raise ConfigError(f"model config '{name}' is no shape of a transformer: {said}") from None
    if experts and spec.moe_layers < 1:
        raise ConfigError(
            f"model config '{name}': of {layers} layers first_k_dense_replace "
            f"{spec.dense_layers} are dense and one in {spec.moe_every} of the rest has experts: "
            f"none has; correct these, or leave the {experts} experts out"
        )
    return spec


def _outer(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the language model of a nested config takes from around it."""
    return {key: config[key] for key in ("tie_word_embeddings",) if key in config}


def _refuse_others(values: Mapping[str, Any], name: str) -> None:
    """Refuse what does not predict the next token by one stack of layers."""
    named = values.get("architectures")
    if isinstance(named, list) and named and not any(_is_decoder(str(one)) for one in named):
        raise ConfigError(
            f"model config '{name}' is of {', '.join(map(str, named))}, which is no decoder that "
            "predicts the next token; give the config.json of one (…ForCausalLM)"
        )
    if values.get("is_encoder_decoder") is True:
        raise ConfigError(
            f"model config '{name}' is of an encoder and a decoder; give that of a decoder alone"
        )


def _kv_heads(keys: _Keys, heads: int) -> int:
    """Return key and value heads; Falcon's first design has one, and names the query heads too."""
    if keys.switch("new_decoder_architecture", default=False):
        return keys.size("num_kv_heads", default=heads)
    if keys.switch("multi_query", default=False):
        return 1
    return keys.size("num_key_value_heads", default=heads)


def _shared(keys: _Keys, expert_ffn: int, default: int) -> int:
    """Return how many experts of the routed width the shared ones are."""
    wide = keys.size("shared_expert_intermediate_size", default=0)
    if wide < 1 or expert_ffn < 1:
        return keys.size("n_shared_experts", default=default)
    return max(round(wide / expert_ffn), 1)
