"""What defines a batch of work for agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from models.agents.repairs.plans import Plan
from models.agents.spec import AgentSpec, PolicyKind, PolicySpec
from models.config import Config


class WorkConfig(Config):
    """Work for agents: a file of it, one prompt, or the shipped repair tasks."""

    data: Path | None = None
    """File with one piece of work per line, `{"id": ..., "prompt": ...}` and optionally
    `workspace` and `files`; none, and no prompt: the shipped repair tasks."""

    prompt: str = ""
    """A single piece of work."""

    model: str = ""
    """Address of the model: `openai/gpt-5`, `http://HOST/v1#NAME`, `scripted:FILE`; empty: that of
    `agent`. The shipped repair tasks are played by scripts when there is none."""

    agent: AgentSpec | None = None
    """Tools, policy, analyzer, budget and workspace; empty: the usual ones. Its `model` may be left
    out where one is named above."""

    policy: PolicyKind | None = None
    """Which calls wait for an approval: `never`, `alarms` (what the analyzer takes for an attack),
    `risky` or `always`; empty: what `agent` says, `alarms` where there is none."""

    run: str = Field("", pattern=r"^[A-Za-z0-9_-]*$")
    """Name of the batch: runs of one name go on with the same conversations. Empty: each run of
    the flow has its own, which its retries and resumptions go on with."""

    approval_wait_s: float = Field(86_400, gt=0)
    """How long a deployed run stays suspended for an approval."""

    unattended: bool = False
    """Nobody is there to approve: calls that wait are rejected, the agent reads the analyzer's
    reasons and goes on, at most 20 times."""

    plans: tuple[Plan, ...] = ("correct", "recovering", "wrong")
    """How the shipped repair tasks are played: also `clumsy` and `cheating`."""

    isolation: Literal["auto", "sandbox", "local"] = "auto"
    """Where the shipped repair tasks are worked on: behind walls, or (`local`) without. auto:
    behind walls; on a host that has none the shipped scripts play without, a model never does."""

    tasks: int | None = Field(None, ge=1)
    """How many of the shipped repair tasks; none: all."""

    @model_validator(mode="before")
    @classmethod
    def _model_is_the_agents_too(cls, values: Any) -> Any:
        """Let an `agent` without a model of its own have the one named beside it."""
        if not isinstance(values, dict) or not values.get("model"):
            return values
        agent = values.get("agent")
        if not isinstance(agent, dict) or "model" in agent:
            return values
        return {**values, "agent": {**agent, "model": values["model"]}}

    @model_validator(mode="after")
    def _is_one_kind_of_work(self) -> WorkConfig:
        if self.data is not None and self.prompt:
            raise ValueError("data and prompt are two kinds of work; leave one out")
        if (self.data is not None or self.prompt) and not (self.model or self.agent):
            raise ValueError("work of your own needs a model; set model=ADDRESS, see docs/llm.md")
        return self

    @property
    def is_suite(self) -> bool:
        """Whether the shipped repair tasks are the work."""
        return self.data is None and not self.prompt

    @property
    def spec(self) -> AgentSpec:
        """The agent of all pieces of work."""
        if self.agent is None:
            return AgentSpec(model=self.model, policy=PolicySpec(kind=self.policy or "alarms"))
        changed: dict[str, object] = {"model": self.model} if self.model else {}
        if self.policy is not None:
            changed["policy"] = self.agent.policy.model_copy(update={"kind": self.policy})
        return self.agent.model_copy(update=changed)
