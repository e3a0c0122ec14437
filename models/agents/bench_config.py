"""What a benchmark of the agents room measures."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from models.config import Config

Track = Literal["speed", "server", "sandbox", "crash", "harness"]


class AgentsBenchConfig(Config):
    """Tracks and sizes."""

    tracks: tuple[Track, ...] = ("speed", "server", "sandbox", "crash", "harness")
    """speed: import, append, fsyncs, restore, steps, terminal, beside the reference; server: boot,
    messages, steps; sandbox: cost and escape probes; crash: kill -9; harness: repair tasks."""

    reference: Path | None = None
    """Python that has openhands-sdk; none: the one of `make openhands`, if it is there."""

    repeats: int = Field(5, ge=1)
    """Fresh processes of each side in turn, where a figure comes from one process."""

    kills: int = Field(200, ge=1)
    """Random kill -9 points."""

    growth_steps: int = Field(3_400, ge=300)
    """Steps of our longest conversation; three events each."""
