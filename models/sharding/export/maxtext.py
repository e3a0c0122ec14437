"""MaxText: a YAML file over its base.yml; pods become `dcn_` axes, the rest `ici_` axes.

Source of the names: keys.py. Batch: a step trains per_device_batch_size x devices sequences,
gradient_accumulation_steps times; a pipeline cuts them into num_pipeline_microbatches.
"""

from __future__ import annotations

import math
from typing import Any

import yaml

from models.sharding.export.base import Exported, Imported, precision_notes
from models.sharding.export.maxtext_model import cannot_shape, model_keys
from models.sharding.export.maxtext_read import read_maxtext
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable
from models.sharding.specs import Slice

AXES = ("data", "fsdp", "fsdp_transpose", "pipeline", "context", "tensor", "expert")
_REMAT: dict[str, dict[str, str]] = {
    # `minimal` still recomputes attention: nothing is recomputed where every tensor is kept.
    "none": {
        "remat_policy": "custom",
        **dict.fromkeys(
            ("decoder_layer_input", "context", "mlpwi", "mlpwi_0", "mlpwi_1", "mlpwo",
             "query_proj", "key_proj", "value_proj", "out_proj"), "device",
        ),
    },
    "selective": {"remat_policy": "save_dot_with_context_except_mlp"},
    "full": {"remat_policy": "full"},
    "offload": {
        "remat_policy": "custom",
        **dict.fromkeys(
            ("decoder_layer_input", "query_proj", "key_proj", "value_proj"), "offload"
        ),
    },
}  # fmt: skip
_QUANTIZATION: dict[str, dict[str, Any]] = {
    "bf16": {},
    "int8": {"quantization": "int8"},
    "fp8": {"quantization": "fp8_full", "use_qwix_quantization": True},
}


def devices_per_chip(job: Job) -> int:
    """Return how many devices JAX shows per chip; v4 joins its two cores by default."""
    chip = job.place.chip
    return 1 if chip.name == "v4" else chip.devices_per_chip


