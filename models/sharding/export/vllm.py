"""vLLM: flags of `vllm serve` for serving layouts.

Source: the flags' names, keys.py; with experts, "data parallel deployment" in vLLM's documentation:
expert ranks are all ranks of a server (tensor x data), and without them the experts' matrices are
split over the same ranks. Replicas with experts of their own are servers of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from models.errors import ConfigError
from models.sharding.export.base import Exported, Imported, is_on, whole
from models.sharding.export.flags import flag_values
from models.sharding.export.keys import known_keys, name_of, refuse_misspelt
from models.sharding.export.text import load_yaml
from models.sharding.job import Job
from models.sharding.layout import Layout

_SHORT = {
    "tp": "tensor-parallel-size", "pp": "pipeline-parallel-size", "dp": "data-parallel-size",
    "ep": "enable-expert-parallel", "q": "quantization",
}  # fmt: skip
_MEMORY_SHARE = "0.9"
"""Share of a chip's memory that vLLM takes; its own default."""


class Vllm:
    """Exports serving to vLLM."""

    name = "vllm"
    title = "vLLM (flags of `vllm serve`)"

    def why_not(self, job: Job, layout: Layout) -> list[str]:
        """Return what vLLM cannot express."""
        said = []
        if job.workload.is_training:
            trainer = "maxtext" if job.place.chip.kind == "tpu" else "megatron or torchtitan"
            said.append(f"vLLM serves, the stage is {job.workload.stage}; export to {trainer}")
        if layout.zero:
            said.append("serving has no optimizer to split: use zero=0")
        if layout.remat != "none":
            said.append("serving recomputes nothing: use remat none")
        shards = layout.fsdp * layout.fsdp_transpose * layout.context
        if shards > 1:
            said.append(
                "vLLM gathers no weights and splits no prompts: use fsdp=1, context=1 and "
                f"{shards} times the data or tensor shards"
            )
        if job.place.chip.kind == "tpu" and layout.expert > 1:
            said.append("vLLM has no expert axis beside tensor on TPUs: use expert=1")
        if job.place.chip.kind == "tpu" and job.place.chip.devices_per_chip > 1:
            said.append(
                f"{job.place.chip.name} shows two devices per chip, which tensor shards of a "
                "layout do not count; serve on v5e, v5p or v6e"
            )
        ranks = {1, layout.tensor, layout.tensor * layout.data}
        if job.place.chip.kind == "gpu" and layout.expert not in ranks:
            said.append(
                f"vLLM's expert ranks are all ranks of a server: expert={layout.expert} must be "
                f"{' or '.join(map(str, sorted(ranks)))}"
            )
        return said

    def write(self, job: Job, layout: Layout) -> Exported:
        """Return the flags as a file for `--config` and as a command."""
        work, is_joined = job.workload, _is_joined(job, layout)
        flags: dict[str, Any] = {"tensor-parallel-size": layout.tensor}
        if layout.pipeline > 1:
            flags["pipeline-parallel-size"] = layout.pipeline
        if is_joined and layout.data > 1:
            flags["data-parallel-size"] = layout.data
        if layout.expert > 1:
            flags["enable-expert-parallel"] = True
        flags |= {
            "max-model-len": work.seq_len + work.output_len,
            "max-num-seqs": layout.micro_batch,
            "kv-cache-dtype": "auto",
            "gpu-memory-utilization": float(_MEMORY_SHARE),
            "dtype": "bfloat16",
        }
        if work.compute == "fp8":
            flags["quantization"] = "fp8"
        model = name_of("vllm", job.model)
        words = " ".join(f"--{k}" if v is True else f"--{k} {v}" for k, v in flags.items())
        return Exported(
            self.name,
            {"vllm.yaml": yaml.safe_dump(flags, sort_keys=False)},
            f"vllm serve {model} {words}" if model else None,
            tuple(_notes(job, layout, model)),
        )

    def read(self, text: str, job: Job) -> Imported:
        """Return the layout of a command, of its flags, or of a `--config` file."""
        keys = _keys(text)
        refuse_misspelt("vllm", keys)
        tensor = whole(keys, "tensor-parallel-size", 1)
        pipeline = whole(keys, "pipeline-parallel-size", 1)
        used = tensor * pipeline
        notes: list[str] = []
        if "data-parallel-size" in keys:
            data = ranks = whole(keys, "data-parallel-size", 1)
        elif job.place.chips % used:
            raise ConfigError(
                f"tensor x pipeline = {used} does not divide the {job.place.chips} chips; choose "
                "sizes that do"
            )
        else:
            data, ranks = job.place.chips // used, 1
            if data > 1:
                notes.append(f"taken as {data} servers of {used} chips")
        expert = 1
        if is_on(keys, "enable-expert-parallel") and job.model.experts:
            if job.has_expert_axis:
                raise ConfigError(
                    "expert ranks over tensor ranks have no layout on a torus; leave out "
                    "enable-expert-parallel"
                )
            expert = tensor * ranks
        length = whole(keys, "max-model-len", job.workload.seq_len + job.workload.output_len)
        if length < job.workload.seq_len + job.workload.output_len:
            notes.append(
                f"max-model-len {length} is shorter than prompt and answer of the job "
                f"({job.workload.seq_len} + {job.workload.output_len})"
            )
        together = max(job.workload.global_batch // data, 1)
        micro = whole(keys, "max-num-seqs", together)
        layout = Layout(
            data=data, tensor=tensor, expert=expert, pipeline=pipeline, micro_batch=micro,
            remat="none",
        )  # fmt: skip
        return Imported(self.name, layout, tuple(notes))


def _is_joined(job: Job, layout: Layout) -> bool:
    """Whether the replicas are ranks of one server rather than servers of their own.

    Ranks of one server share their experts.
    """
    return not job.model.experts or layout.expert == layout.tensor * layout.data


def _notes(job: Job, layout: Layout, model: str | None) -> list[str]:
    said = []
    if model is None:
        said.append(
            f"no repository of {job.model.name} is known: vllm serve YOUR_MODEL --config vllm.yaml"
        )
    if layout.data > 1 and not _is_joined(job, layout):
        chips = layout.tensor * layout.pipeline
        said.append(f"run {layout.data} servers of {chips} chips each behind a balancer")
    if job.model.experts and layout.expert == 1 and layout.tensor > 1:
        said.append("vLLM splits experts over tensor ranks: they take less than predicted")
    if job.workload.compute in ("int8", "fp4"):
        said.append(f"{job.workload.compute} needs a checkpoint that is quantised so")
    if job.place.chip.kind == "tpu":
        said.append("needs vLLM's TPU backend")
    domain = job.place.chip.domain
    if job.place.chip.kind == "gpu" and layout.tensor * layout.pipeline > domain:
        said.append(f"a replica leaves the domain of {domain} GPUs: start ranks on several nodes")
    return said


def _keys(text: str) -> Mapping[str, Any]:
    try:
        loaded = load_yaml(text)
    except (yaml.YAMLError, RecursionError):
        loaded = None
    if isinstance(loaded, dict):
        found: dict[str, Any] = {str(k).replace("_", "-"): v for k, v in loaded.items()}
    else:
        found = dict(flag_values(text, _SHORT))
    if not any(key in known_keys("vllm") for key in found):
        raise ConfigError(
            "no flag of `vllm serve` was found; give such as --tensor-parallel-size 8"
        )
    return found
