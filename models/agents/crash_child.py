"""The child of a crash trial: a played conversation whose tools leave a mark for each effect."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from models.agents.agent import Agent
from models.agents.errors import LeaseHeldError, StaleOwnerError
from models.agents.events import Event
from models.agents.store import Durability, SqliteStore
from models.agents.tools.base import Tool, no_locks, tool
from models.agents.tools.context import ToolContext
from models.llm import Request, ScriptedModel, ToolCall, Turn

CONVERSATION = "trial"

STALE = 3
"""Exit code of a child that noticed that its lease is gone."""

_TURN_STEPS = 8


def fork(work: Callable[[], int]) -> int:
    """Run work in a child process that shares nothing but files; returns its id."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        code = work()
    except (StaleOwnerError, LeaseHeldError):
        code = STALE
    except BaseException as error:
        print(f"child: {type(error).__name__}: {error}", file=sys.stderr)
    os._exit(code)


def play(home: Path, mode: Durability, luck: float, turns: int | None) -> int:
    """Run the conversation for some turns, or until death."""
    acks = os.open(home / "acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def acknowledged(events: Sequence[Event]) -> None:
        os.write(acks, "".join(f"{event.id}\n" for event in events).encode())

    async def work() -> int:
        agent = Agent(ScriptedModel(_script(luck)), _tools(home), max_steps=1_000)
        conversation = agent.open(home, SqliteStore(home, mode), CONVERSATION)
        conversation.store.listen(acknowledged)
        left = turns
        while left is None or left > 0:
            if conversation.state.phase in ("idle", "finished"):
                outcome = await conversation.send("Go on.")
            else:
                outcome = await conversation.run()
            if not outcome.ok:
                print(f"child: {outcome}", file=sys.stderr)
                return 71
            left = None if left is None else left - 1
        await conversation.aclose()
        return 0

    return asyncio.run(work())


def _script(luck: float) -> Callable[[Request], Turn]:
    """Play turns of some steps, each of one to three calls, then an end."""

    def answer(request: Request) -> Turn:
        since = 0
        for message in reversed(request.messages):
            if message.role == "user":
                break
            since += message.role == "assistant"
        if since >= _TURN_STEPS:
            return Turn(tool_calls=(ToolCall.of("", "finish", {"message": "done"}),))
        count = 1 + int(luck * 10 + since) % 3
        names = ("mark", "look", "mark")[:count]
        calls = (ToolCall.of("", n, {"n": len(request.messages)}) for n in names)
        return Turn(tool_calls=tuple(calls))

    return answer


def _tools(home: Path) -> list[Tool]:
    effects = os.open(home / "effects", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def mark(n: int, ctx: ToolContext) -> str:
        """Leave a mark that must be there once."""
        os.write(effects, f"{ctx.call_id}\n".encode())
        await asyncio.sleep(0.001)
        return f"marked {n}"

    async def look(n: int) -> str:
        """Look at something."""
        await asyncio.sleep(0.001)
        return f"seen {n}"

    mark.__annotations__ = {"n": int, "ctx": ToolContext, "return": str}
    return [tool(locks=no_locks)(mark), tool(read_only=True, locks=no_locks)(look)]
