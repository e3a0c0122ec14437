"""Megatron-Bridge: overrides of a recipe's ConfigContainer, one `group.key=value` a line.

Source of the names: keys.py. Replicas are plain DDP; with `zero` the distributed optimizer;
weight shards are Megatron-FSDP (optim_grads_params), several of them hybrid, `zero` the outer
sharding of the optimizer. Experts take ranks of the other axes, their matrices are not split.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from models.errors import ConfigError
from models.sharding.export.base import (
    Exported,
    Imported,
    differs,
    is_on,
    precision_notes,
    uneven_halves,
    whole,
)
from models.sharding.export.flags import flag_values, flat
from models.sharding.export.keys import known_keys, name_of, refuse_misspelt
from models.sharding.export.megatron_stages import interleave, pipeline_split
from models.sharding.export.text import load_yaml
from models.sharding.job import Job
from models.sharding.layout import Layout, Remat

_PRECISION = {
    "bf16": "bf16_mixed",
    "fp8": "bf16_with_fp8_current_scaling_mixed",
    "fp4": "bf16_with_nvfp4_mixed",
}
_TASK = {"pretrain": "pretrain", "finetune": "sft", "lora": "peft"}
_LONGEST = 60
"""Characters of a word of the file that a message repeats."""
_NODE = 8
"""GPUs of a server, where the NVLink domain is no larger."""


class MegatronBridge:
    """Exports training on GPUs to Megatron-Bridge."""

    name = "megatron"
    title = "Megatron-Bridge (overrides of a recipe)"

    def why_not(self, job: Job, layout: Layout) -> list[str]:
        """Return what Megatron-Bridge cannot express."""
        said = []
        if job.place.chip.kind != "gpu":
            said.append(
                f"Megatron-Bridge runs on GPUs, the chips are {job.place.chip.name}; export to "
                "maxtext"
            )
        if not job.workload.is_training:
            said.append("Megatron-Bridge trains, the stage is serve; export to vllm")
        if job.workload.compute not in _PRECISION:
            said.append(
                f"Megatron-Bridge has no {job.workload.compute} training; compute in bf16, fp8 "
                "or fp4"
            )
        if layout.fsdp_transpose > 1:
            shards = layout.fsdp * layout.fsdp_transpose
            said.append(f"Megatron shards along one dimension: fsdp={shards}, fsdp_transpose=1")
        if reason := uneven_halves(job, layout):
            said.append(reason)
        if layout.remat == "offload":
            said.append("Megatron recomputes by name but offloads by hand; use remat full")
        return said

    def write(self, job: Job, layout: Layout) -> Exported:
        """Return the overrides and the command."""
        work = job.workload
        keys: dict[str, Any] = {
            "model.tensor_model_parallel_size": layout.tensor,
            "model.sequence_parallel": layout.tensor > 1,
            "model.context_parallel_size": layout.context,
            "model.pipeline_model_parallel_size": layout.pipeline,
            "model.virtual_pipeline_model_parallel_size": (
                layout.interleave if layout.interleave > 1 else None
            ),
        }
        keys |= pipeline_split(job.model.layers, layout.pipeline * layout.interleave)
        if job.model.experts:
            keys["model.expert_model_parallel_size"] = layout.expert
            keys["model.expert_tensor_parallel_size"] = 1
        keys |= {
            "model.seq_length": work.seq_len,
            "dataset.seq_length": work.seq_len,
            "train.global_batch_size": work.global_batch,
            "train.micro_batch_size": layout.micro_batch,
        }
        keys |= _recompute(job, layout) | _sharding(job, layout)
        keys["mixed_precision"] = _PRECISION[work.compute]
        lines = [f"{key}={_text(value)}" for key, value in keys.items()]
        return Exported(
            self.name,
            {"megatron.overrides": "\n".join([*lines, ""])},
            _command(job),
            tuple(_notes(job, layout)),
        )

    def read(self, text: str, job: Job) -> Imported:
        """Return the layout of overrides, of YAML, or of Megatron-LM's flags."""
        keys = _keys(text)
        refuse_misspelt("megatron", keys)
        tensor = whole(keys, "model.tensor_model_parallel_size", 1)
        pipeline = whole(keys, "model.pipeline_model_parallel_size", 1)
        context = whole(keys, "model.context_parallel_size", 1)
        used = tensor * pipeline * context
        if job.place.chips % used:
            raise ConfigError(
                f"tensor x pipeline x context = {used} does not divide the {job.place.chips} "
                "GPUs; choose sizes that do"
            )
        ranks = job.place.chips // used
        data, fsdp, zero = _replicas(keys, ranks)
        notes = differs(
            job,
            whole(keys, "model.seq_length", job.workload.seq_len),
            whole(keys, "train.global_batch_size", job.workload.global_batch),
        )
        remat, said = _remat(keys)
        expert = whole(keys, "model.expert_model_parallel_size", 1)
        if job.model.experts and whole(keys, "model.expert_tensor_parallel_size", tensor) > 1:
            notes.append(
                "the matrices of experts are split over tensor ranks too, which a layout cannot "
                "say: their memory is judged too high; set expert_tensor_parallel_size=1 to match"
            )
        layout = Layout(
            data, fsdp, 1, tensor, context, expert, pipeline,
            interleave(keys, pipeline), whole(keys, "train.micro_batch_size", 1), zero, remat,
        )  # fmt: skip
        return Imported(self.name, layout, tuple(notes + said))


