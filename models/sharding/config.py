"""What defines a plan, a calibration and a sweep."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Literal

from pydantic import Field

from models.config import Config
from models.sharding.question import ShardingQuestion
from models.sharding.ranking import Rank
from models.sharding.specs import Workload

Target = Literal["jax", "maxtext", "megatron", "torchtitan", "vllm"]


class PlanConfig(ShardingQuestion):
    """A question, what is known of it, and how far answers are verified."""

    data: Path | None = None
    """Profile of a step as it runs now: HLO text, a trace of `jax.profiler`, standard output of
    MaxText; gzipped or not. None: see `profile`."""

    profile: Literal["model", "cpu", "tpu"] = "model"
    """Where the profile comes from if no file is given: the cost model, or a compile of the present
    layout on virtual devices or by the TPU compiler (needs the extra tpu)."""

    present: str = ""
    """Layout that runs now, in words (`fsdp=64 tensor=4 micro=2 full`) or a file or flags of a
    trainer; empty: what the profile says, else pure FSDP."""

    runs: Path | None = None
    """Measured runs of the site (schema of `measured_landscapes`) to calibrate on; None: the
    constants of the literature."""

    rank: Rank = "experts"
    """Which layout that fits stands first: the most usual split of published runs, of which the
    predicted time is one trait, or the predicted time alone. Runs of the site outrank both."""

    proposer: Literal["analytic", "language_model"] = "analytic"
    """Who proposes; a language model's layouts pass the same checks beside the analytic ones."""

    llm: str = ""
    """Address of the language model (`openai/gpt-5`, `http://HOST/v1#NAME`, `local:NAME`,
    `scripted:FILE`)."""

    asker: Literal["model", "agent"] = "model"
    """Who answers: the model itself, or an agent that works with it, in its own conversation."""

    leave_own_out: bool = False
    """Runs and documents of the job's own model family (or shape) and chip are not recalled: to see
    what a plan is worth where nothing like it is known. Ranking by experts still knows them all."""

    anonymous: bool = False
    """The language model is not told the names of models."""

    proposals: int = Field(3, ge=1, le=10)
    """Layouts that are wanted."""

    verify: Literal["analytic", "cpu", "tpu"] = "cpu"
    """How far proposals are verified: rules and memory; a compile on virtual devices too; the
    TPU compiler (needs the extra tpu)."""

    compile_s: float = Field(300.0, gt=0)
    """Seconds that one compile may take."""

    export: tuple[Target, ...] = ("jax", "maxtext", "megatron", "torchtitan", "vllm")
    """Trainers and servers whose files are written, where they can express the first proposal."""

    output: Path | None = None
    """Folder of the answer; None: below LOOM_HOME."""

    @property
    def digest(self) -> str:
        """What is asked, 12 hexadecimal digits; where the answer goes plays no part."""
        return _digest(self)


class CalibrateConfig(Config):
    """Measured runs of a site, and what is asked of them."""

    data: Path | None = None
    """Measured runs (schema of `measured_landscapes`); None: the shipped landscapes."""

    most_chips: int | None = Field(None, ge=1)
    """Runs on more chips than this are left out; none: all count."""

    next_for: str = ""
    """Scenario of the runs, such as `nanotron-1b on h100:64`, for which the layout to be measured
    next is named; empty: the one with the fewest runs."""

    output: Path | None = None
    """Folder of the answer; None: below LOOM_HOME."""


class SweepConfig(Config):
    """Many questions: every model on every slice with every length and batch."""

    models: tuple[str, ...] = ("llama3.1-8b", "llama3.1-70b")
    """Shipped models, or paths of Hugging Face config.json files."""

    slices: tuple[str, ...] = ("v5e:16x16", "v6e:16x16", "v5p:4x4x8", "h100:64")
    """Chips as chip:shape."""

    lengths: tuple[int, ...] = (4096,)
    """Tokens of a sequence."""

    batches: tuple[int, ...] = (512,)
    """Sequences of an optimizer step, or decoded together."""

    workload: Workload = Workload()
    """Everything else of the work: stage, number formats, service level."""

    rank: Rank = "experts"
    """Which layout stands first, as in plan-sharding."""

    proposer: Literal["analytic", "language_model"] = "analytic"
    """Who proposes; a language model is asked all questions at once, and what it says passes the
    same checks beside the analytic layouts."""

    llm: str = ""
    """Address of the language model, as in plan-sharding."""

    asker: Literal["model", "agent"] = "model"
    """Who answers: the model itself, or an agent that works with it, in its own conversation."""

    verify: Literal["analytic", "cpu"] = "analytic"
    """How far the first proposal of each is verified."""

    compile_s: float = Field(300.0, gt=0)
    """Seconds that one compile may take."""

    output: Path | None = None
    """Folder of the table; None: below LOOM_HOME."""

    @property
    def digest(self) -> str:
        """What is asked, 12 hexadecimal digits; where the table goes plays no part."""
        return _digest(self)

    def questions(self) -> list[ShardingQuestion]:
        """Return every combination, in the order of the lists."""
        rest = self.workload.model_dump()
        return [
            ShardingQuestion(
                **{**rest, "seq_len": length, "global_batch": batch}, model=model, slice=slice
            )
            for model, slice, length, batch in itertools.product(
                self.models, self.slices, self.lengths, self.batches
            )
        ]


def _digest(config: PlanConfig | SweepConfig) -> str:
    asked = config.model_dump_json(exclude={"output"})
    return hashlib.sha256(asked.encode()).hexdigest()[:12]
