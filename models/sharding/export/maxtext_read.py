"""Read a layout from MaxText's YAML or from its `key=value` flags."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from models.errors import ConfigError
from models.sharding.export.base import MOST_SIZE, Imported, differs, whole
from models.sharding.export.keys import refuse_misspelt
from models.sharding.export.text import load_yaml, shown
from models.sharding.job import Job
from models.sharding.layout import Layout, Remat

# MaxText's axes that are one of ours; the others have no place in a layout.
_JOINED = {
    "data": ("data",), "fsdp": ("fsdp",), "fsdp_transpose": ("fsdp_transpose",),
    "pipeline": ("pipeline",), "context": ("context", "sequence"),
    "tensor": ("tensor", "tensor_sequence"), "expert": ("expert",),
}  # fmt: skip
_OTHERS = ("diloco", "context_autoregressive", "tensor_transpose", "autoregressive")
_POLICIES: dict[str, Remat] = {
    "full": "full", "minimal": "none", "minimal_with_context": "none", "minimal_flash": "none",
    "save_dot_with_context_except_mlp": "selective", "save_dot_except_mlp": "selective",
    "save_dot_except_mlpwi": "selective", "save_qkv_proj": "selective", "save_out_proj": "full",
    "minimal_offloaded": "offload", "qkv_proj_offloaded": "offload",
}  # fmt: skip
_EXACT = ("full", "save_dot_with_context_except_mlp", "minimal_with_context")
_TENSORS = ("query_proj", "key_proj", "value_proj")


def read_maxtext(text: str, job: Job, devices_per_chip: int) -> Imported:
    """Return the layout that a file or a line of flags describes.

    Args:
        text: YAML, or `key=value` words.
        job: Model, workload and chips; missing sizes are filled from it.
        devices_per_chip: Devices that JAX shows per chip; the file counts devices.

    Raises:
        ConfigError: It is no such file, or an axis or a batch is not one of a layout.
    """
    keys = _keys(text)
    refuse_misspelt("maxtext", keys)
    place, notes = job.place, list[str]()
    for kind in ("ici", "dcn"):
        for axis in _OTHERS:
            if keys.get(f"{kind}_{axis}_parallelism") not in (None, 1, -1, "1"):
                raise ConfigError(
                    f"'{kind}_{axis}_parallelism' is no axis of a layout; set it to 1"
                )
    a_pod = place.chips // place.pods * devices_per_chip
    ici = _axes(keys, "ici", "fsdp", a_pod)
    dcn = _axes(keys, "dcn", "data", place.pods)
    sizes = {axis: ici[axis] * dcn[axis] for axis in _JOINED}
    devices = math.prod(sizes.values())
    shards = sizes["data"] * sizes["fsdp"] * sizes["fsdp_transpose"] * sizes["expert"]
    sequences, steps = _batch(keys, devices), whole(keys, "gradient_accumulation_steps", 1)
    parts = 1
    if sizes["pipeline"] > 1:
        parts = whole(_without_auto(keys), "num_pipeline_microbatches", sizes["pipeline"])
    if sequences is None:
        sequences = max(job.workload.global_batch // steps, 1)
        notes.append("no per_device_batch_size: the job's batch was taken")
    if sequences % (shards * parts):
        raise ConfigError(
            f"{sequences} sequences at once do not divide over {shards} batch shards x {parts} "
            f"micro-batches; set per_device_batch_size to a multiple of {shards * parts / devices}"
        )
    micro = sequences // (shards * parts)
    if devices_per_chip > 1 and devices == place.chips * devices_per_chip:
        halved = "fsdp" if sizes["fsdp"] % devices_per_chip == 0 else "data"
        if sizes[halved] % devices_per_chip:
            raise ConfigError(
                f"the {devices_per_chip} devices of a {place.chip.name} chip must share an axis "
                "that splits the batch: make ici_fsdp_parallelism or ici_data_parallelism even"
            )
        sizes[halved] //= devices_per_chip
        micro *= devices_per_chip
    remat, said = _remat(keys)
    layout = Layout(
        **sizes, micro_batch=micro, remat=remat, interleave=_repeats(keys, job, sizes["pipeline"]),
        zero=int(str(keys.get("shard_optimizer_over_data", "")).lower() == "true"),
    )  # fmt: skip
    length = whole(keys, "max_target_length", job.workload.seq_len)
    notes += said + differs(job, length, sequences * steps)
    return Imported("maxtext", layout, tuple(notes))


def _keys(text: str) -> dict[str, Any]:
    try:
        loaded = load_yaml(text)
    except (yaml.YAMLError, RecursionError):
        loaded = None
    if isinstance(loaded, dict):
        return {str(key): value for key, value in loaded.items()}
    try:
        words = [word.lstrip("-") for word in shlex.split(text, comments=True) if "=" in word]
    except ValueError as error:
        raise ConfigError(f"these MaxText flags cannot be read ({error}); close quotes") from None
    if not words:
        raise ConfigError("no MaxText keys were found; give its YAML file or key=value flags")
    return {key: _value(value) for key, _, value in (word.partition("=") for word in words)}


def _value(text: str) -> Any:
    try:
        return load_yaml(text)
    except (yaml.YAMLError, RecursionError):
        return text


def _axes(keys: Mapping[str, Any], kind: str, auto: str, chips: int) -> dict[str, int]:
    """Return the sizes of one kind of axes, a single -1 filled up to the chips.

    `auto` is the axis that MaxText fills where the file does not name it.
    """
    found: dict[str, int] = {}
    open_ = []
    for ours, theirs in _JOINED.items():
        size = 1
        for axis in theirs:
            key = f"{kind}_{axis}_parallelism"
            if str(keys.get(key, -1 if axis == auto else 1)).strip() == "-1":
                open_.append(ours)
            else:
                size *= whole(keys, key, 1)
        found[ours] = size
    if len(open_) > 1:
        raise ConfigError(
            f"{len(open_)} {kind} axes are -1 ({', '.join(open_)}); leave one open, say the others"
        )
    if open_:
        rest = math.prod(found.values())
        if chips % rest:
            raise ConfigError(
                f"the {kind} axes multiply to {rest}, which does not divide {chips} devices; "
                f"choose sizes that divide {chips}"
            )
        found[open_[0]] *= chips // rest
    return found


def _batch(keys: Mapping[str, Any], devices: int) -> int | None:
    given = keys.get("per_device_batch_size")
    if given is None:
        return None
    try:
        sequences = float(given) * devices
    except (TypeError, ValueError, OverflowError):
        sequences = math.nan
    is_size = 0 < sequences <= MOST_SIZE
    if not is_size or not math.isclose(sequences, round(sequences), abs_tol=1e-6):
        raise ConfigError(
            f"per_device_batch_size {shown(given)} x {devices} devices is no number of "
            f"sequences up to {MOST_SIZE}; give a multiple of 1/{devices}"
        )
    return round(sequences)


def _without_auto(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if str(value).strip() != "-1"}


def _repeats(keys: Mapping[str, Any], job: Job, stages: int) -> int:
    if stages == 1:
        return 1
    named = _without_auto(keys)
    per_stage = whole(named, "num_layers_per_pipeline_stage", 1)
    return whole(named, "num_pipeline_repeats", max(job.model.layers // (stages * per_stage), 1))


def _remat(keys: Mapping[str, Any]) -> tuple[Remat, list[str]]:
    policy = str(keys.get("remat_policy", "full"))
    if policy != "custom":
        if policy not in _POLICIES:
            raise ConfigError(
                f"MaxText has no remat_policy {shown(policy)}; known: custom, "
                + ", ".join(_POLICIES)
            )
        ours = _POLICIES[policy]
        near = [] if policy in _EXACT else [f"remat_policy '{policy}' was taken as '{ours}'"]
        return ours, near
    places = {key: str(keys.get(key, "remat")) for key in (*_TENSORS, "mlpwi", "mlpwi_0", "mlpwo")}
    input_ = str(keys.get("decoder_layer_input", "device"))
    if "offload" in (input_, *places.values()):
        is_exact = input_ == "offload" and all(places[key] == "offload" for key in _TENSORS)
        return "offload", [] if is_exact else ["custom remat was taken as 'offload'"]
    if all(place == "device" for place in places.values()):
        return "none", []
    kept = all(places[key] == "device" for key in _TENSORS)
    return ("selective", ["custom remat was taken as 'selective'"]) if kept else (
        "full", ["custom remat was taken as 'full'"],
    )  # fmt: skip
