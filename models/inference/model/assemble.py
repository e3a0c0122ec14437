"""Puts a decoder together: the fastest parts that this machine and this type allow."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from models.errors import ConfigError
from models.inference.attention.base import Attention
from models.inference.attention.reference import ReferenceAttention
from models.inference.model.architecture import DecoderConfig
from models.inference.model.decoder import Decoder
from models.inference.model.steps import Steps, TorchSteps
from models.inference.model.weights import DecoderWeights
from models.inference.native.build import BuildError
from models.inference.native.symbols import Level

log = logging.getLogger("loom.inference")

# Rows of every product in deterministic mode. Weights are read once per tile: fewer rows cost
# large steps, more rows cost small ones.
DETERMINISTIC_TILE = 64


def assemble(
    config: DecoderConfig,
    weights: DecoderWeights,
    cache: Path,
    n_threads: int = 1,
    is_deterministic: bool = False,
) -> Decoder:
    """Return a decoder; what cannot be built here runs in torch, with one warning.

    Args:
        config: Shapes.
        weights: As loaded, where the model is to run; the C++ parts take bfloat16 on the host.
        cache: Folder of built libraries.
        n_threads: OpenMP threads of a step.
        is_deterministic: A row gives the same values whatever shares its step: products in tiles
            of a fixed number of rows, attention by one kernel whatever the number of rows.
    """
    tile = DETERMINISTIC_TILE if is_deterministic else None
    if weights.device.type != "cpu":
        on_device = device_attention(
            config, weights.embedding.dtype, weights.device, is_deterministic
        )
        return Decoder(config, weights, on_device, TorchSteps(config, weights, tile))
    attention: Attention = ReferenceAttention(config, weights.embedding.dtype)
    steps: Steps | None = None
    if weights.embedding.dtype is torch.bfloat16:
        from models.inference.attention.native import NativeAttention
        from models.inference.model.native_steps import NativeSteps

        try:
            # Tiles of 16 rows and of 6 add in another order.
            most = Level.AVX512_BF16 if is_deterministic else None
            attention = NativeAttention(config, cache, n_threads, most=most)
            steps = NativeSteps(config, weights, cache, n_threads, tile=tile)
        except (BuildError, ConfigError) as error:
            log.warning("the engine runs in torch, slower: %s", error)
    return Decoder(config, weights, attention, steps or TorchSteps(config, weights, tile))


def device_attention(
    config: DecoderConfig, dtype: torch.dtype, device: torch.device, is_deterministic: bool = False
) -> Attention:
    """Return the Triton kernels if they compute here what torch does, else torch, with a warning.

    Args:
        config: Shapes.
        dtype: Type of keys and values.
        device: Where they are.
        is_deterministic: See `assemble`.
    """
    try:
        from models.inference.attention.gpu.trial import try_out
        from models.inference.attention.triton import TritonAttention

        attention = TritonAttention(config, dtype, device, is_deterministic)
        try_out(attention, config, dtype, device)
    except Exception as error:  # compilers, drivers and Triton raise what they like
        log.warning("attention on %s runs in torch, slower: %s", device, error)
        return ReferenceAttention(config, dtype, device)
    return attention
