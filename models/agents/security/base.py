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
    """Rates calls before they run.

    A plain `rate` is asked in a thread, so that one that takes long holds nothing up and has its
    time. An analyzer may have `is_slow(call)` too: where that says no, it is asked at once.
    """

    def rate(
        self, call: ToolCall, history: Sequence[Message]
    ) -> Risk | Awaitable[Risk | None] | None:
        """Rate a call, given what the model was sent before it; None: no opinion."""


@dataclass(frozen=True)
class Ensemble:
    """Several analyzers: the highest level counts, then `unknown`, with the reasons of all.

    Attributes:
        analyzers: Asked at once.
        timeout_s: For each, so that a slow one does not hide what another found; less than the
            agent's `analyzer_timeout_s`.
    """

    analyzers: tuple[SecurityAnalyzer, ...]
    timeout_s: float = 5.0

    async def rate(self, call: ToolCall, history: Sequence[Message]) -> Risk | None:
        """Rate a call; None when nobody has an opinion."""
        asked = (rated(one, call, history, self.timeout_s) for one in self.analyzers)
        risks = [risk for risk in await asyncio.gather(*asked) if risk is not None]
        if not risks:
            return None
        level = max((risk.level for risk in risks), key=_ORDER.index)
        mine = [risk for risk in risks if risk.level == level]
        reasons = tuple(dict.fromkeys(reason for risk in mine for reason in risk.reasons))
        evidence = {key: value for risk in mine for key, value in risk.evidence.items()}
        return Risk(level, reasons, evidence)


_ORDER = ("low", "medium", "unknown", "high")


async def rated(
    analyzer: SecurityAnalyzer, call: ToolCall, history: Sequence[Message], timeout_s: float
) -> Risk | None:
    """Ask an analyzer. One that fails or takes too long says `unknown`, never `low`."""
    try:
        if not _may_be_slow(analyzer, call):
            return _checked(analyzer.rate(call, history))
        async with asyncio.timeout(timeout_s):
            return await _asked(analyzer, call, history)
    except TimeoutError:
        return Risk("unknown", (f"the analyzer gave no answer in {timeout_s:g} s",))
    except Exception as error:
        return Risk("unknown", (f"the analyzer failed: {type(error).__name__}: {error}",))


async def _asked(
    analyzer: SecurityAnalyzer, call: ToolCall, history: Sequence[Message]
) -> Risk | None:
    if inspect.iscoroutinefunction(analyzer.rate):
        risk = await analyzer.rate(call, history)
    else:
        found = await asyncio.to_thread(analyzer.rate, call, history)
        risk = await found if inspect.isawaitable(found) else found
    return _checked(risk)


def _may_be_slow(analyzer: SecurityAnalyzer, call: ToolCall) -> bool:
    is_slow = getattr(analyzer, "is_slow", None)
    return is_slow is None or bool(is_slow(call))


def _checked(risk: object) -> Risk | None:
    if risk is not None and not isinstance(risk, Risk):
        return Risk("unknown", (f"the analyzer answered with a {type(risk).__name__}",))
    return risk
