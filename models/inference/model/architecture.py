"""Shapes of a dense decoder, read from the `config.json` of a Hugging Face directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import DataError

# The families whose forward pass is the same but for biases and norms of queries and keys.
ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}


class UnsupportedModelError(DataError):
    """The native engine cannot run this model; another backend may."""


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3's stretch of slow rotations; factors and context lengths in tokens."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int


@dataclass(frozen=True)
class DecoderConfig:
    """Shapes and constants of one dense decoder.

    Attributes:
        family: One of `ARCHITECTURES`' values.
        n_layers: Decoder layers.
        hidden: Width of the residual stream.
        n_heads: Query heads.
        n_kv_heads: Key and value heads; divides `n_heads`.
        head_dim: Width of one head.
        mlp: Width inside the gated MLP.
        vocabulary: Rows of the embedding.
        context: Longest sequence, tokens.
        rope_theta: Base of the rotary embedding.
        rope_scaling: Llama 3 scaling, or None.
        norm_eps: Added to the mean square before the root.
        is_tied: Whether the output head is the embedding.
        has_qkv_bias: Whether the projections to queries, keys and values add a bias.
        has_qk_norm: Whether queries and keys are normalised per head (Qwen3).
        eos_ids: Tokens that end an answer.
        bos_id: Token that begins a sequence; None: none is added.
    """

    family: str
    n_layers: int
    hidden: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    mlp: int
    vocabulary: int
    context: int
    rope_theta: float
    rope_scaling: RopeScaling | None
    norm_eps: float
    is_tied: bool
    has_qkv_bias: bool
    has_qk_norm: bool
    eos_ids: tuple[int, ...]
    bos_id: int | None

    @property
    def kv_values_per_token(self) -> int:
        """Numbers that one token leaves in the KV cache, over all layers."""
        return 2 * self.n_layers * self.n_kv_heads * self.head_dim

    @property
    def weights_per_token(self) -> int:
        """Weights that every token is multiplied with, over all layers, the head left out."""
        heads = (2 * self.n_heads + 2 * self.n_kv_heads) * self.head_dim
        return self.n_layers * self.hidden * (heads + 3 * self.mlp)


def read_config(folder: Path) -> DecoderConfig:
    """Read the shapes of the model in a directory.

    Args:
        folder: Hugging Face directory with `config.json`.

    Raises:
        DataError: The file is missing, no JSON, or a field is missing or impossible.
        UnsupportedModelError: An architecture or option that the native engine lacks.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(
            f"{folder} has no config.json; give the directory of a Hugging Face model, or smollm2"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            f"{path} is not readable as JSON ({error}); download the model again"
        ) from None
    if not isinstance(raw, dict):
        raise DataError(f"{path} holds no JSON object; download the model again")
    return parse_config(raw, str(path))


def parse_config(raw: Mapping[str, Any], origin: str) -> DecoderConfig:
    """Turn the fields of a `config.json` into shapes; see `read_config` for errors."""
    family = _family(raw, origin)
    try:
        heads = int(raw["num_attention_heads"])
        hidden = int(raw["hidden_size"])
        config = DecoderConfig(
            family=family,
            n_layers=int(raw["num_hidden_layers"]),
            hidden=hidden,
            n_heads=heads,
            n_kv_heads=int(raw.get("num_key_value_heads") or heads),
            head_dim=int(raw.get("head_dim") or hidden // heads),
            mlp=int(raw["intermediate_size"]),
            vocabulary=int(raw["vocab_size"]),
            context=int(raw.get("max_position_embeddings", 2_048)),
            rope_theta=_rope_theta(raw),
            rope_scaling=_rope_scaling(raw, origin),
            norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
            is_tied=bool(raw.get("tie_word_embeddings", False)),
            has_qkv_bias=family == "qwen2" or bool(raw.get("attention_bias", False)),
            has_qk_norm=family == "qwen3",
            eos_ids=_ids(raw.get("eos_token_id")),
            bos_id=raw.get("bos_token_id"),
        )
    except UnsupportedModelError:
        raise
    except KeyError as error:
        raise DataError(f"{origin} lacks {error}; it is not the config of a decoder") from None
    except (TypeError, ValueError) as error:
        raise DataError(f"{origin} has a field of another type: {error}") from None
    _check(config, raw, origin)
    return config


def _family(raw: Mapping[str, Any], origin: str) -> str:
    named = [str(name) for name in raw.get("architectures") or ()]
    family = next((ARCHITECTURES[name] for name in named if name in ARCHITECTURES), None)
    if family is None:
        raise UnsupportedModelError(
            f"{origin} asks for {', '.join(named) or 'no architecture'}; the native engine runs "
            f"{', '.join(sorted(ARCHITECTURES))}: take the backend vllm for this model"
        )
    return family


def _rope_parameters(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Newer files keep theta and scaling in one mapping, older ones apart."""
    return raw.get("rope_parameters") or raw.get("rope_scaling") or {}


def _rope_theta(raw: Mapping[str, Any]) -> float:
    return float(raw.get("rope_theta") or _rope_parameters(raw).get("rope_theta") or 10_000.0)


def _rope_scaling(raw: Mapping[str, Any], origin: str) -> RopeScaling | None:
    asked = _rope_parameters(raw)
    kind = asked.get("rope_type") or asked.get("type") or "default"
    if kind == "default":
        return None
    if kind != "llama3":
        raise UnsupportedModelError(
            f"{origin} scales rotary embeddings by '{kind}'; the native engine knows llama3 and "
            "none: take the backend vllm for this model"
        )
    return RopeScaling(
        factor=float(asked["factor"]),
        low_freq_factor=float(asked["low_freq_factor"]),
        high_freq_factor=float(asked["high_freq_factor"]),
        original_context=int(asked["original_max_position_embeddings"]),
    )


def _ids(asked: Any) -> tuple[int, ...]:
    if asked is None:
        return ()
    return tuple(int(token) for token in (asked if isinstance(asked, list) else [asked]))


def _check(config: DecoderConfig, raw: Mapping[str, Any], origin: str) -> None:
    sizes = ("n_layers", "hidden", "n_heads", "n_kv_heads", "head_dim", "mlp", "vocabulary")
    bad = [f"{name} {getattr(config, name)}" for name in sizes if getattr(config, name) < 1]
    if bad:
        raise DataError(f"{origin} has sizes below 1: {', '.join(bad)}; download the model again")
    if config.n_heads % config.n_kv_heads:
        raise DataError(
            f"{origin} has {config.n_heads} query heads for {config.n_kv_heads} KV heads, which "
            "does not divide"
        )
    if raw.get("hidden_act", "silu") != "silu":
        raise UnsupportedModelError(
            f"{origin} uses the activation {raw['hidden_act']}; the native engine has silu: take "
            "the backend vllm for this model"
        )
    window = raw.get("sliding_window")
    uses_window = raw.get("use_sliding_window", config.family == "mistral")
    if window and uses_window and int(window) < config.context:
        raise UnsupportedModelError(
            f"{origin} attends to a sliding window of {window} tokens; the native engine attends "
            "to the whole context: take the backend vllm for this model"
        )
    if raw.get("mlp_bias") or raw.get("quantization_config"):
        raise UnsupportedModelError(
            f"{origin} has {'MLP biases' if raw.get('mlp_bias') else 'quantised weights'}, which "
            "the native engine lacks: take the backend vllm for this model"
        )
