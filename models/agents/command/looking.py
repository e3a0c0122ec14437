"""What there is: lists, single conversations, replays. Nothing here runs or changes one."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from models.agents.events import Event, Intent, decode_record
from models.agents.home import AgentHome
from models.agents.store.base import LOCKED, Log, Summary
from models.agents.store.jsonl import read_lines
from models.errors import ConfigError

_GAP_S = 3.0
"""The longest pause of a replay, whatever the clock said."""


@contextmanager
def log_of(home: AgentHome, name: str) -> Iterator[Log]:
    """Open the log of a conversation that exists, without its agent."""
    home.must_exist(name)
    log = home.store.open(name)
    try:
        yield log
    finally:
        log.close()


def is_file(source: str) -> bool:
    """Whether somebody means an export and not a conversation."""
    return Path(source).suffix == ".jsonl" or "/" in source


@contextmanager
def lines_of(source: str) -> Iterator[BinaryIO]:
    """Open an export; `-` is the standard input.

    Raises:
        ConfigError: There is none.
    """
    if source == "-":
        yield sys.stdin.buffer
        return
    if not Path(source).is_file():
        raise ConfigError(f"no export {source}; name a file that `loom agent export` wrote")
    with Path(source).open("rb") as file:
        yield file


def rows(home: AgentHome, text: str = "", *, delegated: bool = False) -> list[Summary]:
    """List conversations, last changed first.

    Args:
        home: Where they are.
        text: A part of their title or id.
        delegated: Also those that others delegated to.
    """
    wanted = text.casefold()
    return [
        row
        for row in home.store.list()
        if (delegated or not row.parent_conversation)
        and (wanted in row.title.casefold() or wanted in row.id.casefold())
    ]


def table(found: list[Summary]) -> list[str]:
    """Lay rows out as lines."""
    lines = [f"{'id':<24} {'phase':<9} {'steps':>5} {'usd':>8}  {'changed':<16}  title"]
    for row in found:
        changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.updated))
        numbers = f"{row.steps:>5} {row.cost_usd:>8.4f}"
        # What is locked says so itself: it is whole, and its key opens it.
        is_locked = bool(row.damage) and row.reason == LOCKED
        phase = LOCKED if is_locked else row.phase
        title = " ".join(row.title.split())
        if row.damage:
            title = row.damage if is_locked else f"damaged: {row.damage}"
        lines.append(f"{row.id:<24} {phase:<9} {numbers}  {changed}  {title}")
    return lines


def details(home: AgentHome, log: Log) -> dict[str, Any]:
    """Return where a conversation stands as plain values."""
    state = log.state
    # Opening checks the last records only; who asks where it stands wants to know of all.
    damage = log.damage or log.verify()
    waiting = []
    for call in state.open_calls():
        intent = log.spans([(call.seq, call.seq)])[0].body
        assert isinstance(intent, Intent)
        waiting.append(
            {
                "call_id": call.call_id,
                "name": call.name,
                "arguments": intent.arguments,
                "digest": call.digest,
                "waits": call.waits,
                "risk": intent.risk,
            }
        )
    return {
        "id": log.id,
        "title": state.title,
        "phase": state.phase,
        "reason": state.reason,
        "seq": state.seq,
        "steps": state.steps,
        "cost_usd": state.cost_usd,
        "tokens": state.prompt_tokens + state.completion_tokens,
        "final": state.final,
        "plan": state.plan,
        "open_calls": waiting,
        "damage": asdict(damage) if damage else None,
        "agent": home.describe(log.id),
    }


def replay(home: AgentHome, source: str, speed: float) -> Iterator[Event]:
    """Give the events of a conversation or of an exported file again.

    Args:
        home: Where conversations are.
        source: An id, or a path of an export, whose hash chain is checked line by line.
        speed: Times as fast as it happened; 0: at once.

    Raises:
        ConfigError: There is no such file.
        CorruptLogError: A line of the file is torn or changed.
        NoConversationError: There is no such conversation.
    """
    last: float | None = None
    for event in _events(home, source):
        if speed > 0 and last is not None:
            time.sleep(min(max(0.0, event.ts - last) / speed, _GAP_S))
        last = event.ts
        yield event


def _events(home: AgentHome, source: str) -> Iterator[Event]:
    if is_file(source):
        with lines_of(source) as lines:
            yield from map(decode_record, read_lines(lines))
        return
    with log_of(home, source) as log:
        yield from log.events()
