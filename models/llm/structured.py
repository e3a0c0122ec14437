"""Replies that fit a JSON schema: constrained where the model can, else asked for and repaired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from models.llm.base import LanguageModel
from models.llm.errors import MalformedReplyError, SchemaError
from models.llm.messages import assistant, system, user
from models.llm.reply import Reply
from models.llm.request import Options, Prompt, Request, as_request
from models.llm.schema import schema_instructions, schema_problems
from models.llm.tolerant import find_json

T = TypeVar("T")


@dataclass(frozen=True)
class Structured(Generic[T]):
    """A value that fits its schema, and the calls that it took."""

    value: T
    replies: tuple[Reply, ...]
    """All tries; the last one holds the value."""

    @property
    def repairs(self) -> int:
        """Tries beyond the first."""
        return len(self.replies) - 1


async def generate_value(
    model: LanguageModel,
    prompt: Prompt,
    schema: Mapping[str, Any],
    options: Options | None = None,
    *,
    repairs: int = 2,
) -> Structured[Any]:
    """Ask for a JSON value that fits a schema.

    A reply that does not fit goes back to the model with what the validator said of it.

    Args:
        model: Any model; one that cannot be constrained is told the schema.
        prompt: The question.
        schema: JSON schema of the value.
        options: How to answer.
        repairs: Most further tries.

    Raises:
        SchemaError: No try fitted; it holds the last text and the validator's words.
        BadRequestError: The schema is none.
    """
    schema_problems(None, schema)  # a broken schema is told before it costs a call
    request = _with_schema(model, as_request(prompt, options), schema)
    replies: list[Reply] = []
    problems: list[str] = []
    while True:
        reply = await model.generate(request)
        replies.append(reply)
        try:
            value = find_json(reply.text)
            found = schema_problems(value, schema)
        except MalformedReplyError as error:
            found = (str(error),)
        if not found:
            return Structured(value, tuple(replies))
        problems.append("; ".join(found))
        if len(replies) > repairs:
            raise SchemaError(
                f"{model.name} gave no value that fits the schema in {len(replies)} tries; the "
                f"last one: {problems[-1]}; simplify the schema or allow more repairs",
                text=reply.text,
                problems=tuple(problems),
            )
        request = _repair(request, reply, problems[-1])


async def generate_object(
    model: LanguageModel,
    prompt: Prompt,
    kind: type[T],
    options: Options | None = None,
    *,
    repairs: int = 2,
) -> Structured[T]:
    """Ask for an object of a pydantic model, a dataclass or another type that pydantic knows.

    Raises:
        SchemaError: No try fitted, or the type's own validators refused each of them.
    """
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(kind)
    schema = adapter.json_schema()
    request = as_request(prompt, options)
    replies: list[Reply] = []
    problems: list[str] = []
    while True:
        left = repairs - len(replies)
        try:
            found = await generate_value(model, request, schema, repairs=max(0, left))
            replies.extend(found.replies)
            return Structured(adapter.validate_python(found.value), tuple(replies))
        except ValidationError as error:
            # Fits the schema, but not what the type says beyond it.
            problems.append("; ".join(_words(entry) for entry in error.errors()[:5]))
            if len(replies) > repairs:
                raise SchemaError(
                    f"{model.name} gave no valid {kind.__name__} in {len(replies)} tries; the "
                    f"last one: {problems[-1]}",
                    text=replies[-1].text,
                    problems=tuple(problems),
                ) from None
            request = _repair(request, replies[-1], problems[-1])


def _words(error: Any) -> str:
    return f"at {'.'.join(str(part) for part in error['loc']) or '$'}: {error['msg']}"


def _with_schema(model: LanguageModel, request: Request, schema: Mapping[str, Any]) -> Request:
    if model.capabilities.schema:
        return replace(request, options=replace(request.options, schema=schema))
    told = system(schema_instructions(schema))
    return replace(request, messages=(told, *request.messages))


def _repair(request: Request, reply: Reply, problems: str) -> Request:
    said = assistant(reply.text or "(nothing)")
    asked = user(
        f"This does not fit the schema: {problems}. Answer again with the corrected JSON value "
        "and nothing else."
    )
    # Another question now, so the id of the first one is not its id.
    return replace(request, messages=(*request.messages, said, asked), id="")
