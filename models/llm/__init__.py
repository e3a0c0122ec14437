"""Language models: one protocol for hosted, local, played and recorded ones.

messages.py texts, pictures, tool calls    request.py, reply.py  what goes in and comes out
base.py     LanguageModel, Model           blocking.py  the face without await
errors.py   what can go wrong, as types    resolve.py   a model by its address
http.py     OpenAI-compatible client (transport, sse, wire, delta, retry, once, http_errors)
providers.py any provider by litellm       prices.py, tokens.py  cost and counts, offline
scripted.py, script_file.py  played models cassette.py  recorded ones
router.py, breaker.py  several as one      text_tools.py, text_codec.py  tools as text
bulk.py     calls at once as one batch
structured.py, schema.py, tolerant.py  values that fit a schema
budget.py, meter.py, metered.py  hard limits, sums   guard.py, secrets.py  no live call, no key
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from models.llm.base import Capabilities, LanguageModel, Model, Outcome
from models.llm.budget import Budget
from models.llm.errors import LanguageModelError
from models.llm.messages import (
    Image,
    Message,
    Reasoning,
    Text,
    ToolCall,
    assistant,
    system,
    tool_result,
    user,
)
from models.llm.meter import Meter
from models.llm.reply import Chunk, Reply, Usage, collect
from models.llm.request import Options, Request, ToolSpec
from models.llm.resolve import language_model

model = language_model
"""The short name, as agents' files write it: `model("scripted:FILE")`."""

if TYPE_CHECKING:
    from models.llm.cassette import CassetteModel
    from models.llm.http import HttpModel
    from models.llm.metered import MeteredModel
    from models.llm.providers import LiteLlmModel
    from models.llm.router import RouterModel
    from models.llm.scripted import Rule, ScriptedModel, Turn
    from models.llm.structured import Structured, generate_object, generate_value
    from models.llm.text_tools import TextTools

# Loaded when they are first asked for: who only passes messages on pays for no client.
_LATER = {
    "CassetteModel": "cassette",
    "HttpModel": "http",
    "LiteLlmModel": "providers",
    "MeteredModel": "metered",
    "RouterModel": "router",
    "Rule": "scripted",
    "ScriptedModel": "scripted",
    "Structured": "structured",
    "TextTools": "text_tools",
    "Turn": "scripted",
    "generate_object": "structured",
    "generate_value": "structured",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'models.llm' has no attribute '{name}'")
    return getattr(importlib.import_module(f"models.llm.{_LATER[name]}"), name)


__all__ = [
    "Budget",
    "Capabilities",
    "CassetteModel",
    "Chunk",
    "HttpModel",
    "Image",
    "LanguageModel",
    "LanguageModelError",
    "LiteLlmModel",
    "Message",
    "Meter",
    "MeteredModel",
    "Model",
    "Options",
    "Outcome",
    "Reasoning",
    "Reply",
    "Request",
    "RouterModel",
    "Rule",
    "ScriptedModel",
    "Structured",
    "Text",
    "TextTools",
    "ToolCall",
    "ToolSpec",
    "Turn",
    "Usage",
    "assistant",
    "collect",
    "generate_object",
    "generate_value",
    "language_model",
    "model",
    "system",
    "tool_result",
    "user",
]
