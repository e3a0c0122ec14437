"""What an agent is told first, and what a user's message brings along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.agents.context.skills import Skill, context_text, skills_text

if TYPE_CHECKING:
    from models.agents.agent import Agent
    from models.agents.workspace import Workspace


def system_text(agent: Agent, workspace: Workspace) -> str:
    """Return the system prompt: the agent's own, the project's rules, memory, skills."""
    parts = [
        agent.system,
        f"Your workspace is the folder {workspace.root}.",
        context_text(workspace.root, agent.memory),
        skills_text(agent.skills),
    ]
    if agent.subagents:
        lines = [f"- {name}: {other.description}" for name, other in agent.subagents.items()]
        parts.append("# Agents you can delegate to\n\n" + "\n".join(lines))
    return "\n\n".join(part for part in parts if part)


def triggered(skills: Sequence[Skill], text: str) -> list[Skill]:
    """Return the skills that a message calls for."""
    return [skill for skill in skills if not skill.always and skill.is_triggered(text)]


def title_of(text: str) -> str:
    """Return a title made of the first words of a text."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first if len(first) <= 60 else first[:57].rsplit(" ", 1)[0] + "..."
