"""Shipped shapes of models, and the importer of a Hugging Face `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from models.contracts import read_table
from models.errors import ConfigError, DatasetMissingError, unknown_name
from models.settings import ROOT
from models.sharding.specs.model import ModelSpec

SHIPPED = ROOT / "datasets" / "sharding" / "model_configs" / "model_configs.csv"
_NOT_SHAPE = {"aliases", "source", "trust"}


@lru_cache(maxsize=4)
def load_models(file: Path = SHIPPED) -> dict[str, ModelSpec]:
    """Read the table of shapes; aliases are names of their own.

    Raises:
        DatasetMissingError: The table does not exist.
        DatasetUnreadableError: It is no table.
        ConfigError: A row is no shape.
    """
    models: dict[str, ModelSpec] = {}
    for row in read_table(file).to_dict("records"):
        values = {str(k): v for k, v in row.items() if k not in _NOT_SHAPE}
        try:
            spec = ModelSpec.model_validate(values)
        except ValidationError as error:
            said = str(error).replace("\n", " ")
            raise ConfigError(f"{file}: model '{row.get('name')}': {said}") from None
        aliases = row.get("aliases")
        names = [] if pd.isna(aliases) else str(aliases).split(";")
        models |= dict.fromkeys([spec.name, *names], spec)
    return models


def find_model(name: str, file: Path = SHIPPED) -> ModelSpec:
    """Return a shipped shape by name, or that of a `config.json` by path.

    Raises:
        UnknownNameError: There is none; the nearest is named.
        ConfigError: The file at the path is no config of a model.
    """
    if name.endswith(".json"):
        return read_hugging_face(Path(name))
    models = load_models(file)
    wanted = name.strip().lower().replace("_", "-")
    if wanted not in models:
        raise unknown_name("model", name, models, "or give the path of its config.json")
    return models[wanted]


def read_hugging_face(path: Path) -> ModelSpec:
    """Read a `config.json` of Hugging Face.

    Raises:
        DatasetMissingError: There is no such file.
        ConfigError: It is no JSON object, or it lacks a size.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetMissingError(f"model config {path} does not exist; check the path") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"model config {path} is no JSON ({error}); fetch it again") from None
    if not isinstance(values, dict):
        raise ConfigError(f"model config {path} must be an object, found {type(values).__name__}")
    return from_hugging_face(values, name=path.parent.name or path.stem)


def from_hugging_face(config: Mapping[str, Any], name: str = "") -> ModelSpec:
    """Build the shape from the keys of a Hugging Face config; that of `text_config` if nested.

    Args:
        config: The object in `config.json`.
        name: Name of the model where the config has none.

    Raises:
        ConfigError: A size that a transformer needs is missing or no number.
    """
    inner = config.get("text_config")
    values = inner if isinstance(inner, Mapping) else config
    kind = str(values.get("model_type", ""))

    def first(*keys: str, default: int | None = None) -> int:
        for key in keys:
            found = values.get(key)
            if isinstance(found, int) and not isinstance(found, bool):
                return found
            if isinstance(found, list | tuple) and found and isinstance(found[0], int):
                return int(found[0])
        if default is not None:
            return default
        raise ConfigError(
            f"model config '{name}' has no {keys[0]} (looked for {', '.join(keys)}); "
            "it must be the config.json of a decoder-only transformer"
        )

    hidden, heads = (
        first("hidden_size", "n_embd", "d_model"),
        first("num_attention_heads", "n_head", "n_heads"),
    )
    if min(hidden, heads) < 1:
        raise ConfigError(f"model config '{name}': hidden_size {hidden}, heads {heads}; need >= 1")
    latent = first("kv_lora_rank", default=0)
    head_dim = first("qk_nope_head_dim") if latent else first("head_dim", default=hidden // heads)
    ffn = first("intermediate_size", "n_inner", "ffn_dim", default=4 * hidden)
    experts = first("n_routed_experts", "num_local_experts", "num_experts", default=0)
    is_llama4 = kind.startswith("llama4")
    shared = first("n_shared_experts", default=int(is_llama4))
    activation = str(values.get("hidden_act", values.get("activation_function", "")))
    is_plain = kind in ("gpt2", "opt", "gpt_neox", "falcon") or activation in ("relu", "gelu_new")
    try:
        return ModelSpec(
            name=(name or str(config.get("_name_or_path", "")) or kind or "model").lower(),
            family=kind,
            layers=first("num_hidden_layers", "n_layer", "n_layers"),
            hidden=hidden,
            ffn=first("intermediate_size_mlp", default=ffn) if is_llama4 else ffn,
            heads=heads,
            kv_heads=heads if latent else first("num_key_value_heads", default=heads),
            head_dim=head_dim,
            vocab=first("vocab_size"),
            is_tied=bool(values.get("tie_word_embeddings", config.get("tie_word_embeddings", 0))),
            mlp_matrices=2 if is_plain else 3,
            experts=experts,
            experts_per_token=first("num_experts_per_tok", default=0),
            shared_experts=shared if experts else 0,
            expert_ffn=first("moe_intermediate_size", default=ffn) if experts else 0,
            dense_layers=first("first_k_dense_replace", default=0) if experts else 0,
            moe_every=first("interleave_moe_layer_step", "decoder_sparse_step", default=1),
            q_lora=first("q_lora_rank", default=0),
            kv_lora=latent,
            rope_dim=first("qk_rope_head_dim", default=0) if latent else 0,
            v_dim=first("v_head_dim", default=0) if latent else 0,
            qkv_bias=bool(values.get("attention_bias", kind == "qwen2")),
            o_bias=kind == "gpt_oss",
            qk_norm=kind in ("qwen3", "qwen3_moe", "gemma3_text"),
            expert_bias=kind == "gpt_oss",
        )
    except ValidationError as error:
        said = str(error).replace("\n", " ")
        raise ConfigError(f"model config '{name}' is no shape of a transformer: {said}") from None
