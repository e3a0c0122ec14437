"""Talks as clients of models send them, and which conversation each goes on with."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from models.errors import ConfigError

_MOST_HISTORIES = 4_096
_REFUSED = ("tools", "functions", "audio", "modalities", "logprobs")


class Part(BaseModel):
    """A part of a message; texts are the only ones that agents are told."""

    model_config = ConfigDict(extra="ignore")
    type: str
    text: str = ""


class ChatMessage(BaseModel):
    """A message as clients of models send it."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None

    def said(self) -> str:
        """Return its text.

        Raises:
            ConfigError: It holds something else.
        """
        if not isinstance(self.content, list):
            return self.content or ""
        for part in self.content:
            if part.type != "text":
                raise ConfigError(f"agents are told texts, not '{part.type[:40]}'")
        return "".join(part.text for part in self.content)


class ChatRequest(BaseModel):
    """A request for an answer. How the model samples is the agent's own: such keys are ignored."""

    model_config = ConfigDict(extra="allow")
    model: str = Field(min_length=1)
    """Address of the agent's model; see `GET /v1/models`."""
    messages: list[ChatMessage] = Field(min_length=1)
    """The talk so far; the last one is of the user."""
    stream: bool = False
    """Whether the answer comes in pieces, as server-sent events."""
    stream_options: dict[str, Any] | None = None
    """`include_usage`: the last piece counts tokens."""
    n: int | None = None
    """Answers; an agent gives one."""

    def check(self) -> ChatRequest:
        """Return this request.

        Raises:
            ConfigError: It asks for what an agent does not give.
        """
        more = self.model_extra or {}
        for name in _REFUSED:
            if more.get(name):
                raise ConfigError(f"`{name}` goes with a model, not with an agent; leave it out")
        if (more.get("response_format") or {"type": "text"}) != {"type": "text"}:
            raise ConfigError("`response_format`: an agent answers in text; leave it out")
        if self.n not in (None, 1):
            raise ConfigError(f"n={self.n}: an agent gives one answer")
        if self.messages[-1].role != "user":
            raise ConfigError("the last message must be the user's: it is what the agent is told")
        if not self.messages[-1].said().strip():
            raise ConfigError("the last message is empty; say something to the agent")
        return self


class Histories:
    """Finds the conversation whose history a request repeats."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, str] = OrderedDict()

    def get(self, model: str, messages: Sequence[ChatMessage]) -> str | None:
        """Return the conversation that said this so far; None: none that is remembered."""
        return self._found.get(_digest(model, messages))

    def keep(self, model: str, messages: Sequence[ChatMessage], answer: str, name: str) -> None:
        """Remember what a conversation has said by now."""
        said = ChatMessage(role="assistant", content=answer)
        self._found[_digest(model, [*messages, said])] = name
        if len(self._found) > _MOST_HISTORIES:
            self._found.popitem(last=False)


def _digest(model: str, messages: Sequence[ChatMessage]) -> str:
    told = [model, *([message.role, message.said()] for message in messages)]
    return hashlib.sha256(orjson.dumps(told)).hexdigest()
