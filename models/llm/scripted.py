"""A played model: replies by sequence, by rules or by a function, with delays and failures.

For tests and demonstrations. Its replies carry `source="scripted"`, and no report may count
them as a model's ability.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from copy import copy
from dataclasses import dataclass, replace
from typing import TypeAlias

from models.llm.base import Capabilities, Model
from models.llm.errors import ContextLengthError, LanguageModelError, ScriptError, StreamCutError
from models.llm.messages import Message, ToolCall, assistant
from models.llm.prices import FREE, Price
from models.llm.reply import Chunk, FinishReason, Reply, Stream, Usage, chunks_of
from models.llm.request import Request, estimate_prompt
from models.llm.tokens import estimate_tokens

SCRIPTED = Capabilities(images=True, source="scripted")


@dataclass(frozen=True)
class Turn:
    """One played answer."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    finish_reason: FinishReason | None = None
    """None: what the reply looks like."""
    usage: Usage | None = None
    """None: estimated."""
    delay_s: float = 0.0
    """Before the reply, or before its first chunk."""
    chunk_s: float = 0.0
    """Before each further chunk of a stream."""
    chunk_chars: int = 0
    """Characters per chunk of a stream; 0: all at once."""
    cut_after: int | None = None
    """A stream breaks after this many characters; a whole reply fails."""
    error: LanguageModelError | None = None
    """Raised in place of an answer."""


Line: TypeAlias = str | Turn | Reply | Message | ToolCall | LanguageModelError


@dataclass(frozen=True)
class Rule:
    """Plays `line` when the request fits all that is given; a `times` of None is always."""

    line: Line
    match: str = ""
    """Regular expression searched in the text of the last message."""
    purpose: str = ""
    after_tool: str = ""
    """The last message answers a call of this tool."""
    times: int | None = None

    def fits(self, request: Request) -> bool:
        """Whether this rule speaks to the request."""
        last = request.messages[-1]
        if self.purpose and self.purpose != request.purpose:
            return False
        if self.after_tool and not (last.role == "tool" and last.name == self.after_tool):
            return False
        return re.search(self.match, last.text) is not None


Script: TypeAlias = Sequence[Line] | Sequence[Rule] | Callable[[Request], Line]


class ScriptedModel(Model):
    """Plays a script.

    Args:
        script: Lines in their order, rules (the first that fits speaks), or a function of
            the request.
        name: For meters and messages; `scripted:` goes before it.
        otherwise: Played when a sequence is over or no rule fits; None: an error.
        capabilities: What the played model can do by itself.
        price: USD per million tokens, to try budgets.
    """

    def __init__(
        self,
        script: Script,
        *,
        name: str = "script",
        otherwise: Line | None = None,
        capabilities: Capabilities = SCRIPTED,
        price: Price | None = FREE,
    ) -> None:
        super().__init__(f"scripted:{name}", replace(capabilities, source="scripted"), price)
        self._play = script if callable(script) else None
        lines = () if callable(script) else tuple(script)
        self._rules = tuple(line for line in lines if isinstance(line, Rule))
        self._lines = tuple(line for line in lines if not isinstance(line, Rule))
        if self._rules and self._lines:
            raise ScriptError("a script is a sequence of replies or of rules; do not mix them")
        self._otherwise = otherwise
        self._played = [0] * max(1, len(self._rules))
        self._lock = threading.Lock()
        self.requests: list[Request] = []
        """What was asked, in the order of asking."""

    async def _generate(self, request: Request) -> Reply:
        start = time.monotonic()
        turn = self._turn(request)
        if turn.delay_s:
            await asyncio.sleep(turn.delay_s)
        if turn.error is not None:
            raise copy(turn.error)
        reply = self._reply(turn, request)
        if turn.cut_after is not None:
            raise StreamCutError(f"{self.name} was cut", text=reply.text[: turn.cut_after])
        return replace(reply, latency_s=time.monotonic() - start)

    async def _stream(self, request: Request) -> Stream:
        async with aclosing(self._pieces(request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _pieces(self, request: Request) -> Stream:
        start = time.monotonic()
        turn = self._turn(request)
        if turn.delay_s:
            await asyncio.sleep(turn.delay_s)
        if turn.error is not None:
            raise copy(turn.error)
        said = 0
        for whole in chunks_of(self._reply(turn, request)):
            for chunk in _split(whole, turn.chunk_chars):
                left = None if turn.cut_after is None else turn.cut_after - said
                if left is not None and (len(chunk.text) > left or chunk.reply is not None):
                    if chunk.text[:left]:
                        yield Chunk(text=chunk.text[:left])
                    said_text = turn.text[: turn.cut_after]
                    raise StreamCutError(f"{self.name} was cut; ask again", text=said_text)
                said += len(chunk.text)
                if chunk.reply is not None:
                    latency_s = time.monotonic() - start
                    chunk = replace(chunk, reply=replace(chunk.reply, latency_s=latency_s))
                yield chunk
                if turn.chunk_s:
                    await asyncio.sleep(turn.chunk_s)

    def _turn(self, request: Request) -> Turn:
        limit = self.capabilities.context_tokens
        with self._lock:
            self.requests.append(request)
            if limit is not None and (asked := estimate_prompt(request)) > limit:
                raise ContextLengthError(
                    f"{self.name} has a context of {limit} tokens, the prompt about {asked}; "
                    "shorten it"
                )
            line = self._play(request) if self._play else self._next(request)
        if isinstance(line, Turn):
            return line
        if isinstance(line, LanguageModelError):
            return Turn(error=line)
        if isinstance(line, ToolCall):
            return Turn(tool_calls=(line,))
        if isinstance(line, Reply):
            line = line.message
        if isinstance(line, Message):
            return Turn(line.text, line.tool_calls, line.reasoning)
        return Turn(text=line)

    def _next(self, request: Request) -> Line:
        for index, rule in enumerate(self._rules):
            if (rule.times is None or self._played[index] < rule.times) and rule.fits(request):
                self._played[index] += 1
                return rule.line
        if not self._rules and self._played[0] < len(self._lines):
            self._played[0] += 1
            return self._lines[self._played[0] - 1]
        if self._otherwise is not None:
            return self._otherwise
        last = request.messages[-1].text[:200]
        what = "no rule fits" if self._rules else f"all {len(self._lines)} replies are played"
        raise ScriptError(
            f"{self.name}: {what}, and the request ends with '{last}'; add a reply, a rule or "
            "`otherwise`"
        )

    def _reply(self, turn: Turn, request: Request) -> Reply:
        numbered = enumerate(turn.tool_calls, request.calls_before)
        calls = [call if call.id else replace(call, id=f"call_{n}") for n, call in numbered]
        message = assistant(turn.text, *calls, reasoning=turn.reasoning)
        texts = (turn.text, turn.reasoning, *(c.name + c.arguments for c in turn.tool_calls))
        thought = estimate_tokens(turn.reasoning)
        said = sum(estimate_tokens(text) for text in texts)
        usage = turn.usage or Usage(estimate_prompt(request), 0, said, thought, estimated=True)
        finish = turn.finish_reason or ("tool_calls" if turn.tool_calls else "stop")
        cost = None if self.price is None else self.price.cost_usd(usage)
        return Reply(message, finish, usage, cost, model=self.name, source="scripted")


def _split(chunk: Chunk, size: int) -> Iterable[Chunk]:
    if size < 1 or not chunk.text:
        return [chunk]
    text = chunk.text
    return [Chunk(text=text[place : place + size]) for place in range(0, len(text), size)]
