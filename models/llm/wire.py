"""The OpenAI-compatible shapes: requests to JSON, and answers back to replies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson

from models.llm.errors import BadRequestError, MalformedReplyError, UnsupportedError
from models.llm.messages import Image, Message, Part, Reasoning, Text, ToolCall, canonical_json
from models.llm.reply import FinishReason, Reply, TokenLogprob, Usage
from models.llm.request import Options, Request, estimate_prompt
from models.llm.tokens import estimate_tokens

SchemaField = Literal["response_format", "structured_outputs", "none"]
"""How a server wants a JSON schema: as OpenAI does, as vLLM does, or not at all."""

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


@dataclass(frozen=True)
class Dialect:
    """How a server differs from OpenAI's first chat interface."""

    schema_field: SchemaField = "response_format"
    max_tokens_field: str = "max_tokens"
    """OpenAI's reasoning models want `max_completion_tokens`."""
    send_reasoning: bool = False
    """Send earlier reasoning back, as `reasoning_content`."""
    send_cache_marks: bool = False
    """Mark cached prefixes in the content, as Anthropic's models want it."""
    send_cache_key: bool = False
    """Name the conversation in `prompt_cache_key`, as OpenAI's models want it."""


OPENAI = Dialect()


def chat_body(model: str, request: Request, dialect: Dialect, *, stream: bool = False) -> bytes:
    """Write the body of a chat completion.

    Raises:
        BadRequestError: A value of the request is no JSON.
    """
    fields = chat_options(request.options, dialect)
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    if dialect.send_cache_key and request.conversation:
        fields["prompt_cache_key"] = request.conversation
    messages = [orjson.Fragment(_message_bytes(m, dialect)) for m in request.messages]
    return dump({"model": model, "messages": messages, **fields})


def completion_body(
    model: str, prompt: str, request: Request, dialect: Dialect, *, stream: bool = False
) -> bytes:
    """Write the body of a text completion.

    Raises:
        UnsupportedError: The request has tools: text completions know none.
    """
    if request.options.tools:
        raise UnsupportedError(
            "text completions know no tools; use chat completions or wrap the model in TextTools"
        )
    fields = chat_options(request.options, dialect)
    fields.pop("top_logprobs", None)
    if request.options.logprobs is not None:
        fields["logprobs"] = request.options.logprobs
    if dialect.max_tokens_field in fields:
        fields["max_tokens"] = fields.pop(dialect.max_tokens_field)
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return dump({"model": model, "prompt": prompt, **fields})


def dump(body: dict[str, Any]) -> bytes:
    """JSON bytes of a body; integers of any size."""
    try:
        return orjson.dumps(body)
    except TypeError as error:
        if any(isinstance(value, list) and _has_fragment(value) for value in body.values()):
            # Beside the ready-made messages something is too large for orjson.
            messages = [orjson.loads(orjson.dumps(message)) for message in body["messages"]]
            return canonical_json({**body, "messages": messages}).encode(errors="replace")
        raise BadRequestError(f"the request is no JSON: {error}; replace that value") from None


def _has_fragment(values: list[Any]) -> bool:
    return any(isinstance(value, orjson.Fragment) for value in values)


def chat_options(options: Options, dialect: Dialect) -> dict[str, Any]:
    """Return the fields of a request beside its messages."""
    fields: dict[str, Any] = {
        "temperature": options.temperature,
        "top_p": options.top_p,
        dialect.max_tokens_field: options.max_tokens,
        "seed": options.seed,
        "reasoning_effort": options.reasoning_effort,
    }
    if options.stop:
        fields["stop"] = list(options.stop)
    if options.tools:
        fields["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": dict(tool.parameters),
                    **({"strict": True} if tool.strict else {}),
                },
            }
            for tool in options.tools
        ]
        named = options.tool_choice not in ("auto", "none", "required")
        choice = {"type": "function", "function": {"name": options.tool_choice}}
        if options.tool_choice != "auto":
            fields["tool_choice"] = choice if named else options.tool_choice
    if options.schema is not None and dialect.schema_field == "response_format":
        named_schema = {"name": options.schema_name, "schema": dict(options.schema), "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": named_schema}
    elif options.schema is not None and dialect.schema_field == "structured_outputs":
        fields["structured_outputs"] = {"json": dict(options.schema)}
    if options.logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": options.logprobs or None}
    return {key: value for key, value in {**fields, **options.extra}.items() if value is not None}


def _message_bytes(message: Message, dialect: Dialect) -> bytes:
    # Kept with the message, by dialect: an agent sends the same messages at each step.
    ready: dict[Dialect, bytes] = message.__dict__.setdefault("_wire", {})
    if dialect not in ready:
        ready[dialect] = orjson.dumps(chat_message(message, dialect))
    return ready[dialect]


