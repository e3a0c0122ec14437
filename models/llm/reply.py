"""What a language model gives: a reply with its usage and cost, or the chunks of one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from models.llm.errors import StreamCutError
from models.llm.messages import Message, ToolCall

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "unknown"]
Source = Literal["live", "replayed", "scripted"]
"""Where a reply came from. Only `live` ones say anything about a model's abilities."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one call."""

    prompt_tokens: int = 0
    """All tokens of the prompt, cached ones included."""
    cached_tokens: int = 0
    """Of the prompt: read from the provider's cache."""
    completion_tokens: int = 0
    """All tokens of the reply, reasoning included."""
    reasoning_tokens: int = 0
    """Of the reply: thought, not said."""

    estimated: bool = False
    """Counted by us, since the provider did not say."""

    @property
    def total_tokens(self) -> int:
        """Prompt and reply."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated or other.estimated,
        )


@dataclass(frozen=True)
class TokenLogprob:
    """A token of the reply with its natural log-probability and the alternatives."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Reply:
    """What a model answered, and what it took."""

    message: Message
    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()
    cost_usd: float | None = None
    """None: no price is known."""
    latency_s: float | None = None
    """Seconds from the call to the whole reply, waits for retries included."""
    model: str = ""
    id: str = ""
    logprobs: tuple[TokenLogprob, ...] | None = None
    attempts: int = 1
    """Tries that it took; 0: an earlier call of the same request id had this reply, and nothing
    was asked or paid again."""
    source: Source = "live"

    @property
    def text(self) -> str:
        """What the model said."""
        return self.message.text

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Tools that the model asks for."""
        return self.message.tool_calls

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = {key: value for key, value in vars(self).items() if value is not None}
        values["message"] = self.message.to_dict()
        values["usage"] = dict(vars(self.usage))
        if self.logprobs is not None:
            values["logprobs"] = [
                [entry.token, entry.logprob, [list(pair) for pair in entry.top]]
                for entry in self.logprobs
            ]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reply:
        """Load what `to_dict` wrote."""
        logprobs = values.get("logprobs")
        return cls(
            **{
                **values,
                "message": Message.from_dict(values["message"]),
                "usage": Usage(**values.get("usage", {})),
                "logprobs": None
                if logprobs is None
                else tuple(
                    TokenLogprob(token, logprob, tuple((a, b) for a, b in top))
                    for token, logprob, top in logprobs
                ),
            }
        )


@dataclass(frozen=True)
class Chunk:
    """A piece of a streamed reply; the last one carries the whole `reply`."""

    text: str = ""
    reasoning: str = ""
    tool_call_index: int | None = None
    """Which tool call `arguments` continues; `tool_call` names it when it starts."""
    tool_call: ToolCall | None = None
    arguments: str = ""
    reply: Reply | None = None


Stream: TypeAlias = AsyncGenerator[Chunk, None]
"""A reply as it comes. Leave it early under `contextlib.aclosing`, which ends the call."""


def chunks_of(reply: Reply) -> Iterator[Chunk]:
    """Play a whole reply as a stream."""
    if reply.message.reasoning:
        yield Chunk(reasoning=reply.message.reasoning)
    if reply.text:
        yield Chunk(text=reply.text)
    for index, call in enumerate(reply.tool_calls):
        yield Chunk(tool_call_index=index, tool_call=replace(call, arguments=""))
        yield Chunk(tool_call_index=index, arguments=call.arguments)
    yield Chunk(reply=reply)


async def collect(chunks: Stream) -> Reply:
    """Wait for the whole reply of a stream.

    Raises:
        StreamCutError: The stream ended without it.
    """
    text = ""
    async for chunk in chunks:
        text += chunk.text
        if chunk.reply is not None:
            return chunk.reply
    raise StreamCutError("a stream ended without its reply; ask again", text=text)
