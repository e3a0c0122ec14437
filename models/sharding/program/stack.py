"""Layers scanned over stacks, recomputed as the layout says, and passed through stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from models.sharding.program.experts import experts
from models.sharding.program.latent import latent_attention
from models.sharding.program.layers import Params, Program, attention, mlp, norm
from models.sharding.program.spread import Stacks, stacks_of
from models.sharding.program.typed import bound_to, named

Block = Callable[[Array, dict[str, Params]], Array]


def select(params: Params, stack: str) -> dict[str, Array]:
    """Return the parameters of a stack, by the names of a layer."""
    front = f"{stack}/"
    return {name.removeprefix(front): x for name, x in params.items() if name.startswith(front)}


def half(program: Program, layer: Params, x: Array, y: Array, part: str) -> Array:
    """Add what a half of a layer made of x."""
    if f"norm_after_{part}" in layer:
        y = norm(y, layer[f"norm_after_{part}"])
    kind = "residual" if program.job.workload.is_training or x.shape[1] > 1 else "one_token"
    return x + program.hold(y, kind)


def one_layer(program: Program, stack: str, x: Array, layer: Params, positions: Array) -> Array:
    """Return x (batch, seq, hidden) after a layer."""
    layer = program.gather(f"{stack}/", layer)
    attend = latent_attention if program.job.model.kv_lora else attention
    x = half(
        program, layer, x,
        attend(program, layer, norm(x, layer["norm_attention"]), positions)[0], "attention",
    )  # fmt: skip
    x = named(x, "between")
    return half(program, layer, x, second_half(program, layer, x), "mlp")


def second_half(program: Program, layer: Params, x: Array) -> Array:
    """Return what the MLP or the experts make of x."""
    inner = norm(x, layer["norm_mlp"])
    return (experts if "router" in layer else mlp)(program, layer, inner)


def recomputed(program: Program, function: Callable[..., Array]) -> Callable[..., Array]:
    """Wrap a layer so that the backward pass keeps what the layout says."""
    remat, policies = program.layout.remat, jax.checkpoint_policies
    marked = policies.save_only_these_names("saved", "mixed", "between", "routed")
    if remat == "none":
        # Products but scores, and what was sent, are kept; the rest is recomputed, as fused
        # kernels do. To keep all would keep the gathered weights of all layers.
        matrices = policies.dots_with_no_batch_dims_saveable
        kept: Any = policies.save_from_both_policies(matrices, marked)
    elif remat == "selective":
        kept = policies.save_only_these_names("saved", "mixed", "between")
    elif remat == "offload" and program.can_offload:
        kept = policies.save_and_offload_only_these_names(
            names_which_can_be_saved=[],
            names_which_can_be_offloaded=["saved", "input"],
            offload_src="device",
            offload_dst="pinned_host",
        )
    else:
        kept = policies.nothing_saveable
    return jax.checkpoint(function, policy=kept, prevent_cse=False)


def run_layers(program: Program, stack: str, x: Array, layers: Params, positions: Array) -> Array:
    """Return x after equal layers; the leading dimension of the parameters counts them."""

    def layer(x: Array, one: Params) -> Array:
        x = named(x, "input")
        return one_layer(program, stack, x, one, positions)

    step = recomputed(program, layer)
    return jax.lax.scan(lambda carry, one: (step(carry, one), None), x, dict(layers))[0]


def run_blocks(
    program: Program,
    x: Array,
    stacks: dict[str, dict[str, Array]],
    positions: Array,
    first: Array | int = 0,
) -> Array:
    """Return x after the stack that a pipeline splits; blocks past the last one do nothing.

    Args:
        program: The program.
        x: (batch, seq, hidden).
        stacks: Parameters of the blocks, by stack.
        positions: (seq,).
        first: Number of the first block among all.
    """
    shape = stacks_of(program.job.model, program.layout)
    last = shape.blocks or shape.dense
    count = len(next(iter(stacks[shape.piped].values())))

    def body(x: Array, item: tuple[dict[str, dict[str, Array]], Array]) -> tuple[Array, None]:
        block, number = item
        y = x
        if "between" in block:
            y = run_layers(program, "between", y, block["between"], positions)
        own = {name: value[None] for name, value in block[shape.piped].items()}
        y = run_layers(program, shape.piped, y, own, positions)
        return (jnp.where(number < last, y, x) if shape.empty else y), None

    if "between" not in stacks and not shape.empty:
        return run_layers(program, shape.piped, x, stacks[shape.piped], positions)
    done: Array = jax.lax.scan(body, x, (stacks, first + jnp.arange(count)))[0]
    return done


def each(function: Callable[[Any], Array], x: Any) -> Array:
    """Return what a function makes of each micro-batch; one alone needs no loop."""
    if len(jax.tree.leaves(x)[0]) == 1:
        return function(jax.tree.map(lambda part: part[0], x))[None]
    done: Array = jax.lax.map(function, x)
    return done


def tied(params: Any, x: Array) -> tuple[Any, Array]:
    """Return parameters and x, bound to each other within a loop.

    JAX takes what depends on parameters alone out of a loop before it differentiates it: all
    layers would be gathered at once and kept.
    """
    return bound_to(params, x)


def run_model(program: Program, params: Params, x: Array, positions: Array) -> Array:
    """Return micro-batches x (steps, batch, seq, hidden) after all layers."""
    shape = stacks_of(program.job.model, program.layout)
    names = ["between", shape.piped] if shape.between else [shape.piped]
    piped = {name: select(params, name) for name in names}
    if shape.blocks and shape.dense:
        prefix = select(params, "dense")

        def before(one: Array) -> Array:
            layers, one = tied(prefix, one)
            return run_layers(program, "dense", one, layers, positions)

        x = each(before, x)
    if shape.stages == 1:
        return each(lambda one: run_blocks(program, one, piped, positions), x)
    for turn in range(shape.rounds):
        chunk = {name: {k: v[turn] for k, v in stack.items()} for name, stack in piped.items()}
        x = _through_stages(program, shape, x, chunk, positions, turn)
    return x


def _through_stages(
    program: Program, shape: Stacks, x: Array, chunk: dict[str, dict[str, Array]],
    positions: Array, turn: int,
) -> Array:  # fmt: skip
    """Pass micro-batches through the stages, one behind the other.

    Every stage computes at once what it holds; then all of it moves on by one stage.
    Source: Xu et al. (2021), "GSPMD", section 3.3.
    """
    stages = shape.stages
    firsts = (turn * stages + jnp.arange(stages)) * shape.per_stage
    axis = "pipeline" if program.mesh else None

    def stage(one: dict[str, dict[str, Array]], state: Array, first: Array) -> Array:
        return run_blocks(program, state, one, positions, first)

    all_stages = jax.vmap(stage, spmd_axis_name=axis)
    fed = jnp.concatenate([x, jnp.zeros((stages - 1, *x.shape[1:]), x.dtype)])
    fed = program.hold(fed, "all_residuals")

    def tick(state: Array, new: Array) -> tuple[Array, Array]:
        state = jnp.roll(state, 1, axis=0).at[0].set(new)
        layers, state = tied(chunk, program.hold(state, "stages"))
        state = program.hold(all_stages(layers, state, firsts), "stages")
        return state, state[-1]

    start = program.hold(jnp.zeros((stages, *x.shape[1:]), x.dtype), "stages")
    return program.hold(jax.lax.scan(tick, start, fed)[1][stages - 1 :], "all_residuals")
