"""What is run: pre-training, fine-tuning or serving."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from models.config import Config
from models.sharding.specs.chip import Dtype

Stage = Literal["pretrain", "finetune", "lora", "serve"]
MOST_TOKENS = 2**26
"""Tokens of the longest sequence."""
MOST_SEQUENCES = 2**26
"""Sequences of the largest batch."""
_MOST_PRODUCED = 2**24


class Workload(Config):
    """One job, without its layout."""

    stage: Stage = "pretrain"
    """What is run; lora trains adapters beside frozen weights."""
    seq_len: int = Field(4096, ge=1, le=MOST_TOKENS)
    """Tokens of a training sequence; of a prompt when serving."""
    global_batch: int = Field(256, ge=1, le=MOST_SEQUENCES)
    """Sequences of one optimizer step; sequences decoded together when serving."""
    compute: Dtype = "bf16"
    """Number format of matrix products."""
    weight_bytes: float = Field(2.0, gt=0, le=64, allow_inf_nan=False)
    """Bytes of a weight as it is multiplied."""
    grad_bytes: float = Field(4.0, ge=0, le=64, allow_inf_nan=False)
    """Bytes of a gradient as it is summed."""
    optimizer_bytes: float = Field(12.0, ge=0, le=256, allow_inf_nan=False)
    """Bytes of optimizer state per parameter: fp32 copy and two moments of Adam are 12."""
    output_len: int = Field(256, ge=1, le=_MOST_PRODUCED)
    """Tokens that a served sequence produces."""
    ttft_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Longest time to the first token, in seconds, when serving."""
    tpot_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Longest time per produced token, in seconds, when serving."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.stage != "serve" and (self.ttft_s is not None or self.tpot_s is not None):
            raise ValueError(f"ttft_s and tpot_s belong to serving; the stage is {self.stage}")
        return self

    @property
    def is_training(self) -> bool:
        """Whether gradients are computed."""
        return self.stage != "serve"

    @property
    def tokens(self) -> int:
        """Tokens of one optimizer step, or of the prompts decoded together."""
        return self.seq_len * self.global_batch
