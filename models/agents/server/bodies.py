"""What requests say and what answers hold."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from models.agents.server.auth import Scope
from models.agents.spec import AgentSpec

ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$"


MOST_SEQ = 2**53
"""More events than any log has, and still a whole number for SQLite and for JavaScript."""


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("an empty text says nothing")
    return text


def _whole(command: str) -> str:
    if "\0" in command:
        raise ValueError("a command holds no NUL byte; write it as an escape (printf '\\0')")
    return command


# The pattern is for the contract; the words are for people.
Said = Annotated[str, AfterValidator(_said), Field(json_schema_extra={"pattern": r"\S"})]
Line = Annotated[str, AfterValidator(_whole), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]


class Body(BaseModel):
    """Base of requests: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class NewConversation(Body):
    """A conversation to begin."""

    agent: AgentSpec
    """The agent and its workspace."""
    id: str | None = Field(None, pattern=ID)
    """Its name; null: a new one."""
    title: str = Field("", max_length=500)
    """Its title; empty: made of the first message."""
    secrets: dict[str, str] = {}
    """Secrets by name: variables of commands that name them, shown to nobody, kept in memory."""


class NewMessage(Body):
    """Something to say."""

    text: Said
    """What is said; not nothing."""
    run: bool = True
    """Whether the agent works on it at once."""


class Approve(Body):
    """Waiting calls to allow."""

    call_id: str | None = None
    """Which; null: all that wait."""
    digest: str = ""
    """Of the arguments that were looked at; empty: those of the log."""
    by: str = Field("", max_length=200)
    """Who allows it."""
    run: bool = True
    """Whether the run goes on at once."""


class Reject(Body):
    """Waiting calls to refuse."""

    call_id: str | None = None
    """Which; null: all that wait."""
    why: str = ""
    """What the model reads."""
    run: bool = True
    """Whether the run goes on at once."""


class Fork(Body):
    """A copy to make."""

    at: int | None = Field(None, ge=1)
    """The last event that is shared; null: the last one."""
    id: str | None = Field(None, pattern=ID)
    """Name of the copy; null: made of this one's."""


class Rewind(Body):
    """An event to go back to."""

    seq: int = Field(ge=1)
    """Its sequence number."""


class NewSecrets(Body):
    """Secrets to add or replace."""

    values: dict[str, str]
    """By name."""


class Question(Body):
    """A side question, which changes nothing."""

    question: Said
    """What is asked; not nothing."""


class NewTitle(Body):
    """A name for people."""

    title: str | None = Field(None, max_length=500)
    """The title; null: the model finds one."""


class Command(Body):
    """A command to run in the workspace."""

    command: Line = Field(max_length=32_000)
    """For `sh -c`; what is longer belongs into a file of the workspace."""
    timeout_s: float = Field(60, gt=0, le=600)
    """Seconds after which it is killed."""


class NewToken(Body):
    """A token to sign."""

    conversation: str = "*"
    """Id of the one conversation that it opens; `*`: all."""
    scopes: list[Scope] = ["read"]
    """What it allows."""
    ttl_s: float = Field(86_400, gt=0, le=366 * 86_400)
    """Seconds for which it is good."""


class Accepted(BaseModel):
    """Something was written down; status comes by sockets and in the conversation."""

    seq: int
    """Of the event."""
    run: int | None = None
    """Number of the run that works on it; null: none was asked for."""
    boot: str = ""
    """The server process that the number belongs to."""


class Row(BaseModel):
    """A conversation in a listing."""

    id: str
    title: str
    phase: str
    reason: str
    running: bool
    seq: int
    steps: int
    cost_usd: float
    created: float
    updated: float
    parent: str
    damage: str


class Listing(BaseModel):
    """A page of conversations."""

    conversations: list[Row]
    total: int
    """How many there are that fit, on all pages."""
    next: str | None
    """Cursor of the next page; null: this is the last."""


class Waiting(BaseModel):
    """A call without a result."""

    call_id: str
    seq: int
    name: str
    arguments: str
    digest: str
    waits: bool
    approved: bool
    risk: str
    reasons: list[str]


class Details(BaseModel):
    """A conversation."""

    id: str
    title: str
    phase: str
    reason: str
    running: bool
    run: int
    boot: str
    failure: dict[str, str] | None
    seq: int
    steps: int
    cost_usd: float
    unpriced_calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    created: float
    updated: float
    parent: str
    final: str
    value: Any
    plan: list[dict[str, Any]]
    open_calls: list[Waiting]
    policy: dict[str, Any] | None
    agent: dict[str, Any] | None
    budget_left: dict[str, float | None]
    secrets: list[str]
    problem: str


class WireEvent(BaseModel):
    """An event as it is stored and sent."""

    seq: int
    id: str
    parent: str | None
    kind: str
    source: Literal["user", "agent", "environment"]
    ts: float
    call_id: str
    body: dict[str, Any]


class Events(BaseModel):
    """A page of events."""

    events: list[WireEvent]
    next: int
    """Ask with this as `after` for the next page."""
    head: int
    """Sequence number of the last event that there is."""


class Entry(BaseModel):
    """A name in a folder."""

    path: str
    kind: Literal["file", "folder", "link", "other"]
    size: int


class Folder(BaseModel):
    """A folder of the workspace."""

    path: str
    entries: list[Entry]


class Diff(BaseModel):
    """What changed in the workspace."""

    kind: Literal["git", "overlay", "none"]
    diff: str
    changes: list[dict[str, str]]
    truncated: bool


class Ran(BaseModel):
    """How a command ended."""

    exit_code: int
    output: str
    duration_s: float
    killed: str | None
    output_bytes: int


class Offers(BaseModel):
    """What an agent of this server may be made of, beside its tools."""

    models: list[str]
    """Addresses, `*` at the end for all that begin so; none: all."""
    analyzers: list[str]
    """What may rate the risk of calls."""
    mcp: list[str]
    """MCP servers that may be named."""
    isolations: list[str]
    """Where commands may run."""
    roots: list[str]
    """Folders that workspaces may lie in, beside those of the server's own."""


class ToolInfo(BaseModel):
    """A tool that agents may be given."""

    name: str
    description: str
    parameters: dict[str, Any]
    read_only: bool
    idempotent: bool
    destructive: bool
