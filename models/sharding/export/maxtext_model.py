"""Which model it is, in the words of MaxText: its name where it has one, else the shape."""

from __future__ import annotations

from typing import Any

from models.sharding.export.keys import name_of
from models.sharding.specs import ModelSpec


def cannot_shape(model: ModelSpec) -> str:
    """Return why MaxText's keys cannot describe a model without a name; empty: they can."""
    if name_of("maxtext", model) is None and model.experts and model.moe_every > 1:
        return (
            f"{model.name} has experts in every {model.moe_every}th layer and no name in MaxText; "
            "write a decoder block for it there"
        )
    return ""


def model_keys(model: ModelSpec) -> dict[str, Any]:
    """Return the keys that say which model is trained."""
    name = name_of("maxtext", model)
    if name is not None:
        return {"model_name": name}
    keys: dict[str, Any] = {
        "model_name": "default",
        "decoder_block": _block(model),
        "base_emb_dim": model.hidden,
        "base_num_query_heads": model.heads,
        "base_num_kv_heads": model.kv_heads,
        "base_mlp_dim": model.ffn,
        "base_num_decoder_layers": model.layers,
        "head_dim": model.head_dim,
        "vocab_size": model.vocab,
        "mlp_activations": ["silu", "linear"] if model.mlp_matrices == 3 else ["gelu"],
        "logits_via_embedding": model.is_tied,
        "attention_bias": model.qkv_bias,
        "use_qk_norm": model.qk_norm,
    }
    if model.experts:
        # MaxText wants both widths equal where every layer has experts.
        keys["base_mlp_dim"] = model.ffn if model.dense_layers else model.expert_ffn
        keys |= {
            "num_experts": model.experts,
            "num_experts_per_tok": model.experts_per_token,
            "base_moe_mlp_dim": model.expert_ffn,
            "shared_experts": model.shared_experts,
            "first_num_dense_layers": model.dense_layers,
        }
    if model.kv_lora:
        keys |= {
            "attention_type": "mla",
            "q_lora_rank": model.q_lora,
            "kv_lora_rank": model.kv_lora,
            "qk_nope_head_dim": model.head_dim,
            "qk_rope_head_dim": model.rope_dim,
            "v_head_dim": model.v_dim,
        }
    return keys


def _block(model: ModelSpec) -> str:
    """Return the decoder block of MaxText whose parts are those of the model."""
    if model.kv_lora or model.dense_layers or model.shared_experts:
        return "deepseek"
    if model.experts:
        return "qwen3_moe" if model.qk_norm else "mixtral"
    if model.mlp_matrices == 2:
        return "gpt3"
    return "qwen3" if model.qk_norm else "llama2"
