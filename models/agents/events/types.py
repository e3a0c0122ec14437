"""What can happen in a conversation: one frozen type per kind of event.

An event is an envelope around a body. The envelope says which, when, after what and from whom;
the body's type says what. Order is the sequence number's; time is for people only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from models.llm import Image, Message, Usage

Source: TypeAlias = Literal["user", "agent", "environment"]

Phase: TypeAlias = Literal[
    "idle", "running", "paused", "waiting", "finished", "error", "stuck", "deleting"
]
"""Where a conversation stands. `waiting`: for an approval."""

Outcome: TypeAlias = Literal["ok", "error", "rejected", "cancelled", "unknown"]
"""How a call ended. `unknown`: the process died while it ran, and nobody can say."""

NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Body:
    """What an event says."""

    kind: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class Started(Body):
    """The conversation began."""

    kind: ClassVar[str] = "started"
    agent: Mapping[str, Any] = field(default_factory=dict)
    """The agent's spec, as `Agent.to_dict` wrote it."""
    workspace: Mapping[str, Any] = field(default_factory=dict)
    parent_conversation: str = ""
    """Of a delegated conversation: who asked for it."""


@dataclass(frozen=True, slots=True)
class Forked(Body):
    """The conversation goes on from a copy of another one's events up to here."""

    kind: ClassVar[str] = "forked"
    conversation: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class SystemPrompt(Body):
    """What the model is told first. Written once, so that its provider's cache stays warm."""

    kind: ClassVar[str] = "system"
    text: str = ""


@dataclass(frozen=True, slots=True)
class UserMessage(Body):
    """Someone outside said something."""

    kind: ClassVar[str] = "user"
    message: Message = field(default_factory=lambda: Message("user"))


@dataclass(frozen=True, slots=True)
class Notice(Body):
    """The runtime tells the model something: a nudge, advice, the text of a skill."""

    kind: ClassVar[str] = "notice"
    text: str = ""
    why: str = ""
    """Which part of the runtime speaks: stuck, critic, skill, hook, structured."""


@dataclass(frozen=True, slots=True)
class Answer(Body):
    """The model answered."""

    kind: ClassVar[str] = "answer"
    message: Message = field(default_factory=lambda: Message("assistant"))
    finish_reason: str = "stop"
    usage: Usage = NO_USAGE
    cost_usd: float | None = None
    latency_s: float | None = None
    model: str = ""
    source: str = "live"


@dataclass(frozen=True, slots=True)
class Intent(Body):
    """A tool is going to be called. Written before anything happens."""

    kind: ClassVar[str] = "intent"
    call_id: str = ""
    name: str = ""
    arguments: str = "{}"
    """As the tool gets them (`ToolCall.plain`); of a call that cannot run, as the model wrote."""
    digest: str = ""
    """Of name and arguments: what an approval is bound to."""
    reruns: bool = False
    """May be run again after a crash: the tool is read-only or idempotent."""
    waits: bool = False
    """Does not run before it is approved."""
    risk: str = ""
    """What the analyzer said: low, medium, high, unknown; empty: none was asked."""
    reasons: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Approved(Body):
    """Someone allowed a waiting call, with these arguments and no others."""

    kind: ClassVar[str] = "approved"
    call_id: str = ""
    digest: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Begun(Body):
    """An approved call starts; its approval is used up."""

    kind: ClassVar[str] = "begun"
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Result(Body):
    """How a call ended; exactly one per call, which the database enforces."""

    kind: ClassVar[str] = "result"
    call_id: str = ""
    name: str = ""
    text: str = ""
    """What the model reads."""
    outcome: Outcome = "ok"
    images: tuple[Image, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    """For people and programs; never sent to the model."""
    duration_s: float | None = None

    @property
    def is_error(self) -> bool:
        """Whether the model is told that this went wrong."""
        return self.outcome != "ok"


@dataclass(frozen=True, slots=True)
class Status(Body):
    """The conversation is in another phase now."""

    kind: ClassVar[str] = "status"
    phase: Phase = "idle"
    reason: str = ""
    final: str = ""
    """When finished: the last message."""
    value: Any = None
    """When finished by an agent with `structured`: the value, as JSON."""


@dataclass(frozen=True, slots=True)
class Failure(Body):
    """Something went wrong outside of tools: a model's call, a condenser, a hook."""

    kind: ClassVar[str] = "failure"
    error: str = ""
    """Name of the exception's type."""
    message: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class Condensed(Body):
    """From here on the model sees a summary in place of the middle of its history."""

    kind: ClassVar[str] = "condensed"
    summary: str = ""
    keep_until: int = 0
    """Sequence number up to which the beginning stays visible."""
    tail_from: int = 0
    """Sequence number from which everything is visible again."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Rewound(Body):
    """The conversation goes on from an earlier event: this one's parent."""

    kind: ClassVar[str] = "rewound"
    to: int = 0


@dataclass(frozen=True, slots=True)
class Title(Body):
    """The conversation has a name for people."""

    kind: ClassVar[str] = "title"
    text: str = ""


@dataclass(frozen=True, slots=True)
class Spent(Body):
    """Calls beside the agent's own took this: a condenser, a critic, a delegated conversation."""

    kind: ClassVar[str] = "spent"
    purpose: str = ""
    usage: Usage = NO_USAGE
    cost_usd: float | None = None
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Note(Body):
    """Something to remember that no model sees: a hook ran, a critic scored, a policy changed."""

    kind: ClassVar[str] = "note"
    topic: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unknown(Body):
    """An event of a kind that this version does not know; kept as it is, shown to no model."""

    kind: ClassVar[str] = "unknown"
    original: str = ""
    raw: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Event:
    """An envelope around a body; `seq` and `parent` are given by the log."""

    body: Body
    source: Source = "environment"
    id: str = ""
    parent: str | None = None
    """The event after which this one happened. None: the log's head."""
    ts: float = 0.0
    """Seconds since 1970 by the clock of the machine that wrote it."""
    seq: int = 0

    @property
    def kind(self) -> str:
        """The tag of the body."""
        return self.body.original if isinstance(self.body, Unknown) else self.body.kind

    @property
    def call_id(self) -> str:
        """The tool call that this is about; empty when it is about none."""
        found: str = getattr(self.body, "call_id", "")
        return found


BODIES: dict[str, type[Body]] = {
    body.kind: body
    for body in (
        Started,
        Forked,
        SystemPrompt,
        UserMessage,
        Notice,
        Answer,
        Intent,
        Approved,
        Begun,
        Result,
        Status,
        Failure,
        Condensed,
        Rewound,
        Title,
        Spent,
        Note,
    )
}