def chat_message(message: Message, dialect: Dialect) -> dict[str, Any]:
    """Return a message as a chat completion takes it."""
    marked = dialect.send_cache_marks and message.cache
    said = [part for part in message.parts if not isinstance(part, Reasoning)]
    content: str | list[dict[str, Any]] | None = message.text
    if marked or any(isinstance(part, Image) for part in said):
        pieces = [_content(part) for part in said]
        if marked and pieces:
            pieces[-1]["cache_control"] = {"type": "ephemeral"}
        content = pieces
    if message.role == "assistant" and message.tool_calls and not content:
        content = None
    values: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        values["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        values["tool_call_id"] = message.tool_call_id
    if message.name:
        values["name"] = message.name
    if dialect.send_reasoning and message.reasoning:
        values["reasoning_content"] = message.reasoning
    if dialect.send_cache_marks and (blocks := _thinking_blocks(message)):
        values["thinking_blocks"] = blocks
    return values


def _content(part: Part) -> dict[str, Any]:
    if isinstance(part, Image):
        return {"type": "image_url", "image_url": {"url": part.address}}
    return {"type": "text", "text": part.text}


def _thinking_blocks(message: Message) -> list[dict[str, Any]]:
    thoughts = [part for part in message.parts if isinstance(part, Reasoning) and part.signature]
    return [
        {"type": "redacted_thinking", "data": part.signature}
        if part.redacted
        else {"type": "thinking", "thinking": part.text, "signature": part.signature}
        for part in thoughts
    ]


def parse_reply(values: Any, request: Request, model: str) -> Reply:
    """Read the answer of a chat or text completion.

    Raises:
        MalformedReplyError: It has another shape.
    """
    try:
        choice = values["choices"][0]
        said = choice.get("message")
        if said is None:
            said = {"content": choice["text"]}
        message = parse_message(said, request.calls_before)
        finish = finish_reason(choice.get("finish_reason"), message)
        logprobs = parse_logprobs(choice.get("logprobs"))
        name = str(values.get("model") or model)
        reply_id = str(values.get("id") or "")
        usage = parse_usage(values.get("usage"), request, message)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise MalformedReplyError(
            f"{model} answered in another shape than a chat completion ({error!r}); check that "
            "the address is the base of an OpenAI-compatible interface (it often ends in /v1)",
            text=str(values)[:2_000],
        ) from None
    return Reply(message, finish, usage, model=name, id=reply_id, logprobs=logprobs)


def parse_message(values: dict[str, Any], calls_before: int = 0) -> Message:
    """Read an assistant's message; calls without an id are numbered on."""
    parts: list[Part] = []
    thoughts = values.get("thinking_blocks") or ()
    for thought in thoughts:
        redacted = thought.get("type") == "redacted_thinking"
        mark = thought.get("data" if redacted else "signature") or ""
        parts.append(Reasoning(thought.get("thinking") or "", mark, redacted))
    reasoning = values.get("reasoning_content") or values.get("reasoning")
    if isinstance(reasoning, str) and reasoning and not parts:
        parts.append(Reasoning(reasoning))
    content = values.get("content")
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content)
    content = content or values.get("refusal") or ""
    if not isinstance(content, str):
        raise TypeError(f"content is a {type(content).__name__}")
    if content:
        parts.append(Text(content))
    asked = enumerate(values.get("tool_calls") or (), calls_before)
    calls = [tool_call(call, index) for index, call in asked]
    return Message("assistant", tuple(parts), tuple(calls))


def tool_call(values: dict[str, Any], index: int) -> ToolCall:
    """Read a tool call; servers that give no id get one by position."""
    function = values["function"]
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = canonical_json(arguments or {})
    return ToolCall(str(values.get("id") or f"call_{index}"), str(function["name"]), arguments)


def finish_reason(said: Any, message: Message) -> FinishReason:
    """Translate why the model stopped; tool calls win over a plain stop."""
    finish = _FINISH.get(str(said), "unknown")
    return "tool_calls" if message.tool_calls and finish in ("stop", "unknown") else finish


def parse_usage(values: Any, request: Request, message: Message) -> Usage:
    """Read token counts, or estimate them where the server gives none."""
    if not isinstance(values, dict) or not _count(values, "prompt_tokens"):
        said = estimate_tokens(message.text) + estimate_tokens(message.reasoning)
        calls = sum(estimate_tokens(c.name + c.arguments) + 12 for c in message.tool_calls)
        return Usage(estimate_prompt(request), 0, said + calls, 0, estimated=True)
    return Usage(
        _count(values, "prompt_tokens"),
        _count(values.get("prompt_tokens_details"), "cached_tokens"),
        _count(values, "completion_tokens"),
        _count(values.get("completion_tokens_details"), "reasoning_tokens"),
    )


def parse_logprobs(values: Any) -> tuple[TokenLogprob, ...] | None:
    """Read the log-probabilities of a chat or text completion."""
    if not values:
        return None
    if "tokens" in values:
        tops = values.get("top_logprobs") or [None] * len(values["tokens"])
        rows = zip(values["tokens"], values["token_logprobs"], tops, strict=True)
        return tuple(TokenLogprob(t, p or 0.0, tuple((top or {}).items())) for t, p, top in rows)
    return tuple(
        TokenLogprob(
            entry["token"],
            float(entry["logprob"]),
            tuple((top["token"], float(top["logprob"])) for top in entry.get("top_logprobs") or ()),
        )
        for entry in values.get("content") or ()
    )


def _count(values: Any, key: str) -> int:
    value = values.get(key) if isinstance(values, dict) else None
    return value if isinstance(value, int) and value > 0 else 0
