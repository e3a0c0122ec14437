"""Latent attention (DeepSeek-V2): keys and values are made from one narrow vector per token.

Source: DeepSeek-AI (2024), "DeepSeek-V2", section 2.1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from models.sharding.program.layers import Params, Program, attend, linear, norm, rotate
from models.sharding.program.typed import named


def latents(program: Program, layer: Params, x: Array, positions: Array) -> Array:
    """Return what is cached of x (batch, seq, hidden): (batch, seq, kv_lora + rope_dim)."""
    rank = program.job.model.kv_lora
    narrow = linear(layer, "kv_a", x)
    turned = rotate(narrow[..., None, rank:], positions)[..., 0, :]
    return jnp.concatenate([norm(narrow[..., :rank], layer["kv_a_norm"]), turned], axis=-1)


def queries(program: Program, layer: Params, x: Array, positions: Array) -> Array:
    """Return queries (batch, seq, heads, head_dim + rope_dim)."""
    model = program.job.model
    if model.q_lora:
        q = linear(layer, "q_b", norm(linear(layer, "q_a", x), layer["q_a_norm"]))
    else:
        q = linear(layer, "q", x)
    q = q.reshape(*x.shape[:2], model.heads, model.head_dim + model.rope_dim)
    turned = rotate(q[..., model.head_dim :], positions)
    return jnp.concatenate([q[..., : model.head_dim], turned], axis=-1)


def latent_attention(
    program: Program, layer: Params, x: Array, positions: Array
) -> tuple[Array, Array]:
    """Return the output of attention over x (batch, seq, hidden), and the latents."""
    model, (batch, seq, _) = program.job.model, x.shape
    x = program.hold(x, "whole")
    held = latents(program, layer, x, positions)
    wide = held[..., : model.kv_lora] @ layer["kv_b"]
    wide = wide.reshape(batch, seq, model.heads, model.head_dim + model.v_dim)
    shared = held[..., None, model.kv_lora :]
    shared = jnp.broadcast_to(shared, (batch, seq, model.heads, model.rope_dim))
    k = jnp.concatenate([wide[..., : model.head_dim], shared], axis=-1)
    q = queries(program, layer, x, positions)
    q = named(program.hold(q, "heads"), "saved")
    k = named(program.hold(k, "keys"), "saved")
    v = named(program.hold(wide[..., model.head_dim :], "keys"), "saved")
    mixed = program.hold(attend(program, q, k, v, positions), "heads")
    mixed = named(mixed.reshape(batch, seq, -1), "mixed")
    return linear(layer, "o", mixed), held


def latent_decode(
    program: Program, layer: Params, x: Array, cached: Array, position: Array
) -> Array:
    """Return the output of one token per sequence against cached latents.

    Args:
        program: The program.
        layer: Parameters of the layer.
        x: (batch, 1, hidden).
        cached: (batch, length, kv_lora + rope_dim), the token's own among them.
        position: Position of the token; what stands behind it is not looked at.

    Keys are not made: their matrix is multiplied into the query, that of values into the result.
    """
    model, rank = program.job.model, program.job.model.kv_lora
    q = queries(program, layer, x, position[None])[:, 0]
    up = layer["kv_b"].reshape(rank, model.heads, model.head_dim + model.v_dim)
    narrow = jnp.einsum("bnd,rnd->bnr", q[..., : model.head_dim], up[..., : model.head_dim])
    narrow = jnp.concatenate([narrow, q[..., model.head_dim :]], axis=-1)
    scale = (model.head_dim + model.rope_dim) ** -0.5
    scores = jnp.einsum("bnr,btr->bnt", narrow, cached).astype(jnp.float32) * scale
    scores = jnp.where(jnp.arange(cached.shape[1]) > position, -jnp.inf, scores)
    weights = jax.nn.softmax(scores, axis=-1).astype(cached.dtype)
    mixed = jnp.einsum("bnt,btr->bnr", weights, cached[..., :rank])
    values = jnp.einsum("bnr,rnd->bnd", mixed, up[..., model.head_dim :])
    return linear(layer, "o", values.reshape(x.shape[0], 1, -1))