def _recompute(job: Job, layout: Layout) -> dict[str, Any]:
    """Return how activations are recomputed; what a recipe says otherwise is taken back."""
    mlps = ["moe"] if job.model.experts else ["mlp"]
    if job.model.experts and job.model.moe_layers < job.model.layers:
        mlps.append("mlp")
    is_full = layout.remat == "full"
    keys: dict[str, Any] = {
        "model.recompute_granularity": None if layout.remat == "none" else layout.remat,
        "model.recompute_method": "uniform" if is_full else None,
        "model.recompute_num_layers": 1 if is_full else None,
    }
    return keys | ({"model.recompute_modules": mlps} if layout.remat == "selective" else {})


def _sharding(job: Job, layout: Layout) -> dict[str, Any]:
    is_split = layout.fsdp > 1
    keys: dict[str, Any] = {
        "ddp.use_distributed_optimizer": is_split or layout.zero > 0,
        "optimizer.use_distributed_optimizer": is_split or layout.zero > 0,
        "ddp.overlap_grad_reduce": True,
        "ddp.overlap_param_gather": is_split or layout.zero > 0,
        "ddp.grad_reduce_in_fp32": job.workload.grad_bytes >= 4,
        "ddp.use_megatron_fsdp": is_split,
        "dist.use_megatron_fsdp": is_split,
    }
    if is_split:
        keys |= {
            "ddp.data_parallel_sharding_strategy": "optim_grads_params",
            "ddp.num_distributed_optimizer_instances": layout.data,
            "ddp.outer_dp_sharding_strategy": "optim" if layout.zero else "no_shard",
            "checkpoint.ckpt_format": "fsdp_dtensor",
        }
    return keys


def _text(value: Any) -> str:
    """Return a value as Hydra's overrides write it."""
    if isinstance(value, list):
        return f"[{','.join(value)}]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _command(job: Job) -> str | None:
    recipe = name_of("megatron", job.model)
    if recipe is None:
        return None
    chips = job.place.chips
    a_node = min(chips, _NODE if job.place.chip.domain >= _NODE else job.place.chip.domain)
    nodes = f" --nnodes={chips // a_node}" if chips > a_node else ""
    return (
        f"torchrun --nproc_per_node={a_node}{nodes} scripts/training/run_recipe.py "
        f"--recipe {recipe}_{_TASK[job.workload.stage]}_config $(cat megatron.overrides)"
    )


def _notes(job: Job, layout: Layout) -> list[str]:
    said = []
    if name_of("megatron", job.model) is None:
        said.append(
            f"no recipe of Megatron-Bridge is known for {job.model.name}: give its own "
            "configuration these overrides"
        )
    else:
        said.append("the recipe decides the data and the optimizer; give rendezvous flags per node")
    if "model.pipeline_model_parallel_layout" in pipeline_split(
        job.model.layers, layout.pipeline * layout.interleave
    ):
        said.append(
            "the layers are dealt out by hand: without multi-token prediction "
            "(model.mtp_num_layers=null), or add its layers before L"
        )
    if layout.zero and layout.data == 1:
        said.append("zero=1 has no replicas to split the optimizer over; it changes nothing")
    if layout.tensor > 1:
        said.append("comm_overlap.tp_comm_overlap=true hides tensor collectives where it is built")
    if job.workload.stage == "lora":
        said.append("the adapters are not part of a layout: the recipe sets their rank")
    return said + precision_notes(job)


