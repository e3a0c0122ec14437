"""What a benchmark of the inference room runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.config import Config

Peer = Literal["vllm", "hf", "llamacpp"]


class InferenceBenchConfig(Config):
    """Contests, contestants and repeats."""

    model: str = "smollm2"
    """`smollm2` (embedded), or a Hugging Face directory that every contestant can load."""

    size: Literal["short", "full"] = "short"
    """Size of the generated workloads: 32 rows or fewer each, or 128."""

    repeats: int = Field(5, ge=1)
    """Runs of each contestant on each contest, in turn; medians are reported."""

    peers: tuple[Peer, ...] = ("vllm", "hf", "llamacpp")
    """Who competes; what is not installed is named in the notes."""

    ablations: bool = True
    """Also run our engine with one part taken out at a time."""

    job_rows: int = Field(10_000, ge=0)
    """Rows of the job whose cost over the engine's is measured; 0: none."""

    planner_rows: int = Field(1_000_000, ge=0)
    """Prompts of the planning that is measured; 0: none."""

    two_threads: bool = True
    """Also compare wall seconds with two compute threads."""
