"""What defines a session: budgets, what is left out, targets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.config import Config

Switch = Literal["lint", "compile", "audit", "summarise", "debug"]


class SessionConfig(Config):
    """Same config, proposer and stages: same session."""

    sessions: int = Field(3, ge=1)
    """Dialogs per operator; 3 in the paper."""
    calls: int = Field(15, ge=1)
    """Calls of the proposer per dialog; 15 in the paper."""
    off: frozenset[Switch] = frozenset()
    """States that are left out, for ablations."""
    seed: int = Field(0, ge=0)
    """Shifts which target is whose turn."""
    targets: tuple[str, ...] = ()
    """Profiles to compile for: the first always, the others by turns; empty: no compiling."""
    most_compiles: int = Field(4, ge=1)
    """Launches compiled per candidate and target: kernels by turns. The full matrix is a suite
    of its own (0.4 s a launch)."""
    most_log_tokens: int = Field(1_500, ge=100)
    """Feedback beyond this is summarised, in tokens of about four characters."""
    infra_retries: int = Field(2, ge=0)
    """How often a state is repeated after a failure of our own machinery."""
    infra_wait_s: float = Field(1.0, ge=0)
    """Pause before the first repetition, in seconds; doubles with each."""
