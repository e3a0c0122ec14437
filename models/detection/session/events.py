"""What happened in a session, one immutable record each."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

SCHEMA = "loom-session/1"
"""Version of the records; a change of a field's meaning is another number."""

Kind = Literal[
    "user_message", "assistant_message", "system_message", "reasoning", "tool_call",
    "tool_result", "summary", "notice",
]  # fmt: skip
"""`summary` stands for events that were compacted; `notice` is the agent program's own."""

Status = Literal["ok", "error", "missing", "denied"]
"""Of a result; `missing`: none was recorded, `denied`: the call was refused before it ran."""


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool that was asked for.

    Attributes:
        id: Unique within its session.
        tool: Its name without the server's.
        server: MCP server, or empty for a tool of the agent program itself.
        arguments: By name; None: the record holds none.
        raw: The arguments as written, where they are no JSON object.
    """

    id: str
    tool: str
    server: str = ""
    arguments: dict[str, Any] | None = None
    raw: str = ""


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was told, thought, done or answered.

    Attributes:
        id: Unique within its session.
        kind: What it is.
        text: Message, reasoning or result, whole.
        call: Of a `tool_call`.
        status: Of a `tool_result`.
        time_s: Seconds since 1970 as its record says; clocks may be skewed.
        actor: Which agent: empty for the main one, else the sub-agent's id.
        parent: Event before it on its own branch.
        responds_to: Of a result the event of its call; of an answer the message.
        derived_from: Events whose content it was made of: what a summary replaced, a fork copied.
        delegated_by: Event of the call that began this event's agent.
        is_abandoned: It lies on a branch that was rewound: it happened, the agent forgot it.
        place: Where its record stands, `file:line` or `file#key`.
    """

    id: str
    kind: Kind
    text: str = ""
    call: ToolCall | None = None
    status: Status = "ok"
    time_s: float | None = None
    actor: str = ""
    parent: str | None = None
    responds_to: str | None = None
    derived_from: tuple[str, ...] = ()
    delegated_by: str | None = None
    is_abandoned: bool = False
    place: str = ""


class ToolManifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a server says that a tool is.

    Attributes:
        server, tool: Its names.
        description: For the model that calls it; written by whoever wrote the server.
        input_schema: JSON schema of its arguments.
        seen_s: When it was said, in seconds since 1970.
        title: For people.
        output_schema: JSON schema of its structured result.
        annotations: Hints of the server: read-only, destructive and the like.
        is_whole: The record keeps all that the server said: what is empty, it did not say.
    """

    server: str
    tool: str
    description: str = ""
    input_schema: dict[str, Any] | None = None
    seen_s: float | None = None
    title: str = ""
    output_schema: dict[str, Any] | None = None
    annotations: dict[str, Any] | None = None
    is_whole: bool = False
