"""What defines a batch job: same config, same input and same model, same plan."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.config import Config

TooLong = Literal["error", "truncate-left", "truncate-right"]
OrderName = Literal["prefix", "ratio", "longest"]
OrderChoice = Literal["auto", "prefix", "ratio", "longest"]


class BatchConfig(Config):
    """How a batch is read and planned."""

    too_long: TooLong = "error"
    """What becomes of a prompt that leaves no room for its output: its row fails, or the
    prompt loses tokens at its beginning or at its end."""

    default_max_tokens: int = Field(256, ge=1)
    """Most tokens to emit for rows that do not say, as far as the context has room."""

    max_error_rate: float = Field(0.01, ge=0, le=1)
    """Share of rows that may fail before the job does."""

    seed: int = Field(0, ge=-(2**63), lt=2**63)
    """Seed of rows that bring none of their own."""

    deterministic: bool = False
    """Same tokens whatever shares a step, at a price in speed."""

    order: OrderChoice = "auto"
    """Order among groups: by prefix (as sorted), decode/prompt ratio (descending), longest
    predicted first, or the cheapest of the three by simulation."""

    merge_duplicates: bool = True
    """Run equal greedy prompts once and give the result to each of their rows."""

    step_tokens: int = Field(256, ge=1)
    """Tokens that fill an engine step: GEMMs reach 95 % of their peak at 128-256."""

    max_rows: int = Field(256, ge=1)
    """Most sequences that decode at a time."""

    chunk_tokens: int = Field(2048, ge=1)
    """Most prefix tokens computed in one go."""

    output_quantile: float = Field(0.9, gt=0, lt=1)
    """Quantile of finished rows that predicts the output length of the next ones."""
