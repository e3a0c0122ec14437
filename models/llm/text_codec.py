"""Tool calls as text: what a model is told, what it writes, and how that is read.

The form is the one that Hermes and Qwen models were trained on, and that small instruction
models follow best:

    <tool_call>
    {"name": "search", "arguments": {"query": "loom"}}
    </tool_call>

Reading is more generous than writing: an end mark that is missing, a fenced block, a bare
object, and JSON as `models.llm.tolerant` reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.llm.errors import MalformedReplyError
from models.llm.messages import Message, Part, Text, ToolCall, assistant, system
from models.llm.request import Request, ToolSpec
from models.llm.tolerant import parse_tolerantly

OPEN, CLOSE = "<tool_call>", "</tool_call>"

_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)
_FENCE = re.compile(r"```[ \t]*[\w+-]*[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)
_MARK = re.compile(r"<(/?tool_(?:call|response))")
_ESCAPED = re.compile(r"&((?:amp;)*)lt;(/?tool_(?:call|response))")
_UNESCAPE = re.compile(r"&(amp;)*lt;/?tool_(?:call|response)")
_NAME_KEYS = ("name", "tool", "function", "tool_name")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input", "tool_input")


@dataclass(frozen=True)
class Decoded:
    """What a model wrote: text, calls, and pieces that were meant as calls but are none."""

    text: str
    calls: tuple[ToolCall, ...]
    broken: tuple[str, ...] = ()


def describe_tools(tools: Sequence[ToolSpec], tool_choice: str = "auto") -> str:
    """Tell a model which tools there are and how to call them."""
    lines = [
        json.dumps(
            {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            },
            ensure_ascii=False,
        )
        for tool in tools
    ]
    must = ""
    if tool_choice == "required":
        must = "\nYou must call at least one tool now."
    elif tool_choice not in ("auto", "none"):
        must = f"\nYou must call the tool {tool_choice} now."
    return (
        "You can call these tools, one JSON description per line:\n<tools>\n"
        + "\n".join(lines)
        + "\n</tools>\nTo call a tool, write exactly this, once per call, and end your answer "
        f'after the last call:\n{OPEN}\n{{"name": "NAME", "arguments": {{...}}}}\n{CLOSE}\n'
        "The results come in <tool_response> marks. When no tool is needed, answer in plain text."
        + must
    )


def encode(text: str, calls: Sequence[ToolCall]) -> str:
    """Write an answer with its calls; `decode` gives them back."""
    pieces = [escape(text)] if text else []
    for call in calls:
        # `<` inside a call could be read as its end.
        try:
            arguments = json.dumps(json.loads(call.arguments), ensure_ascii=False)
        except (ValueError, RecursionError):
            arguments = json.dumps(call.arguments, ensure_ascii=False)
        name = json.dumps(call.name, ensure_ascii=False)
        body = f'{{"name": {name}, "arguments": {arguments}}}'.replace("<", "\\u003c")
        pieces.append(f"{OPEN}\n{body}\n{CLOSE}")
    return "\n".join(pieces)


def decode(text: str, known: Collection[str] = (), calls_before: int = 0) -> Decoded:
    """Read an answer.

    Args:
        text: What the model wrote.
        known: Names of the tools. Without marks, an object counts as a call only when it
            names one of them; with marks also an unknown name is a call, which whoever runs
            the tools will refuse by name.
        calls_before: Calls of the conversation until now; new ones are numbered on.
    """
    calls: list[ToolCall] = []
    broken: list[str] = []
    said = text
    if OPEN in text:
        for match in _CALL.finditer(text):
            found = _calls_in(match[1], None)
            calls.extend(found)
            if not found:
                broken.append(match[1].strip())
        said = _CALL.sub("", text)
    else:
        for match in _FENCE.finditer(text):
            found = _calls_in(match[1], known)
            calls.extend(found)
            said = said.replace(match[0], "") if found else said
        if not calls and text.strip()[:1] in ("{", "["):
            calls = _calls_in(text, known)
            said = "" if calls else said
    numbered = (
        replace(call, id=f"call_{number}") for number, call in enumerate(calls, calls_before)
    )
    return Decoded(unescape(said.strip()), tuple(numbered), tuple(broken))


def escape(text: str) -> str:
    """Make marks in a text readable as text."""
    text = _UNESCAPE.sub(lambda match: f"&amp;{match[0][1:]}", text)
    return _MARK.sub(r"&lt;\1", text)


def unescape(text: str) -> str:
    """Undo `escape`."""

    def one_less(match: re.Match[str]) -> str:
        depth = match[1]
        return f"&{depth[4:]}lt;{match[2]}" if depth else f"<{match[2]}"

    return _ESCAPED.sub(one_less, text)


def _calls_in(text: str, known: Collection[str] | None) -> list[ToolCall]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = parse_tolerantly(text.strip())
        except MalformedReplyError:
            return []
    items = value if isinstance(value, list) else [value]
    calls = [_call(item) for item in items]
    whole = [call for call in calls if call is not None]
    if known is not None and any(call.name not in known for call in whole):
        return []
    return whole if len(whole) == len(items) else []


def _call(value: Any) -> ToolCall | None:
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("function"), dict):
        value = value["function"]
    name = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
    if not name:
        return None
    arguments = next((value[key] for key in _ARGUMENT_KEYS if key in value), None)
    if isinstance(arguments, str):
        return ToolCall("", name, arguments)
    return ToolCall("", name, json.dumps(arguments or {}, ensure_ascii=False))


def as_text(request: Request) -> Request:
    """Rewrite a request with tools as one without: descriptions, calls and results as text."""
    options = request.options
    use = options.tools if options.tool_choice != "none" else ()
    messages = [_plain(message, request.messages) for message in request.messages]
    if use:
        told = describe_tools(use, options.tool_choice)
        if messages and messages[0].role == "system":
            # Small models read one system message; two confuse their templates.
            first = messages[0]
            parts: tuple[Part, ...] = (*first.parts, Text(f"\n\n{told}"))
            messages[0] = replace(first, parts=parts)
        else:
            messages.insert(0, system(told))
    plain = replace(options, tools=(), tool_choice="auto")
    return replace(request, messages=tuple(_joined(messages)), options=plain)


def _plain(message: Message, history: Sequence[Message]) -> Message:
    if message.role == "assistant" and message.tool_calls:
        return assistant(encode(message.text, message.tool_calls))
    if message.role != "tool":
        return message
    calls = (call for earlier in history for call in earlier.tool_calls)
    name = message.name or next((c.name for c in calls if c.id == message.tool_call_id), "")
    failed = ' status="error"' if message.is_error else ""
    text = Text(f'<tool_response name="{name}"{failed}>\n{escape(message.text)}\n</tool_response>')
    pictures = tuple(part for part in message.parts if not isinstance(part, Text))
    return Message("user", (text, *pictures))


def _joined(messages: list[Message]) -> list[Message]:
    """Join user messages that follow each other: chat templates want turns that alternate."""
    joined: list[Message] = []
    for message in messages:
        if joined and message.role == joined[-1].role == "user":
            parts = (*joined[-1].parts, Text("\n"), *message.parts)
            joined[-1] = replace(joined[-1], parts=parts, cache=message.cache)
        else:
            joined.append(message)
    return joined
