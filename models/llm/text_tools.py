"""Tools for models that know none: told in the prompt, read out of the text."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

from models.llm.base import LanguageModel, Model
from models.llm.errors import MalformedReplyError
from models.llm.messages import Message, Part, Text, assistant, user
from models.llm.reply import Chunk, Reply, Stream, chunks_of
from models.llm.request import Options, Prompt, Request, as_request
from models.llm.text_codec import OPEN, Decoded, as_text, decode

# From one of these on a stream may be a call: it is held back until the reply is whole.
_STARTS = (OPEN, "```", "&amp;", "&lt;")


class TextTools(Model):
    """Gives tool calling to a model by text.

    Args:
        inner: The model.
        repairs: Further tries when a marked call cannot be read at all.
    """

    def __init__(self, inner: LanguageModel, *, repairs: int = 1) -> None:
        capabilities = replace(inner.capabilities, tools=True)
        super().__init__(inner.name, capabilities, inner.price)
        self._inner = inner
        self._repairs = repairs

    def count_tokens(self, prompt: Prompt, options: Options | None = None) -> int:
        """Count the prompt that the inner model gets."""
        return self._inner.count_tokens(as_text(as_request(prompt, options)))

    async def aclose(self) -> None:
        """Close the inner model."""
        await self._inner.aclose()

    async def _generate(self, request: Request) -> Reply:
        asked = as_text(request)
        earlier: list[Reply] = []
        while True:
            reply = await self._inner.generate(asked)
            decoded = _decoded(request, reply)
            if not decoded.broken:
                return _with_earlier(_with_calls(reply, decoded), earlier)
            earlier.append(reply)
            if len(earlier) > self._repairs:
                raise _unreadable(self.name, decoded, reply)
            told = user(
                f"This tool call cannot be read: {decoded.broken[0][:500]}\nWrite it again as one "
                "JSON object with name and arguments between the marks."
            )
            messages = (*asked.messages, assistant(reply.text), told)
            asked = replace(asked, messages=messages, id="")

    async def _stream(self, request: Request) -> Stream:
        if not request.options.tools:
            async with aclosing(self._inner.stream(as_text(request))) as plain:
                async for chunk in plain:
                    yield chunk
            return
        shown, held = "", ""
        async with aclosing(self._inner.stream(as_text(request))) as chunks:
            async for chunk in chunks:
                if chunk.reply is not None:
                    for last in self._ending(request, chunk.reply, shown):
                        yield last
                    return
                if chunk.reasoning:
                    yield chunk
                held += chunk.text
                safe = _safe_length(held, is_start=not shown.strip())
                if safe:
                    shown += held[:safe]
                    yield Chunk(text=held[:safe])
                    held = held[safe:]

    def _ending(self, request: Request, reply: Reply, shown: str) -> list[Chunk]:
        decoded = _decoded(request, reply)
        if decoded.broken:
            raise _unreadable(self.name, decoded, reply)
        whole = _with_calls(reply, decoded)
        rest = decoded.text.removeprefix(shown.lstrip())
        chunks = [Chunk(text=rest)] if rest and decoded.text.startswith(shown.lstrip()) else []
        return chunks + [c for c in chunks_of(whole) if not c.text and not c.reasoning]


def _decoded(request: Request, reply: Reply) -> Decoded:
    names = {tool.name for tool in request.options.tools}
    if not names or request.options.tool_choice == "none":
        return Decoded(reply.text, ())
    return decode(reply.text, names, request.calls_before)


def _with_calls(reply: Reply, decoded: Decoded) -> Reply:
    parts: tuple[Part, ...] = tuple(p for p in reply.message.parts if not isinstance(p, Text))
    if decoded.text:
        parts = (*parts, Text(decoded.text))
    finish = "tool_calls" if decoded.calls else reply.finish_reason
    return replace(reply, message=Message("assistant", parts, decoded.calls), finish_reason=finish)


def _with_earlier(reply: Reply, earlier: list[Reply]) -> Reply:
    """Count what the unreadable tries took: they were paid for."""
    costs = [one.cost_usd for one in (*earlier, reply)]
    latencies = [one.latency_s for one in (*earlier, reply)]
    return replace(
        reply,
        usage=sum((one.usage for one in earlier), reply.usage),
        cost_usd=None if None in costs else sum(cost or 0.0 for cost in costs),
        latency_s=None if None in latencies else sum(value or 0.0 for value in latencies),
        attempts=sum((one.attempts for one in earlier), reply.attempts),
    )


def _unreadable(name: str, decoded: Decoded, reply: Reply) -> MalformedReplyError:
    return MalformedReplyError(
        f"{name} wrote a tool call that cannot be read: {decoded.broken[0][:300]}; ask again, or "
        "use a model that knows tools",
        text=reply.text,
    )


def _safe_length(text: str, *, is_start: bool) -> int:
    """Return how much of a text can be shown: what surely is not the start of a call."""
    if is_start and text.lstrip()[:1] in ("", "{", "["):
        return 0
    safe = len(text)
    for start in _STARTS:
        place = text.find(start)
        if place < 0:
            # The start may be cut between two chunks.
            sizes = range(min(len(start) - 1, len(text)), 0, -1)
            size = next((size for size in sizes if text.endswith(start[:size])), 0)
            place = len(text) - size
        safe = min(safe, place)
    # A reply ends without the spaces before its calls.
    return len(text[:safe].rstrip())