class MaxText:
    """Exports training on TPUs to MaxText."""

    name = "maxtext"
    title = "MaxText (YAML over base.yml)"

    def why_not(self, job: Job, layout: Layout) -> list[str]:
        """Return what MaxText cannot express."""
        said = []
        if job.place.chip.kind != "tpu":
            said.append(
                f"MaxText is written for TPUs here, the chips are {job.place.chip.name}; export "
                "to megatron or torchtitan"
            )
        if not job.workload.is_training:
            said.append("MaxText trains, the stage is serve; export to vllm")
        if job.workload.compute not in _QUANTIZATION:
            said.append(
                f"MaxText has no {job.workload.compute} on TPUs; compute in bf16, int8 or fp8"
            )
        if shape := cannot_shape(job.model):
            said.append(shape)
        if layout.pipeline > 1:
            said += _pipeline(job, layout)
        elif devices_per_chip(job) > 1 and layout.micro_batch % devices_per_chip(job):
            said.append(
                f"{job.place.chip.name} shows {devices_per_chip(job)} devices per chip and each "
                f"takes its own sequences; micro_batch={layout.micro_batch} must be a multiple"
            )
        return said

    def write(self, job: Job, layout: Layout) -> Exported:
        """Return the YAML file and the command."""
        work, devices = job.workload, devices_per_chip(job)
        sizes = device_sizes(job, layout)
        dcn = _over_pods(sizes, job.place.pods)
        ici = {axis: sizes[axis] // dcn[axis] for axis in AXES}
        steps = round(float(LayoutTable.of([layout]).micro_steps(job)[0]))
        keys: dict[str, Any] = {"base_config": "base.yml", **model_keys(job.model)}
        keys |= {f"dcn_{axis}_parallelism": dcn[axis] for axis in AXES}
        keys |= {f"ici_{axis}_parallelism": ici[axis] for axis in AXES}
        at_once = work.global_batch if layout.pipeline > 1 else work.global_batch // steps
        keys["per_device_batch_size"] = _per_device(at_once, job.place.chips * devices)
        if layout.pipeline > 1:
            keys["num_pipeline_microbatches"] = steps
            keys["num_pipeline_repeats"] = layout.interleave
            chunks = layout.pipeline * layout.interleave
            keys["num_layers_per_pipeline_stage"] = job.model.layers // chunks
        else:
            keys["gradient_accumulation_steps"] = steps
        keys["max_target_length"] = work.seq_len
        keys["shard_optimizer_over_data"] = layout.zero > 0
        keys |= _REMAT[layout.remat]
        keys |= _mesh_keys(job.place, [ici[axis] for axis in AXES], devices)
        keys |= _QUANTIZATION[work.compute]
        if work.stage != "pretrain":
            keys["use_sft"] = True
        title = f"# {job.model.name} on {job.place.text()}: {layout.text()}"
        # A name may come from a file of somebody else: it must not end the comment.
        text = "".join(c if c.isprintable() else " " for c in title) + "\n"
        text += yaml.safe_dump(keys, sort_keys=False)
        return Exported(
            self.name, {"maxtext.yml": text}, _command(job), tuple(_notes(job) + _devices(job))
        )

    def read(self, text: str, job: Job) -> Imported:
        """Return the layout of a YAML file or of `key=value` flags."""
        return read_maxtext(text, job, devices_per_chip(job))


def device_sizes(job: Job, layout: Layout) -> dict[str, int]:
    """Return axis sizes over JAX's devices: those of one chip share its sequences."""
    sizes = {axis: int(getattr(layout, axis)) for axis in AXES}
    grown = "data" if layout.fsdp == 1 and layout.data > 1 else "fsdp"
    sizes[grown] *= devices_per_chip(job)
    return sizes


def _pipeline(job: Job, layout: Layout) -> list[str]:
    said = []
    chunks = layout.pipeline * layout.interleave
    if job.model.layers % chunks:
        said.append(
            f"MaxText cuts {job.model.layers} layers into equal chunks: pipeline x interleave = "
            f"{chunks} must divide them"
        )
    steps = float(LayoutTable.of([layout]).micro_steps(job)[0])
    if steps % layout.pipeline:
        said.append(
            f"MaxText wants a multiple of pipeline={layout.pipeline} micro-batches, there are "
            f"{steps:g}"
        )
    if devices_per_chip(job) > 1:
        said.append("a pipeline over two devices per chip has no counterpart; use pipeline=1")
    return said


def _over_pods(sizes: dict[str, int], pods: int) -> dict[str, int]:
    """Split the pods over the batch axes, replicas first: they talk least."""
    dcn = dict.fromkeys(AXES, 1)
    for axis in ("data", "fsdp", "fsdp_transpose"):
        dcn[axis] = math.gcd(sizes[axis], pods)
        pods //= dcn[axis]
    return dcn


def _per_device(sequences: int, devices: int) -> float:
    """Return sequences per device such that MaxText's `int(devices x it)` gives them back."""
    share = sequences / devices
    while int(devices * share) < sequences:
        share = math.nextafter(share, math.inf)
    return share


def _mesh_keys(place: Slice, ici: list[int], devices: int) -> dict[str, Any]:
    """Return how the mesh is laid over the torus, where an axis takes a part of a dimension."""
    sizes = sorted(size for size in ici if size > 1)
    if devices == 1 and place.shape == (16, 16) and sizes in ([4, 64], [8, 32]):
        ring = f"hybrid_ring_{sizes[1]}x{sizes[0]}"
        return {"allow_split_physical_axes": True, "custom_mesh": ring}
    dimensions = [size for size in (*place.shape, devices) if size > 1]
    return {} if _is_whole(sizes, dimensions) else {"allow_split_physical_axes": True}


def _is_whole(sizes: list[int], dimensions: list[int]) -> bool:
    """Return whether every mesh axis can take whole dimensions of the torus."""
    if not sizes:
        return not dimensions
    first, *rest = sizes
    for picked in range(1, 2 ** len(dimensions)):
        taken = [d for i, d in enumerate(dimensions) if picked >> i & 1]
        left = [d for i, d in enumerate(dimensions) if not picked >> i & 1]
        if math.prod(taken) == first and _is_whole(rest, left):
            return True
    return False


def _command(job: Job) -> str | None:
    if job.workload.stage != "pretrain":
        return None
    return (
        "python3 -m maxtext.trainers.pre_train.train maxtext.yml "
        'run_name="$RUN_NAME" base_output_directory="$OUTPUT"'
    )


def _notes(job: Job) -> list[str]:
    said = ["name the data, run_name and base_output_directory yourself"]
    if job.workload.stage != "pretrain":
        said.append("fine-tuning has a trainer of its own in MaxText: give it this file")
    if job.workload.stage == "lora":
        said.append("the adapters are not part of a layout: set their rank in the trainer")
    return said + precision_notes(job)


def _devices(job: Job) -> list[str]:
    if devices_per_chip(job) == 1:
        return []
    return [
        f"JAX shows {devices_per_chip(job)} devices per chip: the file counts devices, the layout "
        "counts chips"
    ]
