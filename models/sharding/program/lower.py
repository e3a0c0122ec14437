"""Lower the step of a job from shapes alone: no array is made."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.stages import Lowered

from models.sharding.export.jax_mesh import Spec, fit
from models.sharding.program.layers import Program
from models.sharding.program.serve import (
    Cache,
    cache_shape,
    decode,
    prefill,
    prompts_at_once,
)
from models.sharding.program.tensors import parameters
from models.sharding.program.train import (
    batch_shape,
    data_sharding,
    state_of,
    state_sharding,
    train_step,
)
from models.sharding.program.typed import shape_of

Phase = Literal["train", "prefill", "decode"]


def lower(program: Program, phase: Phase) -> Lowered:
    """Return the lowered step of a program; what it keeps is donated.

    Args:
        program: On a mesh.
        phase: A train step, or one of serving.
    """
    if phase == "train":
        return _lower_train(program)
    job, layout, spec = program.job, program.layout, program.spec
    weights = {
        name: shape_of(one.shape, _weight_dtype(job.workload.weight_bytes), rest)
        for name, one in parameters(job, layout).items()
        for rest in [program.sharding(spec.params[name])]
    }
    if phase == "prefill":
        shape = (prompts_at_once(job, layout), job.workload.seq_len)
        tokens = shape_of(shape, jnp.int32, _laid(program, shape, "prompt"))
        return jax.jit(lambda *given: prefill(program, *given)).lower(weights, tokens)
    batch = job.workload.global_batch
    held = cache_shape(job, layout, batch)
    kind = "latents" if job.model.kv_lora else "cache"
    part = shape_of(held, program.dtype, _laid(program, held, kind))
    cache = Cache(part, None if job.model.kv_lora else part)
    tokens = shape_of((batch,), jnp.int32, _laid(program, (batch,), "sequences"))
    position = shape_of((), jnp.int32, program.sharding(()))
    kept = jax.tree.map(lambda x: x.sharding, cache)
    return jax.jit(
        lambda *given: decode(program, *given), donate_argnums=1, out_shardings=(None, kept)
    ).lower(weights, cache, tokens, position)


def _lower_train(program: Program) -> Lowered:
    job, layout = program.job, program.layout
    shapes = {
        name: shape_of(one.shape, jnp.float32) for name, one in parameters(job, layout).items()
    }
    state = jax.eval_shape(lambda params: state_of(job, params), shapes)
    rest = state_sharding(program, state)
    state = jax.tree.map(lambda x, s: shape_of(x.shape, x.dtype, s), state, rest)
    shape = batch_shape(job, layout)
    tokens = shape_of(shape, jnp.int32, data_sharding(program, shape))
    step = jax.jit(
        lambda *given: train_step(program, *given), donate_argnums=0, out_shardings=(rest, None)
    )
    return step.lower(state, tokens, tokens)


def _laid(program: Program, shape: tuple[int, ...], kind: str) -> Any:
    batch = program.spec.activations["tokens"][1]
    named: dict[str, Spec] = {"prompt": (batch, ()), "sequences": (batch,)}
    wants = named.get(kind) or program.spec.activations[kind]
    return program.sharding(fit(shape, wants, dict(program.spec.axes), len(shape))[0])


def _weight_dtype(weight_bytes: float) -> Any:
    """Return the format in which served weights rest; one byte is the least we have."""
    if weight_bytes > 2:
        return jnp.float32
    return jnp.bfloat16 if weight_bytes > 1 else jnp.float8_e4m3fn
