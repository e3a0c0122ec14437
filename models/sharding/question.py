"""A question as people and agents ask it: names and numbers, from which a job is made."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from models.sharding.job import Job
from models.sharding.specs import ModelSpec, Slice, Workload, find_model
from models.sharding.specs.chip import SHIPPED
from models.sharding.specs.slice import MOST_PODS


class ShardingQuestion(Workload):
    """A workload, the model that it trains or serves and the chips that there are."""

    model: str = "llama3.1-70b"
    """Name of a shipped model, or the path of a Hugging Face config.json."""
    slice: str = "v6e:16x16"
    """Chips as chip:shape, such as v6e:16x16, v5p:4x4x8 or h100:64."""
    pods: int = Field(1, ge=1, le=MOST_PODS)
    """Slices of this shape that the data-centre network joins; tpu only."""
    chip_file: str = ""
    """TOML file that describes chips of one's own; empty: the shipped chips."""

    def place(self) -> Slice:
        """Return the chips.

        Raises:
            UnknownNameError: No such chip; the nearest is named.
            ConfigError: The chip does not come in this shape, or the file of chips is none.
            DatasetMissingError: There is no such file of chips.
        """
        chips = Path(self.chip_file) if self.chip_file else SHIPPED
        return Slice.parse(self.slice, self.pods, chips)

    def spec(self) -> ModelSpec:
        """Return the shape of the model.

        Raises:
            UnknownNameError: No such model; the nearest is named.
            ConfigError: The file is no config of a model.
            DatasetMissingError: There is no such file.
        """
        return find_model(self.model)

    def workload(self) -> Workload:
        """Return the workload alone."""
        return Workload.model_validate(self.model_dump(include=set(Workload.model_fields)))

    def job(self) -> Job:
        """Return what a layout is looked for.

        Raises:
            ConfigError: The model, the chip or its shape cannot be used; what could is named.
            DatasetMissingError: A file that is named is not there.
        """
        return Job(self.spec(), self.workload(), self.place())
