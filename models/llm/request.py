"""What a language model is asked: messages, options, tools, and whose call it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeAlias

from models.llm.errors import BadRequestError
from models.llm.messages import Message, canonical_json, user
from models.llm.tokens import estimate_tokens

_OURS = {"model", "messages", "prompt", "stream"}


@dataclass(frozen=True)
class ToolSpec:
    """A tool as a model sees it: name, purpose, JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    strict: bool = False
    """Ask the provider to hold the model to the schema, where it can."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; fields at their defaults are left out."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        kept = {key: value for key, value in values.items() if value not in ("", False)}
        return kept | {"name": self.name}

    @cached_property
    def tokens(self) -> int:
        """Estimate of the tokens that telling a model of it takes, with its frame."""
        texts = (self.name, self.description, canonical_json(dict(self.parameters)))
        return 8 + sum(estimate_tokens(text) for text in texts)


@dataclass(frozen=True)
class Options:
    """How to answer. None leaves a choice to the model."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    """Most tokens of the reply, reasoning included."""
    stop: tuple[str, ...] = ()
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    """JSON schema that the reply must fit, by constrained decoding where the model can."""
    schema_name: str = "reply"
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    """auto, none, required, or the name of a tool."""
    logprobs: int | None = None
    """Log-probabilities of this many alternatives per token; 0: of the chosen token only."""
    reasoning_effort: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request, as the provider names them."""

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        for key in ("stop", "tools"):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        # Equal values must give equal digests: 0 and 0.0 are one temperature.
        for key in ("temperature", "top_p"):
            if getattr(self, key) is not None:
                object.__setattr__(self, key, float(getattr(self, key)) + 0.0)
        if own := _OURS & {*self.extra}:
            raise BadRequestError(
                f"extra cannot set {', '.join(sorted(own))}: the request says it already"
            )
        if self.max_tokens is not None and self.max_tokens < 1:
            raise BadRequestError(
                f"max_tokens must be at least 1, got {self.max_tokens}; None means no limit"
            )
        names = [tool.name for tool in self.tools]
        if len(set(names)) < len(names):
            raise BadRequestError(f"two tools of one name among {', '.join(names)}; rename one")
        if self.tool_choice not in ("auto", "none", "required", *names):
            raise BadRequestError(
                f"tool_choice '{self.tool_choice}' is neither auto, none, required nor one of "
                f"the tools ({', '.join(names) or 'none given'})"
            )

    @cached_property
    def tokens(self) -> int:
        """Estimate of the tokens that tools and schema take in a prompt."""
        told = sum(tool.tokens for tool in self.tools)
        if self.schema is not None:
            told += estimate_tokens(canonical_json(dict(self.schema)))
        return told

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; what is at its default is left out."""
        values: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            # An empty schema asks for any JSON, and is not the same as none.
            if value == ({} if item.name == "extra" else item.default):
                continue
            if item.name == "tools":
                value = [tool.to_dict() for tool in value]
            values[item.name] = list(value) if isinstance(value, tuple) else value
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Options:
        """Load what `to_dict` wrote."""
        tools = tuple(ToolSpec(**tool) for tool in values.get("tools", ()))
        return cls(**{**values, "tools": tools, "stop": tuple(values.get("stop", ()))})


@dataclass(frozen=True)
class Request:
    """One question: what decides the reply, and beside it whose call it is."""

    messages: tuple[Message, ...]
    options: Options = Options()
    purpose: str = ""
    """What the call is for ("judge", "propose"): routers and meters go by it."""
    conversation: str = ""
    """Calls of one conversation share a prefix: engines and providers keep it cached."""
    id: str = ""
    """Two calls of one id are one call: the second gets the first one's reply."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))
        if not self.messages:
            raise BadRequestError("a request needs at least one message")

    @cached_property
    def digest(self) -> str:
        """Sha256 of what decides the reply: messages and options, in hexadecimal.

        Hints, purpose, conversation and id are not part of it; neither is any key.
        """
        sha = hashlib.sha256(b"request-1\n")
        for message in self.messages:
            sha.update(message.canonical.encode())
            sha.update(b"\n")
        sha.update(canonical_json(self.options.to_dict()).encode(errors="surrogatepass"))
        return sha.hexdigest()

    @property
    def calls_before(self) -> int:
        """Tool calls of the conversation: numbers new ones where a model gives them no id."""
        return sum(len(message.tool_calls) for message in self.messages)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        beside = {key: getattr(self, key) for key in ("purpose", "conversation", "id")}
        return {
            "messages": [message.to_dict() for message in self.messages],
            "options": self.options.to_dict(),
            **{key: value for key, value in beside.items() if value},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Request:
        """Load what `to_dict` wrote."""
        return cls(
            tuple(Message.from_dict(message) for message in values["messages"]),
            Options.from_dict(values.get("options", {})),
            **{key: values.get(key, "") for key in ("purpose", "conversation", "id")},
        )


Prompt: TypeAlias = str | Message | Sequence[Message] | Request


def as_request(prompt: Prompt, options: Options | None = None) -> Request:
    """Make a request of a text, a message, several, or a request with other options.

    Args:
        prompt: The question; a text is a user's message.
        options: How to answer; None keeps those of a given request.
    """
    if isinstance(prompt, Request):
        return prompt if options is None else replace(prompt, options=options)
    if isinstance(prompt, str):
        prompt = user(prompt)
    messages = (prompt,) if isinstance(prompt, Message) else tuple(prompt)
    return Request(messages, options or Options())


def estimate_prompt(request: Request) -> int:
    """Estimate the tokens of a request's prompt without a tokenizer."""
    total = 3 + sum(message.tokens for message in request.messages)
    return total + request.options.tokens
