"""A streamed completion put together again: events in, chunks and the whole reply out."""

from __future__ import annotations

from typing import Any

import orjson

from models.llm.errors import MalformedReplyError, StreamCutError
from models.llm.messages import Message, Part, Reasoning, Text, ToolCall, clean
from models.llm.reply import Chunk, Reply, TokenLogprob
from models.llm.request import Request
from models.llm.wire import finish_reason, parse_logprobs, parse_usage


class StreamReader:
    """Reads the events of one streamed chat or text completion."""

    def __init__(self, request: Request, model: str) -> None:
        self._request = request
        self._model = model
        self._id = ""
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[list[str]] = []
        self._places: dict[object, int] = {}
        self._logprobs: list[TokenLogprob] = []
        self._usage: Any = None
        self._finish: Any = None
        self.is_done = False
        """The end mark came."""

    @property
    def text(self) -> str:
        """What was said until now."""
        return "".join(self._text)

    def feed(self, data: str) -> list[Chunk]:
        """Take the data of one event.

        Raises:
            MalformedReplyError: It is no JSON object of a completion.
        """
        if data.strip() == "[DONE]":
            self.is_done = True
            return []
        try:
            event = orjson.loads(data)
            self._id = self._id or str(event.get("id") or "")
            self._model = str(event.get("model") or self._model)
            self._usage = event.get("usage") or self._usage
            # The event with the usage has no choices.
            choices = event.get("choices") or [{}]
            return self._choice(choices[0])
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise MalformedReplyError(
                f"{self._model} streamed an event that is no piece of a completion ({error!r}): "
                f"{data[:200]}; ask again",
                text=self.text,
            ) from None

    def _choice(self, choice: dict[str, Any]) -> list[Chunk]:
        delta = choice.get("delta")
        if delta is None:
            delta = {"content": choice.get("text")}
        chunks: list[Chunk] = []
        thought = _said(delta.get("reasoning_content") or delta.get("reasoning"))
        if thought:
            self._reasoning.append(thought)
            chunks.append(Chunk(reasoning=thought))
        said = _said(delta.get("content") or delta.get("refusal"))
        if said:
            self._text.append(said)
            chunks.append(Chunk(text=said))
        for call in delta.get("tool_calls") or ():
            chunks.extend(self._call(call))
        self._logprobs.extend(parse_logprobs(choice.get("logprobs")) or ())
        self._finish = choice.get("finish_reason") or self._finish
        return chunks

    def _call(self, values: dict[str, Any]) -> list[Chunk]:
        function = values.get("function") or {}
        key = values.get("index")
        if key is None:
            # Servers without an index name the call by id, or send it whole.
            key = values.get("id") or (len(self._calls) if function.get("name") else "last")
        chunks = []
        if key not in self._places and not (key == "last" and self._calls):
            self._places[key] = len(self._calls)
            number = self._request.calls_before + len(self._calls)
            call_id = str(values.get("id") or f"call_{number}")
            self._calls.append([call_id, str(function.get("name") or ""), ""])
            call = ToolCall(call_id, self._calls[-1][1], "")
            chunks.append(Chunk(tool_call_index=self._places[key], tool_call=call))
        place = self._places.get(key, len(self._calls) - 1)
        piece = _said(function.get("arguments"))
        if piece:
            self._calls[place][2] += piece
            chunks.append(Chunk(tool_call_index=place, arguments=piece))
        return chunks

    def reply(self) -> Reply:
        """Return the whole reply.

        Raises:
            StreamCutError: Neither the end mark nor a reason to stop has come.
        """
        if not self.is_done and self._finish is None:
            raise StreamCutError(
                f"the stream of {self._model} ended in the middle of the reply, after "
                f"{len(self.text)} characters; ask again",
                text=self.text,
            )
        parts: list[Part] = []
        if self._reasoning:
            parts.append(Reasoning("".join(self._reasoning)))
        if self._text:
            parts.append(Text(self.text))
        calls = tuple(ToolCall(i, name, arguments or "{}") for i, name, arguments in self._calls)
        message = Message("assistant", tuple(parts), calls)
        return Reply(
            message,
            finish_reason(self._finish or "stop", message),
            parse_usage(self._usage, self._request, message),
            model=self._model,
            id=self._id,
            logprobs=tuple(self._logprobs) or None,
        )


def _said(value: Any) -> str:
    """Return the text of a piece: a text, or parts with texts."""
    if isinstance(value, list):
        value = "".join(part["text"] for part in value if part.get("type") == "text")
    if value is not None and not isinstance(value, str):
        raise TypeError(f"a text was expected, found a {type(value).__name__}")
    return clean(value or "")
