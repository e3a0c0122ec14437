"""One optimizer step: loss, gradients summed over micro-batches, Adam."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from models.sharding.export.jax_mesh import fit
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable
from models.sharding.program.layers import Params, Program, norm
from models.sharding.program.stack import each, run_model
from models.sharding.program.tensors import is_adapter
from models.sharding.program.typed import constrain

_RATE, _BETA1, _BETA2, _SMALL = 1e-3, 0.9, 0.95, 1e-8


class State(NamedTuple):
    """What rests between steps: parameters and, of those that are trained, Adam's moments."""

    params: dict[str, Array]
    first: dict[str, Array]
    second: dict[str, Array]
    step: Array


class Formats(NamedTuple):
    """Number formats of the state."""

    params: Any
    moments: Any
    gradients: Any
    frozen: Any
    is_exact: bool
    """Whether they add up to the bytes of the workload."""


def formats_of(job: Job) -> Formats:
    """Return the number formats that come nearest to the bytes of a workload."""
    work = job.workload
    sums = {12.0: (4, 4), 10.0: (2, 4), 8.0: (4, 2), 6.0: (2, 2)}
    nearest = min(sums, key=lambda bytes_: abs(bytes_ - work.optimizer_bytes))
    by_size = {2: jnp.bfloat16, 4: jnp.float32}
    params, moments = (by_size[size] for size in sums[nearest])
    gradients = jnp.bfloat16 if 0 < work.grad_bytes <= 2 else jnp.float32
    frozen = jnp.float32 if work.weight_bytes > 2 else jnp.bfloat16
    is_exact = nearest == work.optimizer_bytes and work.grad_bytes in (2, 4)
    return Formats(params, moments, gradients, frozen, is_exact)


def batch_shape(job: Job, layout: Layout) -> tuple[int, int, int]:
    """Return (micro-batches, sequences of one over all shards, tokens) of a step."""
    shards = int(LayoutTable.of([layout]).batch_shards(job)[0])
    one = shards * layout.micro_batch
    return job.workload.global_batch // one, one, job.workload.seq_len


def embed(program: Program, params: Params, tokens: Array) -> Array:
    """Return the vectors of tokens (batch, seq)."""
    table = program.gather_one("embed", params["embed"])
    x = jnp.take(table, tokens, axis=0)
    is_decoded = tokens.shape[1] == 1 and not program.job.workload.is_training
    return program.hold(x, "one_token" if is_decoded else "residual")


def logits_of(program: Program, params: Params, x: Array) -> Array:
    """Return the logits of x (batch, seq, hidden) in float32."""
    x = norm(x, program.gather_one("norm", params["norm"]))
    if "head" in params:
        head = program.gather_one("head", params["head"])
    else:
        head = program.gather_one("embed", params["embed"]).T
    return program.hold((x @ head).astype(jnp.float32), "logits")


def loss_of(program: Program, params: Params, tokens: Array, targets: Array) -> Array:
    """Return the mean cross entropy of micro-batches (steps, batch, seq)."""
    x = each(lambda one: embed(program, params, one), tokens)
    x = run_model(program, params, x, jnp.arange(tokens.shape[2]))

    @jax.checkpoint
    def one(pair: tuple[Array, Array]) -> Array:
        logits = logits_of(program, params, pair[0])
        # The target's logit by a masked sum: a gather would collect the shards of the vocabulary.
        hit = jnp.arange(logits.shape[-1]) == pair[1][..., None]
        found = jnp.where(hit, logits, 0.0).sum(axis=-1)
        return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - found)

    return jnp.mean(each(one, (x, targets)))


