"""The seam to whatever rates the risk of a call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from models.llm import Message, ToolCall

Level: TypeAlias = Literal["low", "medium", "high", "unknown"]
LEVELS: tuple[Level, ...] = ("low", "medium", "high")
"""In rising order; `unknown` stands outside."""


@dataclass(frozen=True)
class Risk:
    """How dangerous a call is, and why."""

    level: Level
    reasons: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON values; kept in the event of the intent."""


class SecurityAnalyzer(Protocol):
    """Rates calls before they run."""

    def rate(self, call: ToolCall, history: Sequence[Message]) -> Risk | Awaitable[Risk]:
        """Rate a call, given what the model was sent before it."""


async def rated(
    analyzer: SecurityAnalyzer, call: ToolCall, history: Sequence[Message], timeout_s: float
) -> Risk:
    """Ask an analyzer. One that fails or takes too long says `unknown`, never `low`."""
    try:
        async with asyncio.timeout(timeout_s):
            if inspect.iscoroutinefunction(analyzer.rate):
                risk = await analyzer.rate(call, history)
            else:
                found = await asyncio.to_thread(analyzer.rate, call, history)
                risk = await found if inspect.isawaitable(found) else found
    except TimeoutError:
        return Risk("unknown", (f"the analyzer gave no answer in {timeout_s:g} s",))
    except Exception as error:
        return Risk("unknown", (f"the analyzer failed: {type(error).__name__}: {error}",))
    if not isinstance(risk, Risk):
        return Risk("unknown", (f"the analyzer answered with a {type(risk).__name__}",))
    return risk
