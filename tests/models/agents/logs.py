"""Events and logs for the tests of stores."""

import sqlite3
from pathlib import Path

from models.agents.events import Answer, Event, Intent, Result, UserMessage, new_event
from models.agents.state import State
from models.agents.store import Log
from models.llm import ToolCall, Usage, assistant, user


def say(text: str) -> Event:
    return new_event(UserMessage(user(text)), "user")


def cycle(number: int, size: int = 100) -> list[Event]:
    call = ToolCall(f"c{number}", "ping", f'{{"n": {number}}}')
    return [
        new_event(Answer(assistant("", call), usage=Usage(10, 0, 5), cost_usd=0.5), "agent"),
        new_event(Intent(call.id, "ping", call.arguments, "d"), "agent"),
        new_event(Result(call.id, "ping", "x" * size)),
    ]


def replayed(log: Log) -> State:
    """Reduce a log from its beginning."""
    state, seqs = State(), {None: 0}
    for event in log.events():
        state.apply(event, seqs[event.parent])
        seqs[event.id] = event.seq
    return state


def tamper(path: Path, sql: str, *values: object) -> None:
    db = sqlite3.connect(path)
    db.execute(sql, values)
    db.commit()
    db.close()
