"""Conversations of a played model; no test of this room calls a real one."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.agents import Agent, Conversation, MemoryStore, Tool
from models.llm import ScriptedModel
from tests.models.agents.browsing import chromium
from tests.models.agents.played import ping


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    """A Chromium; skips where there is none."""
    with chromium() as found:
        yield found


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Callable[..., Conversation]]:
    """Open conversations of a played model; closed when the test ends."""
    opened: list[Conversation] = []
    store = MemoryStore()

    def make(script: Any, *tools: Tool, **fields: Any) -> Conversation:
        where = {key: fields.pop(key) for key in ("store", "id", "secrets") if key in fields}
        model = script if hasattr(script, "generate") else ScriptedModel(script)
        agent = Agent(model, (ping, *tools), **fields)
        conversation = agent.open(tmp_path, **{"store": store, **where})
        conversation.script = model
        opened.append(conversation)
        return conversation

    yield make

    async def close() -> None:
        for conversation in opened:
            await conversation.aclose()

    asyncio.run(close())
