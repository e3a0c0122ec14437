"""The row of a listing that a state makes."""

from __future__ import annotations

from models.agents.state import State
from models.agents.store.base import Summary


def summary_of(conversation_id: str, state: State) -> Summary:
    """Sum a conversation up."""
    return Summary(
        conversation_id,
        state.title,
        state.phase,
        state.reason,
        state.seq,
        state.steps,
        state.cost_usd,
        state.created,
        state.updated,
        state.parent_conversation,
    )
