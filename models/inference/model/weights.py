"""Weights of a dense decoder from safetensors files, packed for the forward pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from models.errors import DataError
from models.inference.device import CPU
from models.inference.model.architecture import DecoderConfig

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LayerWeights:
    """One decoder layer; matrices are (out, in), as torch's linear takes them.

    Attributes:
        input_norm: Gain before attention, shape (hidden,).
        qkv: Queries, keys and values under each other, ((heads + 2 kv_heads) head_dim, hidden).
        qkv_bias: Their biases, or None.
        q_norm: Gain of normalised queries, (head_dim,), or None.
        k_norm: The same for keys.
        out: Back from heads to the residual stream, (hidden, heads head_dim).
        mlp_norm: Gain before the MLP, (hidden,).
        gate_up: Gate and up projections under each other, (2 mlp, hidden).
        down: Back to the residual stream, (hidden, mlp).
    """

    input_norm: torch.Tensor
    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    q_norm: torch.Tensor | None
    k_norm: torch.Tensor | None
    out: torch.Tensor
    mlp_norm: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


@dataclass(frozen=True)
class DecoderWeights:
    """All weights of a decoder.

    Attributes:
        embedding: (vocabulary, hidden).
        layers: In order.
        norm: Gain before the head, (hidden,).
        head: (vocabulary, hidden); the embedding itself where tied.
    """

    embedding: torch.Tensor
    layers: tuple[LayerWeights, ...]
    norm: torch.Tensor
    head: torch.Tensor

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.embedding.device

    @property
    def bytes(self) -> int:
        """Memory of all weights, counting a tied head once."""
        tensors = {id(tensor): tensor for tensor in _tensors(self)}
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def load_weights(
    folder: Path, config: DecoderConfig, dtype: torch.dtype, device: torch.device = CPU
) -> DecoderWeights:
    """Read and pack the weights of a directory.

    Args:
        folder: Hugging Face directory with `*.safetensors`.
        config: Its shapes.
        dtype: Type to compute in; stored weights are converted.
        device: Where they are to lie; tensor by tensor, so that the host never holds them all.

    Raises:
        DataError: A file is missing or truncated, a tensor is missing, of another shape, not of
            a floating type, or holds a value that is no number.
    """
    reader = _Reader(folder, dtype, device)
    q, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    hidden, mlp, words = config.hidden, config.mlp, config.vocabulary
    layers = []
    for index in range(config.n_layers):
        at = f"model.layers.{index}."
        attention = at + "self_attn."
        parts = (("q", q), ("k", kv), ("v", kv))
        bias = None
        if config.has_qkv_bias:
            bias = torch.cat([reader.take(f"{attention}{n}_proj.bias", (w,)) for n, w in parts])
        norms: list[torch.Tensor | None] = [None, None]
        if config.has_qk_norm:
            norms = [reader.take(f"{attention}{n}_norm.weight", (config.head_dim,)) for n in "qk"]
        layers.append(
            LayerWeights(
                input_norm=reader.take(at + "input_layernorm.weight", (hidden,)),
                qkv=torch.cat(
                    [reader.take(f"{attention}{n}_proj.weight", (w, hidden)) for n, w in parts]
                ),
                qkv_bias=bias,
                q_norm=norms[0],
                k_norm=norms[1],
                out=reader.take(attention + "o_proj.weight", (hidden, q)),
                mlp_norm=reader.take(at + "post_attention_layernorm.weight", (hidden,)),
                gate_up=torch.cat(
                    [reader.take(f"{at}mlp.{n}_proj.weight", (mlp, hidden)) for n in ("gate", "up")]
                ),
                down=reader.take(at + "mlp.down_proj.weight", (hidden, mlp)),
            )
        )
    embedding = reader.take("model.embed_tokens.weight", (words, hidden))
    head = embedding if config.is_tied else reader.take("lm_head.weight", (words, hidden))
    norm = reader.take("model.norm.weight", (hidden,))
    return DecoderWeights(embedding, tuple(layers), norm, head)


class _Reader:
    """Takes tensors by name out of one or several files."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        self._folder, self._dtype, self._device = folder, dtype, device
        self._file_of = dict(_names(folder))

    def take(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        path = self._file_of.get(name)
        if path is None:
            raise DataError(
                f"{self._folder} has no tensor {name} in its {len(set(self._file_of.values()))} "
                "safetensors files; the download is not complete or config.json is of another model"
            )
        try:
            with safe_open(path, framework="pt") as file:
                tensor: torch.Tensor = file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise _unreadable(path, error) from None
        if tuple(tensor.shape) != shape:
            raise DataError(
                f"{path.name}: {name} has shape {tuple(tensor.shape)}, config.json says {shape}; "
                "the files belong to different models"
            )
        if not tensor.is_floating_point():
            raise DataError(
                f"{path.name}: {name} is of type {tensor.dtype}; the native engine takes float32, "
                "bfloat16 and float16: take the backend vllm for quantised weights"
            )
        if not torch.isfinite(tensor).all():
            raise DataError(f"{path.name}: {name} holds values that are no numbers; download again")
        return tensor.to(self._device, self._dtype).contiguous()


def _names(folder: Path) -> Iterator[tuple[str, Path]]:
    index = folder / "model.safetensors.index.json"
    files = sorted(folder.glob("*.safetensors"))
    if index.exists():
        try:
            listed = json.loads(index.read_text())["weight_map"]
        except (OSError, ValueError, KeyError) as error:
            raise _unreadable(index, error) from None
        missing = sorted({name for name in listed.values() if not (folder / name).exists()})
        if missing:
            raise DataError(
                f"{folder} lacks {len(missing)} of the files that its index names "
                f"({', '.join(missing[:3])}); download the model again"
            )
    elif not files:
        raise DataError(f"{folder} holds no *.safetensors; give the directory of a model")
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                yield from ((name, path) for name in file.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read ({error}); it may be truncated: download it again")


def _tensors(weights: DecoderWeights) -> Iterator[torch.Tensor]:
    yield from (weights.embedding, weights.norm, weights.head)
    for layer in weights.layers:
        for tensor in vars(layer).values():
            if tensor is not None:
                yield tensor
