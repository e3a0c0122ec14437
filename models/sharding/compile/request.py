"""What a child process is asked to compile, as JSON with a key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from models.errors import ConfigError
from models.sharding.compile.result import Phase, Where
from models.sharding.compile.shrink import MOST_DEVICES, chips_of, per_device, shrink
from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.program.spread import stacks_of
from models.sharding.specs import ChipSpec, ModelSpec, Slice, Workload

_SOURCES = ("program", "export/jax_mesh.py", "compile/child.py", "compile/request.py")
_NAMES = {"v5p": "v5"}
"""Topologies whose name is not that of the chip."""


@dataclass(frozen=True)
class Request:
    """One compile."""

    job: Job
    layout: Layout
    where: Where
    phase: Phase
    devices: int
    topology: str = ""
    """Name of the slice for the TPU compiler, such as v5e:2x4."""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        job = self.job
        return {
            "model": job.model.model_dump(),
            "workload": job.workload.model_dump(),
            "chip": job.place.chip.model_dump(mode="json"),
            "shape": list(job.place.shape),
            "pods": job.place.pods,
            "layout": asdict(self.layout),
            "where": self.where,
            "phase": self.phase,
            "devices": self.devices,
            "topology": self.topology,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Request:
        """Undo `to_json`."""
        chip = ChipSpec(**values["chip"])
        place = Slice(chip, tuple(values["shape"]), values["pods"])
        job = Job(ModelSpec(**values["model"]), Workload(**values["workload"]), place)
        names = ("where", "phase", "devices", "topology")
        rest = {name: values[name] for name in names}
        return cls(job, Layout(**values["layout"]), **rest, notes=tuple(values["notes"]))

    def key(self) -> str:
        """Return the SHA-256 of all that the answer depends on; names of models do not count."""
        values = self.to_json()
        values["model"].pop("name")
        values["versions"] = _versions(self.where)
        values["source"] = _source_digest()
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _versions(where: Where) -> dict[str, str]:
    found = {}
    for name in ("jax", "jaxlib", *(("libtpu",) if where == "tpu" else ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


@lru_cache(maxsize=1)
def _source_digest() -> str:
    """Return the digest of the sources that make the program: a change compiles anew."""
    room = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for name in _SOURCES:
        place = room / name
        files = sorted(place.glob("*.py")) if place.is_dir() else [place]
        for file in files:
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def default_phase(job: Job) -> Phase:
    """Return what a job repeats: train steps, or the decoding of tokens."""
    return "train" if job.workload.is_training else "decode"


def request_of(job: Job, layout: Layout, where: Where, phase: Phase | None = None) -> Request:
    """Return what is compiled for a layout, with notes in what it differs.

    Raises:
        ConfigError: The TPU compiler is asked for GPUs, or the phase is not of the job's stage.
    """
    phase = phase or default_phase(job)
    if (phase == "train") != job.workload.is_training:
        raise ConfigError(
            f"phase '{phase}' does not belong to stage '{job.workload.stage}'; "
            f"leave it out or use '{default_phase(job)}'"
        )
    notes: list[str] = []
    topology = ""
    if where == "tpu":
        if job.place.chip.kind != "tpu":
            raise ConfigError(
                f"{job.place.chip.name} is no TPU: its programs compile on the CPU only; "
                "use where='cpu'"
            )
        pod = chips_of(layout, job) // job.place.pods
        job, layout, said = shrink(job, layout, pod)
        topology = _topology(job.place, chips_of(layout, job))
        notes += said
        job, layout, said = per_device(job, layout)
        notes += said
    else:
        job, layout, said = shrink(job, layout, MOST_DEVICES)
        notes += said
    notes += _differences(job, layout, where)
    return Request(job, layout, where, phase, chips_of(layout, job), topology, tuple(notes))


def _topology(place: Slice, chips: int) -> str:
    whole = replace(place, pods=1)
    slice_ = whole if whole.chips == chips else Slice.of_count(place.chip, chips)
    name = _NAMES.get(place.chip.name, place.chip.name)
    return f"{name}:{'x'.join(map(str, slice_.shape))}"


def _differences(job: Job, layout: Layout, where: Where) -> list[str]:
    """Say in what the program is not that of the layout."""
    work, said = job.workload, []
    if layout.pipeline > 1:
        said.append("stages pass micro-batches on as GPipe does: 1F1B holds fewer activations")
    if layout.interleave > 1:
        said.append(f"{layout.interleave} chunks of a stage run as {layout.interleave} passes")
    empty = stacks_of(job.model, layout).empty
    if empty:
        said.append(f"layers do not divide by stages: {empty} empty blocks fill them up")
    if job.model.experts:
        said.append("experts take an equal number of tokens")
    if layout.remat == "offload" and where == "cpu" and work.is_training:
        said.append("the CPU has no memory of a host: what would be offloaded is recomputed")
    if work.compute != "bf16":
        said.append(f"products are compiled in bf16, not {work.compute}")
    if not work.is_training and work.weight_bytes not in (1, 2, 4):
        said.append(f"weights of {work.weight_bytes:g} bytes: the next wider format is compiled")
    if work.is_training and (
        work.optimizer_bytes not in (6, 8, 10, 12) or work.grad_bytes not in (2, 4)
    ):
        said.append(
            f"optimizer of {work.optimizer_bytes:g} and gradients of {work.grad_bytes:g} bytes: "
            "the nearest formats are compiled"
        )
    return said
