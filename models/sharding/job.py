"""One question: this model and workload on these chips."""

from __future__ import annotations

from dataclasses import dataclass

from models.sharding.specs import ModelSpec, Slice, Workload


@dataclass(frozen=True)
class Job:
    """What a layout is looked for."""

    model: ModelSpec
    workload: Workload
    place: Slice

    @property
    def has_expert_axis(self) -> bool:
        """Whether experts are a mesh axis of their own (MaxText) or reuse others (Megatron)."""
        return self.place.chip.kind == "tpu"