def _keys(text: str) -> dict[str, Any]:
    """Return the keys of a text as overrides write them."""
    if re.search(r"^\s*(model|train|ddp)\s*:", text, re.MULTILINE):
        try:
            loaded = load_yaml(text)
        except (yaml.YAMLError, RecursionError) as error:
            raise ConfigError(f"this Megatron-Bridge YAML cannot be read: {error}") from None
        if isinstance(loaded, dict):
            return flat({str(key): value for key, value in loaded.items()})
    groups = {key.rpartition(".")[2]: key for key in sorted(known_keys("megatron"))}
    # In two groups: the one that the layout is read from.
    groups |= {"seq_length": "model.seq_length"}
    groups |= {"use_distributed_optimizer": "ddp.use_distributed_optimizer"}
    groups |= {"use_megatron_fsdp": "ddp.use_megatron_fsdp"}
    short = {"tp": "tensor-model-parallel-size", "pp": "pipeline-model-parallel-size",
             "cp": "context-parallel-size", "vp": "virtual-pipeline-model-parallel-size",
             "ep": "expert-model-parallel-size", "et": "expert-tensor-parallel-size",
             "mb": "micro-batch-size", "gb": "global-batch-size", "sl": "seq-length"}  # fmt: skip
    found: dict[str, Any] = {}
    for key, value in flag_values(text, short).items():
        plain = key.replace("-", "_")
        found[key if "." in key else groups.get(plain, plain)] = value
    if not any(key in known_keys("megatron") for key in found):
        raise ConfigError(
            "no Megatron key was found; give overrides such as "
            "model.tensor_model_parallel_size=4, or --tensor-model-parallel-size 4"
        )
    return found


def _replicas(keys: Mapping[str, Any], ranks: int) -> tuple[int, int, int]:
    """Return replicas, weight shards and whether the optimizer is split over the replicas."""
    if not is_on(keys, "ddp.use_megatron_fsdp"):
        is_split = is_on(keys, "ddp.use_distributed_optimizer") and ranks > 1
        return ranks, 1, int(is_split)
    strategy = str(keys.get("ddp.data_parallel_sharding_strategy", "no_shard"))[:_LONGEST]
    if strategy == "no_shard":
        return ranks, 1, 0
    if strategy == "optim":
        return ranks, 1, int(ranks > 1)
    if strategy != "optim_grads_params":
        raise ConfigError(
            f"data_parallel_sharding_strategy '{strategy}' is no layout here; use no_shard, optim "
            "or optim_grads_params"
        )
    outer = whole(keys, "ddp.num_distributed_optimizer_instances", 1)
    if ranks % outer:
        raise ConfigError(
            f"num_distributed_optimizer_instances={outer} does not divide the {ranks} data ranks; "
            "choose a divisor"
        )
    is_split = keys.get("ddp.outer_dp_sharding_strategy") == "optim" and outer > 1
    return outer, ranks // outer, int(is_split)


def _remat(keys: Mapping[str, Any]) -> tuple[Remat, list[str]]:
    granularity = str(keys.get("model.recompute_granularity") or "none").lower()[:_LONGEST]
    if granularity in ("none", "null"):
        return "none", []
    if granularity == "selective":
        modules = re.findall(r"[a-z_]+", str(keys.get("model.recompute_modules", "core_attn")))
        is_ours = bool(modules) and set(modules) <= {"mlp", "moe"}
        return "selective", [] if is_ours else [
            f"selective recomputation of {', '.join(modules)} was taken as that of the MLPs"
        ]
    if granularity != "full":
        raise ConfigError(f"recompute_granularity '{granularity}' is neither selective nor full")
    layers = whole(keys, "model.recompute_num_layers", 1)
    is_every = str(keys.get("model.recompute_method", "uniform")) == "uniform" and layers == 1
    return "full", [] if is_every else [
        f"recomputing {layers} layers by '{keys.get('model.recompute_method')}' was taken as every "
        "layer"
    ]
