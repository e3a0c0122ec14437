"""What a log adds up to: phase, head, branch, open calls, cost. Reduced event by event.

The state is stored beside the events in the same transaction, so a cold open reads one row;
it can always be computed again from the log, and a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import orjson

from models.agents.events.types import (
    Answer,
    Approved,
    Begun,
    Condensed,
    Event,
    Forked,
    Intent,
    Note,
    Phase,
    Result,
    Rewound,
    Spent,
    Started,
    Status,
    Title,
)

VERSION = 2
"""Of the rules below. A log that was reduced by other ones is reduced again when it is opened."""

Span = tuple[int, int]
"""First and last sequence number of a run of events, both included."""


class OpenCall(NamedTuple):
    """A call that was asked for and has no result yet."""

    call_id: str
    seq: int
    """Of its intent."""
    name: str
    digest: str
    reruns: bool
    waits: bool
    """Still needs an approval before it may begin."""
    approved: str
    """Digest that was approved and is not used up; empty: none."""


@dataclass
class State:
    """The sums of a log."""

    seq: int = 0
    """Of the last event."""
    head: str | None = None
    """Id of the last event: the next one's parent."""
    phase: Phase = "idle"
    reason: str = ""
    final: str = ""
    value: Any = None
    title: str = ""
    steps: int = 0
    """Answers of the agent's model, on all branches, and those of delegated conversations."""
    cost_usd: float = 0.0
    unpriced_calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    parent_conversation: str = ""
    created: float = 0.0
    updated: float = 0.0
    calls: dict[str, OpenCall] = field(default_factory=dict)
    """Open calls of all branches by id; `open_calls` has those of the present one."""
    forks: list[tuple[int, int]] = field(default_factory=list)
    """Events whose parent is not the one before them, with the parent's sequence number."""
    condensed: list[int] = field(default_factory=list)
    """Condensations of all branches."""
    policy: dict[str, Any] | None = None
    """As it was changed last, `Policy.to_dict`; None: the agent's own."""
    plan: list[dict[str, Any]] = field(default_factory=list)
    """The todo list as the last result with `data["todo"]` left it."""

    def copy(self) -> State:
        """Copy far enough that applying events to the copy leaves this one alone."""
        # Not `replace`: it goes through every field, twenty times slower, at each commit.
        twin = State.__new__(State)
        twin.__dict__.update(self.__dict__)
        twin.calls, twin.forks = dict(self.calls), list(self.forks)
        twin.condensed = list(self.condensed)
        return twin

    def apply(self, event: Event, parent_seq: int) -> None:
        """Add an event.

        Args:
            event: The next one of the log.
            parent_seq: Sequence number of its parent; 0: it has none.
        """
        if parent_seq != self.seq:
            self.forks.append((event.seq, parent_seq))
        self.seq, self.head, self.updated = event.seq, event.id, event.ts
        match event.body:
            case Answer(usage=usage, cost_usd=cost):
                self.steps += 1
                self._spend(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, cost)
            case Intent() as i:
                self.calls[i.call_id] = OpenCall(
                    i.call_id, event.seq, i.name, i.digest, i.reruns, i.waits, ""
                )
            case Approved(call_id=call_id, digest=digest) if call_id in self.calls:
                self.calls[call_id] = self.calls[call_id]._replace(approved=digest)
            case Begun(call_id=call_id) if call_id in self.calls:
                self.calls[call_id] = self.calls[call_id]._replace(waits=False, approved="")
            case Result(call_id=call_id, data=data):
                self.calls.pop(call_id, None)
                if "todo" in data:
                    self.plan = list(data["todo"])
            case Status() as status:
                self.phase, self.reason = status.phase, status.reason
                if status.phase == "finished":
                    self.final, self.value = status.final, status.value
            case Spent(usage=usage, cost_usd=cost, steps=steps):
                self.steps += steps
                self._spend(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, cost)
            case Condensed():
                self.condensed.append(event.seq)
            case Rewound():
                self.phase, self.reason = "idle", ""
            case Note(topic="policy", data=data):
                self.policy = dict(data)
            case Title(text=text):
                self.title = text
            case Forked():
                self.parent_conversation = ""  # nobody delegated to the copy
            case Started(parent_conversation=parent):
                self.parent_conversation, self.created = parent, event.ts

    def _spend(self, prompt: int, cached: int, completion: int, cost: float | None) -> None:
        self.prompt_tokens += prompt
        self.cached_tokens += cached
        self.completion_tokens += completion
        if cost is None:
            self.unpriced_calls += 1
        else:
            self.cost_usd += cost

    def branch(self, seq: int | None = None) -> list[Span]:
        """Return the events that lead to one (None: the last), as spans in order."""
        spans: list[Span] = []
        end = self.seq if seq is None else seq
        for start, parent in reversed(self.forks):
            if start <= end:
                spans.append((start, end))
                end = parent
        if end > 0:
            spans.append((1, end))
        return spans[::-1]

    def is_on_branch(self, seq: int) -> bool:
        """Whether an event leads to the last one."""
        if not self.forks:
            return 0 < seq <= self.seq
        return any(first <= seq <= last for first, last in self.branch())

    def open_calls(self) -> list[OpenCall]:
        """Return the calls of the present branch that have no result, in call order."""
        if not self.calls:
            return []
        return [call for call in self.calls.values() if self.is_on_branch(call.seq)]

    def last_condensed(self) -> int:
        """Return the sequence number of the condensation that counts; 0: there is none."""
        return next((seq for seq in reversed(self.condensed) if self.is_on_branch(seq)), 0)

    def differences(self, other: State) -> list[str]:
        """Return the names of the sums that are others there."""
        return [name for name in _NAMES if getattr(self, name) != getattr(other, name)]

    def to_json(self) -> bytes:
        """Write the state."""
        values = {name: getattr(self, name) for name in _NAMES}
        values["calls"] = [tuple(call) for call in self.calls.values()]
        values["version"] = VERSION
        return orjson.dumps(values)

    @classmethod
    def from_json(cls, raw: bytes) -> State:
        """Read what `to_json` wrote."""
        values: Mapping[str, Any] = orjson.loads(raw)
        calls: Sequence[Sequence[Any]] = values["calls"]
        return cls(
            **{
                **{name: value for name, value in values.items() if name in _NAMES},
                "calls": {entry[0]: OpenCall(*entry) for entry in calls},
                "forks": [(start, parent) for start, parent in values["forks"]],
            }
        )

    @staticmethod
    def is_present(raw: bytes) -> bool:
        """Whether what `to_json` wrote was reduced by the rules of this program."""
        return bool(orjson.loads(raw).get("version") == VERSION)


_NAMES = tuple(entry.name for entry in fields(State))
