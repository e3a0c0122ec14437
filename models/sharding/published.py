"""Published runs: the layout that experts chose, and what it reached."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.contracts import check_table, read_contract, read_table
from models.errors import ConfigError
from models.settings import ROOT
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable, Remat
from models.sharding.specs import Slice, Workload, find_chip, find_model
from models.sharding.specs.chip import ChipSpec, Dtype
from models.sharding.specs.workload import Stage

FOLDER = ROOT / "datasets" / "sharding" / "published_configs"


@dataclass(frozen=True)
class Published:
    """One published training run whose model, job and layout are all known."""

    id: str
    job: Job
    layout: Layout
    step_s: float | None
    """Seconds of a step, stated or from tokens or FLOPs per second; None: not published."""
    quality: str
    policy: Remat | None = None
    """Recomputation as stated in words; None: not stated, or in words of its own."""

    @property
    def group(self) -> tuple[str, str]:
        """Model family and chip: what is left out together."""
        return self.job.model.family, self.job.place.chip.name

    @property
    def is_trivial(self) -> bool:
        """Whether every chip is a shard of the batch."""
        x = self.layout
        experts = x.expert if self.job.has_expert_axis else 1
        return x.tensor * x.context * x.pipeline * experts == 1


@dataclass(frozen=True)
class PublishedTable:
    """Rows that can be scored, and why the others cannot."""

    rows: tuple[Published, ...]
    left_out: dict[str, str]
    """Id of a row and the reason."""


def read_published(path: Path | None = None) -> PublishedTable:
    """Read a table of the schema of published runs, checked against its contract.

    Raises:
        DatasetMissingError: There is no such file.
        ContractError: Columns are missing, or too many rows are bad.
    """
    contract = read_contract(FOLDER)
    file = path or FOLDER / contract.file
    checked = check_table(contract, read_table(file), file.name)
    rows, left_out = [], {}
    for values in checked.frame.to_dict("records"):
        name = str(values["id"])
        try:
            rows.append(_row({str(k): v for k, v in values.items()}))
        except (ConfigError, _LeftOutError) as reason:
            left_out[name] = str(reason)
    return PublishedTable(tuple(rows), left_out)


class _LeftOutError(Exception):
    """A row that cannot be scored."""


def model_name(text: str) -> str:
    """Return the name of a model as the table of shapes writes it."""
    plain = re.sub(r"\(.*?\)", "", text).strip().lower()
    return re.sub(r"[ _]+", "-", plain)


def _number(values: Mapping[str, Any], key: str, default: float = math.nan) -> float:
    """Return a number; a footnote behind it (`475[^note]`) is left out."""
    found = re.match(r"\s*-?\d+(\.\d+)?", str(values.get(key, "")))
    return float(found[0]) if found else default


def _row(values: Mapping[str, Any]) -> Published:
    stage_text = str(values["stage"]).lower()
    if stage_text.startswith("serve"):
        raise _LeftOutError("serving: no mesh axes are published")
    stage: Stage = (
        "lora" if "lora" in stage_text else "finetune" if "sft" in stage_text else "pretrain"
    )
    seq_len, batch = _number(values, "seq_len"), _number(values, "global_batch")
    if math.isnan(seq_len) or math.isnan(batch):
        raise _LeftOutError("sequence length or global batch is not stated")
    model = find_model(model_name(str(values["model"])))
    chip = find_chip(str(values["chip"]))
    place = _place(chip, int(_number(values, "n_chips")), str(values.get("topology", "")))
    compute = _dtype(str(values["precision"]))
    work = Workload(stage=stage, seq_len=int(seq_len), global_batch=int(batch), compute=compute)
    job = Job(model, work, place)
    layout = _layout(values, job)
    return Published(
        str(values["id"]), job, layout, _step_s(values, job), str(values["quality"])[:1],
        stated_policy(str(values.get("remat_or_notes", ""))),
    )  # fmt: skip


def stated_policy(words: str) -> Remat | None:
    """Return the policy that a note names in the words of MaxText; None: it names none.

    `minimal` keeps the products and repeats what lies between them.
    """
    said = words.lower()
    if "offload" in said:
        return "offload"
    found = re.search(r"remat (full|minimal)", said)
    return None if found is None else "full" if found[1] == "full" else "none"


def _place(chip: ChipSpec, chips: int, topology: str) -> Slice:
    shape = re.fullmatch(r"\d+(x\d+)+", topology.strip())
    if chip.kind == "gpu" or not shape:
        return Slice.of_count(chip, chips)
    sizes = tuple(int(size) for size in shape[0].split("x"))
    return Slice(chip, sizes, max(chips // math.prod(sizes), 1))


def _dtype(text: str) -> Dtype:
    plain = text.lower()
    if "fp4" in plain:
        return "fp4"
    return "fp8" if "fp8" in plain or "float8" in plain else "int8" if "int8" in plain else "bf16"


def _layout(values: Mapping[str, Any], job: Job) -> Layout:
    def size(key: str) -> int:
        return max(int(_number(values, key, 1.0)), 1)

    data, fsdp, chips = size("dp"), size("fsdp"), job.place.chips
    others = size("tp") * size("sp_cp") * size("pp")
    others *= size("ep") if job.has_expert_axis else 1
    if data * fsdp * others != chips and data == fsdp:
        # Megatron's FSDP prints the shards as replicas too.
        data = 1
    if data * fsdp * others != chips and data == 1 == fsdp and chips % others == 0:
        data = chips // others
    if data * fsdp * others != chips:
        raise _LeftOutError(f"its axes multiply to {data * fsdp * others}, not to {chips} chips")
    is_split = job.place.chip.kind == "gpu" and data > 1
    layout = Layout(
        data, fsdp, 1, size("tp"), size("sp_cp"), size("ep") if job.model.experts else 1,
        size("pp"), size("vp"), zero=int(is_split),
    )  # fmt: skip
    shards = int(LayoutTable.of([layout]).batch_shards(job)[0])
    micro = int(_number(values, "micro_batch", 1.0)) or 1
    micro = min(micro, max(job.workload.global_batch // shards, 1))
    if job.workload.global_batch / (shards * micro) < layout.pipeline - 1:
        # torchtitan prints the batch of a shard, which its stages then cut.
        micro = 1
    return replace(layout, micro_batch=micro)


def _step_s(values: Mapping[str, Any], job: Job) -> float | None:
    work, chips = job.workload, job.place.chips
    stated = _number(values, "step_time_s")
    if stated > 0:
        return stated
    speed = _number(values, "tokens_per_s_per_chip")
    if speed > 0:
        return work.tokens / (speed * chips)
    rate = _number(values, "tflops_per_s_per_chip") * 1e12
    if rate > 0 and job.has_expert_axis:
        # MaxText counted attention over the whole square when these rows were measured.
        flops = job.model.train_flops(work.seq_len, is_causal=False) * work.tokens
        return flops / (rate * chips)
    return None
