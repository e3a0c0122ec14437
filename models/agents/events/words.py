"""The words that stored events are made of; a text that is one of them cannot be struck out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from typing import get_args

from models.agents.events.types import BODIES, Outcome, Phase, Source
from models.llm import Image, Reasoning, ToolCall, Usage
from models.llm.messages import Message, Text


@cache
def reserved_words() -> frozenset[str]:
    """Return keys and fixed values of the JSON of events."""
    kinds = (*BODIES.values(), Message, Text, Image, Reasoning, ToolCall, Usage)
    words = {field.name for kind in kinds for field in fields(kind)} | {*BODIES}
    words |= {*get_args(Source), *get_args(Phase), *get_args(Outcome)}
    parts = (Text("x"), Image(data="eA=="), Reasoning("x", "x", redacted=True))
    called = Message("tool", parts, (ToolCall("x", "x", "{}"),), tool_call_id="x", cache=True)
    words |= {*_words(called.to_dict())}
    return frozenset(words | {"system", "user", "assistant", "tool"})


def _words(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from [item] if key == "kind" else _words(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _words(item)
