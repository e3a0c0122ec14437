"""Random jobs and layouts that injected profiles are of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable, Remat, why_illegal
from models.sharding.memory import held_params, weight_groups
from models.sharding.specs import ModelSpec, Slice, Workload, find_model

DENSE = (
    "llama3.2-1b", "llama3.2-3b", "qwen2.5-7b", "llama3.1-8b", "gemma-7b", "qwen3-14b",
    "qwen2.5-32b", "gemma3-27b", "llama3.1-70b", "qwen2.5-72b", "gpt3-175b", "llama3.1-405b",
)  # fmt: skip
EXPERTS = (
    "mixtral-8x7b", "mixtral-8x22b", "qwen3-30b-a3b", "qwen3-235b-a22b", "gpt-oss-120b",
    "deepseek-v2-lite", "deepseek-v3",
)  # fmt: skip
SLICES = (
    "v4:4x4x4", "v5e:4x4", "v5e:16x16", "v5p:2x2x4", "v5p:4x4x4", "v5p:4x4x8", "v6e:8x8",
    "v6e:16x16", "tpu7x:4x4x4", "a100:16", "h100:8", "h100:64", "h100:256", "b200:32",
    "gb200:72", "gb300:144",
)  # fmt: skip
_TRIES = 200


def draw_job(
    random: np.random.Generator, is_training: bool, wants: frozenset[str] = frozenset()
) -> tuple[Job, Layout] | None:
    """Draw a job and a legal layout that roughly fits; None: none was found in 200 tries.

    Args:
        random: Source of the draw.
        is_training: Else serving.
        wants: Axes that must be larger than 1; `network`: several pods,
            where it is a torus; `gpu`: no torus.
    """
    for _ in range(_TRIES):
        names = EXPERTS if "expert" in wants or random.random() < 0.3 else DENSE
        model = find_model(str(random.choice(names)))
        slices = [one for one in SLICES if not wants & {"pipeline", "gpu"} or one[0] not in "vt"]
        text = str(random.choice(slices))
        is_tpu = text[0] in "vt"
        pods = int(random.choice([2, 4])) if is_tpu and is_training and (
            "network" in wants or random.random() < 0.1
        ) else 1  # fmt: skip
        place = Slice.parse(text, pods=pods)
        layout = _draw_axes(random, model, place, is_training)
        if layout is None or any(getattr(layout, axis, 2) == 1 for axis in wants):
            continue
        if layout.fsdp == 1 and is_tpu and is_training and layout.context * layout.expert > 1:
            # Weights are sharded over those alone: whose transfers they are is a matter of words.
            continue
        job = _fill(random, model, place, layout, is_training)
        if not why_illegal(layout, job) and needed_bytes(job, layout) < place.chip.hbm_bytes:
            return job, layout
    return None


def _draw_axes(
    random: np.random.Generator, model: ModelSpec, place: Slice, is_training: bool
) -> Layout | None:
    left = place.chips
    is_tpu = place.chip.kind == "tpu"

    def take(choices: tuple[int, ...]) -> int:
        nonlocal left
        fits = [one for one in choices if left % one == 0 and (one == 1 or left // one >= 1)]
        size = int(random.choice(fits))
        left //= size
        return size

    tensor = take((1, 1, 2, 4, 8) if is_training else (1, 2, 4, 8))
    pipeline = take((1, 1, 2, 4, 8)) if is_training and not is_tpu else 1
    context = take((1, 1, 1, 1, 2, 4)) if is_training else 1
    expert = 1
    if model.experts:
        choices = (1, 2, 4, 8, 16)
        if is_tpu:
            expert = take(choices)
        else:
            stage = place.chips // pipeline
            fits = [one for one in choices if stage % one == 0 and model.experts % one == 0]
            expert = int(random.choice(fits))
    data = take((1, 1, 2, 4, 8)) if is_training else left
    fsdp = left if is_training else 1
    remat: Remat = "none"
    if is_training:
        remat = ("none", "selective", "full")[int(random.integers(3))]
    micro = int(random.choice([1, 1, 2, 4, 8]))
    return Layout(
        data, fsdp, 1, tensor, context, expert, pipeline, 1, micro, int(random.integers(2)), remat
    )


def _fill(
    random: np.random.Generator, model: ModelSpec, place: Slice, layout: Layout, is_training: bool
) -> Job:
    """Choose lengths and a batch that the layout divides."""
    shards = layout.data * layout.fsdp * (layout.expert if place.chip.kind == "tpu" else 1)
    steps = int(random.choice([1, 2, 4, 8]))
    steps = max(steps, layout.pipeline * int(random.choice([1, 2, 4, 8])))
    if not is_training:
        return Job(
            model,
            Workload(
                stage="serve", seq_len=int(random.choice([256, 1024, 4096])),
                global_batch=shards * layout.micro_batch,
                output_len=int(random.choice([64, 256, 1024])),
            ),
            place,
        )  # fmt: skip
    length = int(random.choice([1024, 2048, 4096, 8192, 16384]))
    batch = shards * layout.micro_batch * (steps if layout.pipeline > 1 else min(steps, 4))
    return Job(model, Workload(seq_len=length, global_batch=batch), place)


def needed_bytes(job: Job, layout: Layout, memory_share: float = 1.0) -> float:
    """Return rough bytes per chip: state, what the backward pass keeps, logits.

    Args:
        job: Model, workload, slice.
        layout: How it is split.
        memory_share: What this site needs over what is counted here.
    """
    work, model = job.workload, job.model
    table = LayoutTable.of([layout])
    dense, routed = (float(one[0]) for one in held_params(table, job))
    dense_group, routed_group = (float(one[0]) for one in weight_groups(table, job))
    held = dense / dense_group + routed / routed_group
    tokens = layout.micro_batch * work.seq_len / layout.context
    if not work.is_training:
        length = work.seq_len + work.output_len
        cache = layout.micro_batch * length * model.cache_bytes_per_token()
        return held * work.weight_bytes + cache / min(layout.tensor, model.kv_heads)
    state = held * (work.grad_bytes + work.optimizer_bytes)
    visits = (model.experts_per_token + model.shared_experts) * model.expert_ffn
    wide = visits if model.experts else model.ffn
    # In bf16: the residual stream at both norms and the block's output, queries and the weighted
    # values, keys and values; the MLP's input and every inner width.
    queries = 2 * model.heads * model.head_dim + 2 * model.kv_heads * model.head_dim
    attention = 2.0 * (3 * model.hidden + queries)
    mlp = 2.0 * (model.hidden + model.mlp_matrices * wide)
    saved = {"none": attention + mlp, "selective": attention, "full": 2.0 * model.hidden,
             "offload": 0.0}[layout.remat]  # fmt: skip
    activations = tokens * model.layers * saved / layout.tensor
    logits = tokens * model.vocab * 4.0 / layout.tensor
    return (state + activations + logits) * memory_share + 1e9


def fitting(job: Job, layout: Layout, memory_share: float) -> dict[str, bool]:
    """Return for each policy of recomputation whether it fits."""
    remats: tuple[Remat, ...] = ("none", "selective", "full")
    capacity = job.place.chip.hbm_bytes
    return {
        one: needed_bytes(job, replace(layout, remat=one), memory_share) < capacity
        for one in remats
    }
