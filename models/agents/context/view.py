"""The view: what a model is sent of a log.

Grown event by event; equal at any time to one built from the whole log (a property test holds
that). The messages of one answer and the results of its calls stay together: an answer whose
results are not all there is not sent, and one result per call is. Results go in call order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from models.agents.events.types import (
    Answer,
    Condensed,
    Event,
    Notice,
    Result,
    SystemPrompt,
    UserMessage,
)
from models.agents.state import Span, State
from models.llm import Message, Text, system, user
from models.llm.messages import Part

VISIBLE = (
    SystemPrompt.kind,
    UserMessage.kind,
    Notice.kind,
    Answer.kind,
    Result.kind,
    Condensed.kind,
)
"""Kinds of events that a model may see."""

SUMMARY_HEAD = "Summary of what happened before, since the conversation is long:\n"


@dataclass
class Item:
    """Messages that stand or fall together."""

    seq: int
    """Of the first event."""
    end: int
    """Of the last event."""
    messages: list[Message]
    is_summary: bool = False
    is_pinned: bool = False
    """Never condensed away: the system prompt."""
    waits_for: dict[str, int] = field(default_factory=dict)
    """Calls without a result, with their place among the messages."""

    @property
    def tokens(self) -> int:
        """Estimate of what the messages take."""
        return sum(message.tokens for message in self.messages)


class Cut(NamedTuple):
    """What a condensation would do."""

    keep_until: int
    tail_from: int
    hidden: tuple[Message, ...]
    kept: int
    """Items that would stay, pinned ones and the new summary not counted."""


class View:
    """The messages of a branch.

    Args:
        read: Reads events of given kinds within spans; used when a view begins in the middle of a
            log, or its branch changes.
    """

    def __init__(self, read: Callable[[Sequence[Span], Iterable[str]], Iterable[Event]]) -> None:
        self._read = read
        self._items: list[Item] = []
        self._late: list[Item] = []
        """Came while results were missing; follow when they are there."""
        self._messages: list[Message] = []
        self._tokens = 0
        self._counted = 0
        """Messages that are in `_tokens`: who never asks, pays for no counting."""
        self._open: Item | None = None
        self._head = 0

    @property
    def items(self) -> Sequence[Item]:
        """What is sent, in groups that stand or fall together."""
        return self._items

    @property
    def tokens(self) -> int:
        """Estimate of the tokens of all messages; only what is new is counted."""
        self._tokens += sum(message.tokens for message in self._messages[self._counted :])
        self._counted = len(self._messages)
        return self._tokens + sum(item.tokens for item in self._late)

    @property
    def head(self) -> int:
        """Number of the last event that was looked at."""
        return self._head

    def messages(self) -> tuple[Message, ...]:
        """Return what a model is sent now: no answer whose results are missing."""
        late = [message for item in self._late for message in item.messages]
        return (*self._messages, *late) if late else tuple(self._messages)

    def load(self, state: State) -> None:
        """Build the view of a branch, reading no more than is visible."""
        self._clear()
        self._head = state.seq
        branch = state.branch()
        condensed = state.last_condensed()
        if not condensed:
            self._add_all(self._read(branch, VISIBLE))
            return
        summary = next(iter(self._read([(condensed, condensed)], VISIBLE)))
        body = summary.body
        assert isinstance(body, Condensed)
        self._add_all(self._read(_within(branch, 1, body.keep_until), VISIBLE))
        self._finish()
        self._append(_summary(summary.seq, body))
        rest = self._read(_within(branch, body.tail_from, state.seq), VISIBLE)
        self._add_all(event for event in rest if not isinstance(event.body, Condensed))

    def apply(self, events: Iterable[Event], state: State) -> None:
        """Add events that were just appended; `state` is the log's after them."""
        for event in events:
            jumped = any(start == event.seq for start, _ in reversed(state.forks))
            if jumped or isinstance(event.body, Condensed) or event.seq != self._head + 1:
                self.load(state)
                return
            self._head = event.seq
            self._add(event)

    def _clear(self) -> None:
        self._items, self._late, self._messages = [], [], []
        self._tokens, self._counted, self._open = 0, 0, None

    def _add_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self._add(event)

    def _add(self, event: Event) -> None:
        match event.body:
            case Answer(message=message):
                self._finish()
                item = Item(event.seq, event.seq, [message])
                for call in message.tool_calls:
                    item.waits_for[call.id] = len(item.messages)
                    item.messages.append(message)  # its place; the result goes here
                if item.waits_for:
                    self._open = item
                else:
                    self._append(item)
            case Result(call_id=call_id) as result:
                if self._open is not None and call_id in self._open.waits_for:
                    place = self._open.waits_for.pop(call_id)
                    self._open.messages[place] = _result_message(result)
                    self._open.end = event.seq
                    if not self._open.waits_for:
                        self._append(self._open)
                        self._finish()
            case SystemPrompt(text=text):
                self._put(Item(event.seq, event.seq, [system(text, cache=True)], is_pinned=True))
            case UserMessage(message=message):
                self._put(Item(event.seq, event.seq, [message]))
            case Notice(text=text):
                self._put(Item(event.seq, event.seq, [user(text)]))
            case _:
                pass

    def _put(self, item: Item) -> None:
        if self._open is not None:
            self._late.append(item)
        else:
            self._append(item)

    def _finish(self) -> None:
        """Close the open answer: dropped if results are missing; what came after it follows."""
        self._open = None
        late, self._late = self._late, []
        for item in late:
            self._append(item)

    def _append(self, item: Item) -> None:
        self._items.append(item)
        self._messages.extend(item.messages)

    def cut(self, keep: int, tail: int) -> Cut | None:
        """Return what a condensation would hide; None: nothing lies between.

        Args:
            keep: Items of the beginning that stay, pinned ones not counted.
            tail: Items of the end that stay.
        """
        items = self._items
        pinned = sum(item.is_pinned for item in items)
        # A summary is never kept: it becomes part of the next one.
        summary = next((place for place, item in enumerate(items) if item.is_summary), len(items))
        first, last = min(pinned + keep, summary), len(items) - tail
        if last - first < 1 or (last - first == 1 and items[first].is_summary):
            return None
        hidden = [message for item in items[first:last] for message in item.messages]
        # Events of two items may lie between each other: a message that came during a call.
        keep_until = max((item.end for item in items[:first]), default=0)
        tail_from = min((item.seq for item in items[last:]), default=self._head + 1)
        return Cut(keep_until, tail_from, tuple(hidden), first - pinned + tail)


def _summary(seq: int, body: Condensed) -> Item:
    return Item(seq, seq, [user(SUMMARY_HEAD + body.summary)], is_summary=True)


def _result_message(result: Result) -> Message:
    parts: tuple[Part, ...] = (Text(result.text), *result.images)
    return Message(
        "tool", parts, tool_call_id=result.call_id, name=result.name, is_error=result.is_error
    )


def _within(branch: Sequence[Span], first: int, last: int) -> list[Span]:
    return [
        (max(start, first), min(end, last))
        for start, end in branch
        if start <= last and end >= first
    ]


def mismatches(messages: Iterable[Message]) -> list[str]:
    """Return what breaks the rule that strict providers hold: each call, then its one result."""
    found: list[str] = []
    waiting: list[str] = []
    for message in messages:
        if message.role == "tool":
            if waiting and waiting[0] == message.tool_call_id:
                waiting.pop(0)
            else:
                found.append(f"a result of '{message.tool_call_id}' where none is due")
            continue
        found += [f"no result of '{call_id}'" for call_id in waiting]
        waiting = [call.id for call in message.tool_calls]
    return found + [f"no result of '{call_id}'" for call_id in waiting]
