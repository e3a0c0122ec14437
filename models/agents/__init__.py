"""The agent runtime: typed, durable conversations of a language model with tools.

agent.py    the frozen spec             conversation.py, runs.py, blocking.py  what one does with it
engine.py, acting.py  the loop: calls of the model, calls of tools (calling, ending, prompting)
kit.py      its tools, those of MCP servers included     standing.py  what is read from its log
journal.py  commits from a loop         branching.py   back and copies      budget.py  hard limits
events/     what can happen             state.py       what it adds up to
store/      logs that are transactions  context/       what a model sees: view, condensers, skills
tools/      typed functions, locks      security/      policies, analyzers, approvals, secrets
mcp/        servers of others, and ours  background.py  the thread that they live on
workspace/  where tools work            stuck.py, critic.py, hooks.py, deltas.py  who looks on
crash_trials.py  kill -9 and look       bench.py       figures
repairs/    small repair tasks, played
spec.py, home.py  an agent as data, a folder of whole conversations
server/, remote/, command/  over the network, from there, from the command line
Source of the comparison: the OpenHands Software Agent SDK paper, arXiv 2511.03690.
"""

from __future__ import annotations

from models.agents.agent import Agent
from models.agents.budget import Budget
from models.agents.conversation import Conversation
from models.agents.deltas import Delta
from models.agents.events import Event
from models.agents.runs import Outcome, Run
from models.agents.security import (
    AlwaysConfirm,
    ConfirmAlarms,
    ConfirmRisky,
    Ensemble,
    NeverConfirm,
    Risk,
    Secrets,
    SecurityAnalyzer,
    ShellRails,
)
from models.agents.store import MemoryStore, SqliteStore
from models.agents.tools import Observation, Tool, ToolContext, tool
from models.agents.workspace import LocalWorkspace, OverlayWorkspace, SandboxWorkspace

__all__ = [
    "Agent",
    "AlwaysConfirm",
    "Budget",
    "ConfirmAlarms",
    "ConfirmRisky",
    "Conversation",
    "Delta",
    "Ensemble",
    "Event",
    "LocalWorkspace",
    "MemoryStore",
    "NeverConfirm",
    "Observation",
    "Outcome",
    "OverlayWorkspace",
    "Risk",
    "Run",
    "SandboxWorkspace",
    "Secrets",
    "SecurityAnalyzer",
    "ShellRails",
    "SqliteStore",
    "Tool",
    "ToolContext",
    "tool",
]
