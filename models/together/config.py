"""What defines a run of `work-together`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from models.config import Config

PLAYED = Path("together") / "played"
"""Folder of the played parts, below that of the datasets."""


class TogetherConfig(Config):
    """Who answers where a model is asked, and how much of it there is to do."""

    llm: str = ""
    """Address of the language model of agents and proposers (`openai/gpt-5`,
    `http://HOST/v1#NAME`); empty: shipped scripts play, which shows the wiring and no judgement."""

    engine: str = "local:smollm2"
    """Address of the model that answers in bulk: votes on sessions near the threshold, layouts of a
    sweep. The embedded one is small: it proves the path, not the judgement."""

    data: Path | None = None
    """Pieces of work for the agents, as `run-agents` reads them; none: two shipped ones, one of
    which holds an order of somebody else."""

    operator: str = "nn.functional.relu"
    """ATen operator whose kernel is asked for; the shipped script knows this one."""

    prompts: int = Field(24, ge=1, le=150)
    """Of the shipped prompts, how many the engine answers in one batch."""

    output: Path | None = None
    """Folder of the page and of what the systems write; none: one of its own below LOOM_HOME."""


class Answers(NamedTuple):
    """Addresses of who answers.

    Attributes:
        agent, planner, kernel: Of the agents at work, of layouts, of kernels.
        is_played: Whether scripts answer.
    """

    agent: str
    planner: str
    kernel: str
    is_played: bool


def answers_of(config: TogetherConfig, datasets: Path) -> Answers:
    """Return who answers: the model of the config, or the shipped scripts."""
    if config.llm:
        return Answers(config.llm, config.llm, config.llm, False)
    played = datasets / PLAYED
    agent, planner, kernel = (
        f"scripted:{played / name}" for name in ("agent.yaml", "planner.yaml", "kernel.jsonl")
    )
    return Answers(agent, planner, kernel, is_played=True)
