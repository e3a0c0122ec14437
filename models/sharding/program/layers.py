"""Norms, positions, attention and MLP of one layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, NamedSharding

from models.sharding.export.jax_mesh import MeshSpec, Spec, fit
from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.program.typed import constrain, named, on_mesh

Params = Mapping[str, Array]
_QUERIES_AT_A_TIME = 512
"""Scores of so many queries against all keys are held, as fused kernels hold a block."""
_ROPE_BASE = 500_000.0
_EPSILON = 1e-5


@dataclass(frozen=True)
class Program:
    """What the functions of a program share."""

    job: Job
    layout: Layout
    spec: MeshSpec
    mesh: Mesh | None
    """None: one device, nothing is constrained."""
    dtype: Any
    """Number format of matrix products."""
    capacity: float = 1.0
    """Slots of experts over routed tokens; 1: balanced experts, what comes late is dropped."""
    can_offload: bool = False
    """Whether the devices take arrays in the memory of the host."""

    def sharding(self, spec: Spec) -> NamedSharding | None:
        """Return the sharding of a spec; None on one device."""
        return None if self.mesh is None else on_mesh(self.mesh, spec)

    def hold(self, x: Array, name: str) -> Array:
        """Lay an activation as its spec says, in so far as the axes divide it."""
        if self.mesh is None:
            return x
        spec = fit(x.shape, self.spec.activations[name], dict(self.spec.axes), x.ndim)[0]
        return constrain(x, self.sharding(spec))

    def gather(self, stack: str, layer: Params) -> dict[str, Array]:
        """Return the parameters of one layer as they are multiplied."""
        return {name: self.gather_one(f"{stack}{name}", x) for name, x in layer.items()}

    def gather_one(self, name: str, x: Array) -> Array:
        """Cast a parameter, then gather its weight shards: in this order half the bytes move."""
        x = x.astype(self.dtype)
        spec = self.spec.weights[name]
        x = constrain(x, self.sharding(spec[len(spec) - x.ndim :]))
        return constrain(x, self.sharding(self.spec.gathered[name]))


def norm(x: Array, scale: Array) -> Array:
    """Return x over its root mean square, in float32 inside."""
    wide = x.astype(jnp.float32)
    scaled = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + _EPSILON)
    return scaled.astype(x.dtype) * scale


def rotate(x: Array, positions: Array) -> Array:
    """Turn pairs of a head by their position; x: (batch, seq, heads, width)."""
    half = x.shape[-1] // 2
    rates = _ROPE_BASE ** (-jnp.arange(half, dtype=jnp.float32) / max(half, 1))
    angles = positions[:, None, None].astype(jnp.float32) * rates
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = x[..., :half].astype(jnp.float32), x[..., half : 2 * half].astype(jnp.float32)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return jnp.concatenate([turned.astype(x.dtype), x[..., 2 * half :]], axis=-1)


def linear(layer: Params, name: str, x: Array) -> Array:
    """Multiply by a matrix, with its bias and adapter where the layer has them."""
    y = x @ layer[name]
    if f"{name}_bias" in layer:
        y = y + layer[f"{name}_bias"]
    if f"{name}_lora_in" in layer:
        y = y + (x @ layer[f"{name}_lora_in"]) @ layer[f"{name}_lora_out"]
    return y


def attend(
    program: Program, q: Array, k: Array, v: Array, positions: Array, sinks: Array | None = None
) -> Array:
    """Return causal attention.

    Args:
        program: Names the shards of the sequence.
        q: Queries, (batch, seq, heads, width).
        k: Keys, (batch, keys, key heads, width); key heads divide heads.
        v: Values, (batch, keys, key heads, value width).
        positions: Position of each query, (seq,); key i stands at position i.
        sinks: Score that takes weight to nothing, per head.

    Returns:
        (batch, seq, heads, value width).
    """
    batch, seq, heads, width = q.shape
    key_heads, groups = k.shape[2], heads // k.shape[2]
    # Each shard of the sequence runs over blocks of its own queries.
    shards = program.spec.size(program.spec.activations["heads"][1]) if seq > 1 else 1
    local = seq // shards
    block = next(n for n in range(min(local, _QUERIES_AT_A_TIME), 0, -1) if local % n == 0)
    blocked = q.reshape(batch, shards, local // block, block, key_heads, groups, width)
    at = positions.reshape(shards, local // block, block)
    scale = width**-0.5

    @jax.checkpoint
    def one(pair: tuple[Array, Array]) -> Array:
        queries, where = pair
        scores = jnp.einsum("bzckgd,btkd->bkgzct", queries, k).astype(jnp.float32) * scale
        unseen = jnp.arange(k.shape[1])[None, None, :] > where[:, :, None]
        scores = jnp.where(unseen, -jnp.inf, scores)
        if sinks is not None:
            sink = sinks.astype(jnp.float32).reshape(1, key_heads, groups, 1, 1, 1)
            sink = jnp.broadcast_to(sink, (*scores.shape[:-1], 1))
            weights = jax.nn.softmax(jnp.concatenate([scores, sink], axis=-1), axis=-1)[..., :-1]
        else:
            weights = jax.nn.softmax(scores, axis=-1)
        return jnp.einsum("bkgzct,btkd->bzckgd", weights.astype(v.dtype), v)

    if local == block:
        out: Array = one((blocked[:, :, 0], at[:, 0]))[:, :, None]
    else:
        out = jax.lax.map(one, (jnp.moveaxis(blocked, 2, 0), jnp.moveaxis(at, 1, 0)))
        out = jnp.moveaxis(out, 0, 2)
    return out.reshape(batch, seq, heads, v.shape[-1])


def project(
    program: Program, layer: Params, x: Array, positions: Array
) -> tuple[Array, Array, Array]:
    """Return queries, keys and values; keys are repeated where tensor exceeds their heads."""
    model, (batch, seq, _) = program.job.model, x.shape
    x = program.hold(x, "whole")
    q = linear(layer, "q", x).reshape(batch, seq, model.heads, model.head_dim)
    k = linear(layer, "k", x).reshape(batch, seq, model.kv_heads, model.head_dim)
    v = linear(layer, "v", x).reshape(batch, seq, model.kv_heads, model.head_dim)
    if model.qk_norm:
        q, k = norm(q, layer["q_norm"]), norm(k, layer["k_norm"])
    q, k = rotate(q, positions), rotate(k, positions)
    times = max(program.layout.tensor // model.kv_heads, 1)
    if times > 1:
        k, v = jnp.repeat(k, times, axis=2), jnp.repeat(v, times, axis=2)
    return q, k, v


def attention(
    program: Program, layer: Params, x: Array, positions: Array
) -> tuple[Array, Array, Array]:
    """Return the output of attention over x (batch, seq, hidden), and its keys and values."""
    q, k, v = project(program, layer, x, positions)
    q = named(program.hold(q, "heads"), "saved")
    # Shards of the sequence keep their queries; keys and values are gathered.
    k = named(program.hold(k, "keys"), "saved")
    v = named(program.hold(v, "keys"), "saved")
    mixed = program.hold(attend(program, q, k, v, positions, layer.get("sinks")), "heads")
    mixed = named(mixed.reshape(*x.shape[:2], -1), "mixed")
    return linear(layer, "o", mixed), k, v


def mlp(program: Program, layer: Params, x: Array, name: str = "") -> Array:
    """Return the output of a gated or plain MLP."""
    x = program.hold(x, "whole")
    inner = program.hold(linear(layer, f"{name}up", x), "inner")
    if f"{name}gate" in layer:
        gate = program.hold(linear(layer, f"{name}gate", x), "inner")
        inner = inner * jax.nn.silu(gate)
    else:
        inner = jax.nn.gelu(inner)
    return linear(layer, f"{name}down", inner)
