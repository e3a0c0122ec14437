"""Played answers and small tools for the tests of the loop."""

import time
from typing import Any

from models.agents import Conversation, tool
from models.agents.events import Body, Event
from models.agents.runs import Outcome
from models.agents.tools import no_locks
from models.llm import ToolCall, Turn


def calls(*named: tuple[str, dict[str, Any]]) -> Turn:
    """One answer with calls."""
    return Turn(tool_calls=tuple(ToolCall.of("", name, arguments) for name, arguments in named))


def finishes(message: str = "done") -> Turn:
    return calls(("finish", {"message": message}))


def bodies(conversation: Conversation, kind: type[Body]) -> list[Any]:
    return [event.body for event in conversation.events(kinds=[kind.kind])]


def sent(conversation: Conversation, place: int = -1) -> list[str]:
    """Texts of a request that the model got, without the system prompt."""
    return [m.text for m in conversation.script.requests[place].messages if m.role != "system"]


async def said_to(conversation: Conversation, text: str) -> Outcome:
    """Say something and wait for the end."""
    return await conversation.send(text)


def phases(events: list[Event]) -> list[str]:
    return [event.body.phase for event in events if event.kind == "status"]


@tool(read_only=True, locks=no_locks)
async def ping(n: int = 0) -> str:
    """Answer with a pong."""
    return f"pong {n}"


@tool(read_only=True, locks=no_locks)
async def blob(n: int = 0, kib: int = 100) -> str:
    """Answer with many letters."""
    return chr(ord("a") + n % 26) * (1024 * kib)


@tool(destructive=True, locks=no_locks)
async def act(what: str) -> str:
    """Do something that counts."""
    return f"did {what}"


@tool(read_only=True, locks=no_locks)
def snail(s: float) -> str:
    """Take time."""
    time.sleep(s)
    return "slow"
