"""torchtitan: a TOML job. Its expert ranks hold whole tensor and context groups.

Source of the names: keys.py (release 0.2). Without a pipeline, gradients are accumulated until
global_batch_size is reached; with one, local_batch_size is cut into micro-batches.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from typing import Any

from models.errors import ConfigError
from models.sharding.export.base import (
    Exported,
    Imported,
    differs,
    precision_notes,
    uneven_halves,
    whole,
)
from models.sharding.export.flags import flag_values, flat
from models.sharding.export.keys import name_of, refuse_misspelt
from models.sharding.export.text import refuse_long
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable, Remat

_NODE = 8
_LONGEST = 60
"""Characters of a word of the file that a message repeats."""
_LOOPED = "Interleaved1F1B"
_DEFAULT_CHUNKS = 2
"""Stages of a rank in a looped schedule where no layers per stage are named."""


class TorchTitan:
    """Exports training on GPUs to torchtitan."""

    name = "torchtitan"
    title = "torchtitan (TOML job)"

    def why_not(self, job: Job, layout: Layout) -> list[str]:
        """Return what torchtitan cannot express."""
        said = []
        if job.place.chip.kind != "gpu":
            said.append(
                f"torchtitan runs on GPUs, the chips are {job.place.chip.name}; export to maxtext"
            )
        if job.workload.stage in ("serve", "lora"):
            other = "vllm" if job.workload.stage == "serve" else "megatron"
            said.append(f"torchtitan trains whole models, not {job.workload.stage}; use {other}")
        if job.workload.compute not in ("bf16", "fp8"):
            said.append(f"torchtitan has no {job.workload.compute} here; compute in bf16 or fp8")
        if layout.zero and layout.data > 1:
            said.append(
                "torchtitan splits the optimizer only with the weights: zero=0, or fsdp in place "
                f"of data (fsdp={layout.data * layout.fsdp})"
            )
        if layout.fsdp_transpose > 1:
            shards = layout.fsdp * layout.fsdp_transpose
            said.append(f"torchtitan shards along one dimension: fsdp={shards}, fsdp_transpose=1")
        if reason := uneven_halves(job, layout):
            said.append(reason)
        if layout.remat == "offload":
            said.append("torchtitan offloads no activations; use remat full")
        group = layout.context * layout.tensor
        if layout.expert > 1 and (
            layout.expert % group or (layout.fsdp * group) % layout.expert
        ):  # fmt: skip
            said.append(
                f"torchtitan's expert ranks are whole tensor x context groups of {group} within "
                f"the {layout.fsdp * group} ranks of fsdp: expert={layout.expert} must be a "
                f"multiple of {group} that divides {layout.fsdp * group}"
            )
        if layout.interleave > 1 and _per_stage(job, layout) is None:
            said.append(
                f"no number of layers per stage cuts {job.model.layers} + 2 layers into pipeline "
                f"x interleave = {layout.pipeline * layout.interleave} stages"
            )
        return said

    def write(self, job: Job, layout: Layout) -> Exported:
        """Return the TOML file and the command."""
        work = job.workload
        steps = round(float(LayoutTable.of([layout]).micro_steps(job)[0]))
        is_piped = layout.pipeline > 1
        tables: dict[str, dict[str, Any]] = {
            "job": {"description": f"{job.model.name} on {job.place.text()}: {layout.text()}"},
            "model": _model(job),
            "training": {
                "local_batch_size": layout.micro_batch * (steps if is_piped else 1),
                "global_batch_size": work.global_batch,
                "seq_len": work.seq_len,
            },
            "parallelism": {
                "data_parallel_replicate_degree": layout.data,
                "data_parallel_shard_degree": layout.fsdp,
                "tensor_parallel_degree": layout.tensor,
                "context_parallel_degree": layout.context,
                "pipeline_parallel_degree": layout.pipeline,
            },
            "activation_checkpoint": {"mode": layout.remat},
        }
        if is_piped:
            pipe: dict[str, Any] = {"pipeline_parallel_microbatch_size": layout.micro_batch}
            pipe["pipeline_parallel_schedule"] = _LOOPED if layout.interleave > 1 else "1F1B"
            if layout.interleave > 1:
                pipe["pipeline_parallel_layers_per_stage"] = _per_stage(job, layout)
            tables["parallelism"] |= pipe
        if job.model.experts:
            tables["parallelism"]["expert_parallel_degree"] = layout.expert
            tables["parallelism"]["expert_tensor_parallel_degree"] = 1
        if layout.remat == "selective":
            tables["activation_checkpoint"]["selective_ac_option"] = "op"
        return Exported(
            self.name, {"torchtitan.toml": _toml(tables)}, _command(job), tuple(_notes(job, layout))
        )

    def read(self, text: str, job: Job) -> Imported:
        """Return the layout of a TOML job or of `--parallelism.key value` flags."""
        keys = _keys(text)
        refuse_misspelt("torchtitan", keys)
        tensor = whole(keys, "parallelism.tensor_parallel_degree", 1)
        context = whole(keys, "parallelism.context_parallel_degree", 1)
        pipeline = whole(keys, "parallelism.pipeline_parallel_degree", 1)
        shard_key = "parallelism.data_parallel_shard_degree"
        data = whole(keys, "parallelism.data_parallel_replicate_degree", 1)
        used = data * tensor * context * pipeline
        if str(keys.get(shard_key, -1)).strip() == "-1":
            if job.place.chips % used:
                raise ConfigError(
                    f"the degrees multiply to {used}, which does not divide {job.place.chips} "
                    "GPUs; choose degrees that do"
                )
            fsdp = job.place.chips // used
        else:
            fsdp = whole(keys, shard_key, 1)
        local = micro = whole(keys, "training.local_batch_size", 8)
        if pipeline > 1:
            micro = whole(keys, "parallelism.pipeline_parallel_microbatch_size", 1)
        at_once = total = local * data * fsdp
        if str(keys.get("training.global_batch_size", -1)).strip() != "-1":
            total = whole(keys, "training.global_batch_size", 1)
        notes = differs(job, whole(keys, "training.seq_len", 2048), total)
        if pipeline > 1 and total != at_once:
            notes.append(
                f"the batch is accumulated over {total / at_once:g} passes of the pipeline; it is "
                "judged as one"
            )
        remat, said = _remat(keys)
        if job.model.experts and whole(keys, "parallelism.expert_tensor_parallel_degree", 1) > 1:
            said.append("experts are split over tensor ranks too, which a layout cannot say")
        layout = Layout(
            data, fsdp, 1, tensor, context,
            whole(keys, "parallelism.expert_parallel_degree", 1), pipeline,
            _chunks(keys, job, pipeline), micro, 0, remat,
        )  # fmt: skip
        return Imported(self.name, layout, tuple(notes + said))


def _per_stage(job: Job, layout: Layout) -> int | None:
    """Return the layers of a stage that give the wanted stages; embedding and loss count one."""
    stages = layout.pipeline * layout.interleave
    layers = math.ceil((job.model.layers + 2) / stages)
    return layers if math.ceil((job.model.layers + 2) / layers) == stages else None


def _chunks(keys: Mapping[str, Any], job: Job, pipeline: int) -> int:
    schedule = str(keys.get("parallelism.pipeline_parallel_schedule", "1F1B"))
    if pipeline == 1 or schedule in ("1F1B", "GPipe"):
        return 1
    key = "parallelism.pipeline_parallel_layers_per_stage"
    if keys.get(key) is None:
        return _DEFAULT_CHUNKS
    stages = math.ceil((job.model.layers + 2) / whole(keys, key, 1))
    if stages % pipeline:
        raise ConfigError(
            f"{whole(keys, key, 1)} layers per stage make {stages} stages, which "
            f"pipeline_parallel_degree={pipeline} does not divide; choose another number"
        )
    return stages // pipeline


def _remat(keys: Mapping[str, Any]) -> tuple[Remat, list[str]]:
    mode = str(keys.get("activation_checkpoint.mode", "selective"))[:_LONGEST]
    if mode == "none":
        return "none", []
    if mode == "full":
        return "full", []
    if mode == "selective":
        return "selective", ["selective checkpointing was taken as recomputing the MLPs"]
    raise ConfigError(
        f"activation_checkpoint.mode '{mode}' is no policy here; use none, selective or full"
    )


def _model(job: Job) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    name = name_of("torchtitan", job.model)
    if name is not None:
        keys["name"], _, keys["flavor"] = name.partition("/")
    if job.workload.compute == "fp8":
        keys["converters"] = ["quantize.linear.float8"]
    return keys


def _command(job: Job) -> str | None:
    if name_of("torchtitan", job.model) is None:
        return None
    chips = job.place.chips
    nodes = f" --nnodes={chips // _NODE}" if chips > _NODE else ""
    return (
        f"torchrun --nproc_per_node={min(chips, _NODE)}{nodes} -m torchtitan.train "
        "--job.config_file torchtitan.toml"
    )


def _notes(job: Job, layout: Layout) -> list[str]:
    said = ["written for torchtitan 0.2; later releases take the same names in Python"]
    if name_of("torchtitan", job.model) is None:
        said.append(f"torchtitan has no {job.model.name} that we know: set model.name and flavor")
    if layout.zero:
        said.append("zero=1 has no replicas to split the optimizer over; it was left out")
    if layout.remat == "selective":
        said.append("torchtitan saves every other product; the layout recomputes the MLPs")
    if job.model.experts and layout.expert == 1 and layout.tensor > 1:
        said.append("torchtitan splits experts over tensor ranks: they take less than predicted")
    if job.workload.stage == "finetune":
        said.append("torchtitan pre-trains: bring a loader of instructions")
    return said + precision_notes(job)


def _keys(text: str) -> dict[str, Any]:
    try:
        loaded = flat(tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        # Also a number of 5,000 digits, which is no decode error.
        if "--" not in text:
            raise ConfigError(f"this is no TOML ({error}); give a torchtitan job") from None
        # Flags have dashes between words, groups have dots.
        loaded = {key.replace("-", "_"): value for key, value in flag_values(text).items()}
    refuse_long(loaded)
    if not any(key.startswith("parallelism.") for key in loaded):
        raise ConfigError("no [parallelism] table was found; give a torchtitan job in TOML")
    return loaded


def _toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return tables of numbers, words and lists of words as TOML."""

    def one(value: Any) -> str:
        if isinstance(value, list):
            return f"[{', '.join(one(part) for part in value)}]"
        return str(value) if isinstance(value, int) else '"' + _escaped(str(value)) + '"'

    parts = []
    for name, keys in tables.items():
        if keys:
            parts.append("\n".join([f"[{name}]", *(f"{k} = {one(v)}" for k, v in keys.items())]))
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"')
