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

    def __hash__(self) -> int:
        """Hash by names and sizes; equality looks at everything."""
        return hash((self.model.name, self.workload.tokens, self.place.text(), self.place.pods))

    @property
    def has_expert_axis(self) -> bool:
        """Whether experts are a mesh axis of their own (MaxText) or reuse others (Megatron)."""
        return self.place.chip.kind == "tpu"
