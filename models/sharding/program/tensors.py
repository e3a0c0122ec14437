"""Every array of a job: its shape, and which shards want which of its dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.program.spread import stacks_of
from models.sharding.specs import ModelSpec

Part = Literal[
    "stage", "weights", "transpose", "tensor", "vocab", "experts",
    "routed", "routed_transpose", "routed_tensor",
]  # fmt: skip
"""What splits a parameter. `weights`, `transpose`: gathered before use, along the first and the
second dimension; `routed...`: the same for the matrices of experts."""
Want = tuple[Part, ...]

ADAPTER_RANK = 16
_TRAINED_BESIDE = ("q", "k", "v", "o", "q_a", "q_b", "kv_a", "up", "gate", "down")


@dataclass(frozen=True)
class Tensor:
    """A parameter of the program."""

    shape: tuple[int, ...]
    wants: tuple[Want, ...]
    """Per dimension what should split it, outermost first."""
    leading: int = 0
    """Dimensions in front that count layers, rounds or stages."""
    fill: float | None = None
    """Value at the start; None: normally distributed."""

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


_IN: Want = ("weights",)
_OUT: Want = ("tensor", "transpose")


def _matrix(rows: int, columns: int, first: Want = _IN, second: Want = _OUT) -> Tensor:
    return Tensor((rows, columns), (first, second))


def _vector(size: int, fill: float, want: Want = ()) -> Tensor:
    return Tensor((size,), (want,), fill=fill)


def _attention(model: ModelSpec) -> dict[str, Tensor]:
    h, n, d, kv = model.hidden, model.heads, model.head_dim, model.kv_heads
    found = {"norm_attention": _vector(h, 1.0)}
    if model.kv_lora:
        wide, rank = d + model.rope_dim, model.kv_lora
        if model.q_lora:
            found["q_a"] = _matrix(h, model.q_lora, second=("transpose",))
            found["q_a_norm"] = _vector(model.q_lora, 1.0)
            found["q_b"] = _matrix(model.q_lora, n * wide)
        else:
            found["q"] = _matrix(h, n * wide)
        found["kv_a"] = _matrix(h, rank + model.rope_dim, second=("transpose",))
        found["kv_a_norm"] = _vector(rank, 1.0)
        found["kv_b"] = _matrix(rank, n * (d + model.v_dim))
        found["o"] = _matrix(n * model.v_dim, h, _OUT, _IN)
        return found
    found |= {"q": _matrix(h, n * d), "k": _matrix(h, kv * d), "v": _matrix(h, kv * d)}
    found["o"] = _matrix(n * d, h, _OUT, _IN)
    if model.qkv_bias:
        found |= {"q_bias": _vector(n * d, 0.0, ("tensor",))}
        found |= {f"{name}_bias": _vector(kv * d, 0.0, ("tensor",)) for name in ("k", "v")}
    if model.o_bias:
        found |= {"o_bias": _vector(h, 0.0), "sinks": _vector(n, 0.0)}
    if model.qk_norm:
        found |= {"q_norm": _vector(d, 1.0), "k_norm": _vector(d, 1.0)}
    return found


def _mlp(model: ModelSpec, width: int, name: str = "") -> dict[str, Tensor]:
    found = {f"{name}up": _matrix(model.hidden, width)}
    if model.mlp_matrices == 3:
        found[f"{name}gate"] = _matrix(model.hidden, width)
    found[f"{name}down"] = _matrix(width, model.hidden, _OUT, _IN)
    return found


def _experts(model: ModelSpec) -> dict[str, Tensor]:
    e, h, f = model.experts, model.hidden, model.expert_ffn
    wide: Want = ("routed_tensor", "routed_transpose")
    found = {"router": _matrix(h, e, second=())}
    if model.o_bias:
        found["router_bias"] = _vector(e, 0.0)
    if model.q_lora:
        found["router_correction"] = _vector(e, 0.0)
    for name in ("up", "gate")[: model.mlp_matrices - 1]:
        found[f"expert_{name}"] = Tensor((e, h, f), (("experts",), ("routed",), wide))
        if model.expert_bias:
            found[f"expert_{name}_bias"] = Tensor((e, f), (("experts",), ()), fill=0.0)
    found["expert_down"] = Tensor((e, f, h), (("experts",), wide, ("routed",)))
    if model.expert_bias:
        found["expert_down_bias"] = Tensor((e, h), (("experts",), ()), fill=0.0)
    if model.shared_experts:
        found |= _mlp(model, model.shared_experts * f, "shared_")
    return found


def _layer(model: ModelSpec, has_experts: bool) -> dict[str, Tensor]:
    found = _attention(model) | {"norm_mlp": _vector(model.hidden, 1.0)}
    if model.family == "gemma3":
        found |= {f"norm_after_{part}": _vector(model.hidden, 1.0) for part in ("attention", "mlp")}
    return found | (_experts(model) if has_experts else _mlp(model, model.ffn))


def _with_adapters(layer: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put two thin matrices beside each matrix that every token meets."""
    found = dict(layer)
    for name, one in layer.items():
        if name.removeprefix("shared_") in _TRAINED_BESIDE:
            rows, columns = one.shape
            found[f"{name}_lora_in"] = _matrix(rows, ADAPTER_RANK, one.wants[0], ())
            found[f"{name}_lora_out"] = Tensor(
                (ADAPTER_RANK, columns), ((), one.wants[1]), fill=0.0
            )
    return found


def parameters(job: Job, layout: Layout) -> dict[str, Tensor]:
    """Return the parameters by name: `embed`, `norm`, `head`, and `<stack>/<matrix>`.

    Stacks are `dense`, `moe` and, where layers alternate, `between`; their arrays have leading
    dimensions that count layers. Without adapters and empty blocks their sizes add up to
    `ModelSpec.params`.
    """
    model = job.model
    stacks = stacks_of(model, layout)
    found = {
        "embed": Tensor((model.vocab, model.hidden), (("vocab",), _IN)),
        "norm": _vector(model.hidden, 1.0),
    }
    if not model.is_tied:
        found["head"] = Tensor((model.hidden, model.vocab), (_IN, ("vocab", "transpose")))
    layers = {
        "dense": stacks.dense,
        "moe": stacks.blocks,
        "between": stacks.blocks * stacks.between,
    }
    for stack, count in layers.items():
        if not count:
            continue
        lead = stacks.lead(stack)
        is_piped = len(lead) > 2
        front: tuple[Want, ...] = ((), ("stage",), ()) if is_piped else ((),)
        front += ((),) * (len(lead) - len(front))
        layer = _layer(model, stack == "moe")
        if job.workload.stage == "lora":
            layer = _with_adapters(layer)
        for name, one in layer.items():
            # What stays outside the pipeline rests in shards over its stages too.
            wants = one.wants if is_piped else _resting(one.wants)
            found[f"{stack}/{name}"] = Tensor(lead + one.shape, front + wants, len(lead), one.fill)
    return found


def _resting(wants: tuple[Want, ...]) -> tuple[Want, ...]:
    places = {"weights", "routed"}
    return tuple((*want, "stage") if places & set(want) else want for want in wants)


def is_adapter(name: str) -> bool:
    """Whether a parameter is part of an adapter."""
    return name.endswith(("_lora_in", "_lora_out"))
