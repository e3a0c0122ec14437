"""Serving: a prompt per batch shard is read, or one token of every sequence is produced."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable
from models.sharding.program.latent import latent_attention, latent_decode, latents
from models.sharding.program.layers import (
    Params,
    Program,
    attend,
    attention,
    linear,
    norm,
    project,
)
from models.sharding.program.spread import stacks_of
from models.sharding.program.stack import half, second_half, select
from models.sharding.program.train import embed, logits_of


class Cache(NamedTuple):
    """Keys and values of all layers, or latents alone (`values` is None)."""

    keys: Array
    values: Array | None


def cache_shape(job: Job, layout: Layout, batch: int) -> tuple[int, ...]:
    """Return the shape of keys (and of values): layers, batch, length, heads, width.

    Latents have no heads. Keys are repeated where tensor exceeds their heads.
    """
    model, work = job.model, job.workload
    length = work.seq_len + work.output_len
    if model.kv_lora:
        return model.layers, batch, length, model.kv_lora + model.rope_dim
    heads = max(model.kv_heads, layout.tensor)
    return model.layers, batch, length, heads, model.head_dim


def prompts_at_once(job: Job, layout: Layout) -> int:
    """Return the prompts that are read together: one per batch shard."""
    return int(LayoutTable.of([layout]).batch_shards(job)[0])


def _each_layer(program: Program, params: Params, body: Any, carry: Any) -> Any:
    """Scan `body(stack, carry, parameters of a layer)` over all layers, in order."""
    shape = stacks_of(program.job.model, program.layout)

    def scan(stack: str, carry: Any, layers: dict[str, Array]) -> Any:
        def step(c: Any, p: dict[str, Array]) -> tuple[Any, None]:
            return body(stack, c, program.gather(f"{stack}/", p)), None

        return jax.lax.scan(step, carry, layers)[0]

    if shape.dense:
        carry = scan("dense", carry, select(params, "dense"))
    if not shape.blocks:
        return carry
    if not shape.between:
        return scan("moe", carry, select(params, "moe"))

    def block(c: Any, pair: tuple[dict[str, Array], dict[str, Array]]) -> tuple[Any, None]:
        c = scan("between", c, pair[0])
        return body("moe", c, program.gather("moe/", pair[1])), None

    pair = (select(params, "between"), select(params, "moe"))
    return jax.lax.scan(block, carry, pair)[0]


def _put(cache: Array, index: Array, new: Array, position: Array | int) -> Array:
    """Write what a layer adds, (batch, tokens, ...), into the cache from a position on."""
    start = (index, 0, position, *(0 for _ in range(cache.ndim - 3)))
    return jax.lax.dynamic_update_slice(cache, new[None].astype(cache.dtype), start)


def prefill(program: Program, params: Params, tokens: Array) -> tuple[Array, Cache]:
    """Return the logits behind prompts (batch, seq), and their cache with room for the output."""
    model, positions = program.job.model, jnp.arange(tokens.shape[1])
    shape = cache_shape(program.job, program.layout, tokens.shape[0])
    kind = "latents" if model.kv_lora else "cache"
    empty = program.hold(jnp.zeros(shape, program.dtype), kind)
    cache = Cache(empty, None if model.kv_lora else empty)

    def body(stack: str, carry: Any, layer: dict[str, Array]) -> Any:
        x, cache, index = carry
        inner = norm(x, layer["norm_attention"])
        if cache.values is None:
            y, held = latent_attention(program, layer, inner, positions)
            cache = Cache(_put(cache.keys, index, held, 0), None)
        else:
            y, k, v = attention(program, layer, inner, positions)
            cache = Cache(_put(cache.keys, index, k, 0), _put(cache.values, index, v, 0))
        x = half(program, layer, x, y, "attention")
        x = half(program, layer, x, second_half(program, layer, x), "mlp")
        return x, cache, index + 1

    start = (embed(program, params, tokens), cache, jnp.zeros((), jnp.int32))
    x, cache, _ = _each_layer(program, params, body, start)
    return logits_of(program, params, x[:, -1:])[:, 0], cache


def decode(
    program: Program, params: Params, cache: Cache, tokens: Array, position: Array
) -> tuple[Array, Cache]:
    """Return the logits behind one token per sequence (batch,), and the cache with it.

    Args:
        program: Job, layout and mesh.
        params: Weights.
        cache: What came before; its buffers are written to.
        tokens: The last token of each sequence.
        position: Where they stand, a scalar: all sequences are as long.
    """
    where = position[None]

    def body(stack: str, carry: Any, layer: dict[str, Array]) -> Any:
        x, cache, index = carry
        inner = norm(x, layer["norm_attention"])
        if cache.values is None:
            held = latents(program, layer, inner, where)
            cache = Cache(_put(cache.keys, index, held, position), None)
            own = jax.lax.dynamic_index_in_dim(cache.keys, index, keepdims=False)
            y = latent_decode(program, layer, inner, own, position)
        else:
            q, k, v = project(program, layer, inner, where)
            cache = Cache(
                _put(cache.keys, index, k, position), _put(cache.values, index, v, position)
            )
            keys, values = (
                jax.lax.dynamic_index_in_dim(part, index, keepdims=False) for part in cache
            )
            mixed = attend(program, q, keys, values, where, layer.get("sinks"))
            y = linear(layer, "o", mixed.reshape(*x.shape[:2], -1))
        x = half(program, layer, x, y, "attention")
        x = half(program, layer, x, second_half(program, layer, x), "mlp")
        return x, cache, index + 1

    start = (embed(program, params, tokens[:, None]), cache, jnp.zeros((), jnp.int32))
    x, cache, _ = _each_layer(program, params, body, start)
    return logits_of(program, params, x)[:, 0], cache
