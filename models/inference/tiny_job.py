"""A job so small that it runs in a second: a random decoder, rows of token ids that share."""

from __future__ import annotations

import json
import random
from pathlib import Path

N_ROWS = 60


def write_tiny_model(folder: Path, seed: int) -> None:
    """Write a decoder of two layers with random weights; tokens are its only language."""
    import torch
    from safetensors.torch import save_file

    hidden, mlp, words, layers = 32, 48, 97, 2
    draws = torch.Generator().manual_seed(seed)

    def matrix(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draws) * 0.3

    tensors = {"model.embed_tokens.weight": 3 * matrix(words, hidden)}
    tensors["model.norm.weight"] = torch.ones(hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for name, wide in (("q", 32), ("k", 16), ("v", 16)):
            tensors[f"{at}self_attn.{name}_proj.weight"] = matrix(wide, hidden)
        tensors[at + "self_attn.o_proj.weight"] = matrix(hidden, 32)
        for name in ("gate", "up"):
            tensors[f"{at}mlp.{name}_proj.weight"] = matrix(mlp, hidden)
        tensors[at + "mlp.down_proj.weight"] = matrix(hidden, mlp)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{at}{name}.weight"] = torch.ones(hidden)
    folder.mkdir(parents=True)
    save_file(tensors, str(folder / "model.safetensors"))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": words,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))


def write_tiny_job(
    folder: Path, seed: int, n_rows: int = N_ROWS, most_tokens: int = 24
) -> tuple[Path, Path]:
    """Write a tiny model and a JSONL of token ids that share prefixes; returns both.

    Args:
        folder: Where both go.
        seed: Of weights and rows.
        n_rows: Rows.
        most_tokens: A row emits fewer; above 24 none ends early and every fourth has two outputs.
    """
    draws = random.Random(seed)
    write_tiny_model(folder / "model", seed)
    prefixes = [[draws.randrange(3, 90) for _ in range(draws.randrange(10, 60))] for _ in range(4)]
    lines = []
    for row in range(n_rows):
        own = [draws.randrange(3, 90) for _ in range(draws.randrange(1, 12))]
        line = {
            "custom_id": f"row-{row}",
            "token_ids": draws.choice(prefixes) + own,
            "max_tokens": draws.randrange(1, most_tokens),
            "temperature": 0 if row % 3 else 0.9,
        }
        if most_tokens > 24:
            line |= {"ignore_eos": True, "n": 1 if row % 4 else 2}
        lines.append(line)
    data = folder / "in.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "model", data