def _gradients(
    program: Program, trained: Params, frozen: Params, tokens: Array, targets: Array
) -> tuple[Array, dict[str, Array]]:
    """Return the loss and its gradients; a pipeline takes all micro-batches at once."""
    formats = formats_of(program.job)

    def loss(some: dict[str, Array], one: Array, target: Array) -> Array:
        laid = {name: _lay(program, name, x) for name, x in {**frozen, **some}.items()}
        return loss_of(program, laid, one, target)

    def lay(grads: dict[str, Array]) -> dict[str, Array]:
        cast = {name: g.astype(formats.gradients) for name, g in grads.items()}
        return {name: _rest(program, name, g) for name, g in cast.items()}

    steps = tokens.shape[0]
    if steps == 1 or program.layout.pipeline > 1:
        value, grads = jax.value_and_grad(loss)(dict(trained), tokens, targets)
        return value, lay(grads)

    def add(carry: tuple[Array, Any], pair: tuple[Array, Array]) -> tuple[Any, None]:
        value, grads = jax.value_and_grad(loss)(dict(trained), pair[0][None], pair[1][None])
        summed = {name: carry[1][name] + g for name, g in lay(grads).items()}
        return (carry[0] + value, summed), None

    none = lay({name: jnp.zeros_like(x) for name, x in trained.items()})
    (value, grads), _ = jax.lax.scan(add, (jnp.zeros(()), none), (tokens, targets))
    return value / steps, {name: g / steps for name, g in grads.items()}


def _rest(program: Program, name: str, x: Array) -> Array:
    return constrain(x, program.sharding(program.spec.params[name]))


def _ready(program: Program, params: Params) -> dict[str, Array]:
    """Return what a step multiplies: where the state is split over replicas, gathered once."""
    if not program.layout.zero:
        return dict(params)
    return {name: _lay(program, name, x.astype(program.dtype)) for name, x in params.items()}


def _lay(program: Program, name: str, x: Array) -> Array:
    """Lay a whole parameter, and so its gradient: else XLA sums layers in an unsplit array."""
    return constrain(x, program.sharding(program.spec.weights[name]))


def train_step(
    program: Program, state: State, tokens: Array, targets: Array
) -> tuple[State, Array]:
    """Return the state after one step of Adam, and the loss.

    Args:
        program: Job, layout and mesh.
        state: Parameters and moments.
        tokens: (micro-batches, sequences, tokens); see `batch_shape`.
        targets: The token that follows each.
    """
    ready = _ready(program, state.params)
    trained = {name: ready[name] for name in state.first}
    frozen = {name: x for name, x in ready.items() if name not in state.first}
    loss, grads = _gradients(program, trained, frozen, tokens, targets)
    step = state.step + 1
    rate = _RATE * jnp.sqrt(1 - _BETA2**step) / (1 - _BETA1**step)
    params, first, second = dict(state.params), {}, {}
    for name, g in grads.items():
        g = g.astype(jnp.float32)
        m = _BETA1 * state.first[name].astype(jnp.float32) + (1 - _BETA1) * g
        v = _BETA2 * state.second[name].astype(jnp.float32) + (1 - _BETA2) * g * g
        old = params[name]
        new = old.astype(jnp.float32) - rate * m / (jnp.sqrt(v) + _SMALL)
        params[name] = new.astype(old.dtype)
        first[name] = m.astype(state.first[name].dtype)
        second[name] = v.astype(state.second[name].dtype)
    return State(params, first, second, step), loss


def state_of(job: Job, params: Params) -> State:
    """Return the state that parameters start with; frozen ones beside adapters have no moments."""
    formats, is_lora = formats_of(job), job.workload.stage == "lora"
    trained = [name for name in params if is_adapter(name) or not is_lora]
    chosen = {
        name: x.astype(formats.params if name in trained else formats.frozen)
        for name, x in params.items()
    }
    zeros = {name: jnp.zeros(params[name].shape, formats.moments) for name in trained}
    return State(chosen, zeros, dict(zeros), jnp.zeros((), jnp.int32))


def data_sharding(program: Program, shape: tuple[int, ...]) -> Any:
    """Return the sharding of tokens and targets."""
    spec = fit(shape, program.spec.activations["tokens"], dict(program.spec.axes), len(shape))[0]
    return program.sharding(spec)


def state_sharding(program: Program, state: State) -> State:
    """Return how a state rests: moments like their parameters, the counter on every device."""
    rest = {name: program.sharding(spec) for name, spec in program.spec.params.items()}
    one: Any = program.sharding(())
    moments: Any = {name: rest[name] for name in state.first}
    return State({name: rest[name] for name in state.params}, moments, moments, one)  # type: ignore[misc]
