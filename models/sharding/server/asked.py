"""What each tool takes. The schemas that a client sees are made from these classes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from models.config import Config, ConfigT
from models.errors import ConfigError
from models.sharding.export.base import MOST_CHARACTERS
from models.sharding.layout import LARGEST, Layout, Remat
from models.sharding.question import ShardingQuestion
from models.sharding.ranking import Rank
from models.sharding.specs.workload import MOST_SEQUENCES, MOST_TOKENS

Size = Annotated[int, Field(ge=1, le=LARGEST)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Text = Annotated[str, StringConstraints(max_length=MOST_CHARACTERS)]
Target = Literal["jax", "maxtext", "megatron", "torchtitan", "vllm"]
_MOST_SAID = 5
_MOST_SHOWN = 80


class AskedJob(ShardingQuestion):
    """A model, a workload and chips; nothing that decides the answer is left to a default."""

    model: Name
    """Name of a shipped model (such as llama3.1-70b), or the path of a Hugging Face config.json."""
    slice: Name
    """Chips as chip:shape, such as v6e:16x16, v5p:4x4x8 or h100:64."""
    seq_len: Annotated[int, Field(ge=1, le=MOST_TOKENS)]
    """Tokens of a training sequence; of a prompt when serving."""
    global_batch: Annotated[int, Field(ge=1, le=MOST_SEQUENCES)]
    """Sequences of one optimizer step; sequences decoded together when serving."""


class AskedLayout(Config):
    """How a job is split over its chips; what is not named is 1."""

    data: Size = 1
    """Replicas of the weights."""
    fsdp: Size = 1
    """Shards of weights, gradients and optimizer that are gathered layer by layer."""
    fsdp_transpose: Size = 1
    """The same along the other dimension of each matrix."""
    tensor: Size = 1
    """Shards of heads and of the width of each MLP."""
    context: Size = 1
    """Shards of each sequence."""
    expert: Size = 1
    """Shards of the experts: an axis of its own on TPUs, a part of the others on GPUs."""
    pipeline: Size = 1
    """Stages."""
    interleave: Size = 1
    """Model chunks of each stage."""
    micro_batch: Size = 1
    """Sequences that one batch shard computes at a time."""
    zero: Annotated[int, Field(ge=0, le=1)] = 0
    """1: the optimizer is split over the replicas too."""
    remat: Remat = "full"
    """What is recomputed in the backward pass; `none` when serving."""

    def layout(self) -> Layout:
        """Return the layout."""
        return Layout(**self.model_dump())


class AskedProposals(Config):
    """Layouts are wanted."""

    job: AskedJob
    """What a layout is looked for."""
    count: Annotated[int, Field(ge=1, le=8)] = 3
    """How many, each on a mesh of its own."""
    rank: Rank = "experts"
    """Which stands first: the most usual split of published runs, or the predicted time alone."""


class AskedVerdict(Config):
    """A layout is to be checked: as sizes, or as the file or flags of a trainer or server."""

    job: AskedJob
    """What the layout is for."""
    layout: AskedLayout | None = None
    """The layout as sizes."""
    config: Text | None = None
    """The layout as text: a MaxText YAML, Megatron overrides or flags, a torchtitan TOML, flags of
    vLLM. It is read, never run."""
    compile: Literal["none", "cpu", "tpu"] = "none"
    """Whether the step is compiled too: for virtual CPU devices (10 to 60 s), or by the compiler
    for TPUs where it is installed (2 s to minutes)."""


class AskedExport(Config):
    """A layout is wanted in the words of a trainer or server."""

    job: AskedJob
    """What the layout is for."""
    target: Target
    """Trainer or server."""
    layout: AskedLayout | None = None
    """The layout; none: the first proposal."""


class AskedDiagnosis(Config):
    """A step is to be explained."""

    job: AskedJob
    """What was run, compiled, or is only thought of."""
    layout: AskedLayout
    """Its layout."""
    path: Name | None = None
    """File of the profile on this machine: optimised HLO, an XProf trace, a MaxText log."""
    text: Text | None = None
    """The profile itself, where it is text. None of both: what the cost model expects."""


def checked(kind: type[ConfigT], values: Any) -> ConfigT:
    """Return arguments as a class; what does not fit is told by key.

    Raises:
        ConfigError: A key is missing, unknown, or has a wrong value.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False)
        said = [_explain(one) for one in found[:_MOST_SAID]]
        if len(found) > _MOST_SAID:
            said.append(f"{len(found) - _MOST_SAID} more")
        raise ConfigError("; ".join(said)) from None


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "arguments"
    said = f"'{key}': {str(error['msg']).removeprefix('Value error, ')}"
    found = error.get("input")
    if isinstance(found, dict | list) or error["type"] == "missing":
        return said
    return f"{said}, got {str(found)[:_MOST_SHOWN]!r}"
