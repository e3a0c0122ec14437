"""Routed experts: tokens of a device are sorted into slots of experts, and back.

Source: Lepikhin et al. (2020), "GShard": groups of tokens with a capacity per expert. Slots are
filled by position and not by one-hot products, which would outweigh the experts.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array

from models.sharding.program.layers import Params, Program, mlp
from models.sharding.program.typed import named


def _grouped(program: Program, x: Array) -> tuple[Array, tuple[int, ...]]:
    """Return x as (batch shards, sequence shards, tokens, hidden) and the shape between."""
    batch, seq, hidden = x.shape
    spec = program.spec.activations["grouped"]
    rows, columns = (program.spec.size(spec[i]) if program.mesh else 1 for i in (0, 1))
    shape = (rows, batch // rows, columns, seq // columns, hidden)
    moved = x.reshape(shape).transpose(0, 2, 1, 3, 4)
    return program.hold(moved.reshape(rows, columns, -1, hidden), "grouped"), moved.shape


def _ungrouped(x: Array, moved: tuple[int, ...]) -> Array:
    """Undo `_grouped`."""
    rows, columns, batch, seq, hidden = moved
    return x.reshape(moved).transpose(0, 2, 1, 3, 4).reshape(rows * batch, columns * seq, hidden)


def route(program: Program, layer: Params, x: Array) -> tuple[Array, Array]:
    """Return the experts that each token visits and their weights, (..., experts_per_token)."""
    model = program.job.model
    logits = (x @ layer["router"]).astype(jnp.float32)
    if "router_bias" in layer:
        logits = logits + layer["router_bias"].astype(jnp.float32)
    if "router_correction" in layer:
        # DeepSeek-V3: sigmoid scores, chosen with a correction, weighted without.
        scores = jax.nn.sigmoid(logits)
        corrected = scores + layer["router_correction"].astype(jnp.float32)
        _, chosen = jax.lax.top_k(corrected, model.experts_per_token)
        picked = jnp.take_along_axis(scores, chosen, axis=-1)
        weights = picked / (picked.sum(axis=-1, keepdims=True) + 1e-9)
    else:
        best, chosen = jax.lax.top_k(logits, model.experts_per_token)
        weights = jax.nn.softmax(best, axis=-1)
    return chosen, weights.astype(x.dtype)


def slots_of(chosen: Array, experts: int, capacity: int) -> Array:
    """Return the slot of each visit, in order of tokens; `experts * capacity`: dropped.

    Args:
        chosen: Experts that are visited, (tokens, visits).
        experts: Number of experts.
        capacity: Slots of each.
    """
    flat = chosen.reshape(-1)
    order = jnp.argsort(flat, stable=True)
    ranked = flat[order]
    first = jnp.searchsorted(ranked, jnp.arange(experts))
    place = jnp.arange(len(flat)) - first[ranked]
    slot = jnp.where(place < capacity, ranked * capacity + place, experts * capacity)
    return jnp.zeros_like(flat).at[order].set(slot).reshape(chosen.shape)


def experts(program: Program, layer: Params, x: Array) -> Array:
    """Return the output of routed and shared experts over x (batch, seq, hidden)."""
    model = program.job.model
    grouped, moved = _grouped(program, x)
    rows, columns, tokens, hidden = grouped.shape
    fair = tokens * model.experts_per_token / model.experts
    capacity = min(math.ceil(fair * program.capacity), tokens)
    chosen, weights = route(program, layer, grouped)
    total = model.experts * capacity

    def fill(group: Array, visits: Array) -> tuple[Array, Array]:
        slots = slots_of(visits, model.experts, capacity)
        # Which token stands in a slot; one more that is empty takes what is dropped.
        owner = jnp.full(total + 1, tokens, jnp.int32)
        token = jnp.broadcast_to(jnp.arange(tokens, dtype=jnp.int32)[:, None], slots.shape)
        owner = owner.at[slots].set(token)[:total]
        padded = jnp.concatenate([group, jnp.zeros((1, hidden), group.dtype)])
        return padded[owner], slots

    sent, slots = jax.vmap(jax.vmap(fill))(grouped, chosen)
    sent = sent.reshape(rows, columns, model.experts, capacity, hidden)
    sent = named(program.hold(sent, "routed"), "routed")
    done = _compute(program, layer, sent)
    back = program.hold(done.reshape(rows, columns, total, hidden), "grouped")
    back = named(back, "routed")

    def collect(group: Array, visits: Array, share: Array) -> Array:
        padded = jnp.concatenate([group, jnp.zeros((1, hidden), group.dtype)])
        return jnp.einsum("tkh,tk->th", padded[visits], share)

    out = _ungrouped(jax.vmap(jax.vmap(collect))(back, slots, weights), moved)
    if model.shared_experts:
        out = out + mlp(program, layer, x, "shared_")
    return out


def _compute(program: Program, layer: Params, x: Array) -> Array:
    """Run the experts over their slots, (rows, columns, experts, capacity, hidden)."""

    def product(name: str, inputs: Array) -> Array:
        y = jnp.einsum("bgech,ehf->bgecf", inputs, layer[f"expert_{name}"])
        y = named(y, "routed")
        bias = layer.get(f"expert_{name}_bias")
        return y if bias is None else y + bias[None, None, :, None, :]

    inner = program.hold(product("up", x), "routed_inner")
    if "expert_gate" in layer:
        gate = program.hold(product("gate", x), "routed_inner")
        inner = inner * jax.nn.silu(gate)
    else:
        inner = jax.nn.gelu(inner)
    return program.hold(product("down", inner), "routed")
